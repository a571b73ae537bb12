"""Texts that share most of their tokens, by MinHash with banding (Broder 1997).

A text is the set of its shingles, n-grams of tokens. Two texts are near-duplicates if the Jaccard similarity of their
sets reaches a threshold. MinHash proposes pairs, and only those whose true similarity reaches the threshold are found.
It misses fewer than ``MISSED`` of the pairs at the threshold, and of more similar ones still fewer.

Time and memory grow with the number of shingles and of near-duplicates. What is kept of a text is its sorted shingles
and a signature of ``PERMUTATIONS`` numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from t2c_jax.languages.hashed_tokens import HashedTexts, Ngrams, TokenHasher

SHINGLE = 3
"""Tokens of a shingle: texts with the same words in another order are not duplicates."""

PERMUTATIONS = 128
MISSED = 0.01
_BLOCK = 1 << 11  # shingles that are hashed at a time, so that their hashes stay in a processor's cache
_PROPOSED = 1 << 20  # shingles of proposed pairs that are compared at a time

Rows = NDArray[np.int64]


class TokenSets(NamedTuple):
    """Sets of shingles.

    Attributes:
      values: the sets' sorted hashes, end to end.
      ends: where each set ends.
    """

    values: NDArray[np.uint64]
    ends: Rows

    @property
    def sizes(self) -> Rows:
        """Shingles of each set."""
        return np.diff(self.ends, prepend=0)

    @classmethod
    def of(cls, texts: Iterable[str], hasher: TokenHasher, shingle: int = SHINGLE) -> TokenSets:
        """The sets of some texts. A text with fewer tokens than a shingle is one shingle; without any it is empty."""
        return cls.of_hashed(hasher(texts), shingle)

    @classmethod
    def of_hashed(cls, texts: HashedTexts, shingle: int = SHINGLE) -> TokenSets:
        """The sets of texts that are hashed already."""
        ngrams = Ngrams(texts, shingle)
        ends = np.searchsorted(ngrams.places, texts.ends)
        sets, begin = list[NDArray[np.uint64]](), 0
        for end, stop, length in zip(ends.tolist(), texts.ends.tolist(), texts.lengths.tolist(), strict=True):
            if 0 < length < shingle:
                sets.append(hash_of(texts.tokens[stop - length : stop]))
            else:
                sets.append(np.unique(ngrams.hashes[begin:end]))  # faster than to sort all sets at once
            begin = end
        return cls(
            np.concatenate([np.zeros(0, np.uint64), *sets]), np.cumsum([len(each) for each in sets], dtype=np.int64)
        )


def hash_of(tokens: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The hash of a short text as a whole, other than that of any shingle: (1,)."""
    weights = np.arange(len(tokens), dtype=np.uint64) * np.uint64(2) + np.uint64(3)
    with np.errstate(over="ignore"):
        return (tokens * weights).sum(keepdims=True, dtype=np.uint64) + np.uint64(len(tokens))


class Duplicates(NamedTuple):
    """Pairs of near-duplicates: ``rows`` and ``others`` by their indices, in ascending order, and their similarity."""

    rows: Rows
    others: Rows
    similarities: NDArray[np.float64]


