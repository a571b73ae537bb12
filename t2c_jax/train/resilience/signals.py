"""Graceful shutdown: on SIGINT or SIGTERM, finish the step, save a checkpoint and exit.

SIGTERM is how clusters announce a preemption: Kubernetes and SLURM send it some time before SIGKILL, a Cloud TPU VM as
it shuts down. Of several processes perhaps only one gets it. JAX's coordination service then tells all of them, and
chooses a step that none has begun yet, without a message between steps.
"""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any

import jax
from jax.experimental import multihost_utils

from t2c_jax import console, runtime
from t2c_jax.train.hooks import Hook, LoopState, Rank


class StopRequest:
    """While entered, ``requested`` is the first of the two signals that came; a second SIGINT interrupts at once."""

    def __init__(self) -> None:
        self.requested: int | None = None
        self._before: dict[int, Any] = {}
        # The service has its own handler of SIGTERM, which one of ours would replace.
        self._service = jax.process_count() > 1 and jax.config.jax_enable_preemption_service  # type: ignore[attr-defined]

    def __enter__(self) -> StopRequest:
        signals = (signal.SIGINT,) if self._service else (signal.SIGINT, signal.SIGTERM)
        self._before = {number: signal.signal(number, self._note) for number in signals}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def agreed(self, step: int, *, meet: bool) -> int | None:
        """The signal to stop for after this step, the same on all processes; all of them call it after every step.

        Args:
          step: its number; Orbax asks the service about the same numbers when it saves.
          meet: whether processes may wait for each other here. A SIGINT that only one of them got waits for such a
            step.
        """
        if jax.process_count() == 1:
            return self.requested
        if self._service and multihost_utils.reached_preemption_sync_point(step):
            console.say("SIGTERM: saving a checkpoint after this step, then exiting")
            return signal.SIGTERM
        return (runtime.agreed(self.requested or 0) or None) if meet else None

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.requested is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        if self.requested is None:
            name = signal.Signals(number).name
            console.say_in_handler(f"{name}: saving a checkpoint after this step, then exiting; Ctrl-C exits at once")
        self.requested = number


class StopOnSignal(Hook):
    """Ends the run after a step where a signal asks for it."""

    rank = Rank.METRICS
    fetches_metrics = False

    def __init__(self, request: StopRequest, meet_every: int) -> None:
        """``meet_every``: steps after which processes may wait for each other."""
        self._request, self._meet_every = request, meet_every

    def __call__(self, run: LoopState) -> None:
        """After every step."""
        meet = run.step == run.steps or run.step % self._meet_every == 0
        run.stop_signal = self._request.agreed(run.step, meet=meet)
