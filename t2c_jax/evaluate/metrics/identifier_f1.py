"""Which identifiers an answer uses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from t2c_jax.evaluate.metrics.metric import Metric, best
from t2c_jax.languages.identifiers import identifiers
from t2c_jax.languages.lexers import find_lexer

if TYPE_CHECKING:
    from t2c_jax.corpus.pairs import Pair


def names_in(code: str, language: str) -> Counter[str]:
    """How often each identifier occurs, up to the first error of the language's lexer."""
    source = code.encode("utf-8", "surrogatepass")
    return Counter(
        source[start:end].decode("utf-8", "surrogatepass") for start, end in identifiers(code, language).spans
    )


class IdentifierF1(Metric):
    """F1 of the answers' identifiers against the references', each as often as it occurs, over all pairs together.

    Names are what the language's lexer calls a name, as in identifier prediction. Pairs of languages without a lexer do
    not count.
    """

    name = "identifier_f1"
    title = "Identifiers, F1"
    phrase = "F1 of identifiers"
    signature = "F1 over occurrences of identifiers, summed over pairs; by Python's names, else by Pygments"

    def statistics(self, pairs: Sequence[Pair], candidates: Sequence[Sequence[str]]) -> np.ndarray:
        """Columns: identifiers of both, of the answer, of the reference."""
        rows = []
        for pair, answer in zip(pairs, best(candidates), strict=True):
            if find_lexer(pair.language) is None:
                rows.append((0, 0, 0))
                continue
            ours, theirs = names_in(answer, pair.language), names_in(pair.code, pair.language)
            rows.append(((ours & theirs).total(), ours.total(), theirs.total()))
        return np.array(rows, float)

    def score(self, sums: Sequence[float]) -> float:
        """F1, in percent; NaN where neither side has an identifier."""
        both, ours, theirs = sums
        return 200 * both / (ours + theirs) if ours + theirs else float("nan")
