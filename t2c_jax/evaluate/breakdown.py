"""Groups of pairs that are scored apart: by length of the reference, kind and language."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from t2c_jax.evaluate.metrics.code_tokens import code_tokens

if TYPE_CHECKING:
    from t2c_jax.corpus.pairs import Pair

LENGTH_GROUPS = 4


def by_length(pairs: Sequence[Pair]) -> Iterator[tuple[list[int], np.ndarray]]:
    """Groups of about equal size by the reference's code tokens, shortest first: [least, most] and rows."""
    lengths = np.array([len(code_tokens(pair.code)) for pair in pairs])
    edges = np.unique(np.quantile(lengths, np.linspace(0, 1, LENGTH_GROUPS + 1), method="inverted_cdf"))
    group = np.searchsorted(edges[1:], lengths) if len(edges) > 1 else np.zeros(len(lengths), int)
    for index in np.unique(group):
        rows = np.flatnonzero(group == index)
        yield [int(lengths[rows].min()), int(lengths[rows].max())], rows


def by_kind(pairs: Sequence[Pair]) -> Iterator[tuple[str, np.ndarray]]:
    """Groups by how text and code were paired: name and rows."""
    return _by_name([pair.kind for pair in pairs])


def by_language(pairs: Sequence[Pair]) -> Iterator[tuple[str, np.ndarray]]:
    """Groups by the language of the code: name, empty where it is unknown, and rows."""
    return _by_name([pair.language for pair in pairs])


def _by_name(names: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
    array = np.array(names)
    for name in sorted(set(names)):
        yield name, np.flatnonzero(array == name)
