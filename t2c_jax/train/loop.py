"""Training, top to bottom: batches in, checkpoints and metrics out.

The device never waits for this loop. A step's metrics are fetched while the next one runs, and a checkpoint is copied
and then written in the background. A checkpoint is cut before the next batch is drawn, and batch k is a function of
(seed, k); so the step number in a checkpoint is the whole state of the data.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from t2c_jax import config as configs
from t2c_jax import console, runtime
from t2c_jax import mesh as meshes
from t2c_jax.config import Experiment
from t2c_jax.data.mixture import Schedule
from t2c_jax.data.pipeline import Batches
from t2c_jax.data.streams import open_streams, task_shares
from t2c_jax.data.tokenizer import Tokenizers
from t2c_jax.errors import UserError
from t2c_jax.train import placement
from t2c_jax.train.checkpoint import LOSS, Checkpoints, Ranking
from t2c_jax.train.initial import about_adapters, base_params, initial_state
from t2c_jax.train.metrics import MetricsWriter, NoMetrics
from t2c_jax.train.patience import Patience
from t2c_jax.train.signals import StopRequest
from t2c_jax.train.step import Compiled, stored
from t2c_jax.workdir import Workdir


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


def train(experiment: Experiment, workdir: Workdir, decode: Decode | None = None) -> TrainResult:
    """Trains from the last checkpoint, or from the start, to ``config.train.steps``, or until patience is out.

    Args:
      experiment: the run's config, checked.
      workdir: holds the tokens and the tokenizer; gets checkpoints and metrics.
      decode: answers dev pairs with given parameters, where the config asks for samples or a score.

    Raises:
      UserError: the config does not fit the devices or the checkpoint; a loss that is not finite; a full disk.
    """
    config = experiment.train
    mesh = placement.make_mesh(experiment)
    tokenizers = Tokenizers.load(workdir.tokenizer, experiment.data.direction)
    data, tasks = open_data(experiment, workdir, tokenizers, mesh), list(experiment.data.tasks)
    measurable = any(data.shares[name] and dev.per_pass for name, dev in data.dev.items())
    if (config.patience or config.stop_metric != LOSS) and not measurable:
        raise UserError(
            "config.train.patience and stop_metric go by dev pairs, and there is none that fits a row; raise"
            " config.corpus.dev_share"
        )
    compiled = Compiled(experiment, tokenizers.target.vocab_size, mesh)
    checkpoints = Checkpoints(
        workdir.checkpoints, about(experiment, tokenizers), keep=config.keep, ranked_by=config.stop_metric
    )

    abstract = compiled.abstract_state_on_mesh()
    restored = checkpoints.restore_latest(stored(abstract))
    start, state = restored or (0, initial_state(experiment, compiled, tokenizers.target))
    if "params" not in state:
        state["params"] = base_params(experiment, abstract["params"])
    if start:
        console.say(f"going on from the checkpoint of step {start}")
    console.say(f"trained {compiled.trained:,} of {compiled.parameters:,} parameters")
    meter = Meter(checkpoints.window(start) if start else ())
    dev_loss = checkpoints.loss(start) if start else None
    patience = Patience(config.patience, config.stop_metric, checkpoints.waited(start) if start else {})
    stopped_by: int | None = None
    batches = prefetched(data.train.dataset(start, config.steps).as_numpy_iterator(), mesh)

    with (
        MetricsWriter(workdir.metrics, workdir.tensorboard, start) if runtime.is_primary() else NoMetrics() as writer,
        StopRequest() as stop,
        console.progress("train", config.steps, "steps", done=start) as bar,
    ):
        pending: tuple[int, dict[str, jax.Array]] | None = None
        for step in range(start + 1, start + 1 if patience.out else config.steps + 1):
            state, metrics = compiled.train_step(state, next(batches))
            if pending is not None:
                meter.add(fetch(*pending, data.train, workdir, tasks))
            pending = (step, metrics)

            logs = step % config.log_every == 0 or step == config.steps
            if logs or jax.process_count() == 1:  # several processes have to agree, which takes a message
                stopped_by = runtime.agreed(stop.requested or 0) or None
            last = step == config.steps or stopped_by is not None
            measures = step == config.steps or (config.eval_every and step % config.eval_every == 0)
            saves = step % config.save_every == 0 or last
            if logs or measures or saves:  # nothing reaches a checkpoint before its loss is known to be finite
                meter.add(fetch(*pending, data.train, workdir, tasks))
                pending = None
            loss_here: float | None = None
            ranking: Ranking | None = None
            if logs and (values := meter.take()):
                writer.write(step, "train", values)
                bar.note(f"loss {values['loss']:.3f}  {values['tokens_per_second']:,.0f} tokens/s")
            if measures:
                with meter.paused():
                    averaged = compiled.averaged(state)
                    held_out = measure_tasks(compiled, averaged, data, config.eval_batches)
                    if held_out:
                        writer.write(step, "dev", held_out)
                        if not math.isfinite(held_out["nll"]):
                            raise UserError(
                                f"the held-out loss of step {step} is {held_out['nll']}; the last checkpoint is from"
                                " before: lower config.optimizer.learning_rate and run the same command again"
                            )
                        dev_loss = loss_here = held_out["nll"]
                        console.say(f"step {step}: dev loss {describe(held_out)}")
                    decoded = Decoded(()) if decode is None else decode(averaged)
                    writer.samples(step, decoded.samples)
                    if decoded.score is not None:
                        name, score = config.stop_metric, decoded.score
                        writer.write(step, "dev_decoded", {name: score, "examples": float(decoded.examples)})
                        console.say(f"step {step}: {name} {score:.2f} on {decoded.examples:,} dev pairs")
                        ranking = Ranking(name, score if decoded.lower_is_better else -score)
                    if loss_here is not None:
                        patience.add(loss_here if ranking is None else ranking.cost)
            if saves or patience.out:
                with meter.paused():
                    checkpoints.save(
                        step, stored(state), loss_here, meter.window, ranking=ranking, waited=patience.stored()
                    )
            bar.advance()
            if patience.out and step < config.steps:
                console.say(f"step {step}: no better {config.stop_metric} in {config.patience} measurements; stopping")
            if patience.out or stopped_by is not None:
                break
        checkpoints.wait()
        checkpoints.close()
    return TrainResult(
        steps=int(state["step"]),
        parameters=compiled.parameters,
        trained=compiled.trained,
        tokens_per_second=meter.tokens_per_second,
        seconds=meter.seconds,
        dev_loss=dev_loss,
        stopped_by=stopped_by if int(state["step"]) < config.steps else None,
        out_of_patience=patience.out and int(state["step"]) < config.steps,
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
    train, dev = (open_streams(experiment, workdir, tokenizers, split) for split in ("train", "dev"))
    objectives = {task.objective for task in tasks.values()}
    wanted = {
        "task": bool(tasks),
        "contrastive_pairs": "contrastive" in objectives,
        "encoder_tags": "identifier_tagging" in objectives,
    }
    extras = [name for name, is_wanted in wanted.items() if is_wanted]
    shares = task_shares(experiment, train)
    return Data(
        Batches(list(train.values()), data, Schedule.of(shares), extras=extras, rows=rows),
        {
            name: Batches([stream], data, repeat=False, first_task=number, extras=extras, rows=rows)
            for number, (name, stream) in enumerate(dev.items())
        },
        {
            name: 0.0 if name and tasks[name].workdir else float(share)
            for name, share in zip(train, shares, strict=True)
        },
    )


def about(experiment: Experiment, tokenizers: Tokenizers) -> dict[str, Any]:
    """What a checkpoint and a run must agree on; execution (kernels, scan, remat, dtype, dropout) may differ."""
    model = configs.to_dict(experiment.model)
    for name in ("attention", "scan", "remat", "dtype", "dropout"):
        del model[name]
    return {"model": model, "tokenizer": tokenizers.digest, **about_adapters(experiment)}


def prefetched(batches: Iterable[Mapping[str, np.ndarray]], mesh: jax.sharding.Mesh) -> Iterator[dict[str, jax.Array]]:
    """Global arrays, one batch ahead: its transfer is under way while the step before it runs."""
    ahead: dict[str, jax.Array] | None = None
    for batch in batches:
        ready, ahead = ahead, meshes.global_batch(batch, mesh)
        if ready is not None:
            yield ready
    if ahead is not None:
        yield ahead


def fetch(
    step: int, metrics: Mapping[str, jax.Array], batches: Batches, workdir: Workdir, tasks: Sequence[str]
) -> dict[str, float]:
    """A step's metrics as floats.

    Raises:
      UserError: the loss, the gradient or the update is not finite; the batch is written beside for a look.
    """
    values = flattened(jax.device_get(metrics), tasks)
    if all(math.isfinite(values[name]) for name in ("loss", "gradient_norm", "update_norm")):
        return values
    part = "" if jax.process_count() == 1 else f".process_{jax.process_index()}"
    path = workdir.path / f"nonfinite_step_{step}{part}.npz"
    ids = batches.pair_ids(step - 1)
    arrays: dict[str, Any] = {"pair_ids": np.array(ids), **batches.batch(step - 1)}
    np.savez(path, **arrays)
    raise UserError(
        f"the loss of step {step} is {values['loss']}, its gradient norm {values['gradient_norm']}, its update norm"
        f" {values['update_norm']}; its batch of {len(ids)} pairs is in '{path}', and the last checkpoint is from"
        " before: lower"
        " config.optimizer.learning_rate or raise warmup_steps, and run the same command again"
    )


def flattened(sums: Mapping[str, Any], tasks: Sequence[str]) -> dict[str, float]:
    """Sums as floats, those by task under ``NAME/TASK``."""
    values: dict[str, float] = {}
    for name, value in sums.items():
        if np.ndim(value):
            values |= {f"{name}/{task}": float(one) for task, one in zip(tasks, value, strict=True)}
        else:
            values[name] = float(value)
    return values


def means(sums: Mapping[str, float]) -> dict[str, float]:
    """The means of what ``loss_sums`` adds up beside the decoder's tokens: by task, and of the heads."""
    found = {}
    for name, weight in sums.items():
        kind, separator, task = name.partition("_weight")
        if separator and weight > 0 and kind in ("task", "tagging", "contrastive"):
            found[f"nll{task}" if task else f"{kind}_nll"] = sums[f"{kind}_nll{task}"] / weight
            if not task:
                found[f"{kind}_accuracy"] = sums[f"{kind}_correct"] / weight
    return found


