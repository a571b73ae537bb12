"""chrF, which compares characters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from sacrebleu.metrics.chrf import CHRF

from t2c_jax.evaluate.metrics.metric import Metric, best

if TYPE_CHECKING:
    from t2c_jax.corpus.pairs import Pair


class _CountingChrf(CHRF):
    """Opens sacrebleu's per-segment statistics, which its chrF scores do not carry."""

    def counts(self, prediction: str, reference: str) -> list[int]:
        return self._extract_corpus_statistics([prediction], [[reference]])[0]

    def of_counts(self, counts: list[int]) -> float:
        return self._compute_score_from_stats(counts).score


class ChrF(Metric):
    """chrF2 (Popovic 2015) as sacrebleu counts it: character 1- to 6-grams, white space left out."""

    name = "chrf"
    title = "chrF"
    phrase = "chrF"

    def __init__(self) -> None:
        self._chrf = _CountingChrf()
        self._chrf.corpus_score([""], [[""]])
        self.signature = f"sacrebleu {self._chrf.get_signature()}"

    def statistics(self, pairs: Sequence[Pair], candidates: Sequence[Sequence[str]]) -> np.ndarray:
        """Columns: for each order the n-grams of the prediction, of the reference, and in both."""
        rows = [
            self._chrf.counts(prediction, pair.code) for pair, prediction in zip(pairs, best(candidates), strict=True)
        ]
        return np.array(rows, float)

    def score(self, sums: Sequence[float]) -> float:
        """F-score with recall weighed twice."""
        return self._chrf.of_counts([round(value) for value in sums])
