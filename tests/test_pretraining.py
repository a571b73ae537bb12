"""Pre-training on a mixture of every task, and fine-tuning from it, through the verbs as a user would."""

import json
import shutil

import jax
import numpy as np
import pytest
from small_run import CONFIG, main, write_corpus
from tiny import compiled_on, initial_state, make_mesh, open_data

import t2c_jax
from t2c_jax import config as configs
from t2c_jax.checkpoints import inherit
from t2c_jax.config.registry import objectives
from t2c_jax.corpus.dataset import read_pairs
from t2c_jax.data.mixture import open_streams, task_shares
from t2c_jax.data.tasks.translation import translation
from t2c_jax.errors import UserError
from t2c_jax.tokenizers.loading import Tokenizers
from t2c_jax.workdir import Workdir

TASKS = """
    config.corpus.code_only = ("function",)
    config.tokenizer.split_spaces = True
    config.data.pairs_in_row = 2
    config.data.tasks = {tasks!r}
    config.data.prefix = "t"
    config.data.encoder_length = 96
    config.model.output_heads = ("tagging", "embedding")
    config.model.embedding_width = 8
    config.train.eval_batches = 8
    return config
"""
FINETUNE = """
    config.origin.take = ("shape", "tokenizer", "prefix", "parameters")
    config.model.copy = True
    config.model.width = 64
    return config
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A directory with a pre-trained workdir and the config to fine-tune it."""
    base = tmp_path_factory.mktemp("pretraining")
    corpus = base / "corpus.jsonl"
    write_corpus(corpus, 100)
    lines = corpus.read_text().splitlines()
    for n in range(3, 100, 7):  # train lines, and some that are held out
        pair = json.loads(lines[n])
        lines[n] = json.dumps({"text": "", "code": pair["code"], "language": "python", "split": pair["split"]})
    lines = [json.dumps({**json.loads(line), "language": "python"}) for line in lines]
    corpus.write_text("\n".join(lines) + "\n")
    tasks = {name: {"objective": name, "prefix": name[0]} for name in objectives}
    text = CONFIG.format(corpus=str(corpus))
    (base / "pretrain.py").write_text(text.replace("    return config\n", TASKS.format(tasks=tasks)))
    (base / "finetune.py").write_text(text.replace("    return config\n", FINETUNE))
    assert main("run", "--config", base / "pretrain.py", "--workdir", base / "pre") == 0
    return base


def lines_of(workdir, kind):
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [line for line in map(json.loads, lines) if line["kind"] == kind]


def test_metrics_are_by_task(runs):
    seen = lines_of(runs / "pre", "train")[-1].keys()
    writes = set(objectives) - {"identifier_tagging", "contrastive"}
    assert {name for name in seen if name.startswith("nll/")} == {f"nll/{name}" for name in writes}
    assert {"tagging_nll", "tagging_accuracy", "contrastive_nll", "contrastive_accuracy"} <= seen
    dev = lines_of(runs / "pre", "dev")[-1]
    assert {f"nll/{name}" for name in writes} <= dev.keys()
    mean = np.mean([dev[f"nll/{name}"] for name in writes])  # all have the same weight
    assert dev["nll"] == pytest.approx(mean, rel=1e-5)


def test_vectors_are_written_and_are_the_second_baseline(runs, capsys):
    pre = runs / "pre"
    assert main("embed", "--workdir", pre, "--output", runs / "v.npy", "the first list", "another") == 0
    vectors = np.load(runs / "v.npy")
    assert vectors.shape == (2, 8)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    capsys.readouterr()
    assert main("embed", "--workdir", pre, "--json", "another") == 0
    (row,) = json.loads(capsys.readouterr().out)
    np.testing.assert_allclose(row["vector"], vectors[1], atol=1e-5)  # another batch, another order of sums
    (scores,) = (pre / "evaluations").glob("*/scores.json")
    found = json.loads(scores.read_text())["embedding_retrieval"]
    assert found["train_pairs"] == sum(1 for n in range(100) if n % 10 < 8 and n % 7 != 3)
    assert found["bleu"]["value"] > 0


