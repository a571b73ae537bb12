"""An index over the texts of pairs, by TF-IDF."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_array

from t2c_jax.retrieval.neighbours import Neighbour, nearest_pairs

if TYPE_CHECKING:
    from t2c_jax.corpus.pairs import Pair

_WORD = re.compile(r"\w+")
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_A-Za-z]+|\d+")


def terms(text: str) -> list[str]:
    """Words in lower case, each identifier also as its parts: ``read_csv`` gives ``read_csv read csv``."""
    found = []
    for word in _WORD.findall(text):
        found.append(word.lower())
        parts = _PART.findall(word)
        if len(parts) > 1:
            found.extend(part.lower() for part in parts)
    return found


class TfidfIndex:
    """Pairs by the TF-IDF cosine of their text to a query.

    Weights are ``(1 + ln tf) * (ln((1 + N) / (1 + df)) + 1)``; a query's terms that no pair has are ignored. Of equally
    similar pairs the one with the smallest id wins, and a query that shares no term with any pair gets the smallest of
    all ids. So the answer depends on the set of pairs and not on their order. Memory grows with the pairs' text alone.
    """

    def __init__(self, pairs: Iterable[Pair]) -> None:
        """Counts the terms of at least one pair."""
        self._pairs = sorted(pairs, key=lambda pair: pair.id)
        if not self._pairs:
            raise ValueError("an index needs at least one pair")
        self._vocabulary: dict[str, int] = {}
        counts = _count((pair.text for pair in self._pairs), self._vocabulary, grow=True)
        document_frequency = np.bincount(counts.indices, minlength=len(self._vocabulary))
        self._inverse_frequency = np.log((1 + len(self._pairs)) / (1 + document_frequency)) + 1
        self._by_term = _weigh(counts, self._inverse_frequency).T.tocsr()

    def nearest(
        self, queries: Sequence[str], count: int = 1, key: Callable[[Pair], Hashable] | None = None
    ) -> list[list[Neighbour]]:
        """The ``count`` nearest pairs of each query; see ``neighbours.nearest_pairs``."""
        weights = _weigh(_count(queries, self._vocabulary, grow=False), self._inverse_frequency)
        return nearest_pairs(
            self._pairs, len(queries), lambda block: (weights[block] @ self._by_term).toarray(), count, key
        )


def _count(texts: Iterable[str], vocabulary: dict[str, int], grow: bool) -> csr_array:
    data: list[int] = []
    indices: list[int] = []
    ends = [0]
    for text in texts:
        for term, count in Counter(terms(text)).items():
            column = vocabulary.setdefault(term, len(vocabulary)) if grow else vocabulary.get(term)
            if column is not None:
                indices.append(column)
                data.append(count)
        ends.append(len(indices))
    shape = (len(ends) - 1, len(vocabulary))
    return csr_array((np.array(data, np.float32), np.array(indices, np.int32), np.array(ends, np.int64)), shape=shape)


def _weigh(counts: csr_array, inverse_frequency: np.ndarray) -> csr_array:
    weights = (1 + np.log(counts.data)) * inverse_frequency[counts.indices].astype(np.float32)
    row = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
    norms = np.sqrt(np.bincount(row, weights**2, minlength=counts.shape[0]))
    weights /= norms[row].astype(np.float32)
    return csr_array((weights, counts.indices, counts.indptr), shape=counts.shape)
