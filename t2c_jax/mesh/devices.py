"""The mesh over the devices that there are.

Devices come in slices, fast within and slow between: of TPUs what one interconnect joins, of GPUs a host or what NVLink
joins. ``tensor`` communicates in every layer and never leaves a slice. ``data``, which communicates once a step, takes
as many slices as divide it; only where it takes fewer than there are does ``fsdp`` reach across them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh

from t2c_jax.config import MeshConfig
from t2c_jax.errors import UserError

AXES = ("data", "fsdp", "tensor")


def mesh_of(config: MeshConfig, devices: Sequence[Any]) -> Mesh:
    """A mesh of axes ``data, fsdp, tensor`` over the devices.

    Raises:
      UserError: the sizes do not multiply to the number of devices, or ``tensor`` would reach across slices.
    """
    sizes = axis_sizes(config, len(devices))
    # The axis type is always passed: its default has changed between releases of jax.
    return Mesh(arranged(sizes, devices), AXES, axis_types=(AxisType.Auto,) * len(AXES))


def axis_sizes(config: MeshConfig, devices: int) -> dict[str, int]:
    """The mesh's shape on this many devices, with -1 resolved.

    Raises:
      UserError: the sizes do not multiply to the number of devices.
      ValueError: a size of 0 is not chosen yet (``selection.choose``).
    """
    sizes = {"data": config.data, "fsdp": config.fsdp, "tensor": config.tensor}
    if 0 in sizes.values():
        raise ValueError(f"{sizes}: a size of 0 has to be chosen before a mesh is made")
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
    """How many slices the devices form; 1 on platforms without slices."""
    return len({getattr(device, "slice_index", 0) for device in devices})


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
