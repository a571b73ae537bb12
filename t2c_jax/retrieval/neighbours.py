"""The rows of an index that are most similar to each of some queries."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from t2c_jax.corpus.pairs import Pair

_BLOCK_CELLS = 4_000_000  # similarities held at a time: at most some 50 MB
_SEGMENT = 128  # cells whose maximum bounds the best from below; more segments than ranks that are asked for


class Hit(NamedTuple):
    """A row of an index, and its similarity to the query."""

    row: int
    similarity: float


class Neighbour(NamedTuple):
    """A pair of an index, and its similarity to the query."""

    pair: Pair
    similarity: float


def nearest_rows(
    size: int,
    queries: int,
    similarities: Callable[[slice], np.ndarray],
    count: int,
    keys: Sequence[Hashable] | None = None,
    excluded: Callable[[int, int], bool] | None = None,
) -> list[list[Hit]]:
    """For each query the ``count`` most similar rows, the best first; of equals the first one wins.

    Args:
      size: rows of the index.
      queries: how many there are.
      similarities: gives (queries, rows) similarities of some of the queries. It is called for a few at a time, so
        that memory does not grow with their number.
      count: rows to find for each query. There are fewer where the index has no more.
      keys: of rows with equal keys only the most similar one is found.
      excluded: whether a query, by its number, never finds a row.
    """
    found = []
    for block in _blocks(queries, max(1, _BLOCK_CELLS // size)):
        for number, row in enumerate(similarities(block), block.start):
            columns = _best_columns(row, count, keys, excluded and functools.partial(excluded, number))
            found.append([Hit(column, float(row[column])) for column in columns])
    return found


def nearest_pairs(
    pairs: Sequence[Pair],
    queries: int,
    similarities: Callable[[slice], np.ndarray],
    count: int,
    key: Callable[[Pair], Hashable] | None = None,
) -> list[list[Neighbour]]:
    """``nearest_rows`` of an index over pairs; ``key`` gives the key of each."""
    keys = None if key is None else [key(pair) for pair in pairs]
    hits = nearest_rows(len(pairs), queries, similarities, count, keys)
    return [[Neighbour(pairs[hit.row], hit.similarity) for hit in found] for found in hits]


def _blocks(size: int, length: int) -> Iterator[slice]:
    for start in range(0, size, length):
        yield slice(start, min(start + length, size))


def _best_columns(
    row: np.ndarray,
    count: int,
    keys: Sequence[Hashable] | None,
    excluded: Callable[[int], bool] | None,
) -> list[int]:
    looked_at = count if excluded is None else count + 1  # a pair that is in the index finds itself
    while True:
        looked_at = min(looked_at, len(row))
        columns = np.flatnonzero(row >= _lower_bound(row, looked_at))
        ranked = columns[np.argsort(-row[columns], kind="stable")].tolist()
        chosen, seen = list[int](), set[Hashable]()
        for column in ranked:
            if len(chosen) == count:
                break
            if (excluded is not None and excluded(column)) or (keys is not None and keys[column] in seen):
                continue
            chosen.append(column)
            if keys is not None:
                seen.add(keys[column])
        if len(chosen) == count or looked_at == len(row):
            return chosen
        looked_at *= 4


def _lower_bound(row: np.ndarray, rank: int) -> float:
    """A similarity that at least ``rank`` columns reach, and not many more.

    Each of the ``rank`` best segments has a column as good as the worst of their maxima; a full partition of the row
    takes many times as long.
    """
    if len(row) < 2 * rank * _SEGMENT:
        return float(np.partition(row, -rank)[-rank])
    maxima = np.maximum.reduceat(row, np.arange(0, len(row), _SEGMENT))
    return float(np.partition(maxima, -rank)[-rank])
