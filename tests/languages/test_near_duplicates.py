"""N-grams by hash, and near-duplicates."""

import itertools

import numpy as np
import pytest

from t2c_jax.languages.hashed_tokens import Ngrams, TokenHasher, contains
from t2c_jax.languages.lexical_tokens import lexical_tokens
from t2c_jax.languages.near_duplicates import Duplicates, NearDuplicates, TokenSets, jaccard, leaders_of_pairs


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


def true_duplicates(texts: list[str], threshold: float) -> dict[tuple[int, int], float]:
    """By brute force, each pair once."""
    plain = sets_of(texts)
    found = {
        (row, other): similarity(plain[row], plain[other])
        for row, other in itertools.combinations(range(len(texts)), 2)
    }
    return {pair: value for pair, value in found.items() if value >= threshold}


def pairs_of(found: Duplicates) -> list[tuple[int, int]]:
    return list(zip(found.rows.tolist(), found.others.tolist(), strict=True))


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8, 1.0])
def test_all_near_duplicates_are_found_and_nothing_else(threshold: float):
    texts = corpus()
    true = true_duplicates(texts, threshold)
    sets = TokenSets.of(texts, TokenHasher())
    found = NearDuplicates(sets, threshold).of(sets)
    assert pairs_of(found) == sorted(
        {*true, *((other, row) for row, other in true), *((row, row) for row in np.flatnonzero(sets.sizes))}
    )
    for row, other, value in zip(*found, strict=True):
        assert value == (1 if row == other else true[min(row, other), max(row, other)])
    assert len(true) > 40


@pytest.mark.parametrize("threshold", [0.5, 0.8])
def test_kept_sets_are_no_near_duplicates_and_the_others_duplicate_them(threshold: float):
    texts = corpus()
    true = true_duplicates(texts, threshold)
    near = {pair for row, other in true for pair in ((row, other), (other, row))}
    index = NearDuplicates(TokenSets.of(texts, TokenHasher()), threshold)
    ranks = np.random.default_rng(1).permutation(len(texts))
    leaders = index.leaders(ranks).tolist()
    expected: list[int] = []  # in the order of ranks, one after the other
    for row in np.argsort(ranks).tolist():
        if not any((row, kept) in near for kept in expected):
            expected.append(row)
    assert sorted(row for row, leader in enumerate(leaders) if row == leader) == sorted(expected)
    for row, leader in enumerate(leaders):
        assert row == leader or ((row, leader) in near and ranks[leader] < ranks[row])


def test_kept_sets_do_not_depend_on_the_order_of_texts():
    texts = [text for text in dict.fromkeys(corpus()) if text]
    kept = []
    for order in (np.arange(len(texts)), np.random.default_rng(2).permutation(len(texts))):
        chosen = [texts[place] for place in order]
        ranks = np.argsort(np.argsort(chosen))
        leaders = NearDuplicates(TokenSets.of(chosen, TokenHasher()), 0.5).leaders(ranks)
        kept.append({chosen[row] for row in np.flatnonzero(leaders == np.arange(len(leaders)))})
    assert kept[0] == kept[1]
    assert len(kept[0]) < len(texts)


def test_sets_that_are_always_kept_drop_others():
    sets = TokenSets.of(["a b c d e f g"] * 4, TokenHasher())
    immune = np.array([False, True, False, True])
    leaders = NearDuplicates(sets, 0.8).leaders(np.array([2, 0, 3, 1]), immune)
    assert leaders.tolist() == [1, 1, 1, 3]


def test_leaders_of_known_pairs_are_those_of_the_index():
    """The same sets are kept; where a set repeats several of them, the best is named."""
    random = np.random.default_rng(2)
    sets = TokenSets.of(corpus(), TokenHasher())
    pairs = np.array(sorted(true_duplicates(corpus(), 0.6)), np.int64)
    for _ in range(5):
        ranks, spared = random.permutation(len(sets.ends)), random.random(len(sets.ends)) < 0.1
        found, known = NearDuplicates(sets, 0.6).leaders(ranks, spared), leaders_of_pairs(pairs, ranks, spared)
        kept = np.arange(len(ranks)) == known
        assert np.array_equal(kept, np.arange(len(ranks)) == found)
        neighbours = {(a, b) for pair in pairs.tolist() for a, b in (pair, pair[::-1])}
        for each in np.flatnonzero(~kept).tolist():
            assert known[each] == min((b for a, b in neighbours if a == each and kept[b]), key=ranks.__getitem__)


def test_sets_on_disk(tmp_path):
    texts = corpus()
    sets = TokenSets.of(texts, TokenHasher())
    sets.values.tofile(tmp_path / "values")
    mapped = TokenSets(np.memmap(tmp_path / "values", np.uint64, "r"), sets.ends)
    for ours, theirs in zip(NearDuplicates(mapped, 0.5).of(mapped), NearDuplicates(sets, 0.5).of(sets), strict=True):
        assert ours.tolist() == theirs.tolist()


def test_queries_find_the_sets_of_the_index():
    texts, hasher = corpus(), TokenHasher()
    index = NearDuplicates(TokenSets.of(texts, hasher), 0.8)
    found = index.of(TokenSets.of(["", "x   y", texts[40], "unheard of words here"], hasher))
    assert {*zip(found.rows.tolist(), found.others.tolist(), strict=True)} >= {(1, 2), (1, 4), (2, 40)}
    assert {*found.rows.tolist()} == {1, 2}
    empty = NearDuplicates(TokenSets.of([], hasher), 0.8)
    assert len(empty.of(TokenSets.of(texts, hasher)).rows) == len(empty.leaders(np.zeros(0, np.int64))) == 0


def test_layout_changes_nothing():
    texts = corpus()
    ours, theirs = (
        TokenSets.of(each, TokenHasher()) for each in (texts, [text.replace(" ", "\n  ") for text in texts])
    )
    assert ours.values.tolist() == theirs.values.tolist()


def test_work_in_parts_gives_the_same(monkeypatch: pytest.MonkeyPatch):
    sets = TokenSets.of(corpus(), TokenHasher())
    ranks = np.arange(len(sets.ends))[::-1]
    index = NearDuplicates(sets, 0.5)
    expected = index.of(sets), index.leaders(ranks).tolist()
    for name, value in (("_PROPOSED", 50), ("_READ", 7), ("_PAIR_BITS", 2), ("_PAIR_MASK", 3), ("_PLACE_BITS", 44)):
        monkeypatch.setattr(f"t2c_jax.languages.near_duplicates.{name}", value)
    index = NearDuplicates(sets, 0.5)
    assert pairs_of(index.of(sets)) == pairs_of(expected[0])
    assert index.leaders(ranks).tolist() == expected[1]


def test_shingles():
    one, other = "a b c d", "d c b a"
    for shingle, expected in ((1, 1), (2, 0)):
        sets = TokenSets.of([one, other], TokenHasher(), shingle)
        assert jaccard(sets, np.array([0]), sets, np.array([1])).tolist() == [expected]


def test_a_threshold_is_above_zero():
    with pytest.raises(ValueError, match="above 0"):
        NearDuplicates(TokenSets.of([], TokenHasher()), 0)
