"""Heads over an encoder's states: which tokens are identifiers, and a vector for each segment.

Letters: B batch, S source, E encoder's width, M segments of a row, P width of an embedding.
"""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from t2c_jax.config import ModelConfig
from t2c_jax.models.interface import Encoded
from t2c_jax.models.layers import fan_in
from t2c_jax.models.parameters import label, parameter

_TEMPERATURE = 0.07  # Li et al. 2021, "Align before Fuse", section 3.2, which CodeT5+ follows
_LEAST_LOG_TEMPERATURE = math.log(0.01)  # Radford et al. 2021, section 2.5: scores are never scaled by more than 100


class Tagging(nnx.Module):
    """A logit for each token that it belongs to an identifier (Wang et al. 2021, "CodeT5", section 3.2)."""

    def __init__(self, encoder_width: int, *, rngs: nnx.Rngs) -> None:
        self.kernel = parameter(rngs, (encoder_width,), ("embed",), fan_in(encoder_width))
        self.bias = parameter(rngs, (1,), ("norm",), nnx.initializers.zeros, "bias")

    def __call__(self, states_BSE: Float[Array, "B S E"]) -> Float[Array, "B S"]:
        """The logits, float32."""
        kernel_E = self.kernel[...].astype(states_BSE.dtype)
        logits_BS = jnp.einsum("bse,e->bs", states_BSE, kernel_E, preferred_element_type=jnp.float32)
        return logits_BS + self.bias[...][None]


class EmbeddingHead(nnx.Module):
    """Mean states of segments, projected to unit vectors, and a temperature (Wang et al. 2023, "CodeT5+", section 3.2).

    The paper takes the state of a [CLS] token; a mean needs none, and trains with whatever encoder.
    """

    def __init__(self, config: ModelConfig, encoder_width: int, *, rngs: nnx.Rngs) -> None:
        shape = (encoder_width, config.embedding_width)
        self.kernel = parameter(rngs, shape, ("embed", "pointer"), fan_in(encoder_width))
        initial = nnx.initializers.constant(math.log(_TEMPERATURE))
        self.scale = parameter(rngs, (1,), ("norm",), initial, "scale")  # the logarithm of the temperature

    def __call__(self, encoded: Encoded, segments: int) -> Float[Array, "B M P"]:
        """Unit vectors of the first ``segments`` segments of each row, float32; those of absent ones mean nothing."""
        numbers_M: Int[Array, " M"] = 1 + jnp.arange(segments)
        own_BMS = encoded.segments_BS[:, None, :] == numbers_M[None, :, None]
        weights_BMS = own_BMS / jnp.maximum(jnp.sum(own_BMS, axis=-1, keepdims=True), 1)
        mean_BME = jnp.einsum("bms,bse->bme", weights_BMS, encoded.states_BSE, preferred_element_type=jnp.float32)
        projected_BMP = jnp.einsum("bme,ep->bmp", mean_BME, self.kernel[...])
        # Absent segments are zero, where a norm has no gradient.
        return projected_BMP * jax.lax.rsqrt(jnp.sum(jnp.square(projected_BMP), axis=-1, keepdims=True) + 1e-12)

    def temperature(self) -> Float[Array, ""]:
        """What similarities are divided by."""
        return jnp.exp(_at_least(self.scale[...][0], _LEAST_LOG_TEMPERATURE))


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _at_least(x: Float[Array, ""], floor: float) -> Float[Array, ""]:
    """The larger one; below the floor the gradient that would lead x back is passed on, which that of a maximum is not.

    For example of x = -5 with a floor of -4: it is -4, a cotangent of -1, whose descent raises x, stays -1, and one of
    1 becomes 0.
    """
    return jnp.maximum(x, floor)


def _at_least_forward(x: Float[Array, ""], floor: float) -> tuple[Float[Array, ""], Bool[Array, ""]]:
    return jnp.maximum(x, floor), x <= floor


def _at_least_backward(floor: float, below: Bool[Array, ""], cotangent: Float[Array, ""]) -> tuple[Float[Array, ""]]:
    return (jnp.where(below, jnp.minimum(cotangent, 0.0), cotangent),)


_at_least.defvjp(_at_least_forward, _at_least_backward)


class Heads(nnx.Module):
    """Those of config.model.output_heads."""

    def __init__(self, config: ModelConfig, encoder_width: int, *, rngs: nnx.Rngs) -> None:
        named = config.output_heads
        width = encoder_width
        self.tagging = label(Tagging(width, rngs=rngs), is_part=True) if "tagging" in named else None
        self.embedding = label(EmbeddingHead(config, width, rngs=rngs), is_part=True) if "embedding" in named else None
