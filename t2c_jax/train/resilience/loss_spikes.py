"""Steps that went wrong: a loss or gradients that are not finite, and a loss that jumps out of its course.

config.train.on_nonfinite and on_spike say what becomes of such a step. ``stop`` ends the run. ``skip`` leaves the state
as it was but for the step number; the compiled step decides that by itself, so that nobody waits. ``rollback`` goes
back to a checkpoint from before and leaves out the batches from there up to the offending one (Chowdhery et al. 2022,
section 5.1). The step's line is in the metrics and its batch is kept; config.train.most_anomalies bounds how many.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from t2c_jax import console, runtime
from t2c_jax.checkpoints.storage_errors import storage_errors
from t2c_jax.config import TrainConfig
from t2c_jax.data.pipeline import Batches
from t2c_jax.errors import UserError
from t2c_jax.workdir import disk_errors, move_aside, write_json

WINDOW = 128  # losses that a spike is judged by
SPAN = 1000  # steps within which config.train.most_anomalies are borne
FILE = "skips.json"
ROLLED_BACK = "rolled_back"

Values = Mapping[str, float]


@dataclass(frozen=True)
class Skip:
    """Batches that a rollback left out.

    Attributes:
      after: the step of the checkpoint that the run went back to.
      batches: how many are left out behind it.
      at: the step that went wrong.
      values: its numbers; None for one that is not finite.
    """

    after: int
    batches: int
    at: int
    values: Mapping[str, float | None]

    def record(self) -> dict[str, float]:
        """For the metrics, at step ``after``."""
        values = {name: math.nan if value is None else value for name, value in self.values.items()}
        return {"at": float(self.at), "batches": float(self.batches), **values}


class Skips:
    """Which batch each step takes, given what rollbacks left out: a pure function of the step and this list.

    It lies beside the checkpoints, and is on disk before the first step that follows it.
    """

    def __init__(self, directory: Path) -> None:
        """Reads ``directory/skips.json`` where there is one.

        Raises:
          UserError: it is damaged.
        """
        self._path = directory / FILE
        self.found: list[Skip] = []
        try:
            with storage_errors(self._path):
                text = self._path.read_text("utf-8")
            self.found = [Skip(**item) for item in json.loads(text)]
        except FileNotFoundError:
            pass
        except (ValueError, TypeError):
            raise UserError(
                f"'{self._path}' is damaged, and without it no step knows its batch; restore it, or delete"
                f" '{directory}' to start anew"
            ) from None

    def batch(self, step: int) -> int:
        """The number, from 0, of the batch that a step, from 1, takes."""
        return step - 1 + sum(skip.batches for skip in self.found if skip.after < step)

    def ranges(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """First batch, and the one behind the last, of each unbroken part of steps ``start + 1`` to ``stop``."""
        cuts = sorted({start, stop, *(skip.after for skip in self.found if start < skip.after < stop)})
        for first, last in itertools.pairwise(cuts):
            yield self.batch(first + 1), self.batch(last) + 1

    def add(self, skip: Skip) -> None:
        """Appends one, on disk once this returns."""
        self.found.append(skip)
        with storage_errors(self._path):
            write_json(self._path, [asdict(item) for item in self.found])


class RollBack(Exception):
    """Ends an attempt at training; ``train`` goes back and tries again."""

    def __init__(self, step: int, what: str, values: Values) -> None:
        super().__init__(step, what)
        self.step, self.what, self.values = step, what, dict(values)


class Guard:
    """Looks at each step's numbers as they arrive, and knows how high the next loss may be.

    The limit at step k is the mean of the last 128 losses up to step k - 2, and so many standard deviations: the loss
    of step k - 1 is not on the host when step k starts. So it does not matter where a run was stopped.
    """

    def __init__(self, config: TrainConfig, stored: Mapping[str, Any], skips: Skips) -> None:
        """Goes on from what ``stored`` gave, empty at the start of a run."""
        self._config, self._skips = config, skips
        self._losses: list[tuple[int, float]] = [(step, loss) for step, loss in stored.get("losses", ())]
        self._skipped: list[int] = list(stored.get("skipped", ()))

    def stored(self) -> dict[str, Any]:
        """JSON values; empty where nothing is watched."""
        return {name: value for name, value in (("losses", self._losses), ("skipped", self._skipped)) if value}

    def bound(self, step: int) -> float:
        """The loss above which a step's is a spike; infinite for as long as there are few to compare with."""
        losses = [loss for before, loss in self._losses if before <= step - 2][-WINDOW:]
        if self._config.on_spike == "ignore" or len(losses) < WINDOW // 2:
            return math.inf
        return float(np.mean(losses) + self._config.spike_deviations * np.std(losses))

    def limit(self, step: int) -> np.float32 | None:
        """What the compiled step is to compare its loss with, in float32; None where it is to compare nothing."""
        return np.float32(self.bound(step)) if self._config.on_spike == "skip" else None

    def passes(
        self, step: int, values: dict[str, float], tell: Callable[[str, Values], None], keep: Callable[[str], str]
    ) -> bool:
        """Whether the step is one to count; told and kept where it is not.

        Args:
          step: the one that the values are of.
          values: its metrics; loses what is said here of the update's being skipped.
          tell: writes a record of a kind to the metrics.
          keep: writes its batch under a name, and returns where to.

        Raises:
          UserError: the run is to stop here.
          RollBack: it is to go back.
        """
        loss, bound = values["loss"] / max(values["denominator"], 1.0), self.bound(step)
        finite = all(math.isfinite(values[name]) for name in ("loss", "gradient_norm", "update_norm"))
        skipped = bool(values.pop("skipped", 0.0))
        counts = all(math.isfinite(values[name]) for name in ("loss", "gradient_norm"))
        # Where the compiled step compares, what it found is what holds: it rounds in its own way.
        spike = counts and (skipped if self._config.on_spike == "skip" else loss > bound)
        if finite and not spike and not skipped:
            if self._config.on_spike != "ignore":
                self._losses = [*self._losses[-WINDOW:], (step, loss)]  # one more: the last may not count yet
            return True
        choice = self._config.on_spike if spike else self._config.on_nonfinite
        what = (
            f"the loss of step {step} is {loss:.4g}, above {bound:.4g}"
            if spike
            else f"the loss of step {step} is {loss}, its gradient norm {values['gradient_norm']}, its update norm"
            f" {values['update_norm']}"
        )
        shown = {"loss": loss, **{name: values[name] for name in ("gradient_norm", "update_norm")}}
        if math.isfinite(bound):
            shown["limit"] = bound
        kind = "spike" if spike else "nonfinite"
        what += f"; its batch is in '{keep(kind)}'"
        if choice == "rollback":
            self._count(step, [skip.at for skip in self._skips.found], what)
            raise RollBack(step, what, shown)
        tell(kind, shown)
        if choice == "stop" or not skipped:  # an update that is not finite, of gradients that are, was taken
            raise UserError(f"{what}, and the last checkpoint is from before: {_ADVICE}")
        self._count(step, self._skipped, what)
        self._skipped = [*(before for before in self._skipped if before > step - SPAN), step]
        console.warn(f"{what}; the step is skipped")
        return False

    def _count(self, step: int, before: list[int], what: str) -> None:
        if sum(step - SPAN < other for other in before) >= self._config.most_anomalies:
            raise UserError(
                f"{what}, after config.train.most_anomalies={self._config.most_anomalies} others in {SPAN:,} steps:"
                f" {_ADVICE}"
            )


