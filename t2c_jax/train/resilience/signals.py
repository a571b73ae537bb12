"""Ctrl-C and SIGTERM as a wish: the loop saves, and then it ends.

SIGTERM is how clusters announce a preemption: Kubernetes and SLURM send it some time before SIGKILL, a Cloud TPU VM as
it shuts down. Of several processes perhaps one alone gets it. JAX's coordination service passes it on and settles on a
step that none has begun yet, without a message between steps.
"""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any

import jax
from jax.experimental import multihost_utils

from t2c_jax import console, runtime


class StopRequest:
    """While entered, the first of the two signals is noted in ``requested``; a second Ctrl-C interrupts at once."""

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
        """The signal to stop for after this step, on all processes alike; call it once a step, on all of them.

        Args:
          step: its number, under which Orbax asks the service too, at saves.
          meet: whether processes may wait for each other here; a Ctrl-C that one of them got waits for such a step.
        """
        if jax.process_count() == 1:
            return self.requested
        if self._service and multihost_utils.reached_preemption_sync_point(step):
            console.say("SIGTERM: saving after this step")
            return signal.SIGTERM
        return (runtime.agreed(self.requested or 0) or None) if meet else None

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.requested is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        if self.requested is None:
            console.say(f"{signal.Signals(number).name}: saving after this step; once more ends at once")
        self.requested = number
