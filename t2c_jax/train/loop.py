"""Training, top to bottom: batches in, checkpoints and metrics out.

The device never waits for this loop. A step's metrics are fetched while the next one runs, and a checkpoint is copied
and then written in the background. A checkpoint is cut before the next batch is drawn, and batch k is a function of
(seed, k); so the step number in a checkpoint is the whole state of the data.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from t2c_jax import console, runtime
from t2c_jax import mesh as meshes
from t2c_jax.checkpoints.checkpoint import LOSS, Checkpoints, Ranking
from t2c_jax.checkpoints.metadata import metadata
from t2c_jax.checkpoints.origin import Origin
from t2c_jax.checkpoints.pytrees import shapes
from t2c_jax.config import Experiment
from t2c_jax.config.check import output_head
from t2c_jax.data.mixture import open_streams, task_shares
from t2c_jax.data.pipeline import Batches, task_keys
from t2c_jax.data.schedule import TaskSchedule
from t2c_jax.errors import UserError
from t2c_jax.models.definition import Definition
from t2c_jax.tokenizers.loading import Tokenizers
from t2c_jax.train import mesh_selection as placement
from t2c_jax.train.initial import initial_state
from t2c_jax.train.patience import Patience
from t2c_jax.train.resilience.loss_spikes import ROLLED_BACK, Guard, RollBack, Skips, keep_batch, roll_back
from t2c_jax.train.resilience.signals import StopRequest
from t2c_jax.train.resilience.watchdog import Watchdog
from t2c_jax.train.state import checkpoint_state
from t2c_jax.train.step import Compiled, Shapes
from t2c_jax.train.telemetry.flops import Utilisation, peak_flops
from t2c_jax.train.telemetry.goodput import Clock, SlowSteps
from t2c_jax.train.telemetry.profile import Profile
from t2c_jax.train.telemetry.running_means import Meter, means
from t2c_jax.train.telemetry.writers import NoMetrics, open_metrics
from t2c_jax.workdir import PER_PROCESS_FILES, RUN_FILES, Workdir


@dataclass(frozen=True)
class Decoded:
    """What given parameters answer to dev pairs.

    Attributes:
      samples: a few of them, each text, reference and prediction, for TensorBoard.
      score: config.train.stop_metric of them; None where that is the loss.
      lower_is_better: less of it is better.
      examples: how many were scored.
    """

    samples: Sequence[Mapping[str, str]]
    score: float | None = None
    lower_is_better: bool = False
    examples: int = 0


Decode = Callable[[Any], Decoded]


@dataclass(frozen=True)
class TrainResult:
    """What a run came to."""

    steps: int
    parameters: int
    trained: int  # of the parameters, those that move
    tokens_per_second: float  # source and target tokens, padding not counted, over the steps of this process
    seconds: float
    dev_loss: float | None  # nats per target token at the last measurement
    stopped_by: int | None  # the signal that asked for the end before the last step
    out_of_patience: bool  # config.train.patience ended it before the last step
    goodput: float  # share of the run's time, over all its processes, that went into steps


def train(
    experiment: Experiment, workdir: Workdir, decode: Decode | None = None, profile: range | None = None
) -> TrainResult:
    """Trains from the last checkpoint, or from the start, to ``config.train.steps``, or until patience is out.

    Args:
      experiment: the run's config, checked.
      workdir: holds the tokens and the tokenizer; gets checkpoints and metrics.
      decode: answers dev pairs with given parameters, where the config asks for samples or a score.
      profile: steps to trace for TensorBoard's profile page.

    Raises:
      UserError: the config does not fit the devices or the checkpoint; a loss that is not finite; a full disk.
    """
    config, clock = experiment.train, Clock()
    mesh = placement.make_mesh(experiment)
    tokenizers = Tokenizers.load(workdir.tokenizer, experiment.data.direction)
    data = open_data(experiment, workdir, tokenizers, mesh)
    if (config.patience or config.stop_metric != LOSS) and not measurable(experiment, data):
        raise UserError(
            "config.train.patience and stop_metric go by dev pairs, and there is none that fits a row; raise"
            " config.corpus.dev_share"
        )
    rows = tokenizers.target.vocab_size
    origin = Origin(experiment.origin) if experiment.lora.rank else None  # else no more than the first step needs it
    full: frozenset[str] = frozenset()
    if origin is not None:
        full = origin.lacks(shapes(Definition(experiment.model, rows).abstract_params()))
    compiled = Compiled(experiment, rows, mesh, full)
    base = "" if origin is None else origin.identity
    expected = metadata(experiment.model, tokenizers.digest, experiment.lora, base)
    skips = Skips(workdir.checkpoints)
    with StopRequest() as stop:
        while True:
            checkpoints = Checkpoints(workdir.checkpoints, expected, keep=config.keep, ranked_by=config.stop_metric)
            try:
                return _train(
                    experiment,
                    workdir,
                    decode,
                    profile,
                    clock,
                    tokenizers,
                    data,
                    compiled,
                    checkpoints,
                    skips,
                    stop,
                    origin,
                )
            except RollBack as wish:
                checkpoints.close()
                roll_back(wish, workdir.checkpoints, config, skips)
                clock = Clock()  # its time is in the metrics, as of a process before this one


def _train(
    experiment: Experiment,
    workdir: Workdir,
    decode: Decode | None,
    profile: range | None,
    clock: Clock,
    tokenizers: Tokenizers,
    data: Data,
    compiled: Compiled,
    checkpoints: Checkpoints,
    skips: Skips,
    stop: StopRequest,
    origin: Origin | None,
) -> TrainResult:
    """``train`` from the last checkpoint on, or until a step went so wrong that the run is to go back (RollBack)."""
    config, tasks, mesh = experiment.train, list(experiment.data.tasks), compiled.mesh
    abstract = compiled.abstract_state_on_mesh()
    clock.mark("start")
    restored = checkpoints.restore_latest(checkpoint_state(abstract))
    clock.mark("restore")
    start, state = restored or (0, initial_state(experiment, compiled, tokenizers.target, origin))
    if "params" not in state:
        assert origin is not None  # its adapters have a base
        state["params"] = origin.base_params(abstract["params"], experiment.lora)
    if origin is not None:
        origin.close()
    if start:
        console.say(f"going on from the checkpoint of step {start}")
    console.say(f"trained {compiled.trained:,} of {compiled.parameters:,} parameters")
    meter = Meter(
        clock,
        checkpoints.window(start) if start else (),
        utilisation(compiled, data.train.shapes(), experiment.data.batch_size),
    )
    dev_loss = checkpoints.loss(start) if start else None
    notes = checkpoints.notes(start) if start else {}
    patience = Patience(config.patience, config.stop_metric, notes.get("waited", {}))
    ranks = config.patience > 0 or config.stop_metric != LOSS  # which checkpoint is the best is what is asked for
    guard = Guard(config, notes.get("anomalies", {}), skips)
    stopped_by: int | None = None
    parts = (data.train.dataset(*part).as_numpy_iterator() for part in skips.ranges(start, config.steps))
    batches = prefetched(itertools.chain.from_iterable(parts), mesh)

    with (
        open_metrics(experiment, workdir, start) if runtime.is_primary() else NoMetrics() as writer,
        Watchdog(config.watchdog_seconds, workdir.path / f"stacks.{jax.process_index()}.txt") as watchdog,
        Profile(profile or range(0), workdir.tensorboard) as traced,
        console.progress("train", config.steps, "steps", done=start) as bar,
    ):
        clock.go_on(writer.kept_time, writer.reached_time)
        slow_steps = SlowSteps()
        for skip in skips.found:
            if skip.after <= start:
                writer.once(skip.after, ROLLED_BACK, skip.record())

        def arrive(step: int, metrics: Mapping[str, jax.Array]) -> None:
            values = flattened(jax.device_get(metrics), tasks)
            meter.arrived()
            keep = functools.partial(keep_batch, data.train, skips.batch(step), workdir.path, step)
            if guard.passes(step, values, functools.partial(writer.write, step), keep):
                meter.add(values)

        pending: tuple[int, dict[str, jax.Array]] | None = None
        for step in range(start + 1, start + 1 if patience.out else config.steps + 1):
            batch = next(batches)
            # Whether the devices had run out of work by then.
            idle = pending is not None and pending[1]["loss"].is_ready()  # type: ignore[attr-defined]
            clock.mark("data" if idle else "start" if step == start + 1 else meter.doing)
            with traced.around(step):
                state, metrics = compiled.train_step(state, batch, guard.limit(step))
            if step == start + 1:  # it compiled before it returned; fast devices are done with it by the next batch
                clock.mark("compile")
            if pending is not None:
                arrive(*pending)
            pending = (step, metrics)
            traced.after(step, metrics)

            logs = step % config.log_every == 0 or step == config.steps
            stopped_by = stop.agreed(step, meet=logs)
            last = step == config.steps or stopped_by is not None
            measures = step == config.steps or (config.eval_every and step % config.eval_every == 0)
            saves = step % config.save_every == 0 or last
            if logs or measures or saves:  # nothing reaches a checkpoint before its loss is known to be finite
                arrive(*pending)
                pending = None
            loss_here: float | None = None
            ranking: Ranking | None = None
            if logs and (values := meter.take()):
                writer.write(step, "train", values)
                writer.write(step, "time", clock.values())
                bar.note(f"loss {values['loss']:.3f}  {values['tokens_per_second']:,.0f} tokens/s")
            if measures:
                averaged = compiled.evaluation_params(state)
                held_out = measure_tasks(compiled, averaged, data, config.eval_batches)
                if held_out:
                    writer.write(step, "dev", held_out)
                if "nll" in held_out:
                    if not math.isfinite(held_out["nll"]):
                        raise UserError(
                            f"the held-out loss of step {step} is {held_out['nll']}; the last checkpoint is from"
                            " before: lower config.optimizer.learning_rate and run the same command again"
                        )
                    dev_loss = loss_here = held_out["nll"]
                    console.say(f"step {step}: dev loss {describe(held_out)}")
                watchdog.beat()
                decoded = Decoded(()) if decode is None else decode(averaged)
                writer.samples(step, decoded.samples)
                if decoded.score is not None:
                    name, score = config.stop_metric, decoded.score
                    writer.write(step, "dev_decoded", {name: score, "examples": float(decoded.examples)})
                    console.say(f"step {step}: {name} {score:.2f} on {decoded.examples:,} dev pairs")
                    ranking = Ranking(name, score if decoded.lower_is_better else -score)
                if loss_here is not None and patience.add(loss_here if ranking is None else ranking.cost):
                    saves |= ranks  # now: by the next save its state is gone
                clock.mark("evaluation")
            if saves or patience.out:
                workdir.check_held()
                workdir.push(RUN_FILES if runtime.is_primary() else PER_PROCESS_FILES)
                notes = {"waited": patience.stored(), "anomalies": guard.stored()}
                checkpoints.save(step, checkpoint_state(state), loss_here, meter.window, ranking=ranking, notes=notes)
                clock.mark("checkpoint")
            if (slow := slow_steps.add(clock.lap())) is not None:
                writer.write(step, "slow_step", {"seconds": slow.seconds, "median": slow.median, **slow.parts})
                console.say(f"step {step} {slow.describe()}")
            watchdog.beat()
            bar.advance()
            if patience.out and step < config.steps:
                console.say(f"step {step}: no better {config.stop_metric} in {config.patience} measurements; stopping")
            if patience.out or stopped_by is not None:
                break
        checkpoints.wait()
        checkpoints.close()
        workdir.wait_for_push()
        clock.mark("checkpoint")
        if int(state["step"]) > start:
            writer.write(step, "time", clock.values())
            console.say(clock.describe())
        if stopped_by is None:
            writer.write(int(state["step"]), "end", {"out_of_patience": float(patience.out)})
    return TrainResult(
        steps=int(state["step"]),
        parameters=compiled.parameters,
        trained=compiled.trained,
        tokens_per_second=meter.tokens_per_second,
        seconds=meter.seconds,
        dev_loss=dev_loss,
        stopped_by=stopped_by if int(state["step"]) < config.steps else None,
        out_of_patience=patience.out and int(state["step"]) < config.steps,
        goodput=clock.goodput,
    )


@dataclass(frozen=True)
class Data:
    """Batches by step: without end to train on, and by task one pass of the dev split to measure on.

    Attributes:
      train: of all tasks.
      dev: of each task; the one of a run without tasks is named by the empty string.
      shares: of the rows, by task; 0 for tasks that replay another corpus, whose dev loss chooses nothing.
    """

    train: Batches
    dev: Mapping[str, Batches]
    shares: Mapping[str, float]


def open_data(experiment: Experiment, workdir: Workdir, tokenizers: Tokenizers, mesh: jax.sharding.Mesh) -> Data:
    """The rows of the batches that this process's devices hold.

    Raises:
      UserError: the tokens were made by another tokenizer, or are missing or damaged.
    """
    data, tasks = experiment.data, experiment.data.tasks
    rows = meshes.local_rows(mesh, data.batch_size)
    train, dev = (
        open_streams(
            workdir,
            split,
            tokenizers,
            data,
            experiment.model,
            seed=experiment.seed,
            idf_weight=experiment.train.idf_weight,
        )
        for split in ("train", "dev")
    )
    extra_keys = task_keys(data)
    shares = task_shares(data, train)
    return Data(
        Batches(list(train.values()), data, TaskSchedule.of(shares), extra_keys=extra_keys, rows=rows),
        {
            name: Batches([stream], data, repeat=False, first_task=number, extra_keys=extra_keys, rows=rows)
            for number, (name, stream) in enumerate(dev.items())
        },
        {
            name: 0.0 if name and tasks[name].workdir else float(share)
            for name, share in zip(train, shares, strict=True)
        },
    )


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


def prefetched(batches: Iterable[Mapping[str, np.ndarray]], mesh: jax.sharding.Mesh) -> Iterator[dict[str, jax.Array]]:
    """Global arrays, one batch ahead: its transfer is under way while the step before it runs."""
    ahead: dict[str, jax.Array] | None = None
    for batch in batches:
        ready, ahead = ahead, meshes.global_batch(batch, mesh)
        if ready is not None:
            yield ready
    if ahead is not None:
        yield ahead


def flattened(sums: Mapping[str, Any], tasks: Sequence[str]) -> dict[str, float]:
    """Sums as floats, those by task under ``NAME/TASK``."""
    values: dict[str, float] = {}
    for name, value in sums.items():
        if np.ndim(value):
            values |= {f"{name}/{task}": float(one) for task, one in zip(tasks, value, strict=True)}
        else:
            values[name] = float(value)
    return values


def measurable(experiment: Experiment, data: Data) -> bool:
    """Whether there is a held-out loss to go by: of pairs of this run's own that the decoder writes something of."""
    tasks = experiment.data.tasks
    writes = {name: not name or not output_head(tasks[name].objective) for name in data.dev}
    return any(writes[name] and data.shares[name] and dev.per_pass for name, dev in data.dev.items())


