"""Texts that share most of their tokens: a set-similarity join by prefixes (Bayardo et al. 2007, Xiao et al. 2008).

A text is the set of its shingles, n-grams of tokens. Two texts are near-duplicates if the Jaccard similarity of their
sets reaches a threshold. Nothing is missed, whatever the length of the texts, and nothing else is found:

- In an order of all shingles, rare ones first, two near-duplicates share one of the first ``n - t n + 1`` shingles of
  each one's ``n``, where t is the threshold. Only sets that do are compared. (MinHash with banding compares about as
  many pairs, misses some, most of all of short texts, and evaluates a hundred hash functions for each shingle.)
- Most of them are excluded by their sizes, and by a bitmap of each set: of sets that differ by k shingles, at most k
  bits differ.
- The similarity of the others is computed.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from t2c_jax.languages.hashed_tokens import HashedTexts, Ngrams, TokenHasher

SHINGLE = 3
"""Tokens of a shingle: texts with the same words in another order are not duplicates."""

_READ = 1 << 21  # shingles that are read at a time
_PROPOSED = 1 << 20  # shingles of proposed pairs that are compared at a time
_MOST_COUNTER_BITS = 24
_COUNT_BITS, _PLACE_BITS = 18, 28  # of a number that sorts shingles by set, count and place
_BITMAP_WORDS = 4
_PAIR_BITS = 12
_PAIR_MASK = (1 << _PAIR_BITS) - 1
_MIXER = np.uint64(0xBF58476D1CE4E5B9)
_ROUNDING = 1e-9  # of a threshold times a size

Rows = NDArray[np.int64]
Hashes = NDArray[np.uint64]


class TokenSets(NamedTuple):
    """Sets of shingles.

    Attributes:
      values: the sets' sorted hashes, end to end; they may be mapped from a file.
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

    def __init__(self, sets: TokenSets, threshold: float) -> None:
        """Counts the shingles.

        Args:
          sets: of the index. Empty sets are duplicates of nothing.
          threshold: Jaccard similarity from which on two sets are near-duplicates, above 0.
        """
        if not 0 < threshold <= 1:
            raise ValueError(f"the threshold is {threshold}; choose one above 0, at most 1")
        self._sets, self._threshold = sets, threshold
        self._counts = ShingleCounts.of_values(sets.values)
        self._bitmaps = _bitmaps(sets)

    def of(self, queries: TokenSets) -> Duplicates:
        """Near-duplicates of other sets: ``rows`` are queries, ``others`` are of the index."""
        bitmaps = _bitmaps(queries)
        keys, owners = self._prefixes(self._sets, least=1)
        order = np.argsort(keys, kind="stable")
        keys, owners = keys[order], owners[order]
        wanted, rows = self._prefixes(queries, least=1)
        low, high = (np.searchsorted(keys, wanted, side) for side in ("left", "right"))
        found = [np.zeros((0, 3))]
        for part in _parts(high - low, _PROPOSED):
            counts = (high - low)[part]
            within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
            others = owners[np.repeat(low[part], counts) + within]
            found.append(self._verified(queries, bitmaps, np.repeat(rows[part], counts), others))
        table = np.unique(np.concatenate(found), axis=0)
        return Duplicates(table[:, 0].astype(np.int64), table[:, 1].astype(np.int64), table[:, 2])

    def leaders(self, ranks: Rows, always_kept: NDArray[np.bool_] | None = None) -> Rows:
        """Keeps sets of which no two are near-duplicates, and finds for each other set a kept one that it duplicates.

        In the order of the ranks, a set is kept unless it is a near-duplicate of a kept one. So the result depends on
        the ranks, not on the order of the sets, and chains of ever less similar sets are not merged.

        Args:
          ranks: of the sets, no two equal; the best copy has the lowest.
          always_kept: sets that are kept even if they are near-duplicates of each other.

        Returns:
          for each set a kept set that it is a near-duplicate of; itself if it is kept.
        """
        by_rank = np.argsort(ranks)
        places = np.empty_like(by_rank)
        places[by_rank] = np.arange(len(by_rank))
        immune = np.zeros(len(ranks), bool) if always_kept is None else always_kept[by_rank]
        leaders = np.arange(len(ranks))  # all by their places in the order of ranks
        keys, owners = self._prefixes(self._sets, least=2)
        several = ShingleCounts.of_values(keys).of(keys) >= 2
        keys, members = keys[several], places[owners[several]]
        order = np.lexsort((members, keys))
        keys, members = keys[order], members[order]
        while len(keys):
            # A set that is the best of each of its groups is kept. Its duplicates are in these groups.
            is_first = np.ones(len(keys), bool)
            is_first[1:] = keys[1:] != keys[:-1]
            best = members[is_first][np.cumsum(is_first) - 1]
            decided = np.ones(len(ranks), bool)
            decided[members[~is_first]] = False
            proposed = decided[best] & ~is_first & ~immune[members]
            rows, others = by_rank[members[proposed]], by_rank[best[proposed]]
            found = self._verified(self._sets, self._bitmaps, rows, others)
            duplicates, originals = (places[column.astype(np.int64)] for column in found.T[:2])
            leaders[duplicates] = len(ranks)
            np.minimum.at(leaders, duplicates, originals)
            decided[duplicates] = True
            keys, members = _groups_of_several(keys[~decided[members]], members[~decided[members]])
        result = np.empty_like(leaders)
        result[by_rank] = by_rank[leaders]
        return result

    def _prefixes(self, sets: TokenSets, least: int) -> tuple[Hashes, NDArray[np.int32]]:
        """The first shingles of each set in the order of all shingles, and the sets that they belong to.

        Those that occur less than ``least`` times in the index are left out.
        """
        keys, owners = [np.zeros(0, np.uint64)], [np.zeros(0, np.int32)]
        for first, last in _blocks(sets):
            sizes = sets.sizes[first:last]
            begin = int(sets.ends[first] - sizes[0])
            values = np.asarray(sets.values[begin : int(sets.ends[last - 1])])
            owner = np.repeat(np.arange(last - first), sizes)
            counts = self._counts.of(values)
            # One number sorts by owner, by count and by value, since the values of a set are sorted.
            packed = np.arange(len(values), dtype=np.uint64)
            packed |= owner.astype(np.uint64) << np.uint64(_PLACE_BITS + _COUNT_BITS)
            packed |= counts << np.uint64(_PLACE_BITS)
            packed.sort()
            order = (packed & np.uint64(2**_PLACE_BITS - 1)).astype(np.int64)
            within = np.arange(len(values)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
            lengths = prefix_lengths(sizes, self._threshold)
            chosen = (within < np.repeat(lengths, sizes)) & (counts[order] >= least)
            keys.append(values[order[chosen]])
            owners.append((owner[chosen] + first).astype(np.int32))
        _release(sets.values)
        return np.concatenate(keys), np.concatenate(owners)

    def _verified(self, queries: TokenSets, bitmaps: Hashes, rows: Rows, others: Rows) -> NDArray[np.float64]:
        """The proposed pairs whose similarity reaches the threshold, and their similarities: (pairs, 3)."""
        size, threshold = max(1, len(self._sets.ends)), self._threshold
        ours, theirs = queries.sizes[rows], self._sets.sizes[others]
        alike = sizes_allow(ours, theirs, threshold)
        pairs = np.unique(rows[alike].astype(np.int64) * size + others[alike])
        rows, others = pairs // size, pairs % size
        differing = np.bitwise_count(bitmaps[rows] ^ self._bitmaps[others]).sum(axis=1)
        sizes = queries.sizes[rows] + self._sets.sizes[others]
        possible = differing <= (1 - threshold) / (1 + threshold) * sizes + _ROUNDING
        rows, others = rows[possible], others[possible]
        similarities = jaccard(queries, rows, self._sets, others)
        reached = similarities >= threshold
        _release(queries.values)
        _release(self._sets.values)
        return np.stack([rows[reached], others[reached], similarities[reached]], 1)


@dataclass(frozen=True)
class ShingleCounts:
    """How often each shingle occurs, or somewhat more: a table of limited size, since an order need not be exact."""

    table: NDArray[np.uint32]

    @classmethod
    def of_values(cls, values: Hashes, bits: int = 0) -> ShingleCounts:
        """Counts shingles in a table of 2 ** ``bits`` counters; by default of a size that suits them."""
        bits = bits or min(max(10, (2 * len(values)).bit_length()), _MOST_COUNTER_BITS)
        counts = cls(np.zeros(1 << bits, np.uint32))
        for begin in range(0, len(values), _READ):
            np.add.at(counts.table, counts._places(values[begin : begin + _READ]), np.uint32(1))
        _release(values)
        return counts

    def of(self, values: Hashes) -> Hashes:
        """The count of each value, at most what ``_COUNT_BITS`` can hold."""
        return np.minimum(self.table[self._places(values)], 2**_COUNT_BITS - 1).astype(np.uint64)

    def _places(self, values: Hashes) -> Rows:
        shift = np.uint64(65 - len(self.table).bit_length())
        return ((values * _MIXER) >> shift).astype(np.int64)


def prefix_lengths(sizes: Rows, threshold: float) -> Rows:
    """How many of each set's first shingles must be compared, in an order of all shingles."""
    return sizes - np.ceil(threshold * sizes - _ROUNDING).astype(np.int64) + 1


def sizes_allow(sizes: Rows, others: Rows, threshold: float) -> NDArray[np.bool_]:
    """Whether two sets of these sizes can be near-duplicates."""
    return np.minimum(sizes, others) >= threshold * np.maximum(sizes, others) - _ROUNDING


def leaders_of_pairs(pairs: Rows, ranks: Rows, always_kept: NDArray[np.bool_]) -> Rows:
    """``NearDuplicates.leaders`` where all pairs of near-duplicates are known; of several leaders it names the best.

    Args:
      pairs: (pairs, 2).
      ranks: of the sets, no two equal; the best copy has the lowest.
      always_kept: sets that are kept even if they are near-duplicates of each other.
    """
    by_rank = np.argsort(ranks)
    places = np.empty_like(by_rank)
    places[by_rank] = np.arange(len(by_rank))
    ordered = np.sort(places[pairs], axis=1)
    ordered = ordered[np.lexsort(ordered.T)]
    leaders, immune = list(range(len(ranks))), always_kept[by_rank].tolist()
    for better, worse in ordered.tolist():  # all that decides about the better one comes before
        if leaders[better] == better and leaders[worse] == worse and not immune[worse]:
            leaders[worse] = better
    result = np.empty_like(by_rank)
    result[by_rank] = by_rank[leaders]
    return result


def _bitmaps(sets: TokenSets) -> Hashes:
    """A bitmap of each set, (sets, words): each of its shingles inverts one bit."""
    found = np.zeros((len(sets.ends), _BITMAP_WORDS), np.uint64)
    for first, last in _blocks(sets):
        filled = first + np.flatnonzero(sets.sizes[first:last])
        starts = sets.ends[filled] - sets.sizes[filled]
        if not len(filled):
            continue
        values = sets.values[int(starts[0]) : int(sets.ends[last - 1])] * _MIXER
        bits = np.uint64(1) << (values & np.uint64(63))
        words = (values >> np.uint64(6)) % np.uint64(_BITMAP_WORDS)
        for word in range(_BITMAP_WORDS):
            found[filled, word] = np.bitwise_xor.reduceat(np.where(words == word, bits, 0), starts - starts[0])
    _release(sets.values)
    return found


def _groups_of_several(keys: Hashes, members: Rows) -> tuple[Hashes, Rows]:
    """Without those whose key is no other's; the keys are sorted."""
    same = keys[1:] == keys[:-1]
    several = np.zeros(len(keys), bool)
    several[1:] |= same
    several[:-1] |= same
    return keys[several], members[several]


def _blocks(sets: TokenSets) -> Iterator[tuple[int, int]]:
    """Consecutive sets, from the first to before the last, of about ``_READ`` shingles."""
    return ((part.start, part.stop) for whole in _parts(sets.sizes, _READ) for part in _cut(whole))


def _cut(part: slice) -> Iterator[slice]:
    most = 1 << (64 - _PLACE_BITS - _COUNT_BITS)
    for begin in range(part.start, part.stop, most):
        yield slice(begin, min(begin + most, part.stop))


def _release(values: Hashes) -> None:
    """Gives the memory of a mapped file back; it is read again when it is needed."""
    mapped = getattr(values, "_mmap", None)
    if mapped is not None:
        mapped.madvise(mmap.MADV_DONTNEED)


def jaccard(sets: TokenSets, rows: Rows, others: TokenSets, other_rows: Rows) -> NDArray[np.float64]:
    """The Jaccard similarity of each pair of non-empty sets."""
    sizes = sets.sizes[rows] + others.sizes[other_rows]
    both = np.zeros(len(rows), np.int64)
    for whole in _parts(sizes, _PROPOSED):
        for begin in range(whole.start, whole.stop, 1 << _PAIR_BITS):
            part = slice(begin, min(begin + (1 << _PAIR_BITS), whole.stop))
            # A number holds the upper 52 bits of a hash, and its pair: it sorts ten times faster than two keys.
            members = np.concatenate([_members(sets, rows[part]), _members(others, other_rows[part])])
            members.sort()
            twice = members[1:][members[1:] == members[:-1]]
            found = np.bincount((twice & np.uint64(_PAIR_MASK)).astype(np.int64), minlength=part.stop - part.start)
            both[part] = found
    return both / (sizes - both)


def _members(sets: TokenSets, rows: Rows) -> Hashes:
    """The shingles of some sets end to end, each with the position of its set in ``rows`` in the lower bits."""
    sizes = sets.sizes[rows]
    owners = np.repeat(np.arange(len(rows), dtype=np.uint64), sizes)
    within = np.arange(len(owners)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return (sets.values[np.repeat(sets.ends[rows] - sizes, sizes) + within] & ~np.uint64(_PAIR_MASK)) | owners


def _parts(sizes: Rows, most: int) -> Iterator[slice]:
    """Consecutive parts whose sizes sum up to about ``most``."""
    totals, first = np.cumsum(sizes), 0
    while first < len(sizes):
        before = int(totals[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(totals, before + most)))
        yield slice(first, last)
        first = last
