"""The sizes of a mesh: as the config gives them, or chosen from what has to be held, the devices and their memory."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
from jax.sharding import Mesh

from t2c_jax.config import MeshConfig
from t2c_jax.errors import UserError
from t2c_jax.mesh.devices import across_slices, axis_sizes, mesh_of, slice_count
from t2c_jax.mesh.sharding import RULES

GIB = 2**30
# Share of a device's memory for parameters, gradients and optimizer state; activations need the rest.
STATE_SHARE = 0.5
# Bytes of devices that are compiled for but not attached, which do not report them (cloud.google.com/tpu/docs).
MEMORY = {
    "TPU v4": 32 * GIB,
    "TPU v5 lite": 16 * GIB,
    "TPU v5": 95 * GIB,
    "TPU v5p": 95 * GIB,
    "TPU v6 lite": 32 * GIB,
}


@dataclass(frozen=True)
class Workload:
    """What a mesh has to hold and to split.

    Attributes:
      state_bytes: parameters and, in training, gradients and optimizer state; all devices together.
      axes: sizes of the parameters' axes, by logical name.
      batch_size: rows of a global batch; 0 where batches are padded to the mesh.
      microbatches: parts of a batch, each split over the mesh.
    """

    state_bytes: int
    axes: Mapping[str, Collection[int]]
    batch_size: int = 0
    microbatches: int = 1


def make_mesh(config: MeshConfig, workload: Workload, devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh over the given devices, or over all there are; sizes of 0 are chosen.

    Raises:
      UserError: the sizes do not fit the devices or the workload, or no choice of them holds the state.
    """
    devices = jax.devices() if devices is None else devices
    slices = slice_count(devices)
    if 0 in (config.fsdp, config.tensor):
        config = choose(config, workload, memory_bytes(devices[0]), len(devices), slices)
    check(config, workload, len(devices), slices)
    return mesh_of(config, devices)


def check(config: MeshConfig, workload: Workload, devices: int, slices: int = 1) -> dict[str, int]:
    """Checks that a mesh on this many devices, in so many slices, splits the workload; returns the mesh's shape.

    Raises:
      UserError: a batch or a parameter cannot be split as the mesh asks.
    """
    sizes = axis_sizes(config, devices)
    across_slices(sizes, slices)
    rows = sizes["data"] * sizes["fsdp"] * workload.microbatches
    if workload.batch_size % rows:
        raise UserError(
            f"config.data.batch_size={workload.batch_size} is not divisible by"
            f" mesh.data x mesh.fsdp x train.microbatches = {rows}"
        )
    for name, found in workload.axes.items():
        split = RULES[name] or ()
        parts = math.prod(sizes[axis] for axis in split)
        for size in sorted(found):
            if size % parts:
                raise UserError(
                    f"the model's axis '{name}' of {size} is not divisible by config.mesh.{' x '.join(split)}={parts};"
                    " change config.mesh or the model's sizes"
                )
    return sizes


def choose(config: MeshConfig, workload: Workload, memory: int | None, devices: int, slices: int = 1) -> MeshConfig:
    """The mesh that communicates least among those that hold the state: the least ``tensor``, then the least ``fsdp``.

    ``data`` needs a sum of gradients once a step, ``fsdp`` the parameters once a pass, ``tensor`` the activations in
    every layer. So ``tensor`` is more than 1 only where there are fewer rows than devices, or where ``fsdp`` alone can
    split the state no further; and ``fsdp`` is the least whose share of the state takes at most ``STATE_SHARE`` of a
    device's memory, or, where none does, the least that leaves any memory at all.

    Args:
      config: sizes of 0 are chosen, the others kept.
      workload: what the mesh has to hold and to split.
      memory: bytes of a device; None for no limit.
      devices: how many there are, in so many ``slices`` of equal size.

    Raises:
      UserError: no mesh on these devices splits the batch and the model, or none holds the state.
    """
    divisors = [size for size in range(1, devices + 1) if devices % size == 0]
    fitting, refusal = [], None
    for tensor in [config.tensor] if config.tensor else divisors:
        for fsdp in [config.fsdp] if config.fsdp else divisors:
            try:
                sizes = check(MeshConfig(config.data, fsdp, tensor), workload, devices, slices)
            except UserError as error:
                refusal = refusal or error
            else:
                fitting.append(MeshConfig(**sizes))
    if not fitting:
        raise UserError(f"no mesh fits {devices} device(s): {refusal}")
    if memory is None:
        return fitting[0]
    for share in (STATE_SHARE, 1.0):
        for mesh in fitting:
            if workload.state_bytes <= share * memory * mesh.fsdp * mesh.tensor:
                return mesh
    most = max(mesh.fsdp * mesh.tensor for mesh in fitting)
    raise UserError(
        f"the parameters, with gradients and optimizer state in training, take {workload.state_bytes / GIB:.1f} GiB;"
        f" the {most} device(s) of {memory / GIB:.1f} GiB that can share them are too small: use more devices, a"
        " smaller config.model, or config.optimizer.name=adafactor"
    )


def memory_bytes(device: Any) -> int | None:
    """Bytes of a device's own memory; None where it has none, such as a CPU."""
    try:
        stats = device.memory_stats()
    except (AttributeError, RuntimeError, NotImplementedError):  # compiled for, not attached
        stats = None
    return (stats or {}).get("bytes_limit") or MEMORY.get(device.device_kind)