def test_vectors_of_the_run_find_another_ones_neighbours(runs, capsys, tmp_path):
    """In training and for prompts; a run that is gone, trained anew or without vectors is one line."""
    pre, workdir = tmp_path / "pre", tmp_path / "run"
    shutil.copytree(runs / "pre", pre)
    options = ("--config.data.retrieve.neighbours=1", "--config.data.retrieve.tokens=64", "--config.train.steps=3")
    encoder = f"--config.data.retrieve.encoder={pre}"
    length = "--config.data.encoder_length=128"
    base = ("--config", runs / "finetune.py", "--workdir", workdir, *options, length)
    assert main("run", *base, encoder, "--config.evaluate.max_examples=2") == 0
    manifest = json.loads((workdir / "retrieval" / "manifest.json").read_text())
    assert manifest["counts"]["encoder"] == {"run": str(pre), "step": 12}
    pairs = {pair.id: pair for pair in read_pairs(Workdir(workdir), "train")}
    vectors = np.load(workdir / "retrieval" / "index" / "vectors.npy")
    prompt = "Return the first list of 31 values."
    capsys.readouterr()
    assert main("generate", "--workdir", workdir, "--json", prompt) == 0
    ((near,),) = [row["neighbours"] for row in json.loads(capsys.readouterr().out)]
    mine = t2c_jax.open_run(pre).embed([prompt, pairs[near["id"]].text])
    assert near["similarity"] == pytest.approx(float(mine[0] @ mine[1]), abs=1e-3)
    assert near["similarity"] == pytest.approx(float((vectors @ mine[0]).max()), abs=1e-3)

    def refused(message, *command):
        assert main(*command) == 2
        (line,) = [line for line in capsys.readouterr().err.split("t2c: ") if "config.data.retrieve.encoder" in line]
        assert message in " ".join(line.split())

    answer = ("generate", "--workdir", workdir, prompt)
    moved = pre.rename(tmp_path / "moved")
    refused(f"'{pre}' holds no run", *answer)
    refused(
        f"'{pre}' holds no run", "train", "--workdir", workdir, "--config.train.steps=4", "--config.train.samples=1"
    )
    assert main(*answer, f"--config.data.retrieve.encoder={moved}") == 0  # another path, and the same checkpoint
    refused("has no checkpoint 5; it has", *answer, f"--config.data.retrieve.encoder={moved}@5")
    refused("names no run", *answer, "--config.data.retrieve.encoder=@5")
    refused("holds no run", "run", *base[:3], tmp_path / "new", *options, length, encoder)
    assert not (tmp_path / "new" / "corpus").exists()  # found before any work
    refused("has no embedding head", *answer, f"--config.data.retrieve.encoder={workdir}")
    (metadata,) = (moved / "checkpoints" / "12" / "run").glob("metadata")
    metadata.write_bytes(metadata.read_bytes() + b" ")
    refused("is not the one that made the index", *answer, f"--config.data.retrieve.encoder={moved}")
    shutil.rmtree(moved / "checkpoints" / "12")
    refused("has no checkpoint 12", *answer, f"--config.data.retrieve.encoder={moved}")


def test_fine_tuning_takes_shape_prefix_and_parameters(runs, capsys):
    origin, workdir = f"--config.origin.run={runs / 'pre'}", runs / "fine"
    assert main("run", "--config", runs / "finetune.py", "--workdir", workdir, origin) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "dropped" in said  # heads that it has no use for
    made = json.loads((workdir / "config.json").read_text())
    assert (made["model"]["width"], made["model"]["copy"], made["data"]["prefix"]) == (16, True, "t")
    assert made["model"]["output_heads"] == []
    assert lines_of(workdir, "dev")[0]["nll"] < lines_of(runs / "pre", "dev")[0]["nll/text_to_code"]


TASKS_TOO = "shape,tokenizer,prefix,parameters,tasks"


