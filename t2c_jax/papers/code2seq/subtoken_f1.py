"""Names by their sub-tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from t2c_jax.evaluate.metrics.metric import Metric, best
from t2c_jax.languages.subtokens import subtokens

if TYPE_CHECKING:
    from t2c_jax.corpus.pairs import Pair


class SubtokenF1(Metric):
    """F1 over the sub-tokens of names, in any order and whatever their case (Alon et al. 2019, section 4.1).

    As in the paper's own program, sub-tokens are looked up and not matched one to one: each predicted one that the
    reference has is a true positive, however often it is repeated. Names that are equal once joined are equal.
    """

    name = "subtoken_f1"
    title = "Sub-token F1"
    phrase = "sub-token F1"
    signature = "sub-tokens in lower case, looked up in the other name; F1 of the summed counts"

    def statistics(self, pairs: Sequence[Pair], candidates: Sequence[Sequence[str]]) -> np.ndarray:
        """Columns: true positives, false positives, false negatives."""
        rows = [_counts(subtokens(p), subtokens(pair.code)) for pair, p in zip(pairs, best(candidates), strict=True)]
        return np.array(rows, float)

    def score(self, sums: Sequence[float]) -> float:
        """The harmonic mean of precision and recall, in percent; NaN where no name has a sub-token."""
        hits, surplus, missed = sums
        # 2PR / (P + R), with P = hits / (hits + surplus) and R = hits / (hits + missed).
        return 200 * hits / (2 * hits + surplus + missed) if hits + surplus + missed else float("nan")


def _counts(predicted: Sequence[str], wanted: Sequence[str]) -> tuple[int, int, int]:
    if "".join(predicted) == "".join(wanted):
        return len(wanted), 0, 0
    hits = sum(part in wanted for part in predicted)
    return hits, len(predicted) - hits, sum(part not in predicted for part in wanted)
