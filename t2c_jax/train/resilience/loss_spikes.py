"""Loss-spike guard: steps whose loss or gradients are not finite, and losses far above those before them.

It follows OLMo-core's SkipStepOptimizer (128 losses, 6 standard deviations). config.train.on_nonfinite and on_spike say
what happens to such a step. ``stop`` ends the run. ``skip`` leaves the state as it was but for the step number; the
compiled step decides that by itself, so that the host need not wait. ``rollback`` returns to an earlier checkpoint and
skips the batches from there up to the offending one (Chowdhery et al. 2022, section 5.1). The step is logged and its
batch is written to a file; config.train.max_skips bounds how many such steps a run may have.
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
from t2c_jax.train.hooks import Hook, LoopState, Metrics, Rank
from t2c_jax.workdir import disk_errors, move_aside, write_json

WINDOW = 128  # losses that a spike is compared with
SPAN = 1000  # steps within which config.train.max_skips are allowed
FILE = "skips.json"
ROLLED_BACK = "rolled_back"
_ADVICE = "lower config.optimizer.learning_rate or raise warmup_steps, and run the same command again"


@dataclass(frozen=True)
class Skip:
    """Batches that a rollback skipped.

    Attributes:
      after: the step of the checkpoint that the run returned to.
      batches: how many batches are skipped after it.
      at: the offending step.
      values: its metrics; None for one that is not finite.
    """

    after: int
    batches: int
    at: int
    values: Mapping[str, float | None]

    def record(self) -> dict[str, float]:
        """For the metrics, at step ``after``."""
        values = {name: math.nan if value is None else value for name, value in self.values.items()}
        return {"at": float(self.at), "batches": float(self.batches), **values}


class SkippedBatches:
    """Which batch each step takes, given what rollbacks skipped: a pure function of the step and this list.

    The list is a file beside the checkpoints, written before the first step that depends on it.
    """

    def __init__(self, directory: Path) -> None:
        """Reads ``directory/skips.json`` where there is one.

        Raises:
          UserError: it is damaged.
        """
        self._path = directory / FILE
        self.skips: list[Skip] = []
        try:
            with storage_errors(self._path):
                text = self._path.read_text("utf-8")
            self.skips = [Skip(**item) for item in json.loads(text)]
        except FileNotFoundError:
            pass
        except (ValueError, TypeError):
            raise UserError(
                f"'{self._path}' is damaged; without it the batches of the next steps are unknown: restore it, or"
                f" delete '{directory}' to start from scratch"
            ) from None

    def batch(self, step: int) -> int:
        """The number, from 0, of the batch that a step, from 1, takes."""
        return step - 1 + sum(skip.batches for skip in self.skips if skip.after < step)

    def ranges(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """The batches of steps ``start + 1`` to ``stop``, as contiguous ranges: the first, and one past the last."""
        cuts = sorted({start, stop, *(skip.after for skip in self.skips if start < skip.after < stop)})
        for first, last in itertools.pairwise(cuts):
            yield self.batch(first + 1), self.batch(last) + 1

    def add(self, skip: Skip) -> None:
        """Appends one; it is on disk when this returns."""
        self.skips.append(skip)
        with storage_errors(self._path):
            write_json(self._path, [asdict(item) for item in self.skips])


class RollbackRequest(Exception):
    """Ends an attempt at training; ``train`` rolls back and tries again."""

    def __init__(self, step: int, message: str, values: Mapping[str, float]) -> None:
        super().__init__(step, message)
        self.step, self.message, self.values = step, message, dict(values)


class LossSpikeGuard(Hook):
    """Checks each step's metrics when they arrive, and bounds the next step's loss.

    The bound of step k is the mean of the last 128 losses up to step k - 2, plus some standard deviations: the loss of
    step k - 1 is not on the host yet when step k starts. So an interrupted run has the same bounds.
    """

    rank = Rank.GUARD
    name = "loss_spikes"

    def __init__(self, config: TrainConfig, skipped_batches: SkippedBatches, batches: Batches | None = None) -> None:
        """Starts without losses.

        Args:
          config: says what happens to such steps.
          skipped_batches: of the run.
          batches: training batches, for the one that is written to a file.
        """
        self._config, self.skipped_batches, self._batches = config, skipped_batches, batches
        self._losses: list[tuple[int, float]] = []
        self._skipped: list[int] = []

    def is_due(self, run: LoopState) -> bool:
        """Never: it acts when metrics arrive."""
        return False

    def start(self, run: LoopState, stored: Mapping[str, Any]) -> None:
        """Continues, and logs the rollbacks before this step, unless they are in the metrics."""
        self.restore(stored)
        for skip in self.skipped_batches.skips:
            if skip.after <= run.step:
                run.writer.once(skip.after, ROLLED_BACK, skip.record())

    def restore(self, stored: Mapping[str, Any]) -> None:
        """Continues from ``stored``."""
        self._losses = [(step, loss) for step, loss in stored.get("losses", ())]
        self._skipped = list(stored.get("skipped", ()))

    def stored(self) -> dict[str, Any]:
        """JSON values; empty where there is nothing to compare with."""
        return {name: value for name, value in (("losses", self._losses), ("skipped", self._skipped)) if value}

    def bound(self, step: int) -> float:
        """The loss above which a step's is a spike; infinite while there are too few losses to compare with."""
        losses = [loss for before, loss in self._losses if before <= step - 2][-WINDOW:]
        if self._config.on_spike == "ignore" or len(losses) < WINDOW // 2:
            return math.inf
        return float(np.mean(losses) + self._config.spike_deviations * np.std(losses))

    def limit(self, step: int) -> np.float32 | None:
        """The bound as the compiled step takes it, float32; None where the step does not compare."""
        return np.float32(self.bound(step)) if self._config.on_spike == "skip" else None

    def on_metrics(self, run: LoopState, step: int, metrics: Metrics) -> None:
        """Checks a step.

        Raises:
          UserError: the run is to stop.
          RollbackRequest: it is to return to an earlier checkpoint.
        """

        def log(kind: str, values: Mapping[str, float]) -> None:
            run.writer.write(step, kind, values)

        def keep(kind: str) -> str:
            assert self._batches is not None
            return keep_batch(self._batches, self.skipped_batches.batch(step), run.workdir.path, step, kind)

        self.check(step, metrics, log, keep)

    def check(
        self,
        step: int,
        metrics: Mapping[str, float],
        log: Callable[[str, Mapping[str, float]], None],
        keep: Callable[[str], str],
    ) -> None:
        """``on_metrics``, given what writes a record of a kind, and what writes the batch and returns its path."""
        loss, bound = metrics["loss"] / max(metrics["denominator"], 1.0), self.bound(step)
        finite = all(math.isfinite(metrics[name]) for name in ("loss", "gradient_norm", "update_norm"))
        skipped = bool(metrics.get("skipped", 0.0))
        comparable = all(math.isfinite(metrics[name]) for name in ("loss", "gradient_norm"))
        # Where the compiled step compares, its result counts: it rounds in its own way.
        spike = comparable and (skipped if self._config.on_spike == "skip" else loss > bound)
        if finite and not spike and not skipped:
            if self._config.on_spike != "ignore":
                self._losses = [*self._losses[-WINDOW:], (step, loss)]  # one more: the next bound leaves the last out
            return
        choice = self._config.on_spike if spike else self._config.on_nonfinite
        message = (
            f"the loss of step {step} is {loss:.4g}, above {bound:.4g}"
            if spike
            else f"the loss of step {step} is {loss}, its gradient norm {metrics['gradient_norm']}, its update norm"
            f" {metrics['update_norm']}"
        )
        values = {"loss": loss, **{name: metrics[name] for name in ("gradient_norm", "update_norm")}}
        if math.isfinite(bound):
            values["limit"] = bound
        kind = "spike" if spike else "nonfinite"
        message += f"; its batch is in '{keep(kind)}'"
        if choice == "rollback":
            self._check_count(step, [skip.at for skip in self.skipped_batches.skips], message)
            raise RollbackRequest(step, message, values)
        log(kind, values)
        if choice == "stop" or not skipped:  # from finite gradients, an update that is not finite has been applied
            raise UserError(f"{message}, and the last checkpoint is older: {_ADVICE}")
        self._check_count(step, self._skipped, message)
        self._skipped = [*(before for before in self._skipped if before > step - SPAN), step]
        console.warn(f"{message}; the step is skipped")

    def _check_count(self, step: int, before: list[int], message: str) -> None:
        if sum(step - SPAN < other for other in before) >= self._config.max_skips:
            raise UserError(
                f"{message}, after config.train.max_skips={self._config.max_skips} others in {SPAN:,} steps: {_ADVICE}"
            )


