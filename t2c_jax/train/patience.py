"""Early stopping: ends a run after config.train.patience measurements without a new best."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from t2c_jax import console
from t2c_jax.checkpoints.checkpoint import LOSS
from t2c_jax.train.hooks import Hook, LoopState, Rank


class Patience(Hook):
    """Counts measurements since the best one. Its state is in the checkpoints: a resumed run stops at the same step."""

    rank = Rank.PATIENCE
    name = "patience"

    def __init__(self, limit: int, metric: str) -> None:
        """Starts without a measurement.

        Args:
          limit: measurements without a new best after which the run stops; 0 for never.
          metric: ``loss``, or the one that hooks of rank EVALUATION set as ``LoopState.ranking``.
        """
        self._limit, self._metric = limit, metric
        self._best, self._since = math.inf, 0

    def start(self, run: LoopState, stored: Mapping[str, Any]) -> None:
        """Continues; a run that had stopped does not train on."""
        self.restore(stored)
        self._stop(run)

    def is_due(self, run: LoopState) -> bool:
        """Where the held-out loss was measured."""
        return run.held_out_loss is not None

    def __call__(self, run: LoopState) -> None:
        """Saves a new best, where checkpoints are compared; stops the run when patience is out."""
        assert run.held_out_loss is not None
        new_best = self.add(run.held_out_loss if run.ranking is None else run.ranking.cost)
        if new_best and (self._limit > 0 or self._metric != LOSS):
            run.request_save()
        self._stop(run)
        if self.out and run.step < run.steps:
            console.say(
                f"step {run.step}: no better {self._metric} in {self._limit} measurements (config.train.patience);"
                " stopping"
            )

    def _stop(self, run: LoopState) -> None:
        if self.out:
            run.out_of_patience = True
            run.request_stop()

    def add(self, cost: float) -> bool:
        """Whether a measurement is the best so far; lower is better, and an equal one is no new best."""
        new_best = cost < self._best
        self._since = 0 if new_best else self._since + 1
        self._best = min(self._best, cost)
        return new_best

    @property
    def out(self) -> bool:
        """Whether the run should stop."""
        return 0 < self._limit <= self._since

    def restore(self, stored: Mapping[str, Any]) -> None:
        """Continues from ``stored``, unless that was of another metric."""
        if stored.get("metric") == self._metric:
            self._best, self._since = stored["best"], stored["since"]

    def stored(self) -> dict[str, Any]:
        """JSON values; empty before the first measurement."""
        return {} if math.isinf(self._best) else {"metric": self._metric, "best": self._best, "since": self._since}
