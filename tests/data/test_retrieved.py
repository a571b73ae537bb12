"""Neighbours behind sources: what is stored, what is never retrieved, and that training reads what prompts read."""

import itertools
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from huggingface_models import write
from small_run import main, prepared, write_config  # noqa: F401

import t2c_jax
from t2c_jax import config as configs
from t2c_jax.config import ModelConfig
from t2c_jax.corpus.build import build_corpus
from t2c_jax.corpus.dataset import read_pairs
from t2c_jax.data.encoder_features import encoder_features
from t2c_jax.data.mixture import open_streams
from t2c_jax.data.pipeline import Batches
from t2c_jax.data.prompt_encoder import TokenPrompts
from t2c_jax.data.retrieved import build_retrieval, prompt_neighbours, separators_of
from t2c_jax.errors import UserError
from t2c_jax.tokenizers.loading import Tokenizers
from t2c_jax.workdir import Workdir

RETRIEVE = (
    "--config.data.retrieve.neighbours=2",
    "--config.data.retrieve.tokens=160",
    "--config.data.encoder_length=256",
)


@pytest.fixture
def retrieving(prepared):  # noqa: F811
    """A workdir with an index, and its experiment."""
    config, workdir = prepared
    assert main("prepare", "--config", config, "--workdir", workdir, *RETRIEVE) == 0
    return Workdir(workdir), configs.load(str(workdir / "config.json"))


def built(workdir, lines, data, tokenizer):
    """The retrieval stage over a corpus of these lines."""
    source = workdir / "pairs.jsonl"
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    corpus = configs.CorpusConfig(
        sources=(str(source),), min_text_chars=0, min_code_chars=0, dev_share=0, test_share=0, code_only=("function",)
    )
    here = Workdir(workdir / "other")
    build_corpus(corpus, here)
    shutil.copytree(tokenizer, here.path / "tokenizer")
    build_retrieval(data, here, lambda split: read_pairs(here, split))
    return here


def neighbours(workdir, split="train"):
    """The ids of each pair's neighbours, by its id."""
    directory = workdir.retrieval
    names = [row.tobytes().decode() for row in ragged(directory, "id")]
    rows = ragged(directory / split, "neighbours")
    return {
        pair.id: [names[row] for row in found] for pair, found in zip(read_pairs(workdir, split), rows, strict=True)
    }


def ragged(directory, name):
    values, offsets = np.load(directory / f"{name}.npy"), np.load(directory / f"{name}.offsets.npy")
    return [values[begin:end] for begin, end in itertools.pairwise(offsets)]


def test_neighbours_are_training_pairs_and_never_the_pair_itself(retrieving):
    workdir, _ = retrieving
    train = {pair.id for pair in read_pairs(workdir, "train")}
    for split in ("train", "dev", "test"):
        found = neighbours(workdir, split)
        assert found
        for own, others in found.items():
            assert len(others) == 2
            assert set(others) <= train - {own}


def test_the_stage_is_a_function_of_corpus_and_settings(retrieving, tmp_path):
    workdir, experiment = retrieving
    again = tmp_path / "again"
    again.mkdir()
    for stage in ("corpus", "tokenizer"):
        shutil.copytree(workdir.path / stage, again / stage)
    other = Workdir(again)
    build_retrieval(experiment.data, other, lambda split: read_pairs(other, split))
    assert other.digest("retrieval") == workdir.digest("retrieval")
    assert not build_retrieval(experiment.data, other, lambda split: read_pairs(other, split)).ran
    changed = replace(experiment.data, retrieve=replace(experiment.data.retrieve, index="bm25"))
    assert build_retrieval(changed, other, lambda split: read_pairs(other, split)).ran


def test_own_group_and_near_copies_are_no_neighbours_in_training(retrieving, tmp_path):
    workdir, experiment = retrieving
    lines = [
        {"id": "a", "group": "one", "text": "sum a list of numbers", "code": "sum(numbers)"},
        {"id": "b", "group": "one", "text": "sum a list of values", "code": "sum(values) # b"},
        {"id": "c", "group": "two", "text": "sum a list of  numbers", "code": "sum(numbers )"},  # a near-copy of a
        {"id": "d", "group": "three", "text": "sort a tree", "code": "sorted(tree)"},
        {"id": "e", "group": "four", "text": "walk a tree", "code": "sorted( tree)"},  # another code than d's
        {"id": "only code", "code": "def unrelated(): pass"},
    ]
    found = neighbours(built(tmp_path, lines, experiment.data, workdir.tokenizer))
    assert found["a"] == ["d", "e"]
    assert found["b"][0] == "c"
    assert found["c"][0] == "b"
    assert found["only code"] == []
    assert "only code" not in {other for others in found.values() for other in others}


