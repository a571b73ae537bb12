"""The pairs of an index that are most similar to each of some queries."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from t2c_jax.corpus.pairs import Pair

_BLOCK_CELLS = 4_000_000  # similarities held at a time: at most some 50 MB


class Neighbour(NamedTuple):
    """A pair of an index, and its cosine similarity to the query."""

    pair: Pair
    similarity: float


def nearest_pairs(
    pairs: Sequence[Pair],
    queries: int,
    similarities: Callable[[slice], np.ndarray],
    count: int,
    key: Callable[[Pair], Hashable] | None = None,
) -> list[list[Neighbour]]:
    """For each query the ``count`` most similar pairs, the best first; of equals the first one wins.

    Args:
      pairs: those of the index.
      queries: how many there are.
      similarities: gives (queries, pairs) similarities of some of the queries. It is called for a few at a time, so
        that memory does not grow with their number.
      count: pairs to find for each query. There are fewer where the index has no more.
      key: of pairs with equal keys only the most similar one is a neighbour.
    """
    keys = None if key is None else [key(pair) for pair in pairs]
    found = []
    for block in _blocks(queries, max(1, _BLOCK_CELLS // len(pairs))):
        for row in similarities(block):
            columns = _best_columns(row, count, keys)
            found.append([Neighbour(pairs[column], float(row[column])) for column in columns])
    return found


def _blocks(size: int, length: int) -> Iterator[slice]:
    for start in range(0, size, length):
        yield slice(start, start + length)


def _best_columns(row: np.ndarray, count: int, keys: Sequence[Hashable] | None) -> list[int]:
    looked_at = count
    while True:
        looked_at = min(looked_at, len(row))
        threshold = np.partition(row, -looked_at)[-looked_at]
        columns = np.flatnonzero(row >= threshold)  # in their order, those as good as the worst one included
        ranked = columns[np.argsort(-row[columns], kind="stable")].tolist()
        if keys is not None:
            first: dict[Hashable, int] = {}
            for column in ranked:
                first.setdefault(keys[column], column)
            ranked = list(first.values())
        if len(ranked) >= count or looked_at == len(row):
            return ranked[:count]
        looked_at *= 4
