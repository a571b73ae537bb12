"""Hooks that report a run: logged metrics with goodput, and the progress bar."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from t2c_jax import console
from t2c_jax.train.hooks import Hook, LoopState, Metrics, Rank


class Logging(Hook):
    """Logs the means of the metrics since the last line, and the goodput."""

    rank = Rank.METRICS
    name = "metrics"

    def __init__(self, every: int) -> None:
        self.every = every

    def start(self, run: LoopState, stored: Mapping[str, Any]) -> None:
        """Continues the means, and the goodput of the processes before this one."""
        self._means = run.means
        self._means.pending = list(stored.get("pending", ()))
        run.timer.add_previous(run.writer.kept_time, run.writer.reached_time)

    def on_metrics(self, run: LoopState, step: int, metrics: Metrics) -> None:
        """Adds a step's sums."""
        run.means.add(metrics)

    def __call__(self, run: LoopState) -> None:
        """Logs a line."""
        if values := run.means.take():
            run.logged = values
            run.log("train", values)
            run.log("time", run.timer.values())

    def stored(self) -> dict[str, Any]:
        """Sums of the steps that no line covers yet."""
        return {"pending": self._means.pending}

    def finish(self, run: LoopState) -> None:
        """Logs the goodput of the whole run, and that it has ended, unless a signal interrupted it."""
        if run.step > run.start:
            run.log("time", run.timer.values())
            console.say(run.timer.describe())
        if run.stop_signal is None:
            run.log("end", {"out_of_patience": float(run.out_of_patience)})


class ProgressBar(Hook):
    """Steps done, rate and time left, with the loss that was logged last."""

    rank = Rank.TELEMETRY
    fetches_metrics = False

    def __init__(self) -> None:
        self._open = contextlib.ExitStack()

    def start(self, run: LoopState, stored: Mapping[str, Any]) -> None:
        """Shows it."""
        self._bar = self._open.enter_context(console.progress("train", run.steps, "steps", done=run.step))

    def __call__(self, run: LoopState) -> None:
        """After every step."""
        if run.logged:
            self._bar.note(f"loss {run.logged['loss']:.3f}  {run.logged['tokens_per_second']:,.0f} tokens/s")
        self._bar.advance()

    def close(self) -> None:
        """Ends it."""
        self._open.close()
