"""A profile of some steps, for TensorBoard's profile page and XProf."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from t2c_jax import console
from t2c_jax.train.hooks import Hook, LoopState, Rank


class Profile(Hook):
    """Traces the steps of a range."""

    rank = Rank.TELEMETRY
    fetches_metrics = False

    def __init__(self, steps: range, directory: Path) -> None:
        """``directory`` is TensorBoard's; the trace goes to plugins/profile in it."""
        self._steps, self._directory = steps, directory
        self._running = False

    def start(self, run: LoopState, stored: Mapping[str, Any]) -> None:
        """The first step of this process may be the first one to trace."""
        self._begin(run.step + 1)

    def __call__(self, run: LoopState) -> None:
        """After a step was given to the devices: ends the trace once it is finished, or begins before the next one."""
        if self._running and run.step + 1 not in self._steps:
            jax.block_until_ready(run.state["step"])
            self.close()
        self._begin(run.step + 1)

    def _begin(self, step: int) -> None:
        if step in self._steps and not self._running:
            jax.profiler.start_trace(self._directory)
            self._running = True

    def close(self) -> None:
        """Ends the trace."""
        if self._running:
            self._running = False
            jax.profiler.stop_trace()
            console.say(f"profile: {self._directory / 'plugins' / 'profile'}; open it with tensorboard or xprof")
