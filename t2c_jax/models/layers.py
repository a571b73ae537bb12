"""The layers that every model here is made of.

Letters: B batch, S source, T target, L either, D model, H heads, K head width, F feed-forward, V vocabulary.
Parameters are float32; each layer computes in the dtype of its input. Dropout keys are arguments, never state.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from t2c_jax.config import ModelConfig
from t2c_jax.kernels.projections import down_projection, up_projection
from t2c_jax.mesh import constrain, sum_over_rows
from t2c_jax.models.parameters import parameter


def fan_in(fan: int) -> nnx.Initializer:
    """Normal with variance 1/fan."""
    return nnx.initializers.normal(fan**-0.5)


def dropout(x: Float[Array, ...], rate: float, key: Key[Array, ""] | None) -> Float[Array, ...]:
    """Inverted dropout (Srivastava et al. 2014); the identity where ``key`` is None or the rate 0.

    16 random bits decide an element, half of what a uniform float costs: the rate is met to 2^-17, and the scale
    is that of the share really kept, so the expectation is exact.
    """
    dropped = round(rate * 2**16)
    if key is None or dropped == 0:
        return x
    keep = jax.random.bits(key, x.shape, jnp.uint16) >= dropped
    scale = jnp.asarray(2**16 / (2**16 - dropped), x.dtype)
    return jnp.where(keep, x * scale, jnp.zeros((), x.dtype))


def remat(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, rematerialised: in a scanned stack the backward pass keeps its arguments and computes it again.

    For functions that are cheap and whose derivative would keep much for each layer. Where blocks are unrolled the
    compiler finds the same values in the forward pass and takes those.
    """
    return jax.checkpoint(function, prevent_cse=False)


class RMSNorm(nnx.Module):
    """Root mean square normalisation (Zhang & Sennrich 2019), in float32 whatever the compute dtype."""

    def __init__(self, width: int, epsilon: float, *, rngs: nnx.Rngs) -> None:
        self.scale = parameter(rngs, (width,), ("norm",), nnx.initializers.ones, "scale")
        self.epsilon = epsilon

    def __call__(self, x_BLD: Float[Array, "*B D"]) -> Float[Array, "*B D"]:
        """Rows of unit mean square, times the learned scale."""

        def norm(x_BLD: Array, scale_D: Array) -> Array:
            wide = x_BLD.astype(jnp.float32)
            inverse = jax.lax.rsqrt(jnp.mean(wide * wide, axis=-1, keepdims=True) + self.epsilon)
            return (wide * inverse * jnp.expand_dims(scale_D, range(x_BLD.ndim - 1))).astype(x_BLD.dtype)

        return remat(norm)(x_BLD, self.scale[...])


def normalised(norm: RMSNorm | None, x: Float[Array, "*B D"]) -> Float[Array, "*B D"]:
    """``norm(x)``; ``x`` where there is no norm."""
    return x if norm is None else norm(x)


class Embedding(nnx.Module):
    """A table of token vectors; tied, it is the output projection too (Press & Wolf 2017)."""

    def __init__(self, config: ModelConfig, vocab_size: int, width: int, *, rngs: nnx.Rngs) -> None:
        # Unit variance into the stack, as in T5; scale_tied_output brings the logits back to unit variance.
        unit = config.scale_tied_output or not config.tied_embeddings
        scale = 1.0 if unit and not config.scale_embeddings else width**-0.5
        initializer = nnx.initializers.normal(scale)
        self.embedding = parameter(rngs, (vocab_size, width), ("vocab", "embed"), initializer, "embedding")
        self.unscaled_id = config.unscaled_id
        has_own = self.unscaled_id >= 0
        self.unscaled = parameter(rngs, (width,), ("embed",), initializer, "embedding") if has_own else None
        self.factor = width**0.5 if config.scale_embeddings else 1.0
        self.dtype = jnp.dtype(config.dtype)

    def __call__(self, tokens_BL: Int[Array, "B ..."]) -> Float[Array, "B ... D"]:
        """Token vectors in the compute dtype."""
        x_BLD = look_up(self.embedding[...], tokens_BL, self.dtype, axis="vocab")
        if self.factor != 1.0:
            x_BLD = x_BLD * jnp.asarray(self.factor, self.dtype)
        if self.unscaled is None:
            return x_BLD
        own_D = jnp.expand_dims(self.unscaled[...].astype(self.dtype), range(tokens_BL.ndim))
        return jnp.where((tokens_BL == self.unscaled_id)[..., None], own_D, x_BLD)


