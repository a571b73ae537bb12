"""Hooks: what happens between the steps of training, each as often as it says.

The train loop runs a step, then the hooks that are due, in the order of their ranks. Logging, the held-out loss,
patience, checkpoints and the rest are hooks; a program that trains through the library adds its own:

    class WorstLoss(Hook):
        every = 100

        def __call__(self, run: LoopState) -> None:
            run.log("probe", {"loss": probe(run.params)})

    train(experiment, workdir, hooks=[WorstLoss(), hook(lambda run: print(run.step), every=10)])
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from t2c_jax.checkpoints.checkpoint import Ranking
from t2c_jax.train.batch_loss import Batch
from t2c_jax.train.state import State
from t2c_jax.train.step import Compiled
from t2c_jax.train.telemetry.goodput import GoodputTimer
from t2c_jax.train.telemetry.running_means import RunningMeans
from t2c_jax.train.telemetry.writers import MetricsWriter
from t2c_jax.workdir import Workdir

Metrics = dict[str, float]


class Rank(enum.IntEnum):
    """The order of the hooks after a step; those of one rank run in the order in which they were given."""

    METRICS = 0
    GUARD = 1
    EVALUATION = 2
    PATIENCE = 3
    USER = 4
    SAVE = 5
    TELEMETRY = 6


class Hook:
    """Base class of hooks: override what is needed. All processes of a run call the same hooks at the same steps.

    Attributes:
      every: steps between two calls; 0 for a call after the last step alone.
      rank: when it runs among the hooks that are due after a step.
      name: under it checkpoints keep ``stored``; empty where there is nothing to keep.
      fetches_metrics: whether the step is finished, and all metrics are on the host, before the hook is called. The
        devices wait for the host meanwhile, so a hook that runs after every step should say False.
    """

    every: int = 1
    rank: Rank = Rank.USER
    name: str = ""
    fetches_metrics: bool = True

    def is_due(self, run: LoopState) -> bool:
        """Whether to call it after this step: every ``every`` steps, and after config.train.steps."""
        return run.step == run.steps or (self.every > 0 and run.step % self.every == 0)

    def start(self, run: LoopState, stored: Mapping[str, Any]) -> None:
        """Before the first step of this process.

        Args:
          run: at the checkpoint that training resumes from, or at step 0.
          stored: what ``stored`` returned when that checkpoint was saved; empty at step 0.
        """

    def on_metrics(self, run: LoopState, step: int, metrics: Metrics) -> None:
        """When a step's metrics arrive on the host, while the next step already runs on the devices.

        Args:
          run: its ``step`` may be past this one.
          step: the one that the metrics are of.
          metrics: sums over the batch, to be divided by ``weight`` or ``denominator`` (``batch_loss.loss_sums``), norms
            of gradients and update, and the learning rate; ``skipped`` is 1 for a step that changed nothing.
        """

    def __call__(self, run: LoopState) -> None:
        """After a step, where ``is_due``."""

    def stored(self) -> dict[str, Any]:
        """JSON values that a checkpoint keeps, so that a resumed run continues as an uninterrupted one."""
        return {}

    def finish(self, run: LoopState) -> None:
        """After the last step of this process, unless the run failed; in the reverse order of the ranks."""

    def close(self) -> None:
        """Always, also where the run failed."""


class FunctionHook(Hook):
    """A function as a hook."""

    def __init__(self, function: Callable[[LoopState], None], every: int) -> None:
        self._function, self.every = function, every

    def __call__(self, run: LoopState) -> None:
        """Calls the function."""
        self._function(run)


def hook(function: Callable[[LoopState], None], *, every: int) -> Hook:
    """Calls a function with the run's state every so many steps, and after the last one; 0 for the last one alone."""
    return FunctionHook(function, every)


