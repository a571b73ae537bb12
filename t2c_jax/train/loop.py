"""Training, top to bottom: batches in, checkpoints and metrics out.

The devices never wait for this loop: a step's metrics are fetched while the next one runs, and a checkpoint is copied,
then written in the background. A checkpoint is saved before the next batch is taken, and batch k is a function of
(seed, k); so the step number in a checkpoint is the whole state of the data.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import jax

from t2c_jax import console, runtime
from t2c_jax.checkpoints.checkpoint import LOSS, Checkpoints
from t2c_jax.checkpoints.metadata import metadata
from t2c_jax.checkpoints.origin import Origin
from t2c_jax.config import Experiment
from t2c_jax.errors import UserError
from t2c_jax.models.definition import Definition
from t2c_jax.tokenizers.base import Tokenizer
from t2c_jax.tokenizers.loading import Tokenizers
from t2c_jax.train.batches import Data, open_data, prefetched
from t2c_jax.train.checkpointing import Checkpointing, Upload
from t2c_jax.train.held_out_loss import HeldOutLoss, measurable
from t2c_jax.train.hooks import Hook, LoopState, Rank
from t2c_jax.train.initial import initial_state
from t2c_jax.train.mesh_selection import make_mesh
from t2c_jax.train.patience import Patience
from t2c_jax.train.resilience.loss_spikes import LossSpikeGuard, RollbackRequest, SkippedBatches, roll_back
from t2c_jax.train.resilience.signals import StopOnSignal, StopRequest
from t2c_jax.train.resilience.watchdog import Watchdog
from t2c_jax.train.state import State, checkpoint_state
from t2c_jax.train.step import Compiled, Shapes
from t2c_jax.train.telemetry.flops import Utilisation, peak_flops
from t2c_jax.train.telemetry.goodput import GoodputTimer
from t2c_jax.train.telemetry.logging import Logging, ProgressBar
from t2c_jax.train.telemetry.running_means import RunningMeans
from t2c_jax.train.telemetry.slow_steps import SlowSteps
from t2c_jax.train.telemetry.writers import NoMetrics, open_metrics
from t2c_jax.workdir import Workdir


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
    mesh = make_mesh(experiment)
    tokenizers = Tokenizers.load(workdir.tokenizer, experiment.data.direction)
    data = open_data(experiment, workdir, tokenizers, mesh)
    if (config.patience or config.stop_metric != LOSS) and not measurable(experiment.data, data):
        raise UserError(
            "config.train.patience and stop_metric need dev pairs, and none fits a row; raise config.corpus.dev_share"
        )
    vocab_size = tokenizers.target.vocab_size
    # Adapters need their base at every start; without them only an initial state reads the origin.
    origin = Origin(experiment.origin) if experiment.lora.rank else None
    full = frozenset() if origin is None else origin.lacks(Definition(experiment.model, vocab_size))
    compiled = Compiled(experiment, vocab_size, mesh, full)
    identity = "" if origin is None else origin.identity
    expected = metadata(experiment.model, tokenizers.digest, experiment.lora, identity)
    skipped_batches = SkippedBatches(workdir.checkpoints)
    with StopRequest() as stop:
        while True:
            checkpoints = Checkpoints(workdir.checkpoints, expected, keep=config.keep, ranked_by=config.stop_metric)
            guard = LossSpikeGuard(config, skipped_batches, data.train)
            saves = Checkpointing(checkpoints, config.save_every)
            all_hooks = [
                StopOnSignal(stop, meet_every=config.log_every),
                Logging(config.log_every),
                guard,
                HeldOutLoss(data, config.eval_every, config.eval_batches),
                Patience(config.patience, config.stop_metric),
                Upload(saves),
                saves,
                SlowSteps(),
                ProgressBar(),
                *hooks,
            ]
            all_hooks.sort(key=lambda hook: hook.rank)
            try:
                return _run(
                    experiment, workdir, tokenizers.target, data, compiled, checkpoints, origin, guard, all_hooks, timer
                )
            except RollbackRequest as request:
                checkpoints.close()
                roll_back(request, workdir.checkpoints, config.rollback_steps, skipped_batches)
                timer = GoodputTimer()  # the time until here is in the metrics, as of an earlier process


def _run(
    experiment: Experiment,
    workdir: Workdir,
    tokenizer: Tokenizer,
    data: Data,
    compiled: Compiled,
    checkpoints: Checkpoints,
    origin: Origin | None,
    guard: LossSpikeGuard,
    hooks: Sequence[Hook],
    timer: GoodputTimer,
) -> TrainResult:
    """``train`` from the last checkpoint, until it ends or a step requests a rollback (RollbackRequest)."""
    config = experiment.train
    start, state = _restore(experiment, compiled, checkpoints, origin, tokenizer, timer)
    batches = (
        data.train.dataset(*part).as_numpy_iterator() for part in guard.skipped_batches.ranges(start, config.steps)
    )
    with contextlib.ExitStack() as stack:
        prefetch = stack.enter_context(
            contextlib.closing(prefetched(itertools.chain.from_iterable(batches), compiled.mesh))
        )
        writer = stack.enter_context(open_metrics(experiment, workdir, start) if runtime.is_primary() else NoMetrics())
        stacks = workdir.path / f"stacks.{jax.process_index()}.txt"
        watchdog = stack.enter_context(Watchdog(config.watchdog_seconds, stacks))
        means = RunningMeans(timer, utilisation(compiled, data.train.shapes(), experiment.data.batch_size))
        dev_loss = checkpoints.loss(start) if start else None
        run = LoopState(experiment, workdir, compiled, hooks, writer, timer, means, state, start, dev_loss=dev_loss)
        stored = checkpoints.notes(start) if start else {}
        for hook in hooks:
            stack.callback(hook.close)
            hook.start(run, stored.get(hook.name, {}))
        while not run.stopping:
            batch = next(prefetch)
            run.batch_arrived()
            with jax.profiler.StepTraceAnnotation("train", step_num=run.step + 1):
                state, metrics = compiled.train_step(run.state, batch, guard.limit(run.step + 1))
            run.advance(state, metrics)
            for hook in hooks:
                if hook.is_due(run):
                    if hook.fetches_metrics:
                        run.fetch_metrics()
                    hook(run)
                    if hook.rank is Rank.USER and hook.fetches_metrics:
                        timer.mark("evaluation")
                    watchdog.beat()
        for hook in reversed(hooks):
            hook.finish(run)
    return TrainResult(
        steps=run.step,
        parameters=compiled.parameters,
        trained=compiled.trained,
        tokens_per_second=means.tokens_per_second,
        seconds=means.seconds,
        dev_loss=run.dev_loss,
        stopped_by=run.stop_signal if run.step < config.steps else None,
        out_of_patience=run.out_of_patience and run.step < config.steps,
        goodput=timer.goodput,
    )


def _restore(
    experiment: Experiment,
    compiled: Compiled,
    checkpoints: Checkpoints,
    origin: Origin | None,
    tokenizer: Tokenizer,
    timer: GoodputTimer,
) -> tuple[int, State]:
    """The step to start from, and the state after it: of the last checkpoint, or initial."""
    abstract = compiled.abstract_state_on_mesh()
    timer.mark("start")
    restored = checkpoints.restore_latest(checkpoint_state(abstract))
    timer.mark("restore")
    start, state = restored or (0, initial_state(experiment, compiled, tokenizer, origin))
    if "params" not in state:
        assert origin is not None  # adapters have a base
        state["params"] = origin.base_params(abstract["params"], compiled.definition, experiment.lora)
    if origin is not None:
        origin.close()
    if start:
        console.say(f"resuming from the checkpoint of step {start}")
    console.say(f"training {compiled.trained:,} of {compiled.parameters:,} parameters")
    return start, state


def utilisation(compiled: Compiled, shapes: Shapes, batch_size: int) -> Utilisation | None:
    """Of the run's step; None on devices whose peak is not known.

    Args:
      compiled: the run's functions.
      shapes: shape and dtype of each array of this process's part of a batch.
      batch_size: rows of the global batch.
    """
    peak = peak_flops(list(compiled.mesh.devices.flat))
    if peak is None:
        return None
    (rows, *_), _ = next(iter(shapes.values()))  # processes that share a tensor axis hold the same rows
    return Utilisation(compiled.model_flops(shapes) * batch_size / rows, peak)
