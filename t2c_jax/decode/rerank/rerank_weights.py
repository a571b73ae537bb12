"""The weights of a reranker: an order of candidates, and how likely the first one is right.

Letters: C candidates of a prompt, F features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class RerankWeights:
    """Linear models over standardised features.

    Attributes:
      features: names, in the order of the columns.
      mean_F, deviation_F: by which features are standardised.
      rank_F: the candidate with the largest sum of weighted features is the answer.
      confidence_F, confidence_bias: a logistic model of the answer's own features (Platt 1999).
    """

    features: tuple[str, ...]
    mean_F: np.ndarray
    deviation_F: np.ndarray
    rank_F: np.ndarray
    confidence_F: np.ndarray
    confidence_bias: float

    def standardised(self, values_CF: np.ndarray) -> np.ndarray:
        """Features without a mean, in standard deviations."""
        return (values_CF - self.mean_F) / self.deviation_F

    def order(self, values_CF: np.ndarray) -> list[int]:
        """The candidates' numbers, best first; of equals the first one wins."""
        found: list[int] = np.argsort(-(self.standardised(values_CF) @ self.rank_F), kind="stable").tolist()
        return found

    def confidence(self, values_F: np.ndarray) -> float:
        """Of an answer with these features: 0 to 1."""
        logit = float(self.standardised(values_F) @ self.confidence_F) + self.confidence_bias
        return float(1 / (1 + np.exp(-np.clip(logit, -500, 500))))

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        columns = {
            "mean": self.mean_F,
            "deviation": self.deviation_F,
            "rank": self.rank_F,
            "confidence": self.confidence_F,
        }
        by_name = {
            feature: {name: float(values[number]) for name, values in columns.items()}
            for number, feature in enumerate(self.features)
        }
        return {"features": by_name, "confidence_bias": self.confidence_bias}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> RerankWeights:
        """The inverse of ``to_dict``."""
        by_name: Mapping[str, Mapping[str, float]] = stored["features"]

        def column(name: str) -> np.ndarray:
            return np.array([values[name] for values in by_name.values()])

        return cls(
            features=tuple(by_name),
            mean_F=column("mean"),
            deviation_F=column("deviation"),
            rank_F=column("rank"),
            confidence_F=column("confidence"),
            confidence_bias=float(stored["confidence_bias"]),
        )
