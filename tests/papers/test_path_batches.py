"""Batches of paths: their columns on disk, and samples that depend on (seed, epoch, pair) and on nothing else."""

from dataclasses import replace

import numpy as np
import pytest
from mined import with_tokenizer
from stored_paths import stored

from t2c_jax.config import DataConfig, ModelConfig, TokenizerConfig
from t2c_jax.corpus.pairs import Pair, Source
from t2c_jax.data.encoder_features import TokenRows, encoder_features
from t2c_jax.data.packing_report import show_features
from t2c_jax.data.pipeline import DECODER_KEYS, Batches
from t2c_jax.data.prepare import build_tokens
from t2c_jax.data.tasks.translation import Translation
from t2c_jax.data.tokens import Tokens
from t2c_jax.errors import UserError
from t2c_jax.papers.code2seq.config import PathsConfig
from t2c_jax.papers.code2seq.features import PathFeatures, PathRows, StoredPaths
from t2c_jax.papers.code2seq.syntax_paths import extract
from t2c_jax.tokenizers.loading import Tokenizers

PATHS = PathsConfig(sampled=6, stored=20, max_length=5, max_width=2, terminal_tokens=3)
DATA = DataConfig(
    encoder_length=2, decoder_length=12, batch_size=4, pack=False, direction="code_to_text"
)  # encoder_length bounds no paths
OBJECTIVE = Translation(to_text=True)
MODEL = ModelConfig(encoder=PATHS)
CODES = [f"def f{i}(a, b{i}):\n    return a.x{i} * (b{i} + {i % 7})\n" for i in range(20)]


class Letters:
    """A tokenizer with an id a letter, which tells what a batch holds."""

    vocab_size = 256

    def encode_batch(self, texts):
        return [np.array(list(text.encode()), np.int32) for text in texts]


def store(codes, config=PATHS):
    """Pair i's target tokens are all i + 3."""
    size = len(codes)
    paths = stored(codes, Letters(), config)
    return Tokens.of([[i + 3] * 4 for i in range(size)], [[9] * 30] * size, map(str, range(size)), **paths)


def batches(tokens, data=DATA, seed=0, config=PATHS, **options):
    rows = PathFeatures(config).rows(tokens, OBJECTIVE.source)
    return Batches.of(tokens, data, seed, OBJECTIVE, rows, **options)


def sampled(batch):
    """By pair, the set of its paths in the batch."""
    found = {}
    for row in np.flatnonzero(batch["decoder_segment_ids"][:, 0]):
        real = batch["encoder_segment_ids"][row] > 0
        parts = [batch[key][row][real] for key in ("path_start_tokens", "path_nodes", "path_end_tokens")]
        pair = int(batch["decoder_target_tokens"][row, 0]) - 3
        found[pair] = {tuple(line) for line in np.concatenate(parts, axis=1).tolist()}
    return found


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for key in one:
        np.testing.assert_array_equal(one[key], other[key], err_msg=key)


def test_worked_example():
    """The batch that the module's documentation shows."""
    data, config = replace(DATA, batch_size=1), replace(PATHS, sampled=2, max_length=4)
    tokens = store(["x = yy_1"], config)
    batch = batches(tokens, data, config=config).batch(0)
    assert batch["path_start_tokens"].tolist() == [[[ord("x"), 0, 0], [0, 0, 0]]]
    assert batch["path_end_tokens"].tolist() == [[[ord("y"), ord("y"), ord(" ")], [0, 0, 0]]]  # cut to N
    nodes = extract("x = yy_1", config).nodes_PM[0].tolist()
    assert batch["path_nodes"].tolist() == [[nodes, [0, 0, 0, 0]]]
    assert np.count_nonzero(nodes) == 3
    assert batch["encoder_segment_ids"].tolist() == [[1, 0]]
    assert batch["decoder_target_tokens"].tolist() == [[3, 3, 3, 3, 1] + [0] * 7]


