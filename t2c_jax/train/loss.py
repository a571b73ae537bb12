"""Cross-entropy between predicted and true code tokens, without the whole of the logits.

Letters: B batch, T target, C positions in a chunk, D model, V vocabulary.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

Sums = dict[str, Float[Array, ""]]


def token_sums(
    logits_BTV: Float[Array, "B T V"],
    targets_BT: Int[Array, "B T"],
    weights_BT: Float[Array, "B T"],
    *,
    label_smoothing: float,
    z_loss: float,
) -> Sums:
    """Sums over tokens, to be divided by ``weight`` once, after microbatches and hosts.

    Returns:
      ``loss``: what is minimised, ``(1 - e) * nll + e * mean_v(-log p_v) + z_loss * log(Z)^2``: label smoothing
        e as in Szegedy et al. 2016, section 7; the z-loss of Chowdhery et al. 2022, section 5.
      ``nll``: negative log-likelihood in nats, ``nll_squared``: its squares, for a standard error.
      ``correct``: targets that are the most likely token.
      ``weight``: the tokens' weights.
    """
    nll_BT = optax.losses.softmax_cross_entropy_with_integer_labels(logits_BTV, targets_BT)
    loss_BT = nll_BT
    if label_smoothing or z_loss:
        log_z_BT = jax.nn.logsumexp(logits_BTV, axis=-1)
        if label_smoothing:
            uniform_BT = log_z_BT - jnp.mean(logits_BTV, axis=-1)
            loss_BT = (1 - label_smoothing) * nll_BT + label_smoothing * uniform_BT
        if z_loss:
            loss_BT = loss_BT + z_loss * jnp.square(log_z_BT)
    # The largest logit is at hand; where it stands (argmax) would be another pass over them all.
    target_BT = jnp.take_along_axis(logits_BTV, targets_BT[..., None], axis=-1)[..., 0]
    correct_BT = target_BT >= jnp.max(logits_BTV, axis=-1)
    return {
        "loss": jnp.sum(loss_BT * weights_BT),
        "nll": jnp.sum(nll_BT * weights_BT),
        "nll_squared": jnp.sum(jnp.square(nll_BT) * weights_BT),
        "correct": jnp.sum(correct_BT * weights_BT),
        "weight": jnp.sum(weights_BT),
    }


def chunked_sums(
    states_BTD: Float[Array, "B T D"],
    table_VD: Float[Array, "V D"],
    targets_BT: Int[Array, "B T"],
    weights_BT: Float[Array, "B T"],
    *,
    chunk: int,
    label_smoothing: float,
    z_loss: float,
) -> Sums:
    """``token_sums`` of ``states @ table.T``, with the logits of ``chunk`` positions of each row at a time.

    The gradient is taken chunk by chunk in the forward pass, while the chunk's logits exist, so that neither they nor
    their recomputation is paid twice: the backward pass only scales. Chunks cut the length and not the batch, so a
    batch that is split over devices stays split. Only ``loss`` carries a gradient.
    """
    sums = functools.partial(token_sums, label_smoothing=label_smoothing, z_loss=z_loss)
    length = targets_BT.shape[1]
    chunk = max(size for size in range(1, min(chunk, length) + 1) if length % size == 0)

    def cut(x: Array) -> Array:
        return jnp.moveaxis(x.reshape(x.shape[0], length // chunk, chunk, *x.shape[2:]), 1, 0)

    return _chunked(sums, cut(states_BTD), table_VD, cut(targets_BT), cut(weights_BT))


def _logits(states_BCD: Float[Array, "B C D"], table_VD: Float[Array, "V D"]) -> Float[Array, "B C V"]:
    return jnp.einsum("bcd,vd->bcv", states_BCD, table_VD, preferred_element_type=jnp.float32)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _chunked(sums: Callable[..., Sums], states: Array, table: Array, targets: Array, weights: Array) -> Sums:
    """The sums alone, for evaluation, where no gradient is asked for."""
    table_VD = table.astype(states.dtype)

    def body(total: Sums, chunk: tuple[Array, ...]) -> tuple[Sums, None]:
        states_BCD, targets_BC, weights_BC = chunk
        return jax.tree.map(jnp.add, total, sums(_logits(states_BCD, table_VD), targets_BC, weights_BC)), None

    return jax.lax.scan(body, _zero_sums(), (states, targets, weights))[0]


def _zero_sums() -> Sums:
    return {name: jnp.zeros(()) for name in ("loss", "nll", "nll_squared", "correct", "weight")}


def _chunked_forward(
    sums: Callable[..., Sums], states: Array, table: Array, targets: Array, weights: Array
) -> tuple[Sums, tuple[Array, Array]]:
    table_VD = table.astype(states.dtype)

    def objective(logits_BCV: Array, targets_BC: Array, weights_BC: Array) -> tuple[Array, Sums]:
        result = sums(logits_BCV, targets_BC, weights_BC)
        return result["loss"], result

    def body(carry: tuple[Sums, Array], chunk: tuple[Array, ...]) -> tuple[tuple[Sums, Array], Array]:
        total, d_table_DV = carry
        states_BCD, targets_BC, weights_BC = chunk
        d_logits_BCV, result = jax.grad(objective, has_aux=True)(_logits(states_BCD, table_VD), targets_BC, weights_BC)
        d_logits_BCV = d_logits_BCV.astype(states.dtype)
        d_states_BCD = jnp.einsum("bcv,vd->bcd", d_logits_BCV, table_VD)
        # Width first, so that the operand to transpose is the narrow one (see ``layers.narrowing``).
        d_table_DV += jnp.einsum("bcd,bcv->dv", states_BCD, d_logits_BCV, preferred_element_type=jnp.float32)
        return (jax.tree.map(jnp.add, total, result), d_table_DV), d_states_BCD

    start = (_zero_sums(), jnp.zeros(table.shape[::-1], jnp.float32))
    (total, d_table_DV), d_states = jax.lax.scan(body, start, (states, targets, weights))
    return total, (d_states, d_table_DV.T)


def _chunked_backward(
    sums: Callable[..., Sums], residuals: tuple[Array, Array], cotangent: Sums
) -> tuple[Array, Array, None, None]:
    d_states, d_table = residuals
    scale = cotangent["loss"]
    return d_states * scale.astype(d_states.dtype), d_table * scale, None, None


_chunked.defvjp(_chunked_forward, _chunked_backward)
