"""Low-rank adapters: W + (alpha / r) A B in the place of W, with W frozen (Hu et al. 2021, "LoRA: Low-Rank Adaptation
of Large Language Models", section 4.1).

Adapters are a function on the dict of parameters: ``merged`` gives parameters of the same names and shapes, so any
encoder and decoder, scanned or unrolled, trains, decodes and exports with them as it is. What that costs is a gradient
of each adapted kernel, which exists while A's and B's are made of it; moments exist for A and B alone.

A parameter that the frozen ones lack, as a new head's, has nothing to adapt: it stands beside the adapters, in their
tree, and trains in full.

The paper's A is r x k and its B d x r, for products from the left; kernels here are applied from the right, and A and B
are the transposes: the input's side of a kernel first. A kernel of several axes is the matrix of its first one against
the others; leading layer axes stay.

Letters: I input's side of a kernel, O its output's side, R rank.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from t2c_jax.config import LoraConfig
from t2c_jax.errors import UserError
from t2c_jax.models.definition import Params, names
from t2c_jax.models.layers import dropout

Path = tuple[str, ...]

_BACK = ("output", "down")  # kernels into the residual stream: they lead with the width that is their output


@dataclass(frozen=True)
class _Kernel:
    """How a kernel is a matrix: its logical axes without layers, how many layer axes lead, which side comes first."""

    axes: tuple[str, ...]
    layers: int
    output_first: bool

    def sides(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """I and O."""
        first, *others = shape[self.layers :]
        return (math.prod(others), first) if self.output_first else (first, math.prod(others))


def _kernels(axes: Params, config: LoraConfig) -> dict[Path, _Kernel]:
    """The matrices that config.lora.targets finds.

    Raises:
      UserError: it finds none.
    """
    found, matrices = {}, []
    for path, leaf in _leaves(axes).items():
        layers = leaf.count("layers")
        own = leaf[layers:]
        if len(own) < 2 or not {"embed", "state"} & set(own):  # a scale; a bias, shaped as what it is added to
            continue
        matrices.append(".".join(path))
        if re.search(config.targets, matrices[-1]):
            # What reads a recurrent state has it first, whatever its name.
            found[path] = _Kernel(own, layers, path[-1] in _BACK and own[0] != "state")
    if not found:
        raise UserError(
            f"config.lora.targets={config.targets!r} finds no matrix in this model; it has {', '.join(matrices)}"
        )
    return found


def _leaves(tree: Params) -> dict[Path, Any]:
    """Arrays, or the names of their axes, by path."""
    found = jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda node: isinstance(node, tuple))
    return {names(path): leaf for path, leaf in found}


def _nested(leaves: Mapping[Path, Any]) -> Params:
    nested: Params = {}
    for (*parents, last), leaf in leaves.items():
        place = nested
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = leaf
    return nested


def divided(tree: Params, beside: Collection[str]) -> tuple[Params, Params]:
    """A tree of the model's parameters as what is frozen under adapters, and what stands beside them.

    Args:
      tree: of arrays, of names of their axes, or of shardings.
      beside: dotted paths.
    """
    frozen = _leaves(tree)
    full = {path: frozen.pop(path) for path in list(frozen) if ".".join(path) in beside}
    return _nested(frozen), _nested(full)


def init(key: Key[Array, ""], params: Params, axes: Params, config: LoraConfig, beside: Collection[str] = ()) -> Params:
    """Fresh adapters, which change nothing yet: A normal with variance 1/I, B zero.

    Args:
      key: draws A.
      params: the model's parameters.
      axes: ``Definition.axis_names``.
      config: rank and targets.
      beside: dotted paths of the parameters that train in full.

    Returns:
      ``{path of a kernel ...: {"a": (layers ..., I, R), "b": (layers ..., R, O)}}``, float32, and the parameters
      ``beside`` as they are.

    Raises:
      UserError: config.lora.targets finds no matrix.
    """
    kernels, leaves = _kernels(divided(axes, beside)[0], config), _leaves(params)
    drawn: dict[Path, Any] = _leaves(divided(params, beside)[1])
    for part, (path, kernel) in zip(jax.random.split(key, len(kernels)), kernels.items(), strict=True):
        shape = leaves[path].shape
        stack, (inputs, outputs) = shape[: kernel.layers], kernel.sides(shape)
        a_IR = jax.random.normal(part, (*stack, inputs, config.rank), jnp.float32) * inputs**-0.5
        drawn[path] = {"a": a_IR, "b": jnp.zeros((*stack, config.rank, outputs), jnp.float32)}
    return _nested(drawn)


def axis_names(axes: Params, config: LoraConfig, beside: Collection[str] = ()) -> Params:
    """Logical axes of ``init``'s result: each side as its kernel's leading axis on that side, the rank on every device.

    What stands beside the adapters keeps its own.

    Raises:
      UserError: config.lora.targets finds no matrix.
    """
    frozen, full = divided(axes, beside)
    named: dict[Path, Any] = _leaves(full)
    for path, kernel in _kernels(frozen, config).items():
        stack, first, others = ("layers",) * kernel.layers, kernel.axes[0], kernel.axes[1]
        inputs, outputs = (others, first) if kernel.output_first else (first, others)
        named[path] = {"a": (*stack, inputs, None), "b": (*stack, None, outputs)}
    return _nested(named)


def merged(
    params: Params, adapters: Params, axes: Params, config: LoraConfig, key: Key[Array, ""] | None = None
) -> Params:
    """The model's parameters, those beside the adapters too, with every adapter's product added to its kernel.

    The paper drops elements of A's input. Here that is rows of A, under ``key``: one draw for all tokens of a
    microbatch rather than one for each, with the same expectation.

    Args:
      params: the frozen ones.
      adapters: as ``init`` gives them.
      axes: ``Definition.axis_names``.
      config: alpha, dropout, targets.
      key: of the dropout; None for none.

    Raises:
      UserError: config.lora.targets finds no matrix.
    """
    leaves, halves = _leaves(params), _leaves(adapters)
    kernels = _kernels(_nested({path: named for path, named in _leaves(axes).items() if path in leaves}), config)
    keys = [None] * len(kernels) if key is None else jax.random.split(key, len(kernels))
    changed: dict[Path, Array] = {}
    for part, (path, kernel) in zip(keys, kernels.items(), strict=True):
        whole, a_IR, b_RO = leaves[path], halves.pop((*path, "a")), halves.pop((*path, "b"))
        a_IR = a_IR * dropout(jnp.ones((*a_IR.shape[:-1], 1), a_IR.dtype), config.dropout, part)
        product = "...ir,...ro->...oi" if kernel.output_first else "...ir,...ro->...io"
        delta = jnp.einsum(product, a_IR, b_RO) * (config.alpha / config.rank)
        changed[path] = whole + delta.reshape(whole.shape)
    return _nested({**leaves, **changed, **halves})
