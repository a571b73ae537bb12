"""Where answers come from: what of them stands verbatim in the code that a model was trained on.

Texts are compared by their ``lexical_tokens``, so layout does not count. The training pairs are read once, some at a
time. Memory grows with the answers alone; the time is that of hashing the training code.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from t2c_jax.languages.hashed_tokens import HashedTexts, Ngrams, TokenHasher, contains
from t2c_jax.languages.near_duplicates import TokenSets

if TYPE_CHECKING:
    from t2c_jax.corpus.pairs import Pair

ORDERS = (4, 8, 16)
"""Tokens of the n-grams whose shares are counted. Shorter ones recur by chance."""

RUNS = (8, 16, 32, 64)
"""Lengths of verbatim runs, in tokens, whose frequencies are reported."""

LICENSED_RUN = 16
"""Tokens of a repeated passage whose licence is reported."""

NEAR_COPY = 0.8
"""Jaccard similarity of shingles from which on a text is a near-copy."""

_READ = 4_000_000  # characters of training pairs that are hashed at a time
_ROWS = 128  # texts whose similarities to the held training pairs are computed at a time


@dataclass
class Overlap:
    """What a text has in common with training code.

    Attributes:
      tokens: of the text.
      shares: for each of ``ORDERS`` the share of the text's n-grams that occur in training code; None if the text is
        too short to have one.
      longest_run: tokens of the longest passage that occurs in the code of one training pair; 0 below ``ORDERS[0]``.
      run_from: the training pair that has it; of several the one with the smallest id.
      similarity: Jaccard similarity of shingles to the most similar training code.
      nearest: the training pair with that similarity, of several the one with the smallest id; None if no shingle is
        shared.
    """

    tokens: int
    shares: dict[int, float | None] = field(default_factory=dict)
    longest_run: int = 0
    run_from: Pair | None = None
    similarity: float = 0.0
    nearest: Pair | None = None

    @property
    def is_copy(self) -> bool:
        """Whether the whole text occurs in the code of one training pair."""
        return 0 < self.tokens == self.longest_run

    @property
    def is_near_copy(self) -> bool:
        """Whether a training pair's code is a near-duplicate."""
        return self.similarity >= NEAR_COPY

    def to_dict(self) -> dict[str, Any]:
        """JSON values, with the origin and the licence of what is repeated."""
        return {
            "ngrams": {str(order): None if share is None else round(share, 4) for order, share in self.shares.items()},
            "longest_run": self.longest_run,
            "run_from": None if self.run_from is None else _origin(self.run_from),
            "similarity": round(self.similarity, 4),
            "nearest": None if self.nearest is None else _origin(self.nearest),
        }


def _id(pair: Pair | None) -> str:
    return "" if pair is None else pair.id


def _origin(pair: Pair) -> dict[str, str]:
    return {"id": pair.id, "source": str(pair.source), "licence": pair.source.licence}


def training_overlap(texts: Sequence[str], train: Iterable[Pair]) -> list[Overlap]:
    """What each text has in common with the code of training pairs.

    Args:
      texts: answers, references or problems.
      train: all that was trained on, code without a text included; read once.
    """
    hasher = TokenHasher()
    reader = _Reader(hasher(texts))
    for block in blocks(train):
        held = sorted(block, key=lambda pair: pair.id)
        reader.read(held, hasher([pair.code for pair in held]))
    return reader.overlaps()


def blocks(pairs: Iterable[Pair]) -> Iterator[list[Pair]]:
    """Consecutive pairs, some at a time, so that their hashes need little memory."""
    held: list[Pair] = []
    characters = 0
    for pair in pairs:
        held.append(pair)
        characters += len(pair.text) + len(pair.code)
        if characters > _READ:
            yield held
            held, characters = [], 0
    if held:
        yield held