def look_up(
    table_VD: Float[Array, "V D"], ids_BL: Int[Array, "B ..."], dtype: Any = jnp.float32, *, axis: str | None = None
) -> Float[Array, "B ... D"]:
    """Rows of a table whose first axis has this logical name, or none; its width is split over fsdp.

    The table is gathered, so that each device looks up its own ids. Left to the compiler, a device looks up its part of
    the width for all of fsdp, and where rows are split over data too, it then gathers the whole batch. Ids that are
    fewer than the table's rows, as in a step of the search, are cheaper to move than the table.
    """
    within = (None,) * (ids_BL.ndim - 1)
    return constrain(_look_up(jnp.dtype(dtype), axis, table_VD, ids_BL), "batch", *within, "activation")


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _look_up(dtype: Any, axis: str | None, table_VD: Array, ids_BL: Array) -> Array:
    table_VD = table_VD.astype(dtype)
    if ids_BL.size >= table_VD.shape[0]:
        table_VD = constrain(table_VD, axis, None)
    return jnp.take(table_VD, ids_BL, axis=0)


def _look_up_forward(dtype: Any, axis: str | None, table_VD: Array, ids_BL: Array) -> tuple[Array, tuple[Array, Array]]:
    return _look_up(dtype, axis, table_VD, ids_BL), (table_VD, ids_BL)


def _look_up_backward(dtype: Any, axis: str | None, residuals: tuple[Array, Array], d_BLD: Array) -> tuple[Array, None]:
    table_VD, ids_BL = residuals

    def part(ids_BL: Array, d_BLD: Array) -> Array:
        # In float32 whatever the compute dtype: a frequent token's row is a sum of thousands.
        return jnp.zeros(table_VD.shape, jnp.float32).at[ids_BL].add(d_BLD.astype(jnp.float32))

    return sum_over_rows(part, ids_BL, d_BLD, width=table_VD.shape[1], axis=1).astype(table_VD.dtype), None


_look_up.defvjp(_look_up_forward, _look_up_backward)


ACTIVATIONS: Mapping[str, Callable[[jax.Array], jax.Array]] = {
    "gelu": functools.partial(jax.nn.gelu, approximate=False),
    "gelu_tanh": functools.partial(jax.nn.gelu, approximate=True),
    "silu": jax.nn.silu,
    "relu": jax.nn.relu,
}
"""By the names that configs have for them; ``gated_NAME`` is a gated feed-forward with that function."""


class FeedForward(nnx.Module):
    """Feed-forward, gated (Shazeer 2020, equation 5) or plain."""

    def __init__(self, width: int, hidden: int, activation: str, dropout: float, *, rngs: nnx.Rngs) -> None:
        gated = activation.startswith("gated_")
        self.activation = activation.removeprefix("gated_")
        self.gate = parameter(rngs, (width, hidden), ("embed", "mlp"), fan_in(width))
        self.up = parameter(rngs, (width, hidden), ("embed", "mlp"), fan_in(width)) if gated else None
        self.down = parameter(rngs, (width, hidden), ("embed", "mlp"), fan_in(hidden), output_first=True)
        self.rate = dropout

    def __call__(self, x_BLD: Float[Array, "B L D"], key: Key[Array, ""] | None) -> Float[Array, "B L D"]:
        """The block's update to the residual stream."""
        activation = ACTIVATIONS[self.activation]
        if self.up is None:
            h_BLF = remat(activation)(up_projection(x_BLD, self.gate[...]))
        else:
            gated = remat(lambda gate_BLF, up_BLF: activation(gate_BLF) * up_BLF)
            h_BLF = gated(up_projection(x_BLD, self.gate[...]), up_projection(x_BLD, self.up[...]))
        return down_projection(dropout(h_BLF, self.rate, key), self.down[...])
