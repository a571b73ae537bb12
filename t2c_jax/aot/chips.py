"""Published figures of TPU chips: memory, and peaks of compute, memory bandwidth and interconnect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from t2c_jax.mesh import MEMORY
from t2c_jax.train.telemetry.flops import PEAKS


@dataclass(frozen=True)
class Chip:
    """One chip's published figures.

    Attributes:
      memory: bytes of HBM.
      flops: bfloat16 operations a second.
      memory_bandwidth: bytes a second between HBM and the chip.
      link_bandwidth: bytes a second out of the chip, over all links of the interconnect; the same in.
      network_bandwidth: bytes a second from a chip to other slices.
      dimensions: of the torus that the chips of a slice form.
      source: the page with these figures.
    """

    memory: int
    flops: float
    memory_bandwidth: float
    link_bandwidth: float
    network_bandwidth: float
    dimensions: int
    source: str


def _chip(kind: str, *figures: Any) -> Chip:
    return Chip(MEMORY[kind], PEAKS[kind], *figures)


# Interconnect is published for both directions together; half of it goes one way. Bandwidth between slices is that of
# "How to Scale Your Model", https://jax-ml.github.io/scaling-book/tpus; for v4 a host's card shared by its four chips.
CHIPS: Mapping[str, Chip] = {
    "v4": _chip("TPU v4", 1228e9, 600e9 / 2, 6.25e9, 3, "https://cloud.google.com/tpu/docs/v4"),
    "v5e": _chip("TPU v5 lite", 819e9, 400e9 / 2, 3.125e9, 2, "https://cloud.google.com/tpu/docs/v5e"),
    "v5p": _chip("TPU v5", 2765e9, 1200e9 / 2, 6.25e9, 3, "https://cloud.google.com/tpu/docs/v5p"),
    "v6e": _chip("TPU v6 lite", 1640e9, 800e9 / 2, 12.5e9, 2, "https://cloud.google.com/tpu/docs/v6e"),
}
