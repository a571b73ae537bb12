"""A signal to stop, whenever it comes."""

import io
import os
import signal
import sys

from t2c_jax import console
from t2c_jax.train.resilience.signals import StopRequest


class Interrupted(io.StringIO):
    """A file to which nothing is written twice at a time, as Python's own; a signal comes within the first write."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor, self._writes = descriptor, False

    def fileno(self) -> int:
        return self._descriptor

    def write(self, text: str) -> int:
        if self._writes:
            raise RuntimeError("reentrant call")
        self._writes = True
        if not self.getvalue():
            os.kill(os.getpid(), signal.SIGTERM)
            super().write(text)
        self._writes = False
        return len(text)


def test_a_signal_within_a_print_is_noted_and_said(monkeypatch):
    read, written = os.pipe()
    stream = Interrupted(written)
    monkeypatch.setattr(sys, "stderr", stream)
    with StopRequest() as request:
        console.say("train: 3/12")
    os.close(written)
    with os.fdopen(read, "rb") as said:
        assert said.read() == b"SIGTERM: saving a checkpoint after this step, then exiting; Ctrl-C exits at once\n"
    assert request.requested == signal.SIGTERM
    assert stream.getvalue() == "train: 3/12\n"
