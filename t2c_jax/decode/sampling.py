"""Drawing tokens: temperature, and the kinds of truncation, as settings of each row.

Letters: B rows, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from t2c_jax.mesh import constrain

_BITS = 32


def draw(
    logits_BV: Float[Array, "B V"], likeliest_B: Int[Array, " B"], requests: Any, step_B: Int[Array, " B"]
) -> Int[Array, " B"]:
    """A token of each row, drawn by the Gumbel-max trick from what is left of its distribution.

    The noise of a row is a function of its key and its step: no other row, and no device, takes part. Temperature comes
    first, then top-k, top-p and min-p, each on the distribution that the one before left, as in transformers.

    Args:
      logits_BV: processed.
      likeliest_B: what is taken at a temperature of 0.
      requests: ``decode.search.Requests`` of the rows.
      step_B: tokens chosen.
    """
    # Whole rows on each device: the loops below are for one, and would exchange a number for each bit.
    logits_BV = constrain(logits_BV, "batch", None)
    temperature_B1 = jnp.where(requests.temperature > 0, requests.temperature, 1.0)[:, None]
    logits_BV = logits_BV / temperature_B1
    logits_BV = _if_any(requests.top_k > 0, lambda x: keep_top_k(x, requests.top_k), logits_BV)
    logits_BV = _if_any(requests.top_p < 1, lambda x: keep_top_p(x, requests.top_p), logits_BV)
    logits_BV = keep_min_p(logits_BV, requests.min_p)

    def noise(key: Array, step: Array) -> Array:
        return jax.random.gumbel(jax.random.fold_in(jax.random.wrap_key_data(key), step), logits_BV.shape[1:])

    drawn_B = jnp.argmax(logits_BV + jax.vmap(noise)(requests.key, step_B), axis=-1)
    return jnp.where(requests.temperature > 0, drawn_B, likeliest_B)


def keep_top_k(logits_BV: Float[Array, "B V"], k_B: Int[Array, " B"]) -> Float[Array, "B V"]:
    """-inf for all but the k largest and what equals the least of them; 0 keeps all (Fan et al. 2018, section 5.4)."""
    many_B = jnp.where(k_B > 0, k_B, logits_BV.shape[-1])
    threshold_B1 = _largest(logits_BV, lambda kept_BV: jnp.sum(kept_BV, axis=-1) >= many_B)
    return jnp.where(_ordered(logits_BV) >= threshold_B1, logits_BV, -jnp.inf)


def keep_top_p(logits_BV: Float[Array, "B V"], p_B: Float[Array, " B"]) -> Float[Array, "B V"]:
    """-inf but for the likeliest tokens that have a probability of p together (Holtzman et al. 2020, section 3.1)."""
    probability_BV = jax.nn.softmax(logits_BV, axis=-1)
    # Never more than all of them have together: their sum is rounded.
    wanted_B = jnp.minimum(p_B, jnp.sum(probability_BV, axis=-1))
    threshold_B1 = _largest(
        logits_BV, lambda kept_BV: jnp.sum(jnp.where(kept_BV, probability_BV, 0.0), axis=-1) >= wanted_B
    )
    return jnp.where(_ordered(logits_BV) >= threshold_B1, logits_BV, -jnp.inf)


def keep_min_p(logits_BV: Float[Array, "B V"], p_B: Float[Array, " B"]) -> Float[Array, "B V"]:
    """-inf for tokens less likely than p times the likeliest one (Nguyen et al. 2024, section 3)."""
    least_B1 = jnp.max(logits_BV, axis=-1, keepdims=True) + jnp.log(p_B)[:, None]
    return jnp.where(logits_BV >= least_B1, logits_BV, -jnp.inf)


def _if_any(wanted_B: Bool[Array, " B"], change: Any, logits_BV: Float[Array, "B V"]) -> Float[Array, "B V"]:
    return jax.lax.cond(jnp.any(wanted_B), change, lambda x: x, logits_BV)


def _ordered(x_BV: Float[Array, "B V"]) -> Int[Array, "B V"]:
    """Floats as integers of the same order."""
    bits_BV = jax.lax.bitcast_convert_type(x_BV.astype(jnp.float32), jnp.int32)
    return jnp.where(bits_BV < 0, bits_BV ^ jnp.int32(0x7FFFFFFF), bits_BV)


def _largest(x_BV: Float[Array, "B V"], is_enough: Any) -> Int[Array, "B 1"]:
    """The largest threshold, as an ``_ordered`` integer, for which the entries that reach it are enough.

    Found bit by bit: 32 sums at memory speed, where sorting a vocabulary is the slowest part of a step on a CPU.
    """
    ordered_BV = _ordered(x_BV)
    lowest_B1 = jnp.full((x_BV.shape[0], 1), jnp.iinfo(jnp.int32).min, jnp.int32)

    def refine(i: Array, threshold_B1: Array) -> Array:
        # The first bit is the sign: adding 2^31 to the lowest integer gives 0.
        higher_B1 = threshold_B1 + jnp.left_shift(jnp.int32(1), _BITS - 1 - i)
        return jnp.where(is_enough(ordered_BV >= higher_B1)[:, None], higher_B1, threshold_B1)

    return jax.lax.fori_loop(0, _BITS, refine, lowest_B1)
