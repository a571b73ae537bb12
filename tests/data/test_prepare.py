"""The token store: what goes in comes out, and a flipped byte does not."""

import json
import os
from dataclasses import dataclass, replace

import numpy as np
import pytest
from mined import TOKENIZER, Pair, with_tokenizer

from t2c_jax.config import DataConfig, TaskConfig, TokenizerConfig
from t2c_jax.data import prepare
from t2c_jax.data import tokens as tokens_module
from t2c_jax.data.ragged import RaggedArray, RaggedWriter
from t2c_jax.data.tasks.identifiers import UNKNOWN, masked_identifiers, occurrences
from t2c_jax.data.tokens import Tokens, inverse_frequency, training_targets
from t2c_jax.errors import UserError
from t2c_jax.tokenizers.loading import Tokenizers
from t2c_jax.tokenizers.stage import build_tokenizer
from t2c_jax.workdir import digest, write_json

SPLITS = {
    "train": [Pair(f"train-{n} \u00e4", f"the sum of {n} and a", f"a + {n}\n" * (n % 5)) for n in range(3000)],
    "dev": [Pair("d0", "one", "1"), Pair("d1", "", "")],
    "test": [],
}


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    workdir = with_tokenizer(tmp_path_factory.mktemp("run"), SPLITS)
    assert prepare.build_tokens(DataConfig(), workdir, SPLITS.__getitem__).ran
    return workdir


@pytest.mark.parametrize("split", SPLITS)
def test_what_goes_in_comes_out(workdir, split):
    pairs, tokens, tokenizer = (
        SPLITS[split],
        Tokens.open(workdir.tokens, split),
        Tokenizers.load(workdir.tokenizer).code,
    )
    assert len(tokens) == len(pairs)
    assert tokens.ids == [pair.id for pair in pairs]
    assert tokens.tokenizer_digest == tokenizer.digest
    for i, pair in enumerate(pairs):
        assert tokenizer.decode(tokens.text(i)) == pair.text
        assert tokens.code(i).tolist() == tokenizer.encode_batch([pair.code])[0].tolist()
        assert tokens.code(i).dtype == np.int32
        assert (tokens.text_lengths[i], tokens.code_lengths[i]) == (len(tokens.text(i)), len(tokens.code(i)))


def test_counts(workdir):
    counts = workdir.manifest("tokens")["counts"]["splits"]
    tokens = Tokens.open(workdir.tokens, "train")
    assert counts["train"] == {
        "pairs": 3000,
        "text_tokens": tokens.text_lengths.sum(),
        "code_tokens": tokens.code_lengths.sum(),
    }
    assert counts["test"]["pairs"] == 0


def test_the_stage_is_skipped_until_the_tokenizer_changes(workdir):
    assert not prepare.build_tokens(DataConfig(), workdir, SPLITS.__getitem__).ran
    build_tokenizer(TokenizerConfig(vocab_size=430, sentinels=10), "text_to_code", workdir, SPLITS.__getitem__)
    assert prepare.build_tokens(DataConfig(), workdir, SPLITS.__getitem__).ran
    assert not prepare.build_tokens(DataConfig(), workdir, SPLITS.__getitem__).ran


@pytest.mark.parametrize("name", ["text.npy", "code.offsets.npy", "id.npy"])
def test_a_flipped_byte_is_found(workdir, name):
    path = workdir.tokens / "train" / name
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    try:
        with pytest.raises(UserError, match=rf"train/{name}' is missing or damaged"):
            Tokens.open(workdir.tokens, "train")
        assert len(Tokens.open(workdir.tokens, "dev")) == 2
        path.unlink()
        with pytest.raises(UserError, match="is missing or damaged"):
            Tokens.open(workdir.tokens, "train")
    finally:
        path.write_bytes(good)


def test_files_as_the_stage_left_them_are_not_read_again(workdir, monkeypatch):
    """A start compares sizes and times of change; where a time differs, as in a copy, it compares digests."""
    assert prepare.build_tokens(DataConfig(), workdir, SPLITS.__getitem__).path == workdir.tokens
    read = []
    monkeypatch.setattr(tokens_module, "digest", lambda path: read.append(path.name) or digest(path))
    Tokens.open(workdir.tokens, "dev")
    assert read == []
    path = workdir.tokens / "dev" / "code.npy"
    os.utime(path, ns=(0, 0))
    Tokens.open(workdir.tokens, "dev")
    assert read == ["code.npy"]


def test_before_the_stage(tmp_path):
    with pytest.raises(UserError, match="holds no finished tokens"):
        Tokens.open(tmp_path / "tokens", "train")


def test_large_vocabularies_take_wider_integers(tmp_path):
    with RaggedWriter(tmp_path, "text", np.uint32) as column:
        column.extend([np.array([70_000, 2**31 - 1], np.int32), np.array([], np.int32)])
    column = RaggedArray.open(tmp_path, "text")
    assert [item.tolist() for item in (column[0], column[1])] == [[70_000, 2**31 - 1], []]


@dataclass
class Target:
    vocab_size: int = 8
    target_before: tuple[int, ...] = (7,)
    target_after: tuple[int, ...] = (1,)
    start: int = 2