def measure_tasks(compiled: Compiled, params: Any, data: Data, limit: int) -> dict[str, float]:
    """``measure`` of each task under ``NAME/TASK``, and together: means by the shares of the tasks that have a NAME.

    Tasks that replay another corpus are told and not counted in; the loss is of those that write, where there are any.
    For example ``nll``, ``nll/generate``, ``nll/describe``, ``tagging_nll``, ``tagging_nll/tags``. ``limit`` batches
    are for the run's own tasks, and as many for those replayed.
    """
    kinds = Counter(data.shares[name] > 0 for name in data.dev)
    found = {
        name: measure(compiled, params, batches, -(-limit // kinds[data.shares[name] > 0]))
        for name, batches in data.dev.items()
    }
    if "" in found:
        return found[""]
    mixed: dict[str, float] = {}
    for key in dict.fromkeys(key for one in found.values() for key in one):
        values = {name: one[key] for name, one in found.items() if key in one}
        own = {name: data.shares[name] for name in values if data.shares[name]}
        weighed = [share / sum(own.values()) * values[name] for name, share in own.items()]
        if own and key == "tokens":
            mixed[key] = sum(values[name] for name in own)
        elif own:
            mixed[key] = math.hypot(*weighed) if key == "nll_standard_error" else sum(weighed)
        if key not in ("tokens", "nll_standard_error"):
            mixed |= {f"{key}/{name}": value for name, value in values.items()}
    return mixed


def measure(compiled: Compiled, params: Any, batches: Batches, limit: int) -> dict[str, float]:
    """Held-out loss in nats per token with its standard error, and accuracy; empty without dev pairs.

    The standard error takes tokens as independent draws, which makes it a lower bound.
    """
    dataset = batches.dataset(0, min(limit, batches.per_pass)).as_numpy_iterator()
    parts = jax.device_get([compiled.eval_step(params, meshes.global_batch(batch, compiled.mesh)) for batch in dataset])
    flat = [{name: float(value) for name, value in part.items() if not np.ndim(value)} for part in parts]
    sums = {name: math.fsum(part[name] for part in flat) for name in flat[0]} if flat else {}
    weight = sums.get("weight", 0.0)
    if not weight:
        return means(sums)
    mean = sums["nll"] / weight
    variance = max(sums["nll_squared"] / weight - mean * mean, 0.0)
    return {
        "nll": mean,
        "nll_standard_error": math.sqrt(variance / weight),
        "accuracy": sums["correct"] / weight,
        "tokens": weight,
    }


def describe(held_out: Mapping[str, float]) -> str:
    """The held-out loss in words."""
    return (
        f"{held_out['nll']:.4f} ± {held_out['nll_standard_error']:.4f} nats a token,"
        f" accuracy {held_out['accuracy']:.1%} of {held_out['tokens']:,.0f} tokens"
    )
