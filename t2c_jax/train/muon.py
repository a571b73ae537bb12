"""Muon over parameters that know how they are matrices (Jordan et al. 2024, "Muon: An optimizer for hidden layers").

The momentum of a kernel is orthogonalised by Newton-Schulz iterations (``optax.contrib.scale_by_muon``), each layer of
a stack by itself, and attention's ``(D, heads, head width)`` as one ``D x (heads x head width)`` matrix. The gates of a
recurrent kernel are matrices of their own.

Only kernels of hidden layers are matrices in this sense. Embeddings, the output table, heads, biases and scales are
updated by Adam. An orthogonalised matrix is scaled to the root mean square that Adam's updates have (Liu et al. 2025,
"Muon is Scalable for LLM Training", section 2.2, equation 4), so that both share a learning rate and a weight decay.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import optax
from flax.traverse_util import flatten_dict

from t2c_jax.models.definition import names
from t2c_jax.models.parameters import OPTIONAL_PARTS, OUTPUT, ParameterInfo

MOMENTUM = 0.95  # Nesterov's, as published
RMS = 0.2  # of an update; section 2.2 of Liu et al.: Adam's is between 0.2 and 0.4


def is_orthogonalized(path: tuple[str, ...], one: ParameterInfo) -> bool:
    """Whether Muon updates a parameter: a kernel of a hidden layer, and not the output table or an optional head."""
    hidden = path[0] not in (OUTPUT, *OPTIONAL_PARTS)
    return hidden and one.kind == "kernel" and len(_matrix_axes(one)) >= 2


def dimension_numbers(one: ParameterInfo) -> optax.contrib.MuonDimensionNumbers:
    """Which axes of a kernel are its input and its output; layers and gates are the others."""
    first, *others = _matrix_axes(one)
    sides = (tuple(others), (first,)) if one.output_first else ((first,), tuple(others))
    return optax.contrib.MuonDimensionNumbers(*sides)


def scale_by_muon(info: Any) -> optax.GradientTransformation:
    """Orthogonalised momentum of the parameters that are ``is_orthogonalized``; the others pass as they are.

    Args:
      info: a tree of ``ParameterInfo``; parameters may have None in the place of frozen ones.
    """
    known: dict[tuple[str, ...], ParameterInfo] = flatten_dict(info)

    def numbers(updates: Any) -> Any:
        return jax.tree_util.tree_map_with_path(lambda path, _: dimension_numbers(known[names(path)]), updates)

    def rescaled(path: Any, update: jax.Array) -> jax.Array:
        axes = _matrix_axes(known[names(path)])
        sides = update.shape[axes[0]], math.prod(update.shape[axis] for axis in axes[1:])
        return update * (RMS * max(sides) ** 0.5)  # an orthogonal matrix has 1 / max(sides) as its mean square

    scale = optax.stateless(lambda updates, _: jax.tree_util.tree_map_with_path(rescaled, updates))
    muon = optax.contrib.scale_by_muon(beta=MOMENTUM, weight_dimension_numbers=numbers)
    return optax.masked(optax.chain(muon, scale), orthogonalized_mask(info))


def orthogonalized_mask(info: Any, inverted: bool = False) -> Any:
    """A function of parameters, some of them None, to a tree of whether Muon updates them; or Adam, ``inverted``."""
    known: dict[tuple[str, ...], ParameterInfo] = flatten_dict(info)

    def mask(params: Any) -> Any:
        def one(path: Any, _: Any) -> bool:
            return is_orthogonalized(names(path), known[names(path)]) != inverted

        return jax.tree_util.tree_map_with_path(one, params)

    return mask


def _matrix_axes(one: ParameterInfo) -> list[int]:
    """The axes of one matrix: all but those of layers and gates. (An adapter's last axis holds all gates as one.)"""
    last = len(one.axes) - 1
    return [axis for axis, name in enumerate(one.axes) if axis >= one.leading and (name != "gates" or axis == last)]
