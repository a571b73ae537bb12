"""Floating-point operations of the model, by its jaxpr: whatever encoder and decoder, whatever the platform."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr

from t2c_jax.models.definition import Definition

if TYPE_CHECKING:
    from t2c_jax.train.step import Compiled

# Dense bfloat16 FLOP/s of a device, by what its kind begins with. TPUs: Google Cloud's system architecture pages; GPUs:
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
    """What share of the devices' peak the model's own work takes (MFU; Chowdhery et al. 2022, appendix B).

    Attributes:
      flops: the model's, of one global step: three forward passes' matrix products, whatever is computed again.
      peak: all devices' together, bfloat16 FLOP/s.
    """

    flops: float
    peak: float

    def share(self, seconds: float) -> float:
        """Of steps that take so long."""
        return self.flops / (seconds * self.peak)

    @classmethod
    def of(cls, compiled: Compiled, rows: Mapping[str, tuple[tuple[int, ...], np.dtype]]) -> Utilisation | None:
        """Of a run's step; None on devices whose peak is not known.

        Args:
          compiled: the run's functions.
          rows: shape and dtype of each array of this process's part of a batch.
        """
        devices = compiled.mesh.devices.flat
        kind = devices[0].device_kind
        peak = next((PEAKS[name] for name in PEAKS if kind.startswith(name)), None)
        if peak is None:
            return None
        (local, *_), _ = next(iter(rows.values()))  # processes that share a tensor axis hold the same rows
        whole = compiled.experiment.data.batch_size / local
        return cls(model_flops(compiled, rows) * whole, peak * compiled.mesh.size)


def model_flops(compiled: Compiled, rows: Mapping[str, tuple[tuple[int, ...], np.dtype]]) -> float:
    """Of a step on these rows: backward takes twice what forward takes."""
    from t2c_jax.train.step import loss_sums

    experiment = compiled.experiment
    # A kernel of its own would hide its products.
    definition = Definition(dataclasses.replace(experiment.model, attention="xla"), compiled.definition.vocab_size)
    batch = {name: jax.ShapeDtypeStruct(shape, dtype) for name, (shape, dtype) in rows.items()}

    def forward(params: Any, batch: Any) -> Any:
        return loss_sums(definition, params, batch, None, experiment, training=True)["loss"]

    return 3.0 * forward_flops(forward, compiled.definition.abstract_params(), batch)


def forward_flops(function: Any, *arguments: Any) -> int:
    """Multiplications and additions of all matrix products that a call makes.

    Loops count as often as they run; of a ``cond``'s branches the dearest counts. What a ``while`` runs is not known
    before it runs: its body counts once. Element-wise work is not counted, as in PaLM's model FLOPs (Chowdhery et al.
    2022, appendix B).

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
