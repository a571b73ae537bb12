"""Rows of a batch over devices and processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from t2c_jax.mesh.sharding import partition_spec


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
