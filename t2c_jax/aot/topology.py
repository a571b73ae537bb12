"""TPU topologies by name: devices to compile for, without a TPU."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from t2c_jax.aot.chips import CHIPS, Chip
from t2c_jax.errors import UserError, nearest

_NAME = re.compile(r"(?:(\d+)\*)?(\w+):(\d+(?:x\d+){0,2})")
# Without these, libtpu asks Google Cloud's metadata server about the machine, logs errors, and allows one process at a
# time, as if it were going to use a TPU.
_NOT_ON_CLOUD = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}


@dataclass(frozen=True)
class Topology:
    """Slices of one kind of chip.

    Attributes:
      name: as given: ``v5e:16x16``, ``2*v5p:4x4x8``.
      kind: key of ``CHIPS``.
      chip: what each chip has.
      devices: all of them, for a mesh; nothing can run on them.
      slices: how many; each has an interconnect of its own.
    """

    name: str
    kind: str
    chip: Chip
    devices: tuple[Any, ...]
    slices: int = 1


def topology(name: str) -> Topology:
    """The topology that a name describes.

    Args:
      name: ``CHIP:AxB`` or ``CHIP:AxBxC``, chips along each axis of the slice, as Google Cloud names them; with
        ``N*`` before it for N slices.

    Raises:
      UserError: no such chip or shape, or no libtpu.
    """
    found = _NAME.fullmatch(name)
    if found is None:
        raise UserError(f"--topology {name!r}: write a chip and a slice's shape, such as v5e:16x16 or v5p:4x4x8")
    slices, kind, shape = int(found[1] or 1), found[2], found[3]
    if kind not in CHIPS:
        raise UserError(f"--topology {name}: unknown chip '{kind}'{nearest(kind, CHIPS)}; known are {', '.join(CHIPS)}")
    chip = CHIPS[kind]
    sides = [int(side) for side in shape.split("x")]
    if len(sides) != chip.dimensions:
        example = "x".join(["4"] * chip.dimensions)
        raise UserError(f"--topology {name}: slices of {kind} have {chip.dimensions} axes, such as {kind}:{example}")
    if slices < 1 or min(sides) < 1:
        raise UserError(f"--topology {name}: every number in it is at least 1")
    return Topology(name, kind, chip, _devices(name, kind, sides, slices), slices)


def _devices(name: str, kind: str, sides: list[int], slices: int) -> tuple[Any, ...]:
    from jax.experimental import topologies

    hosts = [min(side, most) for side, most in zip(sides, (2, 2, 1), strict=False)]
    options: dict[str, Any] = {"chips_per_host_bounds": (*hosts, *[1] * (3 - len(hosts)))}
    if kind in ("v4", "v5p"):
        options["chip_config_name"] = "megacore"  # the two cores of a chip are one device, as they are where it runs
    if slices > 1:
        options["num_slices"] = slices
    shape = "x".join(map(str, sides))
    try:
        with _off_cloud():
            return tuple(topologies.get_topology_desc(f"{kind}:{shape}", "tpu", **options).devices)
    except RuntimeError as error:  # of JAX where libtpu is missing, of libtpu where it knows no such shape
        if "not installed" in str(error):
            raise UserError(
                "t2c compile needs libtpu, the compiler for TPUs (no TPU is needed): pip install t2c-jax[tpu]"
            ) from None
        raise UserError(
            f"--topology {name}: the compiler does not know this slice ({str(error).splitlines()[0]})"
        ) from None


@contextlib.contextmanager
def _off_cloud() -> Iterator[None]:
    """The environment in which libtpu loads where there is no TPU."""
    missing = {name: value for name, value in _NOT_ON_CLOUD.items() if name not in os.environ}
    os.environ.update(missing)
    try:
        yield
    finally:
        for variable in missing:
            del os.environ[variable]