def test_neighbours_are_read_with_names_for_their_quotes(retrieving, tmp_path):
    workdir, experiment = retrieving
    data = replace(experiment.data, placeholders=True)
    lines = [
        {"id": "a", "group": "one", "text": "print 'a rare thing' twice", "code": "print('a rare thing')"},
        {"id": "b", "group": "two", "text": "print 'all' of it twice", "code": "print('all' * 2)"},
    ]
    other, tokenizers = built(tmp_path, lines, data, workdir.tokenizer), Tokenizers.load(workdir.tokenizer)
    read = [tokenizers.source.decode(row.tolist()) for row in ragged(other.retrieval, "tokens")]
    assert ["STR0" in text for text in read] == [True, True]
    assert "rare" not in read[0]
    found = prompt_neighbours(other, tokenizers, data)
    template = open_streams(workdir, "dev", tokenizers, experiment.data, ModelConfig())[""].task.source
    prompts = TokenPrompts(tokenizers.source, template, data.encoder_length, found, has_placeholders=True)
    (prompt,) = prompts.encode(["print 'hello' twice"])
    assert prompt.quoted == ("hello",)
    assert prompt.neighbours[0].code in (lines[0]["code"], lines[1]["code"])
    with pytest.raises(UserError, match=r"config\.data\.placeholders=False, and the index .* with another value"):
        prompt_neighbours(other, tokenizers, experiment.data)


def test_training_reads_what_prompts_read(retrieving):
    workdir, experiment = retrieving
    data, tokenizers = experiment.data, Tokenizers.load(workdir.tokenizer)
    stream = open_streams(workdir, "dev", tokenizers, data, ModelConfig())[""]
    found = prompt_neighbours(workdir, tokenizers, data)
    prompts = TokenPrompts(tokenizers.source, stream.task.source, data.encoder_length, found)
    pairs = list(read_pairs(workdir, "dev"))
    encoded = prompts.encode([pair.text for pair in pairs])
    for number, (pair, one) in enumerate(zip(pairs, encoded, strict=True)):
        (source,) = stream.example(number, 0).sources
        assert source.tolist() == one.value.tolist()
        assert len(source) == stream.index.source_N[number] <= data.encoder_length
        own = len(tokenizers.source.encode_batch([pair.text])[0])
        assert own < len(source) - stream.task.source.extra_tokens <= own + data.retrieve.tokens
        assert tokenizers.source.decode(source.tolist()).startswith(pair.text)
        assert one.neighbours[0].code in tokenizers.source.decode(source.tolist())
    train = open_streams(workdir, "train", tokenizers, data, ModelConfig(), seed=3)[""]
    lengths = [len(train.example(number, 0).sources[0]) for number in range(len(train.index))]
    assert lengths == train.index.source_N.tolist()


