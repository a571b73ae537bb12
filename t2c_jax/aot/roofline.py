"""How fast a step can be at best: each of its costs over the chip's published peak (Williams et al. 2009)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from t2c_jax.aot.chips import Chip
from t2c_jax.aot.costs import Collective, Costs


@dataclass(frozen=True)
class Roofline:
    """Seconds of a step.

    Attributes:
      compute: of matrix products at the peak of bfloat16.
      memory: of HBM's bytes.
      overlapped: of collectives that overlap with other work.
      exposed: of collectives that nothing overlaps.
      seconds: the longest of the first three, plus ``exposed``.
      bound: which of the four is the longest.
      utilisation: the model's own operations over those that the chip can do in ``seconds`` (MFU; Chowdhery et al.
        2022, appendix B).
    """

    compute: float
    memory: float
    overlapped: float
    exposed: float
    seconds: float
    bound: str
    utilisation: float


def roofline(costs: Costs, chip: Chip, devices: Sequence[Any], model_flops: float) -> Roofline:
    """The estimate for one device.

    Args:
      costs: of the compiled program.
      chip: its peaks.
      devices: in the order in which the program numbers them; their coordinates show which links a collective uses.
      model_flops: operations of the model itself on this device.
    """
    parts = {
        "compute": costs.flops / chip.flops,
        "memory": costs.memory / chip.memory_bandwidth,
        "overlapped collectives": 0.0,
        "exposed collectives": 0.0,
    }
    for collective in costs.collectives.values():
        kind = "overlapped collectives" if collective.overlapped else "exposed collectives"
        parts[kind] += collective.sent / bandwidth(collective, chip, devices)
    compute, memory, overlapped, exposed = parts.values()
    seconds = max(compute, memory, overlapped) + exposed
    utilisation = model_flops / (seconds * chip.flops) if seconds else 0.0
    bound = max(parts, key=lambda name: parts[name])
    return Roofline(compute, memory, overlapped, exposed, seconds, bound, utilisation)


def bandwidth(collective: Collective, chip: Chip, devices: Sequence[Any]) -> float:
    """Bytes a second out of a chip: of the links along the torus's axes that the group spans, or of the network."""
    group = [devices[number] for number in collective.group if number < len(devices)]
    if len({getattr(device, "slice_index", 0) for device in group}) > 1:
        return chip.network_bandwidth
    spans = sum(len(set(along)) > 1 for along in zip(*(device.coords for device in group), strict=True)) or 1
    one_way = 2 if collective.kind == "collective-permute" else 1  # to one neighbour, over one of an axis's two links
    return chip.link_bandwidth * min(spans, chip.dimensions) / chip.dimensions / one_way
