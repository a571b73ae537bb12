"""Slow steps: steps that take far longer than those before them, each logged, and reported by the spell."""

from __future__ import annotations

import collections
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from t2c_jax import console
from t2c_jax.train.hooks import Hook, LoopState, Rank

_NAMES = {"steps": "the devices", "data": "data", "checkpoint": "a checkpoint"}


@dataclass(frozen=True)
class SlowStep:
    """A step that took far longer than those before it.

    Attributes:
      seconds: what it took.
      median: of the steps before it, seconds.
      parts: its seconds by part of the goodput timer.
    """

    seconds: float
    median: float
    parts: Mapping[str, float]

    def describe(self) -> str:
        """How long it took, and what it waited for."""
        waits = ", ".join(f"{self.parts[part]:.1f} s for {_NAMES[part]}" for part in _NAMES if self.parts[part] >= 0.05)
        return f"took {self.seconds:.1f} s, {self.seconds / self.median:.0f} x the median of the steps before: {waits}"


class SlowSteps(Hook):
    """Logs each step that took three times the median of the last hundred, and at least a second more.

    On a machine that is shared they come in spells. A message says when a spell begins, and another one when it has
    ended, with the number of slow steps: after ``quiet`` steps in a row that were not slow.
    """

    rank = Rank.TELEMETRY
    fetches_metrics = False

    def __init__(self, ratio: float = 3.0, excess: float = 1.0, quiet: int = 20) -> None:
        self._ratio, self._excess, self._quiet = ratio, excess, quiet
        self._seconds: collections.deque[float] = collections.deque(maxlen=100)
        self._spell: list[int] = []  # its slow steps
        self._worst = 0.0

    def __call__(self, run: LoopState) -> None:
        """After every step."""
        slow = self.add(run.timer.take_step())
        if slow is not None:
            run.log("slow_step", {"seconds": slow.seconds, "median": slow.median, **slow.parts})
        if (message := self.report(run.step, slow)) is not None:
            console.say(message)

    def finish(self, run: LoopState) -> None:
        """The run may end in a spell."""
        if (message := self._end()) is not None:
            console.say(message)

    def add(self, step: Mapping[str, float]) -> SlowStep | None:
        """One step's seconds by part; evaluation is no part of a step. None where it took what steps take.

        The first ten steps only show what that is.
        """
        parts = {part: step[part] for part in _NAMES}
        seconds = sum(parts.values())
        known, median = len(self._seconds) >= 10, statistics.median(self._seconds or [seconds])
        self._seconds.append(seconds)
        if known and seconds > self._ratio * median and seconds > median + self._excess:
            return SlowStep(seconds, max(median, 1e-9), parts)
        return None

    def report(self, step: int, slow: SlowStep | None) -> str | None:
        """The message after a step, where there is one."""
        if slow is None:
            return self._end() if self._spell and step >= self._spell[-1] + self._quiet else None
        self._spell.append(step)
        self._worst = max(self._worst, slow.seconds)
        if len(self._spell) > 1:
            return None
        return f"step {step} {slow.describe()}; further slow steps are counted"

    def _end(self) -> str | None:
        spell, worst = self._spell, self._worst
        self._spell, self._worst = [], 0.0
        if len(spell) < 2:
            return None
        return f"steps {spell[0]:,} to {spell[-1]:,}: {len(spell):,} slow steps, the slowest took {worst:.1f} s"