def test_tasks_of_the_origin_are_replayed_and_measured_by_name(runs):
    workdir, pre = runs / "replay", runs / "pre"
    options = (f"--config.origin.run={pre}", "--config.lora.rank=2", "--config.model.copy=False")
    replay = (f"--config.origin.take={TASKS_TOO}", "--config.origin.replay_share=0.25")
    assert main("run", "--config", runs / "finetune.py", "--workdir", workdir, *options, *replay) == 0
    dev = lines_of(workdir, "dev")[-1]
    assert dev["nll"] == dev["nll/own"] != dev["nll/replayed_span_corruption"]
    experiment = configs.load(str(workdir / "config.json"))
    theirs = configs.load(str(pre / "config.json")).data.tasks
    assert {name: task.prefix for name, task in experiment.data.tasks.items()} == {
        "own": "t",
        **{f"replayed_{name}": task.prefix for name, task in theirs.items()},
    }
    tokenizers = Tokenizers.load(workdir / "tokenizer", experiment.data.direction)
    streams = open_streams(Workdir(workdir), "train", tokenizers, experiment.data, experiment.model)
    shares = dict(zip(streams, task_shares(experiment.data, streams), strict=True))
    assert shares["own"] == pytest.approx(0.75)
    assert set(map(len, (stream.tokens for stream in streams.values()))) > {len(streams["own"].tokens)}
    # What is trained is what is asked.
    own, asked = streams["own"], translation(tokenizers, experiment.data)
    record = int(own.index.records_N[0])
    np.testing.assert_array_equal(own.example(0, 0).sources[0], asked.source(own.tokens.text(record)))
    # Another share replaces the tasks, and adds none.
    again = inherit.load(str(workdir / "config.json"), ["origin.replay_share=0.5"]).data.tasks
    assert again.keys() == experiment.data.tasks.keys()
    assert sum(task.weight for name, task in again.items() if name != "own") == pytest.approx(1.0)
    none = inherit.load(str(workdir / "config.json"), ["origin.take=tokenizer,parameters"]).data.tasks
    assert set(none) == {"own"}


def test_with_a_share_of_zero_replayed_tasks_are_only_measured(runs):
    options = [f"origin.run={runs / 'pre'}", "origin.step=12", f"origin.take={TASKS_TOO}", "origin.replay_share=0"]
    experiment = inherit.load(str(runs / "finetune.py"), options)
    tokenizers = Tokenizers.load(runs / "pre" / "tokenizer", experiment.data.direction)
    mesh = make_mesh(experiment)
    data = open_data(experiment, Workdir(runs / "pre"), tokenizers, mesh)
    tasks = np.concatenate([data.train.batch(step)["task"] for step in range(20)])
    assert set(tasks.tolist()) == {0}
    assert len(data.dev) == 1 + len(objectives.names())


def test_without_parameters_in_take_all_of_them_are_random(runs):
    workdir = runs / "scratch"
    shutil.copytree(runs / "fine/corpus", workdir / "corpus")
    options = (f"--config.origin.run={runs / 'pre'}", "--config.origin.take=shape,tokenizer,prefix")
    assert main("tokenizer", "--config", runs / "finetune.py", "--workdir", workdir, *options) == 0
    assert (workdir / "tokenizer/spm.model").read_bytes() == (runs / "pre/tokenizer/spm.model").read_bytes()
    experiment = configs.load(str(workdir / "config.json"))
    assert (experiment.model.width, experiment.data.prefix) == (16, "t")
    tokenizers = Tokenizers.load(workdir / "tokenizer", experiment.data.direction)
    compiled = compiled_on(make_mesh(experiment), experiment, tokenizers.target.vocab_size)
    start = initial_state(experiment, compiled, tokenizers.target)["params"]
    jax.tree.map(np.testing.assert_array_equal, start, compiled.init()["params"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.tasks.a.objective=span_coruption", "did you mean 'span_corruption'"),
        ("data.tasks.a.weight=0", "weight=0.0 must be above 0"),
        ("data.tasks.a.wait=1", "did you mean 'weight'"),
        ("data.tasks.a.objective=contrastive", "add 'embedding' to config.model.output_heads"),
        ("data.tasks.a.objective=fill_in_the_middle data.placeholders=true", "code with a gap has no text"),
        ("data.tasks.a.workdir=elsewhere", "leave one to this run's own corpus"),
        ("data.tasks.a.objective=text_to_code", "set config.data.tasks.a.prefix to it"),
        ("origin.run=elsewhere", "'elsewhere' is not the workdir of an import or of a run"),
        ("origin.run=elsewhere@3", "name the checkpoint in config.origin.step=3"),
        ("origin.replay_share=1", "replay_share=1.0 must lie in"),
        ("origin.take=parameter", "did you mean 'parameters'"),
        ("lora.rank=2 origin.take=shape,tokenizer", "keep parameters in config.origin.take"),
        ("data.tasks.a=1", "is a section"),
        ("data.tasks=1", "is a section"),
        ("model.output_heads=taging", "did you mean 'tagging'"),
    ],
)
def test_mistakes_in_tasks_get_one_line(runs, override, message):
    with pytest.raises(UserError, match=message):
        inherit.load(str(runs / "finetune.py"), [f"origin.run={runs / 'pre'}", *override.split()])
