"""Which task each row of a mixture belongs to: a pure function of the row's number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_CYCLE = 1000  # rows after which the schedule repeats: shares are met to a thousandth


@dataclass(frozen=True)
class TaskSchedule:
    """Maps a global row number to (task, index of the row within that task).

    Tasks alternate in a cycle of fixed length, spread as evenly as their shares allow, so every batch has nearly the
    same number of rows of each, and a run resumes anywhere by one division.

    Attributes:
      cycle_R: the task of each row of a cycle.
    """

    cycle_R: np.ndarray

    @classmethod
    def of(cls, weights: np.ndarray) -> TaskSchedule:
        """Shares in proportion to ``weights``, to a thousandth. Every share above 0 has a row, and a share of 0 none.

        With weights 2 and 1 the cycle begins 0 1 0 0 1 0.
        """
        if len(weights) == 1:
            return cls(np.zeros(1, np.int64))
        shares = weights / weights.sum()
        counts = np.maximum(np.floor(shares * _CYCLE), shares > 0)
        behind = np.argsort(-(shares * _CYCLE - counts), kind="stable")
        for task in behind[: max(int(_CYCLE - counts.sum()), 0)]:
            counts[task] += 1
        # A task's k-th row of n lies at (k + 1/2) / n of the cycle, which spreads every task evenly.
        places = np.concatenate([(np.arange(n) + 0.5) / n for n in counts])
        tasks = np.repeat(np.arange(len(counts)), counts.astype(np.int64))
        return cls(tasks[np.argsort(places, kind="stable")])

    def task_of_rows(self, rows_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The task of each row, and the row's index within the task, both from 0."""
        size, tasks = len(self.cycle_R), int(self.cycle_R.max()) + 1
        cycles_N, places_N = rows_N // size, rows_N % size
        tasks_N = self.cycle_R[places_N]
        is_task_RK = self.cycle_R[:, None] == np.arange(tasks)
        before_RK = np.cumsum(is_task_RK, axis=0) - is_task_RK
        return tasks_N, cycles_N * is_task_RK.sum(0)[tasks_N] + before_RK[places_N, tasks_N]
