"""Where the wall time of a run goes, over all the processes that worked on it.

Goodput is the share of it that went into steps which the run kept; the rest is itemised. Time in which no process ran
(a queue, a weekend) is nobody's and not counted.
"""

from __future__ import annotations

import collections
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

# What a second can have been for. ``steps``: those that the run kept; ``start``: before the first of them (tokens,
# planning, initial parameters); ``restore``: a checkpoint read; ``compile``: a process's first step, with its
# compilation; ``data``: a batch that came after the devices had run out of work; ``checkpoint``: training stood still
# for a save; ``evaluation``: dev pairs measured and decoded; ``lost``: all that a process did after the checkpoint that
# the next one went on from, as far as it had been logged.
PARTS = ("steps", "start", "restore", "compile", "data", "checkpoint", "evaluation", "lost")


class Clock:
    """Adds up seconds by part. ``mark`` says what the time since the mark before was for."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now, self._last = now, now()
        self.here, self._before, self._lap = (dict.fromkeys(PARTS, 0.0) for _ in range(3))

    def mark(self, part: str) -> None:
        """Everything since the last mark was for ``part``."""
        now = self._now()
        for sums in (self.here, self._lap):
            sums[part] += now - self._last
        self._last = now

    def lap(self) -> dict[str, float]:
        """Seconds by part since the lap before."""
        lap, self._lap = self._lap, dict.fromkeys(PARTS, 0.0)
        return lap

    def go_on(self, kept: Mapping[str, float], reached: Mapping[str, float]) -> None:
        """Counts in the processes before this one.

        Args:
          kept: their totals at the checkpoint that this process goes on from; empty where there is none.
          reached: their totals when they ended; what lies between the two is lost.
        """
        self._before = {part: kept.get(part, 0.0) for part in PARTS}
        self._before["lost"] += max(0.0, _sum(reached) - _sum(kept))

    @property
    def totals(self) -> dict[str, float]:
        """Seconds by part, of this process (``here``) and of those before it."""
        return {part: self._before[part] + self.here[part] for part in PARTS}

    @property
    def goodput(self) -> float:
        """Share of the time that went into steps, from 0 to 1."""
        totals = self.totals
        return totals["steps"] / (_sum(totals) or 1.0)

    def values(self) -> dict[str, float]:
        """Seconds by part, and the goodput, as they are logged."""
        return {**self.totals, "goodput": self.goodput}

    def describe(self) -> str:
        """The goodput in words, with what took more than a hundredth of the time."""
        totals = self.totals
        whole = _sum(totals) or 1.0
        rest = sorted(((totals[part] / whole, part) for part in PARTS[1:]), reverse=True)
        told = ", ".join(f"{part} {share:.1%}" for share, part in rest if share >= 0.01)
        return f"goodput {self.goodput:.1%} of {whole:,.0f} s{'; ' + told if told else ''}"


def _sum(parts: Mapping[str, float]) -> float:
    return sum(parts.get(part, 0.0) for part in PARTS)


@dataclass(frozen=True)
class SlowStep:
    """A step that took far longer than its neighbours.

    Attributes:
      seconds: what it took.
      median: of the steps before it, seconds.
      parts: its seconds by what they were for.
    """

    seconds: float
    median: float
    parts: Mapping[str, float]

    def describe(self) -> str:
        """What it waited for, in words."""
        names = {"steps": "the devices", "data": "data", "checkpoint": "a checkpoint"}
        told = ", ".join(f"{self.parts[part]:.1f} s for {names[part]}" for part in names if self.parts[part] >= 0.05)
        return f"took {self.seconds:.1f} s, {self.seconds / self.median:.0f} x the median of those before: {told}"


class SlowSteps:
    """Tells the steps that took three times the median of the last hundred, and at least a second more."""

    def __init__(self, ratio: float = 3.0, excess: float = 1.0) -> None:
        self._ratio, self._excess = ratio, excess
        self._seconds: collections.deque[float] = collections.deque(maxlen=100)

    def add(self, lap: Mapping[str, float]) -> SlowStep | None:
        """One step's seconds by part; evaluation is no part of a step. None where it took what steps take.

        The first ten only tell what that is.
        """
        parts = {part: lap[part] for part in ("steps", "data", "checkpoint")}
        seconds = sum(parts.values())
        known, median = len(self._seconds) >= 10, statistics.median(self._seconds or [seconds])
        self._seconds.append(seconds)
        if known and seconds > self._ratio * median and seconds > median + self._excess:
            return SlowStep(seconds, max(median, 1e-9), parts)
        return None
