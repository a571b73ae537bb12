"""An index over texts by their words: TF-IDF or BM25."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_array

from t2c_jax.retrieval.neighbours import Neighbour, nearest_pairs

if TYPE_CHECKING:
    from t2c_jax.corpus.pairs import Pair

WEIGHTINGS = ("tfidf", "bm25")
_SATURATION, _LENGTH_SHARE = 1.2, 0.75  # BM25's k1 and b
_WORD = re.compile(r"\w+")
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_A-Za-z]+|\d+")
_ARRAYS = ("data", "indices", "indptr", "inverse_frequency")


def terms(text: str) -> list[str]:
    """Words in lower case, each identifier also as its parts: ``read_csv`` gives ``read_csv read csv``."""
    found = []
    for word in _WORD.findall(text):
        found.append(word.lower())
        parts = _PART.findall(word)
        if len(parts) > 1:
            found.extend(part.lower() for part in parts)
    return found


class TermIndex:
    """Texts by the words that they share with a query. A query's terms that no text has are ignored.

    ``tfidf`` is the cosine of vectors with the weights ``(1 + ln tf) * (ln((1 + N) / (1 + df)) + 1)``. ``bm25`` is the
    sum over the query's terms of ``ln(1 + (N - df + 0.5) / (df + 0.5)) * tf * (k1 + 1) / (tf + k1 * (1 - b + b * length
    / mean length))`` with k1 = 1.2 and b = 0.75 (Robertson & Zaragoza 2009, "The Probabilistic Relevance Framework").
    """

    def __init__(
        self, vocabulary: dict[str, int], by_term: csr_array, inverse_frequency: np.ndarray, weighting: str
    ) -> None:
        """Of parts that ``of`` or ``open`` made."""
        self._vocabulary, self._by_term = vocabulary, by_term
        self._inverse_frequency, self._weighting = inverse_frequency, weighting

    @classmethod
    def of(cls, texts: Sequence[str], weighting: str = "tfidf") -> TermIndex:
        """Counts the terms of at least one text; memory grows with the texts alone."""
        if not texts:
            raise ValueError("an index needs at least one pair")
        vocabulary: dict[str, int] = {}
        counts = _count(texts, vocabulary, grow=True)
        frequency, size = np.bincount(counts.indices, minlength=len(vocabulary)), len(texts)
        if weighting == "bm25":
            inverse = np.log1p((size - frequency + 0.5) / (frequency + 0.5))
            weights = _saturated(counts, inverse)
        else:
            inverse = np.log((1 + size) / (1 + frequency)) + 1
            weights = _normalised(counts, inverse)
        return cls(vocabulary, weights.T.tocsr(), inverse, weighting)

    def __len__(self) -> int:
        return int(self._by_term.shape[1])

    def similarities(self, queries: Sequence[str]) -> Callable[[slice], np.ndarray]:
        """A function that gives the (queries, texts) similarities of some of the queries, for ``nearest_rows``."""
        weights = _count(queries, self._vocabulary, grow=False)
        if self._weighting == "tfidf":
            weights = _normalised(weights, self._inverse_frequency)
        return lambda block: (weights[block] @ self._by_term).toarray()

    def save(self, directory: Path) -> None:
        """Writes the index into a directory, which it makes."""
        directory.mkdir()
        arrays = {
            "data": self._by_term.data,
            "indices": self._by_term.indices,
            "indptr": self._by_term.indptr,
            "inverse_frequency": self._inverse_frequency,
        }
        for name in _ARRAYS:
            np.save(directory / f"{name}.npy", arrays[name])
        words = {"weighting": self._weighting, "texts": len(self), "terms": list(self._vocabulary)}
        (directory / "terms.json").write_text(json.dumps(words), "utf-8")

    @classmethod
    def open(cls, directory: Path) -> TermIndex:
        """What ``save`` wrote; the arrays are memory-mapped."""
        words = json.loads((directory / "terms.json").read_text("utf-8"))
        arrays = {name: np.load(directory / f"{name}.npy", mmap_mode="r") for name in _ARRAYS}
        vocabulary = {term: column for column, term in enumerate(words["terms"])}
        shape = (len(vocabulary), words["texts"])
        by_term = csr_array((arrays["data"], arrays["indices"], arrays["indptr"]), shape=shape)
        return cls(vocabulary, by_term, arrays["inverse_frequency"], words["weighting"])


class TfidfIndex:
    """Pairs by the TF-IDF cosine of their text to a query.

    Of equally similar pairs the one with the smallest id wins, and a query that shares no term with any pair gets the
    smallest of all ids. So the answer depends on the set of pairs and not on their order.
    """

    def __init__(self, pairs: Iterable[Pair]) -> None:
        """Counts the terms of at least one pair."""
        self._pairs = sorted(pairs, key=lambda pair: pair.id)
        self._index = TermIndex.of([pair.text for pair in self._pairs])

    def nearest(
        self, queries: Sequence[str], count: int = 1, key: Callable[[Pair], Hashable] | None = None
    ) -> list[list[Neighbour]]:
        """The ``count`` nearest pairs of each query; see ``neighbours.nearest_rows``."""
        return nearest_pairs(self._pairs, len(queries), self._index.similarities(queries), count, key)


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


def _normalised(counts: csr_array, inverse_frequency: np.ndarray) -> csr_array:
    """TF-IDF weights, each row of length 1."""
    weights = (1 + np.log(counts.data)) * inverse_frequency[counts.indices].astype(np.float32)
    row = _row_of(counts)
    norms = np.sqrt(np.bincount(row, weights**2, minlength=counts.shape[0]))
    weights /= norms[row].astype(np.float32)
    return csr_array((weights, counts.indices, counts.indptr), shape=counts.shape)


def _saturated(counts: csr_array, inverse_frequency: np.ndarray) -> csr_array:
    """BM25's weights."""
    row = _row_of(counts)
    lengths = np.bincount(row, counts.data, minlength=counts.shape[0])
    relative = lengths / max(float(lengths.mean()), 1.0)
    damping = _SATURATION * (1 - _LENGTH_SHARE + _LENGTH_SHARE * relative)
    weights = inverse_frequency[counts.indices] * counts.data * (_SATURATION + 1) / (counts.data + damping[row])
    return csr_array((weights.astype(np.float32), counts.indices, counts.indptr), shape=counts.shape)


def _row_of(counts: csr_array) -> np.ndarray:
    """The row of each entry."""
    return np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