def test_shapes_and_dtypes():
    made = batches(store(CODES))
    batch = made.batch(0)
    assert {key: (value.shape, value.dtype) for key, value in batch.items()} == made.shapes()
    assert made.shapes()["path_nodes"] == ((4, 6, 5), np.dtype(np.int32))
    assert set(batch) == {
        "path_start_tokens",
        "path_nodes",
        "path_end_tokens",
        "encoder_segment_ids",
        *DECODER_KEYS,
    }
    (streamed,) = made.dataset(3, 4).as_numpy_iterator()
    assert_equal(streamed, made.batch(3))


def test_paths_are_sampled_anew_each_epoch_without_replacement():
    tokens = store(CODES)
    made = batches(tokens)
    epochs = [{}, {}]
    for step in range(10):
        epochs[step // 5].update(sampled(made.batch(step)))
    for epoch in epochs:
        assert sorted(epoch) == list(range(20))
        for i, paths in epoch.items():
            one = StoredPaths(tokens, PATHS)[i]
            every = {
                (*one.terminals_UN[a].tolist(), *nodes.tolist(), *one.terminals_UN[b].tolist())
                for nodes, (a, b) in zip(one.nodes_PM, one.ends_P2, strict=True)
            }
            assert len(one.ends_P2) > 6
            assert len(paths) == 6
            assert paths <= every
    assert sum(epochs[0][i] != epochs[1][i] for i in range(20)) > 15
    assert sampled(batches(tokens, seed=1).batch(0)) != sampled(made.batch(0))


def test_a_sample_is_a_function_of_seed_epoch_and_pair():
    """Whatever the batch size, the number of hosts and the step that a run starts from."""
    tokens = store(CODES)
    whole = batches(tokens)
    for step in (0, 7, 1000):
        assert_equal(batches(tokens).batch(step), whole.batch(step))
        shares = [batches(tokens, rows=rows).batch(step) for rows in np.split(np.arange(DATA.batch_size), 2)]
        assert_equal({key: np.concatenate([share[key] for share in shares]) for key in shares[0]}, whole.batch(step))
    one_epoch = {}
    for step in range(10):
        one_epoch.update(sampled(batches(tokens, replace(DATA, batch_size=2)).batch(step)))
    other = {}
    for step in range(5):
        other.update(sampled(whole.batch(step)))
    assert one_epoch == other


def test_evaluation_samples_by_a_fixed_key():
    tokens = store(CODES)
    one, other = (batches(tokens, seed=seed, repeat=False) for seed in (0, 1))
    assert one.per_pass == 5
    for step in range(5):
        assert_equal(one.batch(step), other.batch(step))


def test_pairs_without_a_path_are_dropped_and_counted():
    codes = [*CODES[:3], "no python", "", *CODES[3:5]]
    tokens = store(codes)
    made = batches(tokens, repeat=False)
    assert made.plan.dropped == 2
    assert sorted(i for step in range(made.per_pass) for i in sampled(made.batch(step))) == [0, 1, 2, 5, 6]
    last = made.batch(1)
    assert not any(value[1:].any() for value in last.values())
    (fit,) = show_features(made.streams[0], PathFeatures(PATHS).statistics(tokens))
    assert fit.dropped_share == 2 / 7
    with pytest.raises(UserError, match=r"none of the 1 pairs fits config\.model\.encoder\.sampled=6"):
        batches(store(["no python"]))


def pair(i, code):
    return Pair(str(i), f"the {i}th text", code, "python", "function", Source("r", "", "p", i, i, ""))


SPLITS = {
    "train": [pair(i, code) for i, code in enumerate(CODES)],
    "dev": [
        pair(100, "x = y"),
        pair(101, "no python"),
        pair(102, "z"),
        pair(103, "f('\ud800')".encode("utf-8", "replace").decode()),
    ],
    "test": [],
}


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    return with_tokenizer(
        tmp_path_factory.mktemp("run"), SPLITS, TokenizerConfig(vocab_size=340, sentinels=10), DATA.direction
    )


def test_columns_hold_the_extracted_paths(workdir):
    counts = build_tokens(DATA, workdir, SPLITS.__getitem__, PathFeatures(PATHS)).manifest["counts"]["splits"]
    tokenizer = Tokenizers.load(workdir.tokenizer, "code_to_text").code
    tokens = Tokens.open(workdir.tokens, "train")
    paths = StoredPaths(tokens, PATHS)
    for i, code in enumerate(CODES):
        made, found = extract(code, PATHS), paths[i]
        np.testing.assert_array_equal(found.nodes_PM, made.nodes_PM)
        np.testing.assert_array_equal(found.ends_P2, made.ends_P2)
        for terminal, row in zip(made.terminals, found.terminals_UN, strict=True):
            assert row[row > 0].tolist() == tokenizer.encode_batch([terminal])[0][:3].tolist()
    assert counts["train"]["paths"] == paths.counts.sum()
    dev = {"paths": 2, "without_paths": 2, "unparsable": 1}
    assert {key: counts["dev"][key] for key in dev} == dev
    assert len(StoredPaths(Tokens.open(workdir.tokens, "test"), PATHS).counts) == 0


def test_the_stage_runs_again_where_its_paths_would_differ(workdir):
    build_tokens(DATA, workdir, SPLITS.__getitem__, PathFeatures(PATHS))
    template, made = OBJECTIVE.source, encoder_features(DATA, MODEL)
    assert isinstance(made.rows(Tokens.open(workdir.tokens, "train"), template), PathRows)
    fewer = PathFeatures(replace(PATHS, sampled=3))
    assert not build_tokens(DATA, workdir, SPLITS.__getitem__, fewer).ran
    shorter = PathFeatures(replace(PATHS, max_length=4))
    with pytest.raises(UserError, match="run t2c prepare"):
        shorter.rows(Tokens.open(workdir.tokens, "train"), template)
    assert build_tokens(DATA, workdir, SPLITS.__getitem__, shorter).ran
    assert shorter.rows(Tokens.open(workdir.tokens, "train"), template).shapes()["path_nodes"] == (6, 4)
    assert build_tokens(DATA, workdir, SPLITS.__getitem__).ran
    without = Tokens.open(workdir.tokens, "train")
    with pytest.raises(UserError, match="run t2c prepare"):
        made.rows(without, template)
    assert isinstance(encoder_features(DATA, ModelConfig()).rows(without, template), TokenRows)


def test_a_flipped_byte_is_found(workdir):
    build_tokens(DATA, workdir, SPLITS.__getitem__, PathFeatures(PATHS))
    path = workdir.tokens / "train" / "path_nodes.npy"
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    try:
        with pytest.raises(UserError, match=r"path_nodes\.npy' is missing or damaged"):
            Tokens.open(workdir.tokens, "train")
    finally:
        path.write_bytes(good)


def test_prompts_are_encoded_as_batches_are(workdir, capsys):
    tokenizers = Tokenizers.load(workdir.tokenizer, "code_to_text")
    prompts = PathFeatures(replace(PATHS, sampled=20)).prompts(tokenizers, OBJECTIVE.source)
    sources = prompts.encode([CODES[0], "no python", "x = y"])
    assert [source.size for source in sources] == [len(extract(CODES[0], PATHS).ends_P2), 0, 1]
    assert "1 of 3 sources have no paths" in capsys.readouterr().err
    batch = prompts.batch(sources, 4)
    assert batch["path_nodes"].shape == (4, 16, 5)
    assert batch["encoder_segment_ids"].sum(axis=1).tolist() == [sources[0].size, 1, 1, 1]
    np.testing.assert_array_equal(batch["path_nodes"][0, : sources[0].size], extract(CODES[0], PATHS).nodes_PM)
    alone = prompts.encode([CODES[0]])
    np.testing.assert_array_equal(alone[0].value.nodes_PM, sources[0].value.nodes_PM)
    few = PathFeatures(PATHS).prompts(tokenizers, OBJECTIVE.source)
    assert few.batch(few.encode([CODES[0]]), 1)["encoder_segment_ids"].tolist() == [[1] * 6]