class Numbers:
    """Vectors of two digits of a text's number, for an encoder: the last one leads."""

    name, step, identity = "numbers", 3, "0" * 16

    def __init__(self):
        self.embedded = []

    def embed(self, sources, advance=lambda count: None):
        self.embedded += sources
        numbers = [int(re.search(r"\d+", source)[0]) for source in sources]
        angles = np.array([number % 10 + number // 10 / 50 for number in numbers]) / 10
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_vectors_of_another_run_find_neighbours(retrieving, tmp_path):
    """Of texts with the same last digit the nearest ones; in training, in dev and for prompts."""
    before, experiment = retrieving
    workdir = Workdir(tmp_path / "other")
    for stage in ("corpus", "tokenizer", "tokens"):
        shutil.copytree(before.path / stage, workdir.path / stage)
    data = replace(experiment.data, retrieve=replace(experiment.data.retrieve, encoder="numbers@3", near_copy=0))
    encoder, tokenizers = Numbers(), Tokenizers.load(workdir.tokenizer)
    build_retrieval(data, workdir, lambda split: read_pairs(workdir, split), encoder)
    assert len(encoder.embedded) == len({*encoder.embedded}), "a source was embedded twice"
    texts = {pair.id: pair.text for split in ("train", "dev") for pair in read_pairs(workdir, split)}
    number = {id_: int(re.search(r"\d+", text)[0]) for id_, text in texts.items()}
    for own, found in neighbours(workdir).items():
        assert {number[other] % 10 for other in found} == {number[own] % 10}
        assert sorted(abs(number[other] - number[own]) for other in found) in ([10, 10], [10, 20])
    opened = []
    found = prompt_neighbours(workdir, tokenizers, data, lambda step: opened.append(step) or encoder)
    assert opened == [3]
    stored = neighbours(workdir, "dev")
    pairs = list(read_pairs(workdir, "dev"))
    for pair, hits in zip(pairs, found.find([pair.text for pair in pairs]), strict=True):
        assert [hit.id for _, hit in hits] == stored[pair.id]
    built = len(encoder.embedded)
    again = build_retrieval(data, workdir, lambda split: read_pairs(workdir, split), encoder)
    assert not again.ran
    assert len(encoder.embedded) == built
    encoder.identity = "1" * 16
    with pytest.raises(UserError, match="checkpoint 3 of 'numbers' is not the one that made the index in"):
        prompt_neighbours(workdir, tokenizers, data, lambda step: encoder)
    with pytest.raises(UserError, match="made with one; run t2c prepare"):
        prompt_neighbours(workdir, tokenizers, experiment.data)
    with pytest.raises(UserError, match="made without one; run t2c prepare"):
        prompt_neighbours(before, tokenizers, data, lambda step: encoder)
    assert build_retrieval(data, workdir, lambda split: read_pairs(workdir, split), encoder).ran


def test_neighbours_never_cut_a_prompt(retrieving):
    workdir, experiment = retrieving
    tokenizers = Tokenizers.load(workdir.tokenizer)
    data = replace(experiment.data, retrieve=replace(experiment.data.retrieve, neighbours=500))  # more than there are
    found = prompt_neighbours(workdir, tokenizers, data)
    template = open_streams(workdir, "dev", tokenizers, experiment.data, ModelConfig())[""].task.source
    prompts = TokenPrompts(tokenizers.source, template, data.encoder_length, found)
    for text in ("Return.", "Return the first list. " * 5, "Return the first list. " * 500):
        (one,), (own,) = prompts.encode([text]), tokenizers.source.encode_batch([text])
        kept = min(len(own), data.encoder_length - template.extra_tokens)
        assert one.value[:kept].tolist() == own[:kept].tolist()
        assert one.truncated == (len(own) > kept)
        room = min(data.retrieve.tokens, data.encoder_length - template.extra_tokens - kept)
        assert len(one.value) == kept + room + template.extra_tokens
        assert bool(one.neighbours) == (room > 0)


@pytest.mark.parametrize("kind", ["bert", "gpt2", "t5"])
def test_an_imported_model_reads_neighbours_by_its_own_tokenizer(kind, tmp_path, monkeypatch):
    """Packed rows hold what prompts become; an encoder with a tokenizer of its own copies neighbours by its table."""
    pytest.importorskip("transformers")
    monkeypatch.chdir(tmp_path)
    longer = {"bert": {"max_position_embeddings": 700}, "gpt2": {"n_positions": 700}, "t5": {}}[kind]
    write(kind, tmp_path / "model", **longer)
    assert main("import", "--from", "model", "--workdir", "origin") == 0
    options = ["origin.run=origin", "origin.take=shape,tokenizer,parameters", "corpus.sources=corpus.jsonl"]
    options += ["data.retrieve.neighbours=1", "data.retrieve.tokens=200", "data.encoder_length=700"]
    options += ["data.decoder_length=600", "data.batch_size=2"]
    config = write_config(tmp_path)
    if kind == "t5":
        config = "origin/config.json"
    else:
        options += [f"model.encoder={kind}", "model.copy=True"]
    for command in ("mine", "tokenizer", "prepare"):
        assert main(command, "--config", config, "--workdir", "run", *(f"--config.{one}" for one in options)) == 0
    workdir, experiment = Workdir("run"), configs.load("run/config.json")
    data, tokenizers = experiment.data, Tokenizers.load(workdir.tokenizer)
    stream = open_streams(workdir, "dev", tokenizers, data, experiment.model)[""]
    rows = Batches([stream], data, repeat=False)
    batch, pairs = rows.batch(0), {pair.id: pair for pair in read_pairs(workdir, "dev")}
    found = prompt_neighbours(workdir, tokenizers, data)
    features = encoder_features(data, experiment.model)
    prompts = features.prompts(tokenizers, stream.task.source, found)
    encoded = prompts.encode([pairs[id_].text for id_ in rows.pair_ids(0)])
    segments = batch["encoder_segment_ids"]
    packed = [(row, segment) for row in range(len(segments)) for segment in range(1, segments[row].max() + 1)]
    assert len(packed) == len(encoded) > len(segments)
    for (row, segment), one in zip(packed, encoded, strict=True):
        where = segments[row] == segment
        assert batch["encoder_input_tokens"][row][where].tolist() == one.value.tolist()
        (near,) = one.neighbours
        pieces = tokenizers.source.encode_batch([near.code])[0].tolist()
        assert str(pieces)[1:-1] in str(one.value.tolist())
        if kind != "t5":
            copied = batch["encoder_copy_tokens"][row][where]
            assert copied.tolist() == tokenizers.copy_table()[one.value].tolist()
            assert copied[-len(pieces) - 1 :].any()


def test_a_pretrained_encoder_learns_and_copies_with_neighbours(tmp_path, capsys):
    """BERT, a copying head over its pieces, packing and neighbours in one run, through the commands."""
    pytest.importorskip("transformers")
    write("bert", tmp_path / "model", max_position_embeddings=128)
    assert main("import", "--from", tmp_path / "model", "--workdir", tmp_path / "origin") == 0
    options = [f"origin.run={tmp_path / 'origin'}", "origin.take=shape,tokenizer,parameters", "model.encoder=bert"]
    options += ["model.copy=True", "data.retrieve.neighbours=1", "data.retrieve.tokens=64", "data.encoder_length=128"]
    run = ("--config", write_config(tmp_path), "--workdir", tmp_path / "run")
    for command in ("mine", "tokenizer", "prepare", "train"):
        changes = [f"--config.{one}" for one in (*options, "train.steps=2", "train.eval_every=0")]
        assert main(command, *run, *changes) == 0
    capsys.readouterr()
    assert main("generate", "--workdir", tmp_path / "run", "--json", "Return the first list of 31 values.") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert len(row["neighbours"]) == 1
    assert sum(row["provenance"].values()) == pytest.approx(1) or not row["code"].strip()


def test_separators_are_the_configs_or_sentinels_or_plain_text(retrieving):
    workdir, experiment = retrieving
    tokenizer = Tokenizers.load(workdir.tokenizer).source
    made = separators_of(tokenizer, experiment.data.retrieve)
    assert [ids.tolist() for ids in made.values()] == [[one] for one in tokenizer.sentinels[-2:]]
    own = separators_of(tokenizer, replace(experiment.data.retrieve, code_separator=" -> "))
    assert tokenizer.decode(own["code"].tolist()) == " -> "

    class WithoutSentinels:
        sentinels, encode_batch = [], tokenizer.encode_batch

    plain = separators_of(WithoutSentinels(), experiment.data.retrieve)
    assert [tokenizer.decode(ids.tolist()) for ids in plain.values()] == ["\n# ", " => "]


def test_an_index_that_does_not_fit_is_refused(retrieving):
    workdir, experiment = retrieving
    data, tokenizers = experiment.data, Tokenizers.load(workdir.tokenizer)

    def changed(**settings):
        return replace(data, retrieve=replace(data.retrieve, **settings))

    with pytest.raises(UserError, match=r"retrieve\.content='code', and the index .* was made with 'pair'"):
        prompt_neighbours(workdir, tokenizers, changed(content="code"))
    with pytest.raises(UserError, match="found by other settings"):
        open_streams(workdir, "train", tokenizers, changed(neighbours=1), ModelConfig())
    path = workdir.path / "retrieval" / "manifest.json"
    stored = path.read_text()
    path.write_text(stored.replace(tokenizers.digest, "0" * 16))
    with pytest.raises(UserError, match="another tokenizer"):
        prompt_neighbours(workdir, tokenizers, data)
    path.write_text(stored)
    damaged = workdir.path / "retrieval" / "tokens.npy"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\xff")
    with pytest.raises(UserError, match="missing or damaged"):
        prompt_neighbours(workdir, tokenizers, data)
    path.unlink()
    with pytest.raises(UserError, match="holds no finished retrieval"):
        prompt_neighbours(workdir, tokenizers, data)
    path.write_text(stored)
    manifest = json.loads((workdir.path / "corpus" / "manifest.json").read_text())
    (workdir.path / "corpus" / "manifest.json").write_text(json.dumps({**manifest, "version": "other"}))
    with pytest.raises(UserError, match="another corpus"):
        prompt_neighbours(workdir, tokenizers, data)


@pytest.mark.parametrize(
    ("lines", "settings", "message"),
    [
        ([{"code": "def a(): pass"}], {}, "no training pair has a text"),
        ([{"id": "a", "text": "alone in it", "code": "a = 1"}], {}, "no training pair has a neighbour"),
        (
            [{"id": i, "group": "one", "text": f"number {i}", "code": f"x = {i}"} for i in range(3)],
            {},
            "no training pair has a neighbour",
        ),
        (
            [{"id": i, "text": f"number {i}", "code": f"x = {i}"} for i in range(3)],
            {"tokens": 1},
            "leaves no room for a neighbour",
        ),
    ],
)
def test_nothing_to_retrieve_is_refused(retrieving, tmp_path, lines, settings, message):
    workdir, experiment = retrieving
    data = replace(experiment.data, retrieve=replace(experiment.data.retrieve, **settings))
    with pytest.raises(UserError, match=message):
        built(tmp_path, lines, data, workdir.tokenizer)
    assert not (tmp_path / "other" / "retrieval").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.retrieve.neighbours=-1"], r"retrieve\.neighbours must be at least 0"),
        (["data.retrieve.neighbours=1", "data.retrieve.tokens=48"], "leaves no room for a source"),
        (["data.retrieve.index=bm24"], "bm25"),
        (["data.retrieve.neighbors=1"], "neighbours"),
    ],
)
def test_settings_that_cannot_work(prepared, overrides, message):  # noqa: F811
    with pytest.raises(UserError, match=message):
        configs.load(str(prepared[0]), overrides)


