"""N-grams by hash, and near-duplicates."""

import itertools

import numpy as np
import pytest

from t2c_jax.languages.hashed_tokens import Ngrams, TokenHasher, contains
from t2c_jax.languages.lexical_tokens import lexical_tokens
from t2c_jax.languages.near_duplicates import (
    MISSED,
    PERMUTATIONS,
    NearDuplicates,
    TokenSets,
    jaccard,
    rows_of_a_band,
)


def sets_of(texts: list[str], shingle: int = 3) -> list[set[tuple[str, ...]]]:
    """The sets of shingles, without hashes."""
    found = []
    for text in texts:
        tokens = lexical_tokens(text)
        size = min(shingle, len(tokens)) or 1
        found.append({*zip(*(tokens[start:] for start in range(size)), strict=False)})
    return found


def similarity(one: set[tuple[str, ...]], other: set[tuple[str, ...]]) -> float:
    return len(one & other) / len(one | other) if one and other else 0.0


def corpus(seed: int = 0) -> list[str]:
    """Families of texts with a few words replaced, the empty text, short ones, and equal ones."""
    random = np.random.default_rng(seed)
    texts = ["", "x", "x y", "x", " x  y ", ""]
    for size in (5, 12, 40, 120):
        for _ in range(12):
            words = [f"w{number}" for number in random.integers(0, 400, size)]
            for edits in (0, 0, 1, 2, 6):
                changed = list(words)
                for place in random.integers(0, size, edits):
                    changed[place] = f"w{random.integers(0, 400)}"
                texts.append(" ".join(changed))
    return texts


def test_ngrams_grow_within_their_texts():
    texts = TokenHasher()(["a b c a b", "", "b c", "a b c"])
    assert texts.lengths.tolist() == [5, 0, 2, 3]
    assert texts.owners.tolist() == [0] * 5 + [2] * 2 + [3] * 3
    ngrams = Ngrams(texts, 2)
    assert ngrams.places.tolist() == [0, 1, 2, 3, 5, 7, 8]
    same = {tuple(np.flatnonzero(ngrams.hashes == value)) for value in ngrams.hashes}
    assert same == {(0, 3, 5), (1, 4, 6), (2,)}  # a b, b c, c a
    ngrams.keep(ngrams.places != 8)
    ngrams.grow()
    assert ngrams.places.tolist() == [0, 1, 2, 7]
    assert ngrams.hashes[0] == ngrams.hashes[3]
    assert len(set(ngrams.hashes.tolist())) == 3


def test_hashes_are_the_same_in_every_process():
    assert TokenHasher()(["def größe"]).tokens.tolist() == [8631541059365646922, 16832822397561338100]


def test_contains():
    assert contains(np.array([2, 5], np.uint64), np.array([1, 2, 3, 5, 9], np.uint64)).tolist() == [0, 1, 0, 1, 0]
    assert contains(np.zeros(0, np.uint64), np.array([1], np.uint64)).tolist() == [0]


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8, 1.0])
def test_what_is_found_is_true_and_little_is_missed(threshold: float):
    texts = corpus()
    plain = sets_of(texts)
    true = {
        (row, other): similarity(plain[row], plain[other])
        for row, other in itertools.combinations(range(len(texts)), 2)
        if similarity(plain[row], plain[other]) >= threshold
    }
    found = NearDuplicates(TokenSets.of(texts, TokenHasher()), threshold).within()
    pairs = list(zip(found.rows.tolist(), found.others.tolist(), strict=True))
    assert pairs == sorted(set(pairs))
    assert {pair: pytest.approx(true[pair]) for pair in pairs} == dict(
        zip(pairs, found.similarities.tolist(), strict=True)
    )
    assert len(true) > 40
    assert len(pairs) >= (1 - MISSED) * len(true)


def test_queries_find_the_sets_of_the_index():
    texts, hasher = corpus(), TokenHasher()
    index = NearDuplicates(TokenSets.of(texts, hasher), 0.8)
    found = index.of(TokenSets.of(["", "x   y", texts[40], "unheard of words here"], hasher))
    assert {*zip(found.rows.tolist(), found.others.tolist(), strict=True)} >= {(1, 2), (1, 4), (2, 40)}
    assert {*found.rows.tolist()} == {1, 2}
    empty = NearDuplicates(TokenSets.of([], hasher), 0.8)
    assert len(empty.within().rows) == len(empty.of(TokenSets.of(texts, hasher)).rows) == 0


def test_layout_and_order_of_texts_change_nothing():
    texts = corpus()
    other = [text.replace(" ", "\n  ") for text in texts[::-1]]
    ours, theirs = (NearDuplicates(TokenSets.of(each, TokenHasher()), 0.8).within() for each in (texts, other))
    last = len(texts) - 1
    turned = {
        (last - other, last - row) for row, other in zip(theirs.rows.tolist(), theirs.others.tolist(), strict=True)
    }
    assert {*zip(ours.rows.tolist(), ours.others.tolist(), strict=True)} == turned


def test_many_equal_texts_are_found_in_parts(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("t2c_jax.languages.near_duplicates._PROPOSED", 50)
    monkeypatch.setattr("t2c_jax.languages.near_duplicates._BLOCK", 7)
    found = NearDuplicates(TokenSets.of(["a b c d e f"] * 30, TokenHasher()), 0.9).within()
    assert len(found.rows) == 30 * 29 / 2
    assert (found.similarities == 1).all()


def test_shingles():
    one, other = "a b c d", "d c b a"
    for shingle, expected in ((1, 1), (2, 0)):
        sets = TokenSets.of([one, other], TokenHasher(), shingle)
        assert jaccard(sets, np.array([0]), sets, np.array([1])).tolist() == [expected]


def test_a_band_has_the_most_rows_that_miss_little():
    for threshold in (0.5, 0.8, 0.9):
        rows = rows_of_a_band(threshold)
        missed = [(1 - threshold**each) ** (PERMUTATIONS // each) for each in (rows, rows + 1)]
        assert missed[0] <= MISSED < missed[1]
    with pytest.raises(ValueError, match="above 0"):
        NearDuplicates(TokenSets.of([], TokenHasher()), 0)