@pytest.mark.parametrize("direction", ["text_to_code", "code_to_text"])
def test_inverse_frequency_counts_targets_not_tokens(direction):
    """log(N / n) by hand: id 3 is in all four targets, 4 in two of them, however often, 5 in one and 6 in none."""
    targets, sources = [[3, 4, 4, 4], [3], [4, 3, 3], [5, 3]], [[6, 6]] * 4
    texts, codes = (sources, targets) if direction == "text_to_code" else (targets, sources)
    tokens = Tokens.of(texts, codes, ["a", "b", "c", "d"])
    found = inverse_frequency(tokens, Tokenizers(Target(), Target(), direction))
    assert found.dtype == np.float32
    # 0 for ids in no target: specials and sentinels should not come out as the rarest words of all.
    np.testing.assert_allclose(found, [0, 0, 0, 0, np.log(2), np.log(4), 0, 0], rtol=1e-6)


@pytest.mark.parametrize("direction", ["text_to_code", "code_to_text"])
def test_training_targets_are_spread_evenly_where_there_are_too_many(direction):
    targets, sources = [[3, n] for n in range(10)], [[6]] * 10
    texts, codes = (sources, targets) if direction == "text_to_code" else (targets, sources)
    tokens = Tokens.of(texts, codes, [str(n) for n in range(10)])
    tokenizers = Tokenizers(Target(), Target(), direction)
    whole = [[2, 7, 3, n, 1] for n in range(10)]
    assert [target.tolist() for target in training_targets(tokens, tokenizers, 20)] == whole
    assert [target.tolist() for target in training_targets(tokens, tokenizers, 8)] == whole[::3]


@pytest.mark.parametrize("split_spaces", [True, False])
def test_identifiers_are_the_tokens_that_spell_them(tmp_path, split_spaces, capsys):
    """Each occurrence's tokens spell its name; without a piece of its own, the space before it comes along."""
    code = "async def größe(x, *, key=None):\n    return [f'{x!r} {key}' for y in x if y != 'y']  # x\n"
    names = ["größe", "x", "key", "x", "key", "y", "x", "y"]
    pairs = [Pair(str(n), "", f"{code}\n\n{n}") for n in range(400)] + [
        Pair("sh", "", "echo x", "english"),
        Pair("none", "", "x = y", ""),
        Pair("broken", "", "x = y + 'z"),
        Pair("empty", "", "", ""),
    ]
    splits = {"train": pairs, "dev": [], "test": []}
    workdir = with_tokenizer(tmp_path, splits, replace(TOKENIZER, split_spaces=split_spaces))
    data = DataConfig(tasks={"tags": TaskConfig("identifier_tagging")})
    assert prepare.build_tokens(data, workdir, splits.__getitem__).ran
    assert prepare.build_tokens(DataConfig(), workdir, splits.__getitem__).ran  # which want none
    with pytest.raises(UserError, match="no identifiers"):
        Tokens.open(workdir.tokens, "train").identifiers(0)
    assert prepare.build_tokens(data, workdir, splits.__getitem__).ran

    tokens, tokenizer = Tokens.open(workdir.tokens, "train"), Tokenizers.load(workdir.tokenizer).code
    ids, codes = tokens.code(0), tokens.identifiers(0)
    begins, ends, numbers = occurrences(codes)
    spelt = [tokenizer.decode(ids[begin:end].tolist()) for begin, end in zip(begins, ends, strict=True)]
    assert [text.removeprefix(" ") for text in spelt] == names
    pieces = [tuple(ids[begin:end].tolist()) for begin, end in zip(begins, ends, strict=True)]
    assert numbers.tolist() == [list(dict.fromkeys(pieces)).index(spelling) for spelling in pieces]
    for i in (400, 401):  # no lexer of that language
        assert tokens.identifiers(i).tolist() == [UNKNOWN] * len(tokens.code(i))
    broken = tokens.identifiers(402).tolist()
    assert broken[0] == 1
    assert broken[-1] == UNKNOWN

    counts = workdir.manifest("tokens")["counts"]["splits"]
    assert counts["train"]["unknown_identifiers"] == {"english": 1, "": 1}
    assert counts["train"]["partly_unknown_identifiers"] == {"python": 1}
    assert counts["dev"]["unknown_identifiers"] == {}
    said = " ".join(capsys.readouterr().err.split())
    assert "skip 2 pairs (english 1, no language 1) and parts of 1 pairs (python 1):" in said

    manifest = json.loads((workdir.tokens / "manifest.json").read_text())  # as an earlier version wrote it
    manifest["config"]["identifiers"] = True
    write_json(workdir.tokens / "manifest.json", manifest)
    with pytest.raises(UserError, match="earlier version"):
        Tokens.open(workdir.tokens, "train").identifiers(0)
    assert prepare.build_tokens(data, workdir, splits.__getitem__).ran
    if split_spaces:
        assert spelt == names
        example = masked_identifiers(ids, codes, tokenizer.sentinels, room=100)
        said = {token: number for number, token in enumerate(tokenizer.sentinels)}
        kept = [token for token in example.sources[0].tolist() if token in said]
        assert [("größe", "x", "key", "y")[said[token]] for token in kept] == names
