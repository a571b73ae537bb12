"""An index over vectors of pairs, such as a run's own embeddings of their code."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from t2c_jax.retrieval.neighbours import Neighbour, nearest_pairs

if TYPE_CHECKING:
    from t2c_jax.corpus.pairs import Pair


class VectorIndex:
    """Pairs by the cosine of their vectors to a query's. Of equally similar pairs the first one wins."""

    def __init__(self, pairs: Sequence[Pair], vectors: np.ndarray) -> None:
        """Keeps both.

        Args:
          pairs: at least one.
          vectors: (pairs, width) unit vectors.
        """
        if not pairs:
            raise ValueError("an index needs at least one pair")
        self._pairs, self._vectors = pairs, vectors

    def nearest(
        self, queries: np.ndarray, count: int = 1, key: Callable[[Pair], Hashable] | None = None
    ) -> list[list[Neighbour]]:
        """The ``count`` nearest pairs of each of (queries, width) unit vectors; see ``neighbours.nearest_rows``."""
        return nearest_pairs(self._pairs, len(queries), lambda block: queries[block] @ self._vectors.T, count, key)
