"""What a model asks for by itself: the matrix products of its forward pass, counted from its trace."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax

from t2c_jax.config import Experiment
from t2c_jax.models.functional import Definition
from t2c_jax.train.step import loss_sums


def model_flops(experiment: Experiment, vocab_size: int, batch: Mapping[str, jax.ShapeDtypeStruct]) -> float:
    """Operations of a train step over a batch: three times those of the forward pass, a multiply-add counting 2.

    The backward pass has two products for each. Nothing is counted for what is computed again, and of attention only
    the blocks that a causal row may see.
    """
    # The plain formula, whatever kernel runs: a kernel's own products are not the model's.
    model = dataclasses.replace(experiment.model, attention="xla", remat="none")
    plain = dataclasses.replace(experiment, model=model)
    definition = Definition(model, vocab_size)

    def forward(params: Any, batch: Any) -> Any:
        return loss_sums(definition, params, batch, None, plain, training=False)

    return 3.0 * products(jax.make_jaxpr(forward)(definition.abstract_params(), batch).jaxpr)


def products(jaxpr: Any) -> float:
    """Operations of all ``dot_general`` in a jaxpr, a scan's as often as it runs; a while loop's count once."""
    total = 0.0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            left = equation.invars[0].aval.shape
            total += 2.0 * equation.outvars[0].aval.size * math.prod(left[axis] for axis in contracted)
            continue
        times = equation.params["length"] if equation.primitive.name == "scan" else 1
        inner = [products(part) for part in _inner(equation.params)]
        total += times * (max(inner, default=0.0) if equation.primitive.name == "cond" else sum(inner))
    return total


def _inner(params: Mapping[str, Any]) -> Iterator[Any]:
    for value in params.values():
        for part in value if isinstance(value, tuple | list) else (value,):
            part = getattr(part, "jaxpr", part)
            if hasattr(part, "eqns"):
                yield part
