"""Whether a paired difference is more than chance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import binomtest

ALPHA = 0.05
"""A difference is clear where its p-value is below this."""


def sign_test(wins: int, losses: int) -> float:
    """The p-value of the exact two-sided sign test; for right-or-wrong answers that is McNemar's exact test.

    Args:
      wins: examples on which the one system is better.
      losses: examples on which the other one is. Ties say nothing about which is better.
    """
    return float(binomtest(wins, wins + losses, 0.5).pvalue) if wins + losses else 1.0


def bootstrap_test(differences: np.ndarray, observed: float, differing: int) -> float:
    """The p-value of the two-sided paired bootstrap test (Koehn 2004, centred as in Riezler & Maxwell 2005).

    It is how often a resampled difference lies as far from the observed one as the observed one lies from zero. Of few
    examples a bootstrap is too sure, so the p-value is never below that of the exact test in which all ``differing``
    examples agree.

    Args:
      differences: between the two systems' scores, one a resample.
      observed: the difference on the examples themselves.
      differing: examples on which the two systems' statistics differ.
    """
    known = differences[~np.isnan(differences)]
    extreme = np.count_nonzero(np.abs(known - observed) >= abs(observed))
    return min(1.0, max((1 + extreme) / (1 + len(known)), 2.0 ** (1 - differing)))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for how many there are (Holm 1979), in their order."""
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected
