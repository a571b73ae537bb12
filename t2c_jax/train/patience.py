"""When a run that gets no better stops (config.train.patience)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


class Patience:
    """Counts measurements since the best one; what a checkpoint keeps of it makes a resumed run stop where it would."""

    def __init__(self, limit: int, by: str, stored: Mapping[str, Any]) -> None:
        """Goes on from what ``stored`` gave, unless that was of another metric.

        Args:
          limit: measurements without a new best after which it is out; 0 for never.
          by: the metric.
          stored: of the checkpoint to go on from.
        """
        self._limit, self._by = limit, by
        same = stored.get("by") == by
        self._best: float = stored["best"] if same else math.inf
        self._since: int = stored["since"] if same else 0

    def add(self, cost: float) -> bool:
        """Whether a measurement is the best so far; less is better, and an equal one is no new best."""
        best_yet = cost < self._best
        self._since = 0 if best_yet else self._since + 1
        self._best = min(self._best, cost)
        return best_yet

    @property
    def out(self) -> bool:
        """Whether the run should stop."""
        return 0 < self._limit <= self._since

    def stored(self) -> dict[str, Any]:
        """JSON values; empty before the first measurement."""
        return {} if math.isinf(self._best) else {"by": self._by, "best": self._best, "since": self._since}
