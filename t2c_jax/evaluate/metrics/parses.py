"""The share of answers that parse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from t2c_jax.evaluate.metrics.metric import Metric, best, percentage
from t2c_jax.languages.parsing import parses

if TYPE_CHECKING:
    from t2c_jax.corpus.pairs import Pair


def answer_parses(pair: Pair, answer: str) -> bool | None:
    """Whether the grammar of its language accepts the answer to a pair; None for a language without a grammar here.

    An answer that completes code, such as the body of a function behind its header, is read with that code.
    """
    if pair.tests is None or not answer.strip():
        return parses(answer, pair.language)
    return parses(pair.tests.completed(answer), pair.language)


class Parses(Metric):
    """Share of predictions that the grammar of their language accepts, by ``answer_parses``.

    Pairs of languages without a parser do not count.
    """

    name = "parses"
    title = "Parses"
    phrase = "the share that parses"
    right_or_wrong = True
    signature = "the language's grammar accepts it and finds a statement; languages without a parser do not count"

    def statistics(self, pairs: Sequence[Pair], candidates: Sequence[Sequence[str]]) -> np.ndarray:
        """Columns: parsed; an example of a language with a parser."""
        found = [answer_parses(pair, prediction) for pair, prediction in zip(pairs, best(candidates), strict=True)]
        return np.array([(bool(one), one is not None) for one in found], float)

    def score(self, sums: Sequence[float]) -> float:
        """Parsed predictions, in percent; NaN where no pair counts."""
        return percentage(sums)
