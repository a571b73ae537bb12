"""Cross-entropy between predicted and true code tokens, without the whole of the logits.

Letters: B batch, N its shards, S source, T target, C positions in a chunk, D model, V vocabulary.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from t2c_jax.mesh import constrain, row_shards, sum_over_rows
from t2c_jax.models.seq2seq import Prediction
from t2c_jax.train.r_drop import pointing_divergence, r_drop_sums

Sums = dict[str, Float[Array, ""]]
Chunks = tuple[Array, ...]


class CopiedTargets(NamedTuple):
    """The copying head's part of the mixture, of some positions.

    Attributes:
      log_generate_BT: log-probability of writing.
      log_copied_BT: of copying the target.
      log_copied_BTS: of copying the token at each source position; carries no gradient.
      tokens_BS: those tokens.
    """

    log_generate_BT: Float[Array, "B T"]
    log_copied_BT: Float[Array, "B T"]
    log_copied_BTS: Float[Array, "B T S"]
    tokens_BS: Int[Array, "B S"]


def token_sums(
    logits_BTV: Float[Array, "B T V"],
    targets_BT: Int[Array, "B T"],
    weights_BT: Float[Array, "B T"],
    copied: CopiedTargets | None = None,
    *,
    label_smoothing: float,
    z_loss: float,
) -> Sums:
    """Sums over tokens, to be divided by ``weight`` once, after microbatches and hosts.

    With ``copied`` the likelihood is the mixture's (See et al. 2017, equation 9); smoothing and z-loss are of the
    vocabulary's part.

    Returns:
      ``loss``: what is minimised, ``(1 - e) * nll + e * mean_v(-log p_v) + z_loss * log(Z)^2``: label smoothing
        e as in Szegedy et al. 2016, section 7; the z-loss of Chowdhery et al. 2022, section 5.
      ``nll``: negative log-likelihood in nats, ``nll_squared``: its squares, for a standard error.
      ``correct``: targets that are the most likely token.
      ``weight``: the tokens' weights; ``weight_B`` and ``nll_B``: those two by row.
    """
    nll_BT = optax.losses.softmax_cross_entropy_with_integer_labels(logits_BTV, targets_BT)
    log_z_BT = None
    if label_smoothing or z_loss or copied is not None:
        log_z_BT = jax.nn.logsumexp(logits_BTV, axis=-1)
    if copied is not None:
        nll_BT = -jnp.logaddexp(copied.log_generate_BT - nll_BT, copied.log_copied_BT)
    loss_BT = nll_BT
    if log_z_BT is not None:
        if label_smoothing:
            uniform_BT = log_z_BT - jnp.mean(logits_BTV, axis=-1)
            loss_BT = (1 - label_smoothing) * nll_BT + label_smoothing * uniform_BT
        if z_loss:
            loss_BT = loss_BT + z_loss * jnp.square(log_z_BT)
    if copied is None:
        # The largest logit is at hand; where it stands (argmax) would be another pass over them all.
        target_BT = jnp.take_along_axis(logits_BTV, targets_BT[..., None], axis=-1)[..., 0]
        correct_BT = target_BT >= jnp.max(logits_BTV, axis=-1)
    else:
        assert log_z_BT is not None
        correct_BT = -nll_BT >= _largest_of_mixture(logits_BTV, log_z_BT, copied) - 1e-5  # the two are summed apart
    return {
        "loss": jnp.sum(loss_BT * weights_BT),
        "nll": jnp.sum(nll_BT * weights_BT),
        "nll_squared": jnp.sum(jnp.square(nll_BT) * weights_BT),
        "correct": jnp.sum(correct_BT * weights_BT),
        "weight": jnp.sum(weights_BT),
        "nll_B": jnp.sum(nll_BT * weights_BT, axis=-1),
        "weight_B": jnp.sum(weights_BT, axis=-1),
    }


def _largest_of_mixture(
    logits_BTV: Float[Array, "B T V"], log_z_BT: Float[Array, "B T"], copied: CopiedTargets
) -> Float[Array, "B T"]:
    """The largest log-probability of the mixture, without the mixture.

    A token that the source does not hold has its written part alone, at most the largest of those; one that it holds
    is looked at, at the position where it stands.
    """
    log_write_BT = copied.log_generate_BT - log_z_BT
    index_BTS = jnp.broadcast_to(copied.tokens_BS[:, None], copied.log_copied_BTS.shape)
    written_BTS = jnp.take_along_axis(logits_BTV, index_BTS, axis=-1) + log_write_BT[..., None]
    held_BT = jnp.max(jnp.logaddexp(written_BTS, copied.log_copied_BTS), axis=-1)
    return jnp.maximum(jnp.max(logits_BTV, axis=-1) + log_write_BT, held_BT)


def chunked_sums(
    prediction: Prediction,
    targets_BT: Int[Array, "B T"],
    weights_BT: Float[Array, "B T"],
    *,
    chunk: int,
    label_smoothing: float,
    z_loss: float,
    r_drop: float = 0.0,
) -> Sums:
    """``token_sums`` of a prediction, with the logits of ``chunk`` positions of each row at a time.

    Under ``r_drop`` the prediction is of a batch given ``twice`` (``train.r_drop``).

    The gradient is taken chunk by chunk in the forward pass, while the chunk's logits exist, so that neither they nor
    their recomputation is paid twice: the backward pass only scales. Chunks cut the length and not the batch, so a
    batch that is split over devices stays split. Only ``loss`` carries a gradient.
    """
    sums: Callable[..., Sums] = functools.partial(token_sums, label_smoothing=label_smoothing, z_loss=z_loss)
    if r_drop:
        sums = functools.partial(r_drop_sums, sums, r_drop)
    length = targets_BT.shape[1]
    chunk = max(size for size in range(1, min(chunk, length) + 1) if length % size == 0)

    def cut(x: Array) -> Array:
        return jnp.moveaxis(x.reshape(x.shape[0], length // chunk, chunk, *x.shape[2:]), 1, 0)

    states: Chunks = (cut(prediction.states_BTD),)
    held: tuple[Array, ...] = ()
    tokens_BS = None
    if (copying := prediction.copying) is not None:
        states += cut(copying.log_generate_BT), cut(copying.log_copied(targets_BT))
        held = (cut(jax.lax.stop_gradient(copying.log_copied_source())),)
        tokens_BS = copying.tokens_BS
    found = _chunked(sums, states, prediction.table_VD, (cut(targets_BT), cut(weights_BT), *held), tokens_BS)
    if r_drop and copying is not None:
        found = {**found, "loss": found["loss"] + pointing_divergence(r_drop, copying, weights_BT)}
    return found


def _logits(states_BCD: Float[Array, "B C D"], table_VD: Float[Array, "V D"]) -> Float[Array, "B C V"]:
    return jnp.einsum("bcd,vd->bcv", states_BCD, table_VD, preferred_element_type=jnp.float32)


def _sums_of_chunk(
    sums: Callable[..., Sums],
    logits_BCV: Array,
    mixed: tuple[Array, ...],
    given: tuple[Array, ...],
    tokens_BS: Array | None,
) -> Sums:
    targets_BC, weights_BC, *held = given
    copied = None
    if tokens_BS is not None:
        (log_generate_BC, log_copied_BC), (log_copied_BCS,) = mixed, held
        copied = CopiedTargets(log_generate_BC, log_copied_BC, log_copied_BCS, tokens_BS)
    return sums(logits_BCV, targets_BC, weights_BC, copied)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _chunked(sums: Callable[..., Sums], states: Chunks, table: Array, given: Chunks, tokens: Array | None) -> Sums:
    """The sums alone, for evaluation, where no gradient is asked for.

    ``states`` is what carries a gradient: decoder states and, with copying, two log-probabilities a position.
    """
    table_VD = table.astype(states[0].dtype)

    def body(total: Sums, chunk: tuple[Chunks, Chunks]) -> tuple[Sums, None]:
        (states_BCD, *mixed), given_here = chunk
        result = _sums_of_chunk(sums, _logits(states_BCD, table_VD), tuple(mixed), given_here, tokens)
        return jax.tree.map(jnp.add, total, result), None

    return jax.lax.scan(body, _zero_sums(states[0].shape[1]), (states, given))[0]


def _zero_sums(rows: int) -> Sums:
    zeros = {name: jnp.zeros(()) for name in ("loss", "nll", "nll_squared", "correct", "weight")}
    return {**zeros, "nll_B": jnp.zeros(rows), "weight_B": jnp.zeros(rows)}


def _chunked_forward(
    sums: Callable[..., Sums], states: Chunks, table: Array, given: Chunks, tokens: Array | None
) -> tuple[Sums, tuple[Chunks, Array]]:
    dtype, rows = states[0].dtype, states[0].shape[1]
    table_VD = constrain(table.astype(dtype), "vocab", None)
    # Every shard of the batch adds up the table's gradient over its own chunks, and the shards are added once.
    shards, axes = math.gcd(rows, row_shards()), ("batch", None, "vocab")

    def parts(x_BC: Array) -> Array:
        return x_BC.reshape(shards, rows // shards, *x_BC.shape[1:])

    def objective(logits_BCV: Array, mixed: Chunks, given_here: Chunks) -> tuple[Array, Sums]:
        result = _sums_of_chunk(sums, logits_BCV, mixed, given_here, tokens)
        return result["loss"], result

    def body(carry: tuple[Sums, Array], chunk: tuple[Chunks, Chunks]) -> tuple[tuple[Sums, Array], Chunks]:
        total, d_table_NDV = carry
        (states_BCD, *mixed), given_here = chunk
        (d_logits_BCV, d_mixed), result = jax.grad(objective, argnums=(0, 1), has_aux=True)(
            _logits(states_BCD, table_VD), tuple(mixed), given_here
        )
        d_logits_BCV = d_logits_BCV.astype(dtype)
        d_states_BCD = jnp.einsum("bcv,vd->bcd", d_logits_BCV, table_VD)
        # Width first, so that the operand to transpose is the narrow one (see ``models.products``).
        d_table_NDV += jnp.einsum(
            "nbcd,nbcv->ndv", parts(states_BCD), parts(d_logits_BCV), preferred_element_type=jnp.float32
        )
        return (jax.tree.map(jnp.add, total, result), constrain(d_table_NDV, *axes)), (d_states_BCD, *d_mixed)

    start = (_zero_sums(rows), constrain(jnp.zeros((shards, *table.shape[::-1]), jnp.float32), *axes))
    (total, d_table_NDV), d_states = jax.lax.scan(body, start, (states, given))
    d_table_DV = sum_over_rows(lambda d_NDV: jnp.sum(d_NDV, axis=0), d_table_NDV, width=table.shape[1])
    d_table_DV = constrain(d_table_DV, "embed", "vocab")
    if shards > 1:
        # Nothing asks for the sum before the optimizer does, so that a compiler would keep the whole of it, V x D
        # numbers on each device, all through the backward pass. That begins with these states: not before the sum.
        d_states, d_table_DV = jax.lax.optimization_barrier((d_states, d_table_DV))
    return total, (d_states, d_table_DV.T)


def _chunked_backward(
    sums: Callable[..., Sums], residuals: tuple[Chunks, Array], cotangent: Sums
) -> tuple[Chunks, Array, None, None]:
    d_states, d_table = residuals
    scale = cotangent["loss"]
    return tuple(d * scale.astype(d.dtype) for d in d_states), d_table * scale, None, None


_chunked.defvjp(_chunked_forward, _chunked_backward)
