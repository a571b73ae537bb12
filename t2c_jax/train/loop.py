"""Training, top to bottom: batches in, checkpoints and metrics out.

The devices never wait for this loop: a step's metrics are fetched while the next one runs, and a checkpoint is copied,
then written in the background. A checkpoint is saved before the next batch is taken, and batch k is a function of
(seed, k); so the step number in a checkpoint is the whole state of the data.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import jax

from t2c_jax.checkpoints.checkpoint import Checkpoints
from t2c_jax.config import Experiment
from t2c_jax.train.batches import prefetched
from t2c_jax.train.checkpointing import Checkpointing, Upload
from t2c_jax.train.held_out_loss import HeldOutLoss
from t2c_jax.train.hooks import Hook, LoopState
from t2c_jax.train.patience import Patience
from t2c_jax.train.resilience.loss_spikes import LossSpikeGuard, RollbackRequest, SkippedBatches, roll_back
from t2c_jax.train.resilience.signals import StopOnSignal, StopRequest
from t2c_jax.train.resilience.watchdog import Watchdog
from t2c_jax.train.setup import Setup, set_up, utilisation
from t2c_jax.train.telemetry.goodput import GoodputTimer
from t2c_jax.train.telemetry.logging import Logging, ProgressBar
from t2c_jax.train.telemetry.running_means import RunningMeans
from t2c_jax.train.telemetry.slow_steps import SlowSteps
from t2c_jax.workdir import Workdir


def train(experiment: Experiment, workdir: Workdir, hooks: Sequence[Hook] = ()) -> TrainResult:
    """Trains from the last checkpoint, or from the start, to config.train.steps, or until patience is out.

    Args:
      experiment: the run's config, checked.
      workdir: holds the tokens and the tokenizer; gets checkpoints and metrics.
      hooks: called between steps (``train.hooks``).

    Raises:
      UserError: the config does not fit the devices or the checkpoint; a loss that is not finite; a full disk.
    """
    config, timer = experiment.train, GoodputTimer()
    setup = set_up(experiment, workdir)
    skipped_batches = SkippedBatches(workdir.checkpoints)
    with StopRequest() as stop:
        while True:
            checkpoints = setup.open_checkpoints()
            guard = LossSpikeGuard(config, skipped_batches, setup.data.train)
            saves = Checkpointing(checkpoints, config.save_every)
            all_hooks = [
                StopOnSignal(stop, meet_every=config.log_every),
                Logging(config.log_every),
                guard,
                HeldOutLoss(setup.data, config.eval_every, config.eval_batches),
                Patience(config.patience, config.stop_metric),
                Upload(saves),
                saves,
                SlowSteps(),
                ProgressBar(),
                *hooks,
            ]
            all_hooks.sort(key=lambda hook: hook.rank)
            try:
                with started(setup, checkpoints, skipped_batches, all_hooks, timer) as run:
                    while not run.stopping:
                        batch = next(run.batches)
                        run.batch_arrived()
                        with jax.profiler.StepTraceAnnotation("train", step_num=run.step + 1):
                            state, metrics = setup.compiled.train_step(run.state, batch, guard.limit(run.step + 1))
                        run.advance(state, metrics)
                        run.call_hooks()
                    run.finish()
                return TrainResult.of(run)
            except RollbackRequest as request:
                del run, state  # a device may have no room for another state beside this one
                checkpoints.close()
                roll_back(request, workdir.checkpoints, config.rollback_steps, skipped_batches)
                timer = GoodputTimer()  # the time until here is in the metrics, as of an earlier process


@contextlib.contextmanager
def started(
    setup: Setup,
    checkpoints: Checkpoints,
    skipped_batches: SkippedBatches,
    hooks: Sequence[Hook],
    timer: GoodputTimer,
) -> Iterator[LoopState]:
    """A run at its last checkpoint, or at step 0, with its batches; what it opens is closed at the end."""
    config, data, compiled = setup.experiment.train, setup.data.train, setup.compiled
    start, state = setup.restore(checkpoints, timer)
    ranges = skipped_batches.ranges(start, config.steps)
    batches = itertools.chain.from_iterable(data.dataset(*part).as_numpy_iterator() for part in ranges)
    stacks = setup.workdir.path / f"stacks.{jax.process_index()}.txt"
    with contextlib.ExitStack() as stack:
        run = LoopState(
            workdir=setup.workdir,
            steps=config.steps,
            tasks=list(setup.experiment.data.tasks),
            compiled=compiled,
            batches=stack.enter_context(contextlib.closing(prefetched(batches, compiled.mesh))),
            hooks=hooks,
            writer=stack.enter_context(setup.open_metrics(start)),
            timer=timer,
            heartbeat=stack.enter_context(Watchdog(config.watchdog_seconds, stacks)).beat,
            means=RunningMeans(timer, utilisation(compiled, data.shapes(), setup.experiment.data.batch_size)),
            state=state,
            step=start,
            dev_loss=checkpoints.loss(start) if start else None,
        )
        del state  # the first step consumes it
        stored = checkpoints.notes(start) if start else {}
        for hook in hooks:
            stack.callback(hook.close)
            hook.start(run, stored.get(hook.name, {}))
        yield run


@dataclass(frozen=True)
class TrainResult:
    """The outcome of a run."""

    steps: int
    parameters: int
    trained: int  # of the parameters, those that are trained
    tokens_per_second: float  # source and target tokens without padding, over the steps of this process
    seconds: float
    dev_loss: float | None  # nats per target token, as measured last
    stopped_by: int | None  # the signal that stopped it before the last step
    out_of_patience: bool  # config.train.patience stopped it before the last step
    goodput: float  # share of the run's time, over all its processes, that went into steps

    @classmethod
    def of(cls, run: LoopState) -> TrainResult:
        """The outcome of a run that has finished."""
        return cls(
            steps=run.step,
            parameters=run.compiled.parameters,
            trained=run.compiled.trained,
            tokens_per_second=run.means.tokens_per_second,
            seconds=run.means.seconds,
            dev_loss=run.dev_loss,
            stopped_by=run.stop_signal if run.step < run.steps else None,
            out_of_patience=run.out_of_patience and run.step < run.steps,
            goodput=run.timer.goodput,
        )