_ADVICE = "lower config.optimizer.learning_rate or raise warmup_steps, and run the same command again"


def target(steps: list[int], at: int, distance: int) -> int:
    """The step to go back to: the latest checkpoint ``distance`` steps before, else the oldest; 0 for the start.

    A spike is made in the steps before it, so that the checkpoint just before may hold its cause.
    """
    earlier = [step for step in steps if step < at]
    far = [step for step in earlier if step <= at - distance]
    return max(far) if far else min(earlier, default=0)


def roll_back(wish: RollBack, directory: Path, config: TrainConfig, skips: Skips) -> None:
    """Takes the checkpoints after the one to go back to out of the way, and leaves out the batches up to the step's.

    Args:
      wish: says which step went wrong.
      directory: of the checkpoints, nobody writing there.
      config: says how far to go back.
      skips: gets one more.
    """
    steps = sorted((int(path.name) for path in directory.iterdir() if path.name.isdecimal()), reverse=True)
    after = target(steps, wish.step, config.rollback_steps)
    values = {name: value if math.isfinite(value) else None for name, value in wish.values.items()}
    skip = Skip(after, skips.batch(wish.step) - skips.batch(after + 1) + 1, wish.step, values)
    runtime.barrier("rollback")
    if runtime.is_primary():
        # The list last: killed before, the run comes to the same step again, and killed after, it is past it.
        with storage_errors(directory):
            for step in itertools.takewhile(lambda step: step > after, steps):
                move_aside(directory / str(step), directory / ROLLED_BACK)
            skips.add(skip)
    else:
        skips.found.append(skip)
    runtime.barrier("rolled back")
    console.warn(f"{wish.what}; going back to step {after} and leaving out {skip.batches:,} batches")


def keep_batch(batches: Batches, number: int, directory: Path, step: int, kind: str) -> str:
    """Writes the batch of a step that went wrong, with the ids of its pairs, for a look; returns where to."""
    part = "" if jax.process_count() == 1 else f".process_{jax.process_index()}"
    path = directory / f"{kind}_step_{step}{part}.npz"
    arrays: dict[str, Any] = {"pair_ids": np.array(batches.pair_ids(number)), **batches.batch(number)}
    with disk_errors(path):
        np.savez(path, **arrays)
    return str(path)
