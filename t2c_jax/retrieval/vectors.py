"""An index over vectors, such as those of a run's embedding head."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

_DECIMALS = 5  # of a cosine; what follows depends on the batches in which vectors and products were computed


class VectorIndex:
    """Rows by the cosine of their vectors to a query's, rounded, so that rows of equal vectors are equally similar."""

    def __init__(self, vectors: np.ndarray) -> None:
        """Keeps (rows, width) unit vectors of at least one row."""
        if not len(vectors):
            raise ValueError("an index needs at least one pair")
        self._vectors = vectors

    def __len__(self) -> int:
        return len(self._vectors)

    def similarities(self, queries: np.ndarray) -> Callable[[slice], np.ndarray]:
        """A function that gives the (queries, rows) similarities of some of the queries, for ``nearest_rows``.

        Args:
          queries: (queries, width) unit vectors.
        """
        return lambda block: np.round(queries[block] @ self._vectors.T, _DECIMALS)

    def save(self, directory: Path) -> None:
        """Writes the index into a directory, which it makes."""
        directory.mkdir()
        np.save(directory / "vectors.npy", self._vectors)

    @classmethod
    def open(cls, directory: Path) -> VectorIndex:
        """What ``save`` wrote, memory-mapped."""
        return cls(np.load(directory / "vectors.npy", mmap_mode="r"))