class NearDuplicates:
    """An index of sets, asked for their near-duplicates."""

    def __init__(self, sets: TokenSets, threshold: float, seed: int = 0) -> None:
        """Signs the sets.

        Args:
          sets: of the index. Empty sets are duplicates of nothing.
          threshold: Jaccard similarity from which on two sets are near-duplicates, above 0.
          seed: of the permutations.
        """
        if not 0 < threshold <= 1:
            raise ValueError(f"the threshold is {threshold}; choose one above 0, at most 1")
        self._sets, self._threshold = sets, threshold
        self.band_rows = rows_of_a_band(threshold)
        random = np.random.default_rng(seed)
        self._factors, self._offsets = (
            random.integers(0, 2**64, PERMUTATIONS, np.uint64, endpoint=False) | np.uint64(1) for _ in range(2)
        )
        self._bands = self._banded(sets)
        self._filled = np.flatnonzero(sets.sizes > 0)

    def within(self) -> Duplicates:
        """Near-duplicates in the index: each pair once, ``rows`` < ``others``."""
        proposed = (
            (rows[rows < others], others[rows < others]) for rows, others in self._proposals(self._bands, self._filled)
        )
        return self._verified(self._sets, proposed)

    def of(self, queries: TokenSets) -> Duplicates:
        """Near-duplicates of other sets: ``rows`` are queries, ``others`` are of the index."""
        filled = np.flatnonzero(queries.sizes > 0)
        return self._verified(queries, self._proposals(self._banded(queries), filled))

    def _banded(self, sets: TokenSets) -> NDArray[np.uint64]:
        """One number for each band of each set, (bands, sets); sets with an equal one are proposed."""
        signatures = np.zeros((len(sets.ends), PERMUTATIONS), np.uint64)
        filled = np.flatnonzero(sets.sizes > 0)
        starts = (sets.ends - sets.sizes)[filled]
        first = 0
        with np.errstate(over="ignore"):
            while first < len(filled):  # whole sets, of about _BLOCK shingles
                last = max(first + 1, int(np.searchsorted(starts, starts[first] + _BLOCK)))
                begin, end = int(starts[first]), int(sets.ends[filled[last - 1]])
                mixed = sets.values[begin:end, None] * self._factors
                mixed += self._offsets
                signatures[filled[first:last]] = np.minimum.reduceat(mixed, starts[first:last] - begin, axis=0)
                first = last
            bands = PERMUTATIONS // self.band_rows
            used = signatures[:, : bands * self.band_rows].reshape(len(signatures), bands, self.band_rows)
            weights = np.arange(self.band_rows, dtype=np.uint64) * np.uint64(2) + np.uint64(0x9E3779B97F4A7C15)
            return (used * weights).sum(axis=2, dtype=np.uint64).T

    def _proposals(self, bands: NDArray[np.uint64], filled: Rows) -> Iterator[tuple[Rows, Rows]]:
        """Pairs of queries and sets of the index that agree in a band, some at a time; pairs may come several times."""
        if not len(self._filled) or not len(filled):
            return
        for ours, theirs in zip(bands, self._bands, strict=True):
            order = self._filled[np.argsort(theirs[self._filled], kind="stable")]
            keys = theirs[order]
            low, high = (np.searchsorted(keys, ours[filled], side) for side in ("left", "right"))
            counts = high - low
            first = 0
            totals = np.cumsum(counts)
            while first < len(filled):
                before = totals[first - 1] if first else 0
                last = max(first + 1, int(np.searchsorted(totals, before + _PROPOSED)))
                chosen = counts[first:last]
                rows = np.repeat(filled[first:last], chosen)
                within = np.arange(chosen.sum()) - np.repeat(np.cumsum(chosen) - chosen, chosen)
                yield rows, order[np.repeat(low[first:last], chosen) + within]
                first = last

    def _verified(self, queries: TokenSets, proposed: Iterator[tuple[Rows, Rows]]) -> Duplicates:
        """The proposed pairs whose similarity reaches the threshold."""
        size = max(1, len(self._sets.ends))
        seen, found = np.zeros(0, np.int64), [np.zeros((0, 3))]
        for rows, others in proposed:
            # Sizes alone bound the similarity of two sets.
            ours, theirs = queries.sizes[rows], self._sets.sizes[others]
            alike = np.minimum(ours, theirs) >= self._threshold * np.maximum(ours, theirs)
            keys = np.unique(rows[alike] * size + others[alike])
            keys = keys[~np.isin(keys, seen)]
            seen = np.concatenate([seen, keys])
            rows, others = keys // size, keys % size
            for part in _parts(queries.sizes[rows] + self._sets.sizes[others], _PROPOSED):
                similarities = jaccard(queries, rows[part], self._sets, others[part])
                reached = similarities >= self._threshold
                found.append(np.stack([rows[part][reached], others[part][reached], similarities[reached]], 1))
        table = np.concatenate(found)
        table = table[np.lexsort((table[:, 1], table[:, 0]))]
        return Duplicates(table[:, 0].astype(np.int64), table[:, 1].astype(np.int64), table[:, 2])


def rows_of_a_band(threshold: float) -> int:
    """The most rows with which a pair at the threshold is missed with a probability of at most ``MISSED``."""
    fitting = [rows for rows in range(1, PERMUTATIONS + 1) if (1 - threshold**rows) ** (PERMUTATIONS // rows) <= MISSED]
    return max(fitting, default=1)


def jaccard(sets: TokenSets, rows: Rows, others: TokenSets, other_rows: Rows) -> NDArray[np.float64]:
    """The Jaccard similarity of each pair of non-empty sets."""
    ours, owners = _members(sets, rows)
    theirs, their_owners = _members(others, other_rows)
    values, pairs = np.concatenate([ours, theirs]), np.concatenate([owners, their_owners])
    order = np.lexsort((values, pairs))
    values, pairs = values[order], pairs[order]
    twice = (values[1:] == values[:-1]) & (pairs[1:] == pairs[:-1])
    both = np.bincount(pairs[1:][twice], minlength=len(rows))
    return both / (sets.sizes[rows] + others.sizes[other_rows] - both)


def _members(sets: TokenSets, rows: Rows) -> tuple[NDArray[np.uint64], Rows]:
    """The shingles of some sets end to end, and the position in ``rows`` of the set of each."""
    sizes = sets.sizes[rows]
    owners = np.repeat(np.arange(len(rows)), sizes)
    within = np.arange(len(owners)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return sets.values[np.repeat(sets.ends[rows] - sizes, sizes) + within], owners


def _parts(sizes: Rows, most: int) -> Iterator[slice]:
    """Consecutive parts whose sizes sum up to about ``most``."""
    totals, first = np.cumsum(sizes), 0
    while first < len(sizes):
        before = int(totals[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(totals, before + most)))
        yield slice(first, last)
        first = last
