"""How well confidences agree with what was right: reliability, calibration error, and risk by coverage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from t2c_jax.corpus.pairs import Pair
    from t2c_jax.evaluate.metrics.metric import Metric

BINS = 10


def rightness(metric: Metric, pairs: Sequence[Pair], texts: Sequence[str]) -> np.ndarray:
    """How right each text answers its pair by a metric in percent: 0 to 1."""
    rows = metric.statistics(pairs, [[text] for text in texts])
    return np.nan_to_num([metric.score(row) for row in rows.tolist()]) / 100


def calibration(confidence: Sequence[float], right: Sequence[float]) -> dict[str, Any]:
    """What confidences are worth.

    Args:
      confidence: of each answer, 0 to 1.
      right: of each answer 1 if it is right and 0 if not, or a score from 0 to 1.

    Returns:
      ``expected_calibration_error`` (Guo et al. 2017, equation 3): the mean over answers of the distance between the
      mean confidence and the mean of ``right`` in an answer's bin, of ``bins`` bins of equal width; ``reliability``,
      those means of each bin that is not empty; ``risk_coverage``, for each share of the answers, most confident
      first, the mean of 1 - ``right`` over them (Geifman & El-Yaniv 2017), at each twentieth.
    """
    confidence_N, right_N = np.array(confidence, float), np.array(right, float)
    bin_N = np.minimum((confidence_N * BINS).astype(int), BINS - 1)
    reliability = [
        {
            "from": round(number / BINS, 4),
            "answers": int((bin_N == number).sum()),
            "confidence": round(float(confidence_N[bin_N == number].mean()), 4),
            "right": round(float(right_N[bin_N == number].mean()), 4),
        }
        for number in range(BINS)
        if (bin_N == number).any()
    ]
    error = sum(each["answers"] * abs(each["confidence"] - each["right"]) for each in reliability) / len(right_N)
    order = np.argsort(-confidence_N, kind="stable")
    risk_N = np.cumsum(1 - right_N[order]) / np.arange(1, len(right_N) + 1)
    counts = sorted({max(1, round(len(right_N) * share / 20)) for share in range(1, 21)})
    return {
        "expected_calibration_error": round(error, 4),
        "bins": BINS,
        "reliability": reliability,
        "risk_coverage": [
            {
                "coverage": round(count / len(right_N), 4),
                "confidence": round(float(confidence_N[order[count - 1]]), 4),
                "risk": round(float(risk_N[count - 1]), 4),
            }
            for count in counts
        ],
    }
