"""A whole run on real code through the verbs, as a user would; and the quickstart's resolved config."""

import json
import os
import shutil
import sysconfig
from pathlib import Path

import pytest
from small_run import t2c
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from t2c_jax import config as configs

PACKAGES = ("json", "email", "logging", "http", "concurrent", "urllib", "html", "wsgiref", "xml", "zoneinfo")
CONFIG = """
from t2c_jax import config as schema


def get_config():
    config = schema.default()
    config.corpus.sources = ({source!r},)
    config.corpus.dev_share = 0.2
    config.corpus.test_share = 0.2
    config.tokenizer.vocab_size = 1024
    config.data.encoder_length = 96
    config.data.decoder_length = 256
    config.data.batch_size = 4
    config.model.width = 32
    for side in (config.model.encoder, config.model.decoder):
        side.update(layers=1, num_heads=2, head_width=16, feed_forward=64)
    config.optimizer.warmup_steps = 5
    config.train.steps = 30
    config.train.eval_every = 15
    config.train.save_every = 15
    config.train.eval_batches = 2
    config.train.samples = 1
    config.decode.max_tokens = 24
    config.evaluate.max_examples = 12
    config.evaluate.bootstrap_samples = 20
    return config
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The directory of a finished run, and what it said."""
    base = tmp_path_factory.mktemp("run")
    library = Path(sysconfig.get_paths()["stdlib"])
    for package in PACKAGES:
        shutil.copytree(library / package, base / "source" / package, ignore=shutil.ignore_patterns("__pycache__"))
    (base / "config.py").write_text(CONFIG.format(source=str(base / "source")))
    done = t2c("run", "--config", base / "config.py", "--workdir", base / "w", "--json")
    assert done.returncode == 0, done.stderr
    return base / "w", done


def test_every_artefact_is_there_and_readable(run):
    workdir, done = run
    result = json.loads(done.stdout)
    assert set(result) == {"mine", "tokenizer", "prepare", "train", "evaluate"}
    assert result["train"]["steps"] == 30
    assert result["prepare"]["splits"]["train"]["pairs"] > 100

    card = json.loads((workdir / "corpus" / "card.json").read_text())
    assert card
    assert (workdir / "corpus" / "card.md").read_text()
    check = json.loads((workdir / "tokenizer" / "check.json").read_text())["train"]
    assert check["text"]["failures"] == check["code"]["failures"] == []
    assert json.loads((workdir / "config.json").read_text())["model"]["width"] == 32

    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    train = [line["loss"] for line in lines if line["kind"] == "train"]
    assert train[-1] < train[0]
    events = EventAccumulator(str(workdir / "tb"))
    events.Reload()
    assert {"train/loss", "dev/nll"} <= set(events.Tags()["scalars"])
    assert any(tag.startswith("samples/0") for tag in events.Tags()["tensors"])

    step = result["evaluate"]["step"]
    evaluation = workdir / "evaluations" / result["evaluate"]["name"]
    assert evaluation.name.startswith(f"{step}-test-12-")
    scores = json.loads((evaluation / "scores.json").read_text())
    assert scores["examples"] == 12
    assert set(scores["model"]) == set(scores["retrieval"])
    predictions = [json.loads(line) for line in (evaluation / "predictions.jsonl").read_text().splitlines()]
    assert len(predictions) == 12
    assert "<html" in (evaluation / "report.html").read_text()


def test_the_summary_and_the_next_commands_are_shown(run):
    _, done = run
    for words in (
        "mine",
        "tokenizer",
        "prepare",
        "train",
        "evaluate",
        "parameters",
        "dev loss",
        "tokens/s",
        "t2c generate",
    ):
        assert words in done.stderr, words
    assert "Traceback" not in done.stderr
    assert "Warning" not in done.stderr


def test_a_second_run_skips_finished_stages(run):
    workdir, first = run
    stamps = {path: path.stat().st_mtime_ns for path in workdir.rglob("manifest.json")}
    assert {path.parent.name for path in stamps} >= {"corpus", "tokenizer", "tokens"}
    metrics = (workdir / "metrics.jsonl").read_bytes()
    again = t2c("run", "--workdir", workdir, "--json")
    assert again.returncode == 0, again.stderr
    assert {path: path.stat().st_mtime_ns for path in workdir.rglob("manifest.json")} == stamps
    assert (workdir / "metrics.jsonl").read_bytes() == metrics
    one, other = json.loads(first.stdout), json.loads(again.stdout)
    for result in (one, other):
        result["train"] = {key: result["train"][key] for key in ("steps", "parameters", "dev_loss", "stopped_by")}
    assert one == other


def test_generate_answers_with_the_trained_model(run):
    workdir, _ = run
    done = t2c("generate", "--workdir", workdir, "--json", stdin="Return the encoded string.\nParse a header.\n")
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    assert [answer["text"] for answer in answers] == ["Return the encoded string.", "Parse a header."]
    assert "Traceback" not in done.stderr


def test_golden_quickstart_config(repository):
    found = configs.to_dict(configs.load(str(repository / "configs" / "quickstart.py")))
    path = repository / "tests" / "golden" / "quickstart.json"
    if os.environ.get("T2C_REFRESH_GOLDENS") == "1":
        path.write_text(json.dumps(found, indent=1) + "\n")
    assert json.loads(path.read_text()) == found
