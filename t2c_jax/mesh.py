"""The device mesh, the logical axis rules, and arrays that live on all of it.

Models name the axes of their parameters and activations (``embed``, ``heads``, ``batch`` …); one table here
says which mesh axis each is split over. Rows are split over ``data`` and ``fsdp`` together, parameters over
``fsdp`` (gathered as needed, as in ZeRO; Rajbhandari et al. 2020, section 5) and ``tensor`` (Shoeybi et al. 2019,
section 3). What lies between blocks, the residual stream with its norms and dropout, is split along its length over
``tensor`` (Korthikanti et al. 2022, section 4.2.2).

Devices come in slices, fast within and slow between: of TPUs what one interconnect joins, of GPUs a host or what NVLink
joins. ``tensor`` talks in every layer and never leaves a slice. ``data``, which talks once a step, takes as many slices
as divide it; only where it takes fewer than there are does ``fsdp`` reach across them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from t2c_jax.config import Experiment, MeshConfig, check_split_sizes
from t2c_jax.errors import UserError

AXES = ("data", "fsdp", "tensor")

# Logical axis -> mesh axes. Every axis a parameter or activation names must be here.
RULES: Mapping[str, tuple[str, ...] | None] = {
    "batch": ("data", "fsdp"),
    "length": ("tensor",),  # of the residual stream; inside attention and feed-forward a row is whole
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
      ValueError: a size is still to be chosen (``train.placement``).
    """
    sizes = {"data": config.data, "fsdp": config.fsdp, "tensor": config.tensor}
    if 0 in sizes.values():
        raise ValueError(f"{sizes}: a size of 0 is chosen by train.placement before a mesh is made")
    fixed = math.prod(size for size in sizes.values() if size != -1)
    free = [name for name, size in sizes.items() if size == -1]
    if free and devices % fixed == 0:
        sizes[free[0]] = devices // fixed
    if math.prod(sizes.values()) != devices:
        shape = " x ".join(f"{name}={size}" for name, size in sizes.items())
        raise UserError(f"config.mesh {shape} does not fit {devices} device(s); its sizes must multiply to {devices}")
    return sizes


def across_slices(sizes: Mapping[str, int], slices: int) -> dict[str, int]:
    """How many parts of each axis lie in different slices; the rest of an axis lies within one.

    Raises:
      UserError: ``tensor`` would have to reach across slices.
    """
    data = math.gcd(sizes["data"], slices)
    fsdp = slices // data
    if sizes["fsdp"] % fsdp:
        raise UserError(
            f"config.mesh data={sizes['data']} x fsdp={sizes['fsdp']} does not fit {slices} slices, which tensor="
            f"{sizes['tensor']} must not cross: make data, or data and fsdp together, divisible by {slices}"
        )
    return {"data": data, "fsdp": fsdp, "tensor": 1}


def slice_count(devices: Sequence[Any]) -> int:
    """How many slices the devices form; 1 on platforms that know none."""
    return len({getattr(device, "slice_index", 0) for device in devices})


def check(experiment: Experiment, devices: int, slices: int = 1) -> dict[str, int]:
    """Checks the config against this many devices, in so many slices, and returns the mesh's shape.

    Raises:
      UserError: a batch or a parameter cannot be split as the mesh asks.
    """
    sizes = axis_sizes(experiment.mesh, devices)
    across_slices(sizes, slices)
    rows = sizes["data"] * sizes["fsdp"] * experiment.train.microbatches
    if experiment.data.batch_size % rows:
        raise UserError(
            f"config.data.batch_size={experiment.data.batch_size} is not divisible by"
            f" mesh.data x mesh.fsdp x train.microbatches = {rows}"
        )
    check_split_sizes(experiment, sizes)
    if experiment.tokenizer.vocab_size % sizes["tensor"]:
        raise UserError(
            f"config.tokenizer.vocab_size={experiment.tokenizer.vocab_size} is not divisible by"
            f" config.mesh.tensor={sizes['tensor']}"
        )
    return sizes


