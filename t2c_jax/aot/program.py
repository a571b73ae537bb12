"""The train step and the search, compiled for devices that are not attached: memory, costs and a time estimate."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding

from t2c_jax import mesh as meshes
from t2c_jax.aot.costs import Costs, costs
from t2c_jax.aot.roofline import Roofline, roofline
from t2c_jax.aot.topology import Topology
from t2c_jax.checkpoints.pytrees import abstract_on
from t2c_jax.config import DataConfig, DecodeConfig, MeshConfig, ModelConfig, TrainConfig
from t2c_jax.data.encoder_features import encoder_features
from t2c_jax.data.pipeline import batch_shapes, task_keys
from t2c_jax.decode.loading import inference_mesh
from t2c_jax.decode.programs import search_function
from t2c_jax.models.definition import Definition
from t2c_jax.train.mesh_selection import make_mesh
from t2c_jax.train.state import Trainable
from t2c_jax.train.step import Compiled

Bytes = dict[str, int]


@dataclass(frozen=True)
class CompiledProgram:
    """A compiled program; or what is known of one that does not fit, for which the compiler reports an error.

    Attributes:
      mesh: sizes of its axes.
      memory: bytes on a device by kind. ``temporaries`` is the peak of everything else, mostly activations;
        ``padding`` is what layouts add to the arguments.
      total: their sum.
      available: bytes that the chip has for it.
      model_flops: operations of the model itself on each device.
      rows: of a batch, on each device.
      costs, roofline: None if the program does not fit.
      temp_size: ``memory_analysis().temp_size_in_bytes``, for comparison with other tools. For programs with several
        loops it is more than the compiler reserves.
    """

    mesh: dict[str, int]
    memory: Bytes
    total: int
    available: int
    rows: int
    model_flops: float
    costs: Costs | None = None
    roofline: Roofline | None = None
    temp_size: int | None = None

    @property
    def fits(self) -> bool:
        """Whether the chip can hold it."""
        return self.costs is not None and self.total <= self.available


@dataclass(frozen=True)
class Training:
    """What the train step of a run is compiled of.

    Attributes:
      trainable: the model and what of it is trained.
      train, data, mesh: sections of the run's config.
    """

    trainable: Trainable
    train: TrainConfig
    data: DataConfig
    mesh: MeshConfig

    @property
    def model(self) -> ModelConfig:
        """The model's section."""
        return self.trainable.definition.config

    def resized(self, mesh: MeshConfig, batch_size: int, remat: str) -> Training:
        """The same training on another mesh, with another batch and another remat policy."""
        definition = self.trainable.definition
        model = replace(definition.config, remat=remat)  # type: ignore[arg-type]
        trainable = replace(self.trainable, definition=replace(definition, config=model))
        return replace(self, trainable=trainable, data=replace(self.data, batch_size=batch_size), mesh=mesh)


def train_step(training: Training, topology: Topology) -> CompiledProgram:
    """The train step as a run compiles it, for a batch as config.data shapes it.

    Raises:
      UserError: the config does not fit the number of devices.
    """
    trainable, train, data = training.trainable, training.train, training.data
    mesh = make_mesh(training.mesh, trainable.definition, trainable.nbytes, data, train, topology.devices)
    compiled = Compiled(trainable, train, data, mesh)
    shapes = batch_shapes(data, encoder_features(data, training.model).shapes(), task_keys(data), data.batch_size)
    batch = {name: jax.ShapeDtypeStruct(shape, dtype) for name, (shape, dtype) in shapes.items()}
    state = compiled.abstract_state_on_mesh()
    names = {"params": "parameters", "adapters": "adapters", "opt_state": "optimizer state", "ema": "moving average"}
    held = {name: _held(state[key]) for key, name in names.items() if key in state}
    held["batch"] = _held(_rows(batch, mesh))
    model_flops = compiled.model_flops(shapes) / mesh.size
    rows = data.batch_size // (mesh.shape["data"] * mesh.shape["fsdp"])
    return _measured(compiled.lower(batch), mesh, topology, held, model_flops, rows)


