"""Adafactor (Shazeer & Stern 2018) over parameters that know how they are matrices.

A kernel of several axes is factored as the matrix that it is used as, its first axis against all others: attention's
``(layers, D, heads, head width)`` as a ``D x (heads x head width)`` matrix for each layer, as in T5X's
``logical_factor_rules``. Root mean squares are of one layer, so that a stack is updated as its blocks would be.

Letters: L layers, R rows, C columns.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float

from t2c_jax.models.parameters import ParameterInfo

DECAY_EXPONENT = 0.8  # section 7.2
EPSILON = 1e-30  # added to squared gradients; epsilon_1 of section 8
CLIP = 1.0  # d of section 6: the largest root mean square of an update
LEAST_SCALE = 1e-3  # epsilon_2 of section 8
MIN_FACTORED = 128  # a matrix with a smaller side keeps whole second moments, as in T5X


class AdafactorState(NamedTuple):
    """Second moments: of rows and columns where a parameter is factored, whole elsewhere; the others are of size 1."""

    updates: Array
    rows: Any
    columns: Any
    whole: Any


def scale_by_adafactor(info: Any) -> optax.GradientTransformation:
    """Adafactor without momentum: algorithm 4's factored second moments, section 7.2's decay and section 6's clipping.

    Args:
      info: a tree of ``ParameterInfo``; parameters may have None in the place of frozen ones.
    """
    known: dict[tuple[str, ...], ParameterInfo] = flatten_dict(info)

    def init(params: Any) -> AdafactorState:
        rows, columns, whole = {}, {}, {}
        for path, leaf in _leaves(params).items():
            shape = _factored_shape(known[path], leaf.shape)
            nothing = jnp.zeros((1,), jnp.float32)
            rows[path] = nothing if shape is None else jnp.zeros(shape[:-1], jnp.float32)
            columns[path] = nothing if shape is None else jnp.zeros((*shape[:-2], shape[-1]), jnp.float32)
            whole[path] = jnp.zeros(leaf.shape, jnp.float32) if shape is None else nothing
        return AdafactorState(jnp.zeros((), jnp.int32), *map(unflatten_dict, (rows, columns, whole)))

    def update(gradients: Any, state: AdafactorState, params: Any = None) -> tuple[Any, AdafactorState]:
        count = state.updates + 1
        decay = 1.0 - count.astype(jnp.float32) ** -DECAY_EXPONENT
        rows, columns, whole = (flatten_dict(part) for part in (state.rows, state.columns, state.whole))
        directions = {}
        for path, gradient in _leaves(gradients).items():
            one, shape = known[path], _factored_shape(known[path], gradient.shape)
            squared = jnp.square(gradient) + EPSILON
            if shape is None:
                whole[path] = decay * whole[path] + (1 - decay) * squared
                direction = gradient * jax.lax.rsqrt(whole[path])
            else:
                squared_LRC = squared.reshape(shape)
                rows[path] = decay * rows[path] + (1 - decay) * jnp.mean(squared_LRC, axis=-1)
                columns[path] = decay * columns[path] + (1 - decay) * jnp.mean(squared_LRC, axis=-2)
                factors_LRC = _inverse_root(rows[path], columns[path])
                direction = (gradient.reshape(shape) * factors_LRC).reshape(gradient.shape)
            directions[path] = direction / jnp.maximum(1.0, _rms(direction, one) / CLIP)
        parts = (unflatten_dict(part) for part in (rows, columns, whole))
        return _like(gradients, directions), AdafactorState(count, *parts)

    return optax.GradientTransformation(init, update)


def multiply_by_parameter_scale(info: Any) -> optax.GradientTransformation:
    """Multiplies each parameter's update by its root mean square, at least ``LEAST_SCALE`` (section 8).

    Args:
      info: a tree of ``ParameterInfo``; parameters may have None in the place of frozen ones.
    """
    known: dict[tuple[str, ...], ParameterInfo] = flatten_dict(info)

    def update(updates: Any, state: optax.EmptyState, params: Any = None) -> tuple[Any, optax.EmptyState]:
        leaves = _leaves(params)
        scaled = {
            path: update * jnp.maximum(_rms(leaves[path], known[path]), LEAST_SCALE)
            for path, update in _leaves(updates).items()
        }
        return _like(updates, scaled), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def _factored_shape(one: ParameterInfo, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """(L, R, C) of what is factored; None for what is not."""
    if not one.is_matrix:
        return None
    matrix = one.matrix_shape(shape)
    return matrix if min(matrix[-2:]) >= MIN_FACTORED else None


def _inverse_root(rows_LR: Float[Array, "*L R"], columns_LC: Float[Array, "*L C"]) -> Float[Array, "*L R C"]:
    """One over the root of the second moments' estimate, rows x columns / mean of rows (algorithm 4)."""
    scaled_LR = rows_LR / jnp.mean(rows_LR, axis=-1, keepdims=True)
    return jax.lax.rsqrt(scaled_LR)[..., :, None] * jax.lax.rsqrt(columns_LC)[..., None, :]


def _rms(x: Array, one: ParameterInfo) -> Array:
    """The root mean square of each layer, with axes to broadcast."""
    axes = tuple(range(one.leading, x.ndim))
    return jnp.sqrt(jnp.mean(jnp.square(x), axis=axes, keepdims=True))


def _leaves(tree: Any) -> dict[tuple[str, ...], Any]:
    return {path: leaf for path, leaf in flatten_dict(tree).items() if leaf is not None}


def _like(tree: Any, leaves: dict[tuple[str, ...], Any]) -> Any:
    """The leaves as a tree with None where the given one has it."""
    return unflatten_dict({path: leaves.get(path) for path in flatten_dict(tree)})
