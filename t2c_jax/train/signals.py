"""Ctrl-C and SIGTERM as a wish: the loop saves, and then it ends."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any

from t2c_jax import console

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """While entered, the first of the two signals is noted in ``requested``; a second Ctrl-C interrupts at once."""

    def __init__(self) -> None:
        self.requested: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.requested is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        if self.requested is None:
            console.say(f"{signal.Signals(number).name}: saving after this step; once more ends at once")
        self.requested = number
