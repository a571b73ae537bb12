"""Goodput: where the wall time of a run went, over all the processes that worked on it.

Goodput is the share of the time that went into steps which the run kept; the rest is itemised. Time in which no process
ran (a queue, a weekend) is not counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

# What time is booked under. ``steps``: those that the run kept; ``start``: before the first of them (tokens, planning,
# initial parameters); ``restore``: reading a checkpoint; ``compile``: a process's first step, with its compilation;
# ``data``: a batch that came after the devices had run out of work; ``checkpoint``: training stood still for a save;
# ``evaluation``: dev pairs measured and decoded, and hooks of the user's; ``lost``: what a process did after the
# checkpoint that the next one resumed from, as far as it had been logged.
PARTS = ("steps", "start", "restore", "compile", "data", "checkpoint", "evaluation", "lost")


class GoodputTimer:
    """Adds up seconds by part. ``mark`` says what the time since the mark before was for."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now, self._last = now, now()
        self.this_process, self._previous, self._step = (dict.fromkeys(PARTS, 0.0) for _ in range(3))

    def mark(self, part: str) -> None:
        """All time since the last mark was for ``part``."""
        now = self._now()
        for sums in (self.this_process, self._step):
            sums[part] += now - self._last
        self._last = now

    def take_step(self) -> dict[str, float]:
        """Seconds by part since the last call."""
        step, self._step = self._step, dict.fromkeys(PARTS, 0.0)
        return step

    def add_previous(self, kept: Mapping[str, float], reached: Mapping[str, float]) -> None:
        """Counts the processes before this one.

        Args:
          kept: their totals at the checkpoint that this process resumes from; empty where there is none.
          reached: their totals when they ended; the difference is lost.
        """
        self._previous = {part: kept.get(part, 0.0) for part in PARTS}
        self._previous["lost"] += max(0.0, _sum(reached) - _sum(kept))

    @property
    def totals(self) -> dict[str, float]:
        """Seconds by part, of this process and of those before it."""
        return {part: self._previous[part] + self.this_process[part] for part in PARTS}

    @property
    def goodput(self) -> float:
        """Share of the time that went into steps, from 0 to 1."""
        totals = self.totals
        return totals["steps"] / (_sum(totals) or 1.0)

    def values(self) -> dict[str, float]:
        """Seconds by part, and the goodput, as they are logged."""
        return {**self.totals, "goodput": self.goodput}

    def describe(self) -> str:
        """The goodput in words, with every other part above a hundredth of the time."""
        totals = self.totals
        whole = _sum(totals) or 1.0
        rest = sorted(((totals[part] / whole, part) for part in PARTS[1:]), reverse=True)
        parts = ", ".join(f"{part} {share:.1%}" for share, part in rest if share >= 0.01)
        return f"goodput {self.goodput:.1%} of {whole:,.0f} s{'; ' + parts if parts else ''}"


def _sum(parts: Mapping[str, float]) -> float:
    return sum(parts.get(part, 0.0) for part in PARTS)
