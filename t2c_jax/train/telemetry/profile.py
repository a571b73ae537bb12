"""A trace of some steps, as TensorBoard's profile page and XProf open it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import jax

from t2c_jax import console


class Profile:
    """Traces the steps it was given, and nothing else."""

    def __init__(self, steps: range, directory: Path) -> None:
        """``directory`` is TensorBoard's; the trace goes under plugins/profile there."""
        self._steps, self._directory = steps, directory
        self._running = False

    @contextlib.contextmanager
    def around(self, step: int) -> Iterator[None]:
        """Around a step's dispatch: begins the trace where the step is the first to be traced, and names it there."""
        if step in self._steps and not self._running:
            jax.profiler.start_trace(self._directory)
            self._running = True
        if not self._running:
            yield
            return
        with jax.profiler.StepTraceAnnotation("train", step_num=step):
            yield

    def after(self, step: int, results: Any) -> None:
        """After a step's dispatch: ends the trace behind the last of them, once its results are there."""
        if self._running and step + 1 not in self._steps:
            jax.block_until_ready(results)
            self._end()

    def __enter__(self) -> Profile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        if self._running:
            jax.profiler.stop_trace()
            self._running = False
            console.say(f"profile: {self._directory / 'plugins' / 'profile'}; look at it with tensorboard or xprof")
