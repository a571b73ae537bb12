"""The baseline that every model must beat: answer with the code of the training pair whose text is nearest."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_array

from t2c_jax.errors import UserError

if TYPE_CHECKING:
    from t2c_jax.corpus.pairs import Pair

_WORD = re.compile(r"\w+")
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_A-Za-z]+|\d+")
_BLOCK_CELLS = 4_000_000  # similarities held at a time: at most some 50 MB


@dataclass(frozen=True)
class Retrieved:
    """What is nearest to a text.

    Attributes:
      pair: the training pair with the nearest text.
      similarity: the cosine between the two texts.
      codes: distinct codes of the nearest pairs, nearest first, as many as were asked for and exist.
    """

    pair: Pair
    similarity: float
    codes: tuple[str, ...]


def terms(text: str) -> list[str]:
    """Words in lower case, each identifier also as its parts: ``read_csv`` gives ``read_csv read csv``."""
    found = []
    for word in _WORD.findall(text):
        found.append(word.lower())
        parts = _PART.findall(word)
        if len(parts) > 1:
            found.extend(part.lower() for part in parts)
    return found


def retrieve(train_pairs: Iterable[Pair], texts: Sequence[str], count: int = 1) -> list[Retrieved]:
    """For each text the training pair with the nearest text by TF-IDF cosine, and the ``count`` nearest codes.

    Weights are ``(1 + ln tf) * (ln((1 + N) / (1 + df)) + 1)``; terms that no training text has are ignored.
    Among equals the smallest id wins, and a text that shares no term with any gets the smallest of all, so the
    answer depends on the set of pairs and not on their order. Memory grows with the training text alone.

    Raises:
      UserError: there are no training pairs.
    """
    train = sorted(train_pairs, key=lambda pair: pair.id)
    if not train:
        raise UserError(
            "the train split is empty, code without a text not counted: retrieval has nothing to copy from; add sources"
            " with texts and run t2c mine again"
        )
    vocabulary: dict[str, int] = {}
    train_counts = _count((pair.text for pair in train), vocabulary, grow=True)
    document_frequency = np.bincount(train_counts.indices, minlength=len(vocabulary))
    inverse_frequency = np.log((1 + len(train)) / (1 + document_frequency)) + 1
    train_by_term = _weigh(train_counts, inverse_frequency).T.tocsr()
    queries = _weigh(_count(texts, vocabulary, grow=False), inverse_frequency)
    nearest: list[Retrieved] = []
    rows = max(1, _BLOCK_CELLS // len(train))
    for start in range(0, len(texts), rows):
        similarity = (queries[start : start + rows] @ train_by_term).toarray()
        best = similarity.argmax(axis=1)  # the first of equals, hence the smallest id
        for row, column in zip(similarity, best.tolist(), strict=True):
            codes = (train[column].code,) if count == 1 else _nearest_codes(train, row, count)
            nearest.append(Retrieved(train[column], float(row[column]), codes))
    return nearest


def retrieve_by_vectors(
    train_pairs: Sequence[Pair], code_vectors: np.ndarray, text_vectors: np.ndarray, count: int = 1
) -> list[tuple[str, ...]]:
    """For each text the ``count`` distinct codes whose vectors are nearest to its own, nearest first.

    Args:
      train_pairs: what may be copied; among equals the first one wins.
      code_vectors: (train pairs, width) unit vectors of their codes.
      text_vectors: (texts, width) unit vectors.
    """
    found = []
    rows = max(1, _BLOCK_CELLS // len(train_pairs))
    for start in range(0, len(text_vectors), rows):
        similarity = text_vectors[start : start + rows] @ code_vectors.T
        found += [_nearest_codes(train_pairs, row, count) for row in similarity]
    return found


def _nearest_codes(train: Sequence[Pair], similarity: np.ndarray, count: int) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for column in np.argsort(-similarity, kind="stable"):  # among equals the smallest id
        found[train[column].code] = None
        if len(found) == count:
            break
    return tuple(found)


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
