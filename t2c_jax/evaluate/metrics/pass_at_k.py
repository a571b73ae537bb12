"""pass@k: the chance that at least one of k samples passes its tests (Chen et al. 2021, section 2.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from t2c_jax.errors import UserError
from t2c_jax.evaluate.execution.judgement import ProblemOutcome
from t2c_jax.evaluate.metrics.executed import ExecutedMetric

if TYPE_CHECKING:
    from t2c_jax.corpus.pairs import Pair


def pass_at_k(samples: int, passed: int, k: int) -> float:
    """The unbiased estimate ``1 - C(n - c, k) / C(n, k)`` of one problem (Chen et al. 2021, equation 1).

    Args:
      samples: n, at least k.
      passed: c, how many of them pass.
      k: samples that one may try.
    """
    if not 0 < k <= samples:
        raise ValueError(f"pass@{k} of {samples} samples")
    if samples - passed < k:
        return 1.0
    return 1.0 - float(np.prod(1.0 - k / np.arange(samples - passed + 1, samples + 1)))


class PassAtK(ExecutedMetric):
    """Mean of ``pass_at_k`` over the problems that can be scored.

    All samples of a search count, also those that are equal or unfinished. A search without sampling has one. Of
    fewer than k answers, such as those of a retrieval baseline over a small corpus, all are tried.
    """

    every_sample = True

    def __init__(self, k: int) -> None:
        """``k`` samples may be tried."""
        self.candidates = k
        self.name = f"pass_at_{k}"
        self.title = self.phrase = f"pass@{k}"
        self.rule = f"pass@{k}, the estimator of Chen et al. 2021 over all samples; pairs without tests do not count"

    def check(self, samples: int) -> None:
        """There are at least k samples, and programs can be run here."""
        if samples < self.candidates:
            raise UserError(
                f"{self.name} needs {self.candidates} samples, and this search gives {samples}: set"
                f" config.decode.samples={self.candidates} with a temperature and without a reranker"
            )
        super().check(samples)

    def applies(self, pair: Pair) -> bool:
        """To pairs with tests or a doctest."""
        return pair.tests is not None and pair.tests.has_tests

    def estimate(self, trial: ProblemOutcome) -> float:
        """Of one problem, 0 to 1."""
        samples = len(trial.judgements)
        return pass_at_k(samples, trial.passed, min(self.candidates, samples))
