"""What a training run consists of before its first step, made from its config."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from jax.sharding import Mesh

from t2c_jax import config as configs
from t2c_jax import console, runtime
from t2c_jax.checkpoints.checkpoint import LOSS, Checkpoints
from t2c_jax.checkpoints.metadata import metadata
from t2c_jax.checkpoints.origin import Origin, modules_to_save
from t2c_jax.config import Experiment
from t2c_jax.errors import UserError
from t2c_jax.models.definition import Definition
from t2c_jax.tokenizers.loading import Tokenizers
from t2c_jax.train.averaging import keeps_average
from t2c_jax.train.batches import Data, open_data
from t2c_jax.train.held_out_loss import measurable
from t2c_jax.train.initial import initial_state
from t2c_jax.train.mesh_selection import make_mesh
from t2c_jax.train.state import State, Trainable, checkpoint_state
from t2c_jax.train.step import Compiled, Shapes
from t2c_jax.train.telemetry.flops import Utilisation, peak_flops
from t2c_jax.train.telemetry.goodput import GoodputTimer
from t2c_jax.train.telemetry.writers import MetricsWriter, NoMetrics, open_metrics
from t2c_jax.workdir import Workdir


@dataclass(frozen=True)
class Setup:
    """What stays the same from the first step of a run to its last, over rollbacks too.

    Attributes:
      experiment, workdir: what is trained, and where.
      tokenizers: of the run.
      data: its batches.
      compiled: its functions.
      base: the run whose parameters its adapters adapt; None without adapters.
      metadata: what the run and its checkpoints must agree on.
    """

    experiment: Experiment
    workdir: Workdir
    tokenizers: Tokenizers
    data: Data
    compiled: Compiled
    base: Origin | None
    metadata: dict[str, Any]

    def open_checkpoints(self) -> Checkpoints:
        """The run's checkpoints, to read and write."""
        config = self.experiment.train
        return Checkpoints(self.workdir.checkpoints, self.metadata, keep=config.keep, ranked_by=config.stop_metric)

    def open_metrics(self, start: int) -> MetricsWriter:
        """The writer of metrics from step ``start`` on; of all processes only the first one writes."""
        if not runtime.is_primary():
            return NoMetrics()
        return open_metrics(self.workdir, start, self.experiment.train.wandb, configs.to_dict(self.experiment))

    def restore(self, checkpoints: Checkpoints, timer: GoodputTimer) -> tuple[int, State]:
        """The step to start from, and the state after it: of the last checkpoint, or initial."""
        experiment, compiled = self.experiment, self.compiled
        abstract = compiled.abstract_state_on_mesh()
        timer.mark("start")
        restored = checkpoints.restore_latest(checkpoint_state(abstract))
        timer.mark("restore")
        data, lora = experiment.data, experiment.lora
        start, state = restored or (
            0,
            initial_state(compiled, experiment.origin, data, lora, self.tokenizers.target, self.base),
        )
        if "params" not in state:
            assert self.base is not None  # adapters have a base
            state["params"] = self.base.base_params(abstract["params"], compiled.definition, lora)
        if self.base is not None:
            self.base.close()
        if start:
            console.say(f"resuming from the checkpoint of step {start}")
        console.say(f"training {compiled.trained:,} of {compiled.parameters:,} parameters")
        return start, state


def set_up(experiment: Experiment, workdir: Workdir) -> Setup:
    """Opens what a run trains with. Adapters need their base at every start; otherwise no origin is read.

    Raises:
      UserError: the config does not fit the devices, the tokens or the origin.
    """
    data, config = experiment.data, experiment.train
    tokenizers = Tokenizers.load(workdir.tokenizer, data.direction)
    base = Origin(experiment.origin) if experiment.lora.rank else None
    compiled = compiled_for(experiment, tokenizers.target.vocab_size, base)
    opened = open_data(
        workdir, tokenizers, data, experiment.model, compiled.mesh, seed=experiment.seed, idf_weight=config.idf_weight
    )
    if (config.patience or config.stop_metric != LOSS) and not measurable(data, opened):
        raise UserError(
            "config.train.patience and stop_metric need dev pairs, and none fits a row; raise config.corpus.dev_share"
        )
    identity = "" if base is None else base.identity
    expected = metadata(experiment.model, tokenizers.digest, experiment.lora, identity)
    return Setup(experiment, workdir, tokenizers, opened, compiled, base, expected)


def compiled_for(
    experiment: Experiment, vocab_size: int, base: Origin | None = None, devices: Sequence[Any] | None = None
) -> Compiled:
    """A run's functions, on its mesh.

    Args:
      experiment: the run's config.
      vocab_size: of the tokenizer that writes targets.
      base: the run whose parameters its adapters adapt; without it every parameter is one of the base.
      devices: to use; all there are by default.

    Raises:
      UserError: the config does not fit the devices or the base.
    """
    definition = Definition(experiment.model, vocab_size)
    trainable = trainable_of(experiment, definition, frozenset() if base is None else base.lacks(definition))
    mesh = make_mesh(experiment.mesh, definition, trainable.nbytes, experiment.data, experiment.train, devices)
    return Compiled(trainable, experiment.train, experiment.data, mesh)


def trainable_of(experiment: Experiment, definition: Definition, modules: Collection[str] | None = None) -> Trainable:
    """What of a model is trained.

    Args:
      experiment: the run's config.
      definition: its model.
      modules: the parameters that train in full beside adapters; None to look them up in config.origin.

    Raises:
      UserError: the origin is missing; config.lora.targets or an item of config.optimizer.rates reaches no parameter.
    """
    if modules is None:
        modules = modules_to_save(experiment.origin, experiment.lora, definition)
    return Trainable.of(
        definition,
        experiment.optimizer,
        experiment.lora,
        seed=experiment.seed,
        ema=keeps_average(experiment.train, experiment.optimizer),
        modules_to_save=modules,
    )


def planned_mesh(experiment: Experiment) -> Mesh:
    """The mesh of a run that has no tokenizer yet, to find out whether it fits the devices.

    Raises:
      UserError: it does not.
    """
    definition = Definition(experiment.model, experiment.tokenizer.vocab_size)

    def state_bytes() -> int:
        return trainable_of(experiment, definition).nbytes()

    return make_mesh(experiment.mesh, definition, state_bytes, experiment.data, experiment.train)


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
