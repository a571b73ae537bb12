"""Freed memory that malloc keeps between steps on a CPU goes back to the kernel now and then."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

from t2c_jax import runtime
from t2c_jax.train.hooks import Hook, LoopState, Rank

_AFTER = 3  # steps, each of which gives memory back, after a start or an evaluation, whose memory is of other sizes


class ReturnFreedMemory(Hook):
    """``runtime.return_freed_memory``: after the first steps, after an evaluation, and every few steps.

    A small block that outlives a step may lie where that step's temporaries were, so that the next step's need another
    place. Without this hook both places would stay in memory; with it only the one in use does. The next step pays for
    it by the pages that the kernel clears, so it is not done after each.
    """

    rank = Rank.TELEMETRY
    fetches_metrics = False

    def __init__(self, every: int) -> None:
        self.every = every

    def start(self, run: LoopState, stored: Mapping[str, Any]) -> None:
        """Counts from here."""
        self._last = run.step + _AFTER

    def is_due(self, run: LoopState) -> bool:
        """After the first steps, after an evaluation and the steps that follow it, and every few."""
        return run.step <= self._last or bool(run.held_out) or super().is_due(run)

    def __call__(self, run: LoopState) -> None:
        """Gives it back; of those first steps once they are done, so that the next one does not need another place."""
        if run.held_out:
            self._last = run.step + _AFTER
        if run.step <= self._last:
            jax.block_until_ready(run.state)
        runtime.return_freed_memory()