def test_a_run_learns_answers_and_is_scored_with_neighbours(retrieving, capsys):
    """Through the commands; the answer names its neighbours, and an index that is gone is one line."""
    workdir, _ = retrieving
    assert main("train", "--workdir", workdir.path, "--config.train.steps=3") == 0
    capsys.readouterr()
    assert main("generate", "--workdir", workdir.path, "--json", "Return the first list of 31 values.") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["provenance"].keys() == {"generated", "prompt", "neighbours"}
    assert len(row["neighbours"]) == 2
    train = {pair.id: pair for pair in read_pairs(workdir, "train")}
    for each in row["neighbours"]:
        assert (each["text"], each["code"]) == (train[each["id"]].text, train[each["id"]].code)
    run = t2c_jax.open_run(workdir.path)
    (answer,) = run.generate(["Return the first list of 31 values."])
    assert [each.id for each in answer.neighbours] == [each["id"] for each in row["neighbours"]]
    assert main("evaluate", "--workdir", workdir.path, "--config.evaluate.max_examples=4") == 0
    assert main("prepare", "--workdir", workdir.path) == 0
    assert main("prepare", "--workdir", workdir.path, "--config.data.retrieve.neighbours=1") == 2
    assert "trained on its retrieval" in capsys.readouterr().err
    shutil.rmtree(workdir.path / "retrieval")
    assert main("generate", "--workdir", workdir.path, "Return it.") == 2
    assert "holds no finished retrieval" in capsys.readouterr().err


def test_a_neighbour_says_where_it_is_from(retrieving):
    workdir, experiment = retrieving
    tokenizers = Tokenizers.load(workdir.tokenizer, "text_to_code")
    places = {pair.id: (str(pair.source), pair.source.url) for pair in read_pairs(workdir, "train")}
    (hits,) = prompt_neighbours(workdir, tokenizers, experiment.data).find(["Return the first list of 3 values."])
    for _, pair in hits:
        assert (pair.place, pair.url) == places[pair.id]
        assert pair.place
    manifest = json.loads((workdir.retrieval / "manifest.json").read_text())
    for name in ("place", "url"):  # as an older version left it
        for suffix in ("", ".offsets"):
            (workdir.retrieval / f"{name}{suffix}.npy").unlink()
            del manifest["counts"]["files"][f"{name}{suffix}.npy"]
    (workdir.retrieval / "manifest.json").write_text(json.dumps(manifest))
    older = Workdir(workdir.path)
    (again,) = prompt_neighbours(older, tokenizers, experiment.data).find(["Return the first list of 3 values."])
    assert [pair for _, pair in again] == [pair._replace(place="", url="") for _, pair in hits]