def search(
    definition: Definition, data: DataConfig, decode: DecodeConfig, mesh_config: MeshConfig, topology: Topology
) -> CompiledProgram:
    """The search over one full batch of prompts of config.data.encoder_length tokens, to config.decode.max_tokens.

    Raises:
      UserError: the config does not fit the number of devices.
    """
    mesh = inference_mesh(definition, mesh_config, topology.devices)
    unit = mesh.shape["data"] * mesh.shape["fsdp"]
    rows = -(-decode.batch_size // unit) * unit
    shapes = encoder_features(data, definition.config).shapes()
    batch = _rows({name: jax.ShapeDtypeStruct((rows, *shape), "int32") for name, shape in shapes.items()}, mesh)
    params = abstract_on(definition.abstract_params(), definition.shardings(mesh))
    searching = search_function([definition], decode, memory=topology.chip.memory)
    function = jax.jit(searching, out_shardings=meshes.replicated(mesh))
    with jax.set_mesh(mesh):
        lowered = function.lower([params], batch)
    held = {"parameters": _held(params), "batch": _held(batch)}
    return _measured(lowered, mesh, topology, held, 0.0, rows // unit)


def _rows(batch: Mapping[str, Any], mesh: Mesh) -> dict[str, jax.ShapeDtypeStruct]:
    sharding = NamedSharding(mesh, meshes.partition_spec(("batch",)))
    return {name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding) for name, leaf in batch.items()}


def _held(tree: Any) -> int:
    """Bytes of a tree on each device."""
    return sum(math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _measured(
    lowered: jax.stages.Lowered, mesh: Mesh, topology: Topology, held: Bytes, model_flops: float, rows: int
) -> CompiledProgram:
    sizes, available = dict(mesh.shape), topology.chip.memory
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        needed, available = _memory_error(str(error))
        if needed is None:
            raise
        memory = held | {"temporaries": max(0, needed - sum(held.values()))}
        return CompiledProgram(sizes, memory, sum(memory.values()), available, rows, model_flops)
    analysis: Any = compiled.memory_analysis()
    memory = held | {
        "padding": max(0, analysis.argument_size_in_bytes - sum(held.values())),
        "results": max(0, analysis.output_size_in_bytes - analysis.alias_size_in_bytes),
    }
    memory["temporaries"] = max(0, analysis.peak_memory_in_bytes - sum(memory.values()))
    memory["program"] = analysis.generated_code_size_in_bytes
    counted = costs(compiled.as_text() or "")
    devices: Sequence[Any] = list(mesh.devices.flat)
    estimate = roofline(counted, topology.chip, devices, model_flops)
    total = sum(memory.values())
    return CompiledProgram(
        sizes, memory, total, available, rows, model_flops, counted, estimate, analysis.temp_size_in_bytes
    )


_MEMORY_ERRORS = (
    re.compile(r"HLO temporaries \(([\d.]+)([KMGT])\) exceeds available HBM \(([\d.]+)([KMGT])\)"),
    re.compile(r"Used ([\d.]+)([KMGT]) of ([\d.]+)([KMGT]) hbm"),
)
_UNITS = {"K": 2**10, "M": 2**20, "G": meshes.GIB, "T": 2**40}


def _memory_error(message: str) -> tuple[int | None, int]:
    """Bytes that a program needs, and bytes that there are, from the compiler's error message.

    What the message calls temporaries includes arguments and results.
    """
    for pattern in _MEMORY_ERRORS:
        if (found := pattern.search(message)) is not None:
            needed, available = (float(found[i]) * _UNITS[found[i + 1]] for i in (1, 3))
            return int(needed), int(available)
    return None, 0


def json_of(program: CompiledProgram) -> dict[str, Any]:
    """A program's figures as one document; bytes, operations and seconds are a device's."""
    found = dataclasses.asdict(program)
    found["fits"] = program.fits
    if program.costs is not None:
        found["costs"]["collectives"] = [
            {**dataclasses.asdict(item), "group": len(item.group)} for item in program.costs.collectives.values()
        ]
    return found