def make_mesh(experiment: Experiment, devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh of axes ``data, fsdp, tensor`` over the given devices, or over all there are.

    Raises:
      UserError: as ``check``.
    """
    devices = jax.devices() if devices is None else devices
    sizes = check(experiment, len(devices), slice_count(devices))
    # The axis type is always passed: its default has changed between releases of jax.
    return Mesh(arranged(sizes, devices), AXES, axis_types=(AxisType.Auto,) * len(AXES))


def arranged(sizes: Mapping[str, int], devices: Sequence[Any]) -> np.ndarray:
    """The devices as an array of the mesh's shape: neighbours along an axis are neighbours in the network."""
    slices = slice_count(devices)
    shape = [sizes[axis] for axis in AXES]
    # An axis may take a part of a torus's dimension: a slower ring is better than a mesh refused.
    if slices == 1:
        return mesh_utils.create_device_mesh(shape, devices, allow_split_physical_axes=True)
    between = [across_slices(sizes, slices)[axis] for axis in AXES]
    within = [size // parts for size, parts in zip(shape, between, strict=True)]
    return mesh_utils.create_hybrid_device_mesh(within, between, devices, allow_split_physical_axes=True)


def partition_spec(names: tuple[str | None, ...]) -> PartitionSpec:
    """The mesh axes of an array whose axes have these logical names; None for an axis that is whole.

    Raises:
      KeyError: a name without a rule.
    """
    return PartitionSpec(*map(_rule, names))


def _rule(name: str | None) -> tuple[str, ...] | None:
    if name is None:
        return None
    if name not in RULES:
        raise KeyError(f"the logical axis '{name}' has no rule: add one to mesh.RULES")
    return RULES[name]


def shardings(names: Any, mesh: Mesh) -> Any:
    """A tree of ``NamedSharding`` from a tree of tuples of logical names."""
    return jax.tree.map(
        lambda leaf: NamedSharding(mesh, partition_spec(leaf)), names, is_leaf=lambda leaf: isinstance(leaf, tuple)
    )


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of what every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def constrain(x: jax.Array, *names: str | None) -> jax.Array:
    """Asks for an activation's layout by logical names; does nothing where no mesh is set.

    An axis that its mesh axes do not divide stays whole: the last, short piece would be padded on every device.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return x
    parts = [
        axes if axes is None or size % math.prod(mesh.shape[axis] for axis in axes) == 0 else None
        for size, axes in zip(x.shape, map(_rule, names), strict=True)
    ]
    return jax.lax.with_sharding_constraint(x, PartitionSpec(*parts))


def gather(tree: Any, names: Any) -> Any:
    """Asks for parameters whole on every device but for what ``tensor`` splits; does nothing where no mesh is set.

    Args:
      tree: arrays.
      names: a tree like it, of tuples of logical names.
    """
    if jax.sharding.get_abstract_mesh().empty:
        return tree
    return jax.tree.map(lambda leaf, axes: jax.lax.with_sharding_constraint(leaf, _gathered(axes)), tree, names)


def gathered_bytes(tree: Any, names: Any, dtype: str) -> int:
    """What ``gather`` puts on each device of the mesh that is set, in that type."""
    tensor = dict(jax.sharding.get_abstract_mesh().shape).get("tensor", 1)
    itemsize = jax.numpy.dtype(dtype).itemsize
    sizes = jax.tree.map(lambda leaf, axes: leaf.size // (tensor if any(_gathered(axes)) else 1), tree, names)
    return itemsize * sum(jax.tree.leaves(sizes))


def _gathered(names: tuple[str | None, ...]) -> PartitionSpec:
    return PartitionSpec(*(None if axes == ("fsdp",) else axes for axes in map(_rule, names)))


def local_rows(mesh: Mesh, batch_size: int, process: int | None = None) -> np.ndarray:
    """The rows of a global batch that a process's devices hold, ascending; by default this process's.

    They are no function of the process's number alone: devices are arranged by the network, and processes that share a
    tensor axis hold the same rows.
    """
    blocks = _local_blocks(mesh, jax.process_index() if process is None else process)
    size = batch_size // (mesh.shape["data"] * mesh.shape["fsdp"])
    return (blocks[:, None] * size + np.arange(size)[None]).reshape(-1)


def _local_blocks(mesh: Mesh, process: int) -> np.ndarray:
    """Numbers of the parts of the batch, one for each place on ``data`` and ``fsdp``, that a process's devices hold."""
    places = mesh.devices.reshape(mesh.shape["data"] * mesh.shape["fsdp"], -1)
    return np.flatnonzero([any(device.process_index == process for device in place) for place in places])


def global_batch(batch: Mapping[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """Global arrays from this process's rows, ``local_rows`` in their order: row-split over ``data`` and ``fsdp``."""
    sharding = NamedSharding(mesh, partition_spec(("batch",)))
    blocks = _local_blocks(mesh, jax.process_index())
    parts = mesh.shape["data"] * mesh.shape["fsdp"]

    def whole(rows: np.ndarray) -> jax.Array:
        size = len(rows) // len(blocks)

        def part(index: tuple[slice, ...] | None) -> np.ndarray:
            assert index is not None  # as it is of scalars
            place = int(np.searchsorted(blocks, (index[0].start or 0) // size))
            return rows[place * size : (place + 1) * size]

        return jax.make_array_from_callback((parts * size, *rows.shape[1:]), sharding, part)

    return {name: whole(rows) for name, rows in batch.items()}


def row_shards() -> int:
    """How many parts a batch's rows are split into, under the mesh that is set; 1 where none is."""
    mesh = jax.sharding.get_abstract_mesh()
    return 1 if mesh.empty else mesh.shape["data"] * mesh.shape["fsdp"]


def sum_over_rows(part: Callable[..., jax.Array], *arrays: jax.Array, width: int, axis: int = 0) -> jax.Array:
    """``part`` of all rows of the arrays, where that of some rows and that of the others add up to it.

    Each device computes it of its own rows. Of the sum over ``fsdp`` it gets its share of one axis alone, and adds
    that up over ``data``: what a parameter's gradient takes under ZeRO (Rajbhandari et al. 2020, section 7.2). The
    compiler sums whole gradients within a scan, which is twice the bytes, and then keeps a share.

    Args:
      part: of arrays that each begin with rows.
      arrays: rows split over ``data`` and ``fsdp``.
      width: size of the result's axis that is to be split over ``fsdp``.
      axis: which that is.
    """
    mesh = jax.sharding.get_abstract_mesh()
    shards = row_shards()
    if shards == 1 or width % mesh.shape["fsdp"] or any(x.shape[0] % shards for x in arrays):
        return part(*arrays)

    def on_device(*own: jax.Array) -> jax.Array:
        share = jax.lax.psum_scatter(part(*own), "fsdp", scatter_dimension=axis, tiled=True)
        return jax.lax.psum(share, "data")

    rows, share = PartitionSpec(("data", "fsdp")), PartitionSpec(*(None,) * axis, "fsdp")
    return jax.shard_map(on_device, in_specs=(rows,) * len(arrays), out_specs=share, axis_names={"data", "fsdp"})(
        *arrays
    )