class _Reader:
    def __init__(self, texts: HashedTexts) -> None:
        self._texts, self._owners = texts, texts.owners
        self._sets = TokenSets.of_hashed(texts)
        self._found = {order: np.zeros(len(texts.tokens), bool) for order in ORDERS}
        self._longest = np.zeros(len(texts.ends), np.int64)
        self._run_from: list[Pair | None] = [None] * len(texts.ends)
        self._similarity = np.zeros(len(texts.ends))
        self._nearest: list[Pair | None] = [None] * len(texts.ends)
        # The similarities are intersections of sets: a product of matrices, over the shingles of the texts alone.
        self._shingles = np.unique(self._sets.values)
        columns = np.searchsorted(self._shingles, self._sets.values)
        self._members = self._matrix(columns, np.concatenate([[0], self._sets.ends]))

    def read(self, pairs: Sequence[Pair], code: HashedTexts) -> None:
        """Compares the texts with some training pairs."""
        self._read_runs(pairs, code)
        self._read_similarities(pairs, TokenSets.of_hashed(code))

    def overlaps(self) -> list[Overlap]:
        """What was found."""
        shares = {order: self._shares(order) for order in ORDERS}
        return [
            Overlap(
                length,
                {order: values[row] for order, values in shares.items()},
                longest,
                run_from,
                similarity,
                nearest,
            )
            for row, (length, longest, run_from, similarity, nearest) in enumerate(
                zip(
                    self._texts.lengths.tolist(),
                    self._longest.tolist(),
                    self._run_from,
                    self._similarity.tolist(),
                    self._nearest,
                    strict=True,
                )
            )
        ]

    def _shares(self, order: int) -> list[float | None]:
        size = len(self._texts.ends)
        found = np.bincount(self._owners, self._found[order], size).tolist()
        total = np.maximum(self._texts.lengths - order + 1, 0).tolist()
        return [hits / of if of else None for hits, of in zip(found, total, strict=True)]

    def _read_runs(self, pairs: Sequence[Pair], code: HashedTexts) -> None:
        """Grows the n-grams of both sides. A longer one is common only if those that it begins with are."""
        ours, theirs = Ngrams(self._texts, ORDERS[0]), Ngrams(code, ORDERS[0])
        while True:
            theirs.keep(contains(np.unique(ours.hashes), theirs.hashes))
            values, first = np.unique(theirs.hashes, return_index=True)
            ours.keep(contains(values, ours.hashes))
            if not len(ours.places):
                return
            if ours.order in self._found:
                self._found[ours.order][ours.places] = True
            begins = theirs.places[first[np.searchsorted(values, ours.hashes)]]
            owners, at = np.unique(self._owners[ours.places], return_index=True)
            rows = np.searchsorted(code.ends, np.minimum.reduceat(begins, at), "right")
            for owner, row in zip(owners.tolist(), rows.tolist(), strict=True):
                if (-ours.order, pairs[row].id) < (-self._longest[owner], _id(self._run_from[owner])):
                    self._longest[owner], self._run_from[owner] = ours.order, pairs[row]
            ours.grow()
            theirs.grow()

    def _read_similarities(self, pairs: Sequence[Pair], sets: TokenSets) -> None:
        known = contains(self._shingles, sets.values)
        counts = np.concatenate([[0], np.cumsum(known)])
        held = self._matrix(
            np.searchsorted(self._shingles, sets.values[known]), counts[np.concatenate([[0], sets.ends])]
        )
        transposed = held.T.tocsr()
        sizes, own_sizes = sets.sizes, self._sets.sizes
        for start in range(0, len(own_sizes), _ROWS):
            both = (self._members[start : start + _ROWS] @ transposed).tocsr()
            for row, (begin, end) in enumerate(itertools.pairwise(both.indptr.tolist()), start):
                if begin == end:
                    continue
                shared, others = both.data[begin:end], both.indices[begin:end]
                similarities = shared / (own_sizes[row] + sizes[others] - shared)
                best = similarities.max()
                nearest = pairs[others[similarities == best].min()]
                if (-best, nearest.id) < (-self._similarity[row], _id(self._nearest[row])):
                    self._similarity[row], self._nearest[row] = best, nearest

    def _matrix(self, columns: NDArray[np.int64], begins: NDArray[np.int64]) -> csr_array:
        shape = (len(begins) - 1, max(1, len(self._shingles)))
        return csr_array((np.ones(len(columns), np.float32), columns, begins), shape=shape)


def summary_of(overlaps: Sequence[Overlap]) -> dict[str, Any]:
    """Of some texts: mean shares of n-grams with their standard errors, and how many repeat long runs.

    Returns:
      ``ngrams`` by order, None where no text has any; ``runs``: the share of texts with a verbatim run of at least so
      many tokens, in percent; ``copies`` and ``near_copies``: the shares of whole texts, in percent.
    """
    ngrams = {
        str(order): _mean([share for each in overlaps if (share := each.shares[order]) is not None]) for order in ORDERS
    }
    return {
        "texts": len(overlaps),
        "ngrams": ngrams,
        "runs": {str(run): _percent(each.longest_run >= run for each in overlaps) for run in RUNS},
        "copies": _percent(each.is_copy for each in overlaps),
        "near_copies": _percent(each.is_near_copy for each in overlaps),
    }


def memorised_by_length(overlaps: Sequence[Overlap]) -> list[dict[str, Any]]:
    """Memorisation by the length of the text: for texts of as many tokens as ``RUNS`` delimit, how much is verbatim."""
    edges = (1, *RUNS)
    groups = []
    for low, high in itertools.zip_longest(edges, edges[1:]):
        some = [each for each in overlaps if low <= each.tokens and (high is None or each.tokens < high)]
        if some:
            part = float(np.mean([each.longest_run / each.tokens for each in some]))
            groups.append(
                {
                    "tokens": [low, None if high is None else high - 1],
                    "texts": len(some),
                    "longest_run": round(float(np.mean([each.longest_run for each in some])), 2),
                    "longest_run_share": round(100 * part, 4),
                    "copies": _percent(each.is_copy for each in some),
                }
            )
    return groups


def licences_of(overlaps: Sequence[Overlap]) -> dict[str, int]:
    """How many texts repeat ``LICENSED_RUN`` tokens of a training pair, by its licence; the most frequent first."""
    found: dict[str, int] = {}
    for each in overlaps:
        if each.run_from is not None and each.longest_run >= LICENSED_RUN:
            licence = each.run_from.source.licence or "unknown"
            found[licence] = found.get(licence, 0) + 1
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def _percent(hits: Iterable[bool]) -> float:
    return round(100 * float(np.mean([*hits])), 4)


def _mean(shares: Sequence[float]) -> dict[str, float | None] | None:
    if not shares:
        return None
    error = 100 * float(np.std(shares, ddof=1)) / len(shares) ** 0.5 if len(shares) > 1 else None
    return {
        "value": round(100 * float(np.mean(shares)), 4),
        "standard_error": None if error is None else round(error, 4),
    }
