"""Floating-point operations of a function by its jaxpr, and the share of the devices' peak that they reach."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr

# Dense bfloat16 FLOP/s of a device, by the beginning of its kind. TPUs: Google Cloud's system architecture pages; GPUs:
# NVIDIA's data sheets, without sparsity (a kind that names no form factor is the SXM one).
PEAKS = {
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5": 459e12,
    "TPU v6 lite": 918e12,
    "NVIDIA B200": 2250e12,
    "NVIDIA H200": 989e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA H100": 989e12,
    "NVIDIA A100": 312e12,
    "NVIDIA L40S": 362e12,
    "NVIDIA L40": 181e12,
    "NVIDIA L4": 121e12,
}


@dataclass(frozen=True)
class Utilisation:
    """Model FLOPs utilisation: the share of the devices' peak that the model's own work reaches (MFU; Chowdhery et al.
    2022, appendix B).

    Attributes:
      flops: the model's, of one global step: three forward passes' matrix products, without rematerialisation.
      peak: all devices' together, bfloat16 FLOP/s.
    """

    flops: float
    peak: float

    def share(self, seconds: float) -> float:
        """Of steps that take so long."""
        return self.flops / (seconds * self.peak)


def peak_flops(devices: Sequence[Any]) -> float | None:
    """Dense bfloat16 FLOP/s of all the devices, which are of one kind; None where the kind is not known."""
    kind = devices[0].device_kind
    peak = next((PEAKS[name] for name in PEAKS if kind.startswith(name)), None)
    return None if peak is None else peak * len(devices)


def forward_flops(function: Any, *arguments: Any) -> int:
    """Multiplications and additions of all matrix products in a call.

    The body of a ``scan`` counts as often as it runs, the body of a ``while`` once, since its number of iterations is
    not known; of the branches of a ``cond`` the most expensive counts. Element-wise work is not counted, as in PaLM's
    model FLOPs (Chowdhery et al. 2022, appendix B).

    Args:
      function: traced, not run.
      *arguments: arrays or ``jax.ShapeDtypeStruct``.
    """
    return _of(jax.make_jaxpr(function)(*arguments).jaxpr)


def _of(jaxpr: Jaxpr) -> int:
    return sum(_of_equation(equation) for equation in jaxpr.eqns)


def _of_equation(equation: Any) -> int:
    name, inner = equation.primitive.name, [_of(jaxpr) for jaxpr in _inner(list(equation.params.values()))]
    if name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        left, out = equation.invars[0].aval, equation.outvars[0].aval
        return 2 * math.prod(out.shape) * math.prod(left.shape[axis] for axis in contracted)
    if name == "cond":
        return max(inner, default=0)
    return sum(inner) * (equation.params["length"] if name == "scan" else 1)


def _inner(values: list[Any]) -> list[Jaxpr]:
    found = []
    for value in values:
        if isinstance(value, ClosedJaxpr):
            found.append(value.jaxpr)
        elif isinstance(value, Jaxpr):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += _inner(list(value))
    return found