def measure_tasks(compiled: Compiled, params: Any, data: Data, limit: int) -> dict[str, float]:
    """``measure`` of each task, together: means over tasks by their shares, and each task's own.

    Tasks that write nothing, or that replay another corpus, are told and not counted in.
    """
    found = {name: measure(compiled, params, batches, -(-limit // len(data.dev))) for name, batches in data.dev.items()}
    if "" in found:
        return found[""]
    together = {name: one for name, one in found.items() if "nll" in one and data.shares[name]}
    total = sum(data.shares[name] for name in together)
    if not total:
        return {}
    mixed = {
        key: sum(data.shares[name] / total * one[key] for name, one in together.items()) for key in ("nll", "accuracy")
    }
    variance = sum((data.shares[name] / total * one["nll_standard_error"]) ** 2 for name, one in together.items())
    mixed["nll_standard_error"] = math.sqrt(variance)
    mixed["tokens"] = sum(one["tokens"] for one in together.values())
    for name, one in found.items():
        mixed |= {f"{key}/{name}": value for key, value in one.items() if key in ("nll", "accuracy")}
        mixed |= {key: value for key, value in one.items() if key.startswith(("tagging", "contrastive"))}
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


class Meter:
    """Adds up the steps' sums and the time they took; ``window`` holds those of the steps not logged yet."""

    def __init__(self, window: Iterable[Mapping[str, float]] = ()) -> None:
        self.window = [dict(values) for values in window]
        self._window_seconds = 0.0
        self._tokens = self._window_tokens = self.seconds = 0.0
        self._warm = False  # the first step compiles: its time is no rate
        self._since = time.perf_counter()

    def add(self, values: dict[str, float]) -> None:
        """One step's sums, on their arrival."""
        now = time.perf_counter()
        tokens = values["target_tokens"] + values["source_tokens"]
        if self._warm:
            self.seconds += now - self._since
            self._window_seconds += now - self._since
            self._tokens += tokens
            self._window_tokens += tokens
        self._warm, self._since = True, now
        self.window.append(values)

    def take(self) -> dict[str, float]:
        """Means since the last call, per target token, pair or tag; the norms and the rate are the last step's."""
        window, self.window = self.window, []
        if not window:
            return {}
        sums = {name: math.fsum(values[name] for values in window) for name in window[0]}
        weight = max(sums["weight"], 1.0)
        mean = {"loss": sums["loss"] / max(sums["denominator"], 1.0), "nll": sums["nll"] / weight}
        mean |= {"accuracy": sums["correct"] / weight, **means(sums)}
        last = {name: window[-1][name] for name in ("gradient_norm", "update_norm", "learning_rate")}
        rate = self._window_tokens / self._window_seconds if self._window_seconds else 0.0
        self._window_tokens = self._window_seconds = 0.0
        return {**mean, **last, "tokens_per_second": rate}

    @property
    def tokens_per_second(self) -> float:
        """Over all steps but the first."""
        return self._tokens / self.seconds if self.seconds else 0.0

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Time that is not training's."""
        yield
        self._since = time.perf_counter()
