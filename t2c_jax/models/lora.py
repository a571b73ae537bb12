"""Low-rank adapters: W + (alpha / r) A B in the place of W, with W frozen (Hu et al. 2021, "LoRA: Low-Rank Adaptation
of Large Language Models", section 4.1).

Adapters are a function on the dict of parameters: ``merged`` gives parameters of the same names and shapes, so any
encoder and decoder, scanned or unrolled, trains, decodes and exports with them as it is. What that costs is a gradient
of each adapted kernel, which exists while A's and B's are made of it; moments exist for A and B alone.

A parameter that the frozen ones lack, as a new head's, has nothing to adapt: it is kept next to the adapters, in
their tree, and trains in full (PEFT's ``modules_to_save``).

The paper's A is r x k and its B d x r, for products from the left; kernels here are applied from the right, and A and B
are the transposes: the input's side of a kernel first. A kernel of several axes is the matrix of its first one against
the others; leading layer axes stay.

Letters: I input's side of a kernel, O its output's side, R rank.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection
from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Key

from t2c_jax.config import LoraConfig
from t2c_jax.errors import UserError
from t2c_jax.models.definition import Params
from t2c_jax.models.layers import dropout
from t2c_jax.models.parameters import ParameterInfo

Path = tuple[str, ...]


def _kernels(info: Params, config: LoraConfig) -> dict[Path, ParameterInfo]:
    """The matrices that are adapted: those that config.lora.targets finds or, by default, that the model says.

    Raises:
      UserError: there is none.
    """
    matrices = {path: one for path, one in sorted(flatten_dict(info).items()) if one.is_matrix}
    found = {
        path: one
        for path, one in matrices.items()
        if (re.search(config.targets, ".".join(path)) if config.targets else one.adapted)
    }
    if not found:
        raise UserError(
            f"config.lora.targets={config.targets!r} finds no matrix in this model; it has"
            f" {', '.join('.'.join(path) for path in matrices)}"
        )
    return found


def _sides(kernel: ParameterInfo, shape: tuple[int, ...]) -> tuple[int, int]:
    """I and O of a kernel."""
    first, others = kernel.matrix_shape(shape)[-2:]
    return (others, first) if kernel.output_first else (first, others)


def divided(tree: Params, modules_to_save: Collection[str]) -> tuple[Params, Params]:
    """A tree of the model's parameters as what is frozen under adapters, and what trains in full with them.

    Args:
      tree: like the parameters.
      modules_to_save: dotted paths.
    """
    frozen = flatten_dict(tree)
    full = {path: frozen.pop(path) for path in list(frozen) if ".".join(path) in modules_to_save}
    return unflatten_dict(frozen), unflatten_dict(full)


def init(
    key: Key[Array, ""], params: Params, info: Params, config: LoraConfig, modules_to_save: Collection[str] = ()
) -> Params:
    """Fresh adapters, which change nothing yet: A normal with variance 1/I, B zero.

    Args:
      key: A is sampled with it.
      params: the model's parameters.
      info: ``Definition.parameter_info``.
      config: rank and targets.
      modules_to_save: dotted paths of the parameters that train in full.

    Returns:
      ``{path of a kernel ...: {"a": (layers ..., I, R), "b": (layers ..., R, O)}}``, float32, and the parameters
      ``modules_to_save`` as they are.

    Raises:
      UserError: config.lora.targets finds no matrix.
    """
    kernels, leaves = _kernels(divided(info, modules_to_save)[0], config), flatten_dict(params)
    made: dict[Path, Any] = flatten_dict(divided(params, modules_to_save)[1])
    for part, (path, kernel) in zip(jax.random.split(key, len(kernels)), kernels.items(), strict=True):
        shape = leaves[path].shape
        stack, (inputs, outputs) = shape[: kernel.leading], _sides(kernel, shape)
        made[(*path, "a")] = jax.random.normal(part, (*stack, inputs, config.rank), jnp.float32) * inputs**-0.5
        made[(*path, "b")] = jnp.zeros((*stack, config.rank, outputs), jnp.float32)
    tree: Params = unflatten_dict(made)
    return tree


def parameter_info(info: Params, config: LoraConfig, modules_to_save: Collection[str] = ()) -> Params:
    """What is known of ``init``'s result.

    Each side has its kernel's leading axis on that side, and the rank is on every device. Parameters that
    train in full keep their own.

    Raises:
      UserError: config.lora.targets finds no matrix.
    """
    frozen, full = divided(info, modules_to_save)
    named: dict[Path, ParameterInfo] = flatten_dict(full)
    for path, kernel in _kernels(frozen, config).items():
        stack, first, others = (
            ("layers",) * kernel.leading,
            kernel.axes[kernel.leading],
            kernel.axes[kernel.leading + 1],
        )
        inputs, outputs = (others, first) if kernel.output_first else (first, others)
        half = dataclasses.replace(kernel, output_first=False, adapted=False, extendable=None)
        named[(*path, "a")] = dataclasses.replace(half, axes=(*stack, inputs, None))
        named[(*path, "b")] = dataclasses.replace(half, axes=(*stack, None, outputs))
    tree: Params = unflatten_dict(named)
    return tree


def axis_names(info: Params, config: LoraConfig, modules_to_save: Collection[str] = ()) -> Params:
    """Logical axes of ``init``'s result.

    Raises:
      UserError: config.lora.targets finds no matrix.
    """
    return jax.tree.map(lambda one: one.axes, parameter_info(info, config, modules_to_save))


def without(params: Params, adapters: Params, info: Params, config: LoraConfig) -> Params:
    """The model's parameters as they would be if the adapters changed nothing: those of ``merged`` but the products.

    Raises:
      UserError: config.lora.targets finds no matrix.
    """
    leaves, halves = flatten_dict(params), flatten_dict(adapters)
    for path in _kernels_among(leaves, info, config):
        del halves[(*path, "a")], halves[(*path, "b")]
    tree: Params = unflatten_dict({**leaves, **halves})
    return tree


def _kernels_among(leaves: Collection[Path], info: Params, config: LoraConfig) -> dict[Path, ParameterInfo]:
    known = {path: one for path, one in flatten_dict(info).items() if path in leaves}
    return _kernels(unflatten_dict(known), config)


def merged(
    params: Params, adapters: Params, info: Params, config: LoraConfig, key: Key[Array, ""] | None = None
) -> Params:
    """The model's parameters, those that train in full too, with every adapter's product added to its kernel.

    The paper drops elements of A's input. Here that is rows of A, under ``key``: one sample for all tokens of a
    microbatch rather than one for each, with the same expectation.

    Args:
      params: the frozen ones.
      adapters: as ``init`` gives them.
      info: ``Definition.parameter_info``.
      config: alpha, dropout, targets.
      key: of the dropout; None for none.

    Raises:
      UserError: config.lora.targets finds no matrix.
    """
    leaves, halves = flatten_dict(params), flatten_dict(adapters)
    kernels = _kernels_among(leaves, info, config)
    keys = [None] * len(kernels) if key is None else jax.random.split(key, len(kernels))
    changed: dict[Path, Array] = {}
    for part, (path, kernel) in zip(keys, kernels.items(), strict=True):
        whole, a_IR, b_RO = leaves[path], halves.pop((*path, "a")), halves.pop((*path, "b"))
        a_IR = a_IR * dropout(jnp.ones((*a_IR.shape[:-1], 1), a_IR.dtype), config.dropout, part)
        product = "...ir,...ro->...oi" if kernel.output_first else "...ir,...ro->...io"
        delta = jnp.einsum(product, a_IR, b_RO) * (config.alpha / config.rank)
        changed[path] = whole + delta.reshape(whole.shape)
    tree: Params = unflatten_dict({**leaves, **changed, **halves})
    return tree