@dataclass
class LoopState:
    """A run between two steps: what hooks read and change.

    Attributes:
      workdir: of the run.
      steps: config.train.steps.
      tasks: the names of the run's tasks.
      compiled: the run's functions.
      batches: the following ones, on the devices.
      hooks: all of them, in order.
      heartbeat: tells the watchdog that the process is alive.
      state: the train state after ``step``; the next step consumes its arrays.
      step: the last step that was given to the devices; ``start`` is the one that this process started from.
      dev_loss: the last held-out loss, in nats per target token; None before the first.
      held_out: what was measured on dev pairs after this step; empty where nothing was.
      ranking: what checkpoints are ranked by after this step, where it is not the held-out loss.
      logged: training metrics as they were logged last.
      save_requested: whether a checkpoint is to be saved after this step.
      stop_signal: the signal to stop for.
      out_of_patience: whether config.train.patience ends the run.
    """

    workdir: Workdir
    steps: int
    tasks: Sequence[str]
    compiled: Compiled
    batches: Iterator[Batch]
    hooks: Sequence[Hook]
    writer: MetricsWriter
    timer: GoodputTimer
    means: RunningMeans
    state: State
    step: int
    heartbeat: Callable[[], None]
    dev_loss: float | None = None
    held_out: Metrics = field(default_factory=dict)
    ranking: Ranking | None = None
    logged: Metrics = field(default_factory=dict)
    save_requested: bool = False
    stop_signal: int | None = None
    out_of_patience: bool = False
    _stop: bool = False
    _pending: tuple[int, dict[str, jax.Array]] | None = None
    _params: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        self.start = self.step

    @property
    def params(self) -> dict[str, Any]:
        """The model's parameters to evaluate after this step: averaged where the run does so, adapters merged in."""
        if self._params is None:
            self._params = self.compiled.evaluation_params(self.state)
        return self._params

    @property
    def held_out_loss(self) -> float | None:
        """Nats per target token on dev pairs, measured after this step; None where it was not."""
        return self.held_out.get("nll")

    @property
    def stopping(self) -> bool:
        """Whether no step follows."""
        return self.step >= self.steps or self.stop_signal is not None or self._stop

    def log(self, kind: str, values: Mapping[str, float]) -> None:
        """Writes a record of this step: to ``metrics.jsonl``, and to TensorBoard as ``kind/name``."""
        self.writer.write(self.step, kind, values)

    def request_save(self) -> None:
        """A checkpoint is saved after this step; for hooks of a rank below SAVE."""
        self.save_requested = True

    def request_stop(self) -> None:
        """This step is the last one; for hooks of a rank below SAVE, and alike on all processes."""
        self._stop = True

    def batch_arrived(self) -> None:
        """Books the time since the last mark: as waiting for data where the devices had run out of work."""
        idle = self._pending is not None and self._pending[1]["loss"].is_ready()  # type: ignore[attr-defined]
        first = self.step == self.start
        self.timer.mark("data" if idle else "start" if first else self.means.time_part)

    def advance(self, state: State, metrics: dict[str, jax.Array]) -> None:
        """Takes over a step that has been given to the devices, and fetches the metrics of the step before it."""
        if self.step == self.start:  # it was compiled before the call returned
            self.timer.mark("compile")
        before = self._pending
        self.state, self.step, self._pending = state, self.step + 1, (self.step + 1, metrics)
        self.held_out, self.ranking, self.save_requested, self._params = {}, None, False, None
        if before is not None:
            self._fetch(*before)

    def call_hooks(self) -> None:
        """Calls the hooks that are due after this step, in their order."""
        for one in self.hooks:
            if one.is_due(self):
                if one.fetches_metrics:
                    self.fetch_metrics()
                one(self)
                if one.rank is Rank.USER and one.fetches_metrics:
                    self.timer.mark("evaluation")
                self.heartbeat()

    def finish(self) -> None:
        """After the last step of this process."""
        for one in reversed(self.hooks):
            one.finish(self)

    def fetch_metrics(self) -> None:
        """Waits for this step, and gives its metrics to the hooks, unless that was done."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            self._fetch(*pending)

    def _fetch(self, step: int, metrics: Mapping[str, jax.Array]) -> None:
        values = flat_metrics(jax.device_get(metrics), self.tasks)
        self.means.step_finished()
        for one in self.hooks:
            one.on_metrics(self, step, values)


def flat_metrics(metrics: Mapping[str, Any], tasks: Sequence[str]) -> Metrics:
    """Metrics as floats, those by task under ``NAME/TASK``."""
    values: Metrics = {}
    for name, value in metrics.items():
        if np.ndim(value):
            values |= {f"{name}/{task}": float(one) for task, one in zip(tasks, value, strict=True)}
        else:
            values[name] = float(value)
    return values
