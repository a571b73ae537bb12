"""How far reviewers agree: Krippendorff's alpha, for any number of reviewers, some of whom judged only a part."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from t2c_jax.evaluate.comparison import bootstrap_sums

Level = Literal["nominal", "ordinal"]


def agreement(
    units: Sequence[Sequence[int]], values: Sequence[int], level: Level, samples: int, seed: int
) -> dict[str, Any]:
    """Krippendorff's alpha (2011, "Computing Krippendorff's Alpha-Reliability").

    Args:
      units: for each thing that was judged, what each of its reviewers said.
      values: all that may be said, in order.
      level: whether any two different values differ alike, or by their ranks.
      samples: bootstrap resamples of the units.
      seed: of the resamples.

    Returns:
      ``units``, those that two or more judged; ``alpha`` (1: all agree, 0: as chance has it), None where no unit was
      judged twice or all said the same; its 95 % ``interval``; and ``agreeing``, the share of pairs of judgements that
      are equal.
    """
    judged = [unit for unit in units if len(unit) > 1]
    if not judged:
        return {"level": level, "units": 0, "alpha": None, "interval": None, "agreeing": None}
    # Alpha is a function of sums over units, as metrics are of sums over examples.
    coincidences = np.array([_coincidences(unit, values) for unit in judged])
    resampled = bootstrap_sums(coincidences.reshape(len(judged), -1), samples, seed)
    spread = np.array([_alpha(sums.reshape(len(values), -1), level) for sums in resampled])
    known = spread[~np.isnan(spread)]
    total = coincidences.sum(axis=0)
    alpha = _alpha(total, level)
    defined = not np.isnan(alpha)
    return {
        "level": level,
        "units": len(judged),
        "alpha": round(float(alpha), 4) if defined else None,
        "interval": [round(float(edge), 4) for edge in np.quantile(known, [0.025, 0.975])] if defined else None,
        "agreeing": round(float(np.trace(total) / total.sum()), 4),
    }


def _coincidences(unit: Sequence[int], values: Sequence[int]) -> np.ndarray:
    """How often two reviewers of the unit said one value and another: ``(values, values)``."""
    counts = np.zeros((len(values), len(values)))
    for one, other in itertools.permutations(unit, 2):
        counts[values.index(one), values.index(other)] += 1 / (len(unit) - 1)
    return counts


def _alpha(coincidences: np.ndarray, level: Level) -> float:
    totals = coincidences.sum(axis=0)
    count = totals.sum()
    distance = _distances(totals, level)
    expected = (np.outer(totals, totals) * distance).sum() / (count - 1)
    return 1 - float((coincidences * distance).sum() / expected) if expected else float("nan")


def _distances(totals: np.ndarray, level: Level) -> np.ndarray:
    places = range(len(totals))
    if level == "nominal":
        return 1.0 - np.eye(len(totals))
    between = [[totals[min(c, k) : max(c, k) + 1].sum() - (totals[c] + totals[k]) / 2 for k in places] for c in places]
    return np.array(between) ** 2
