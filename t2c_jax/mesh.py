"""The device mesh, the logical axis rules, and arrays that live on all of it.

Models name the axes of their parameters and activations (``embed``, ``heads``, ``batch`` …); one table here
says which mesh axis each is split over. Rows are split over ``data`` and ``fsdp`` together, parameters over
``fsdp`` (gathered as needed, as in ZeRO; Rajbhandari et al. 2020, section 5) and ``tensor`` (Shoeybi et al. 2019,
section 3).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from t2c_jax.config import PRETRAINED, Experiment, MeshConfig
from t2c_jax.errors import UserError

AXES = ("data", "fsdp", "tensor")

# Logical axis -> mesh axes. Every axis a parameter or activation names must be here.
RULES: Mapping[str, tuple[str, ...] | None] = {
    "batch": ("data", "fsdp"),
    "length": None,
    "embed": ("fsdp",),
    "heads": ("tensor",),
    "head_width": None,
    "mlp": ("tensor",),
    "vocab": ("tensor",),
    "relative_buckets": None,
    "pointer": None,
    "recurrent": ("tensor",),  # hidden units of a recurrent layer
    "gates": None,
    "state": None,  # the hidden units that a recurrent layer reads
    "source_vocab": None,  # a pre-trained encoder's own pieces: seldom a number that divides
    "positions": None,
    "token_types": None,
    "path_nodes": None,
    "layers": None,
    "norm": None,
    "activation": None,  # the width of an activation: its rows are split already
}


def axis_sizes(config: MeshConfig, devices: int) -> dict[str, int]:
    """The mesh's shape on this many devices, with -1 resolved.

    Raises:
      UserError: the sizes do not multiply to the number of devices.
    """
    sizes = {"data": config.data, "fsdp": config.fsdp, "tensor": config.tensor}
    fixed = int(np.prod([size for size in sizes.values() if size != -1]))
    free = [name for name, size in sizes.items() if size == -1]
    if free and devices % fixed == 0:
        sizes[free[0]] = devices // fixed
    if int(np.prod(list(sizes.values()))) != devices:
        shape = " x ".join(f"{name}={size}" for name, size in sizes.items())
        raise UserError(f"config.mesh {shape} does not fit {devices} device(s); its sizes must multiply to {devices}")
    return sizes


def check(experiment: Experiment, devices: int) -> dict[str, int]:
    """Checks the config against this many devices and returns the mesh's shape.

    Raises:
      UserError: a batch or a parameter cannot be split as the mesh asks.
    """
    sizes = axis_sizes(experiment.mesh, devices)
    rows = sizes["data"] * sizes["fsdp"] * experiment.train.microbatches
    if experiment.data.batch_size % rows:
        raise UserError(
            f"config.data.batch_size={experiment.data.batch_size} is not divisible by"
            f" mesh.data x mesh.fsdp x train.microbatches = {rows}"
        )
    model = experiment.model
    for key, axis in (("heads", "tensor"), ("feed_forward", "tensor"), ("width", "fsdp")):
        size = getattr(model, key)
        if size % sizes[axis]:
            raise UserError(f"config.model.{key}={size} is not divisible by config.mesh.{axis}={sizes[axis]}")
    if model.encoder in PRETRAINED:
        for key, axis in (("heads", "tensor"), ("feed_forward", "tensor"), ("width", "fsdp")):
            size = getattr(model.pretrained, key)
            if size % sizes[axis]:
                raise UserError(
                    f"config.model.pretrained.{key}={size}, as '{experiment.init_from}' has it, is not divisible by"
                    f" config.mesh.{axis}={sizes[axis]}"
                )
    if experiment.tokenizer.vocab_size % sizes["tensor"]:
        raise UserError(
            f"config.tokenizer.vocab_size={experiment.tokenizer.vocab_size} is not divisible by"
            f" config.mesh.tensor={sizes['tensor']}"
        )
    return sizes


def make_mesh(experiment: Experiment, devices: list[jax.Device] | None = None) -> Mesh:
    """A mesh of axes ``data, fsdp, tensor`` over the given devices, or over all there are."""
    devices = jax.devices() if devices is None else devices
    sizes = check(experiment, len(devices))
    # The axis type is always passed: its default has changed between releases of jax.
    return jax.make_mesh(
        tuple(sizes[axis] for axis in AXES), AXES, axis_types=(AxisType.Auto,) * len(AXES), devices=devices
    )


def partition_spec(names: tuple[str | None, ...]) -> PartitionSpec:
    """The mesh axes of an array whose axes have these logical names.

    Raises:
      KeyError: a name without a rule.
    """
    return PartitionSpec(*(None if name is None else RULES[name] for name in names))


def shardings(names: Any, mesh: Mesh) -> Any:
    """A tree of ``NamedSharding`` from a tree of tuples of logical names."""
    return jax.tree.map(
        lambda leaf: NamedSharding(mesh, partition_spec(leaf)), names, is_leaf=lambda leaf: isinstance(leaf, tuple)
    )


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of what every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def constrain(x: jax.Array, *names: str | None) -> jax.Array:
    """Asks for an activation's layout by logical names; does nothing where no mesh is set."""
    if jax.sharding.get_abstract_mesh().empty:
        return x
    return jax.lax.with_sharding_constraint(x, partition_spec(names))


def global_batch(batch: Mapping[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """Global arrays from this process's rows: row-split over ``data`` and ``fsdp``."""
    sharding = NamedSharding(mesh, partition_spec(("batch",)))
    return {name: jax.make_array_from_process_local_data(sharding, rows) for name, rows in batch.items()}


def row_shards() -> int:
    """How many parts a batch's rows are split into, under the mesh that is set; 1 where none is."""
    mesh = jax.sharding.get_abstract_mesh()
    return 1 if mesh.empty else mesh.shape["data"] * mesh.shape["fsdp"]