def rollback_step(steps: list[int], at: int, distance: int) -> int:
    """The step to return to: of the latest checkpoint ``distance`` steps before or more, else of the oldest; else 0.

    A spike is caused by the steps before it, so that the latest checkpoint may hold its cause.
    """
    earlier = [step for step in steps if step < at]
    far = [step for step in earlier if step <= at - distance]
    return max(far) if far else min(earlier, default=0)


def roll_back(request: RollbackRequest, directory: Path, distance: int, skipped_batches: SkippedBatches) -> None:
    """Moves the checkpoints after the one to return to aside, and skips the batches up to the offending step's.

    Args:
      request: says which step that is.
      directory: of the checkpoints; nobody writes there now.
      distance: config.train.rollback_steps.
      skipped_batches: gets one more item.
    """
    steps = sorted((int(path.name) for path in directory.iterdir() if path.name.isdecimal()), reverse=True)
    after = rollback_step(steps, request.step, distance)
    values = {name: value if math.isfinite(value) else None for name, value in request.values.items()}
    count = skipped_batches.batch(request.step) - skipped_batches.batch(after + 1) + 1
    skip = Skip(after, count, request.step, values)
    runtime.barrier("rollback")
    if runtime.is_primary():
        # The list last: killed before, the run meets the same step again; killed after, it is past it.
        with storage_errors(directory):
            for step in itertools.takewhile(lambda step: step > after, steps):
                move_aside(directory / str(step), directory / ROLLED_BACK)
            skipped_batches.add(skip)
    else:
        skipped_batches.skips.append(skip)
    runtime.barrier("rolled back")
    console.warn(f"{request.message}; rolling back to step {after} and skipping {skip.batches:,} batches")


def keep_batch(batches: Batches, number: int, directory: Path, step: int, kind: str) -> str:
    """Writes a step's batch, with the ids of its pairs, to a file for a look at it; returns its path."""
    part = "" if jax.process_count() == 1 else f".process_{jax.process_index()}"
    path = directory / f"{kind}_step_{step}{part}.npz"
    arrays: dict[str, Any] = {"pair_ids": np.array(batches.pair_ids(number)), **batches.batch(number)}
    with disk_errors(path):
        np.savez(path, **arrays)
    return str(path)
