"""Cross-entropy of target tokens, computed a chunk of positions at a time: the logits never exist as a whole.

Letters: B batch, N its shards, S source, T target, K chunks, C positions in a chunk, D model, V vocabulary.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from t2c_jax.kernels.attention import soft_cap
from t2c_jax.mesh import constrain, row_shards, sum_over_rows
from t2c_jax.models.seq2seq import Prediction
from t2c_jax.train.r_drop import divergence, pointing_divergence

Sums = dict[str, Array]


class CopiedTargets(NamedTuple):
    """The copying head's part of the mixture, at some positions.

    Attributes:
      log_generate_BT: log-probability of generating.
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
    r_drop: float = 0.0,
    logit_softcap: float = 0.0,
) -> tuple[Float[Array, ""], Sums]:
    """Sums over tokens, to be divided by ``weight`` once, after microbatches and hosts.

    With ``copied`` the likelihood is the mixture's (See et al. 2017, equation 9); smoothing and z-loss are of the
    vocabulary's part. With ``r_drop``, the alpha of Liang et al. 2021, each row and its copy are neighbours; the loss
    of a target is then half of their equation 4, so that it stays the cost of one target:
    ``(loss_1 + loss_2) / 2 + alpha / 4 * (KL(p_1 || p_2) + KL(p_2 || p_1))``, here of what is generated. The logits are
    bounded by ``logit_softcap`` first, where there is one.

    Returns:
      What is minimised, ``(1 - e) * nll + e * mean_v(-log p_v) + z_loss * log(Z)^2``: label smoothing e as in Szegedy
      et al. 2016, section 7; the z-loss of Chowdhery et al. 2022, section 5. And all sums:
      ``loss``: the same.
      ``nll``: negative log-likelihood in nats, ``nll_squared``: its squares, for a standard error.
      ``correct``: targets that are the most likely token.
      ``weight``: the tokens' weights; ``weight_B`` and ``nll_B``: those two by row.
    """
    logits_BTV = soft_cap(logits_BTV, logit_softcap)
    nll_BT = optax.losses.softmax_cross_entropy_with_integer_labels(logits_BTV, targets_BT)
    log_z_BT = jax.nn.logsumexp(logits_BTV, axis=-1)
    if copied is not None:
        nll_BT = -jnp.logaddexp(copied.log_generate_BT - nll_BT, copied.log_copied_BT)
    loss_BT = nll_BT
    if label_smoothing:
        uniform_BT = log_z_BT - jnp.mean(logits_BTV, axis=-1)
        loss_BT = (1 - label_smoothing) * nll_BT + label_smoothing * uniform_BT
    if z_loss:
        loss_BT = loss_BT + z_loss * jnp.square(log_z_BT)
    loss = jnp.sum(loss_BT * weights_BT)
    if r_drop:
        log_p_BTV = jax.nn.log_softmax(logits_BTV, axis=-1)
        if copied is not None:
            log_p_BTV += copied.log_generate_BT[..., None]
        loss = loss + r_drop / 4 * divergence(log_p_BTV, weights_BT)
    if copied is None:
        # Compared with the largest logit: an argmax would be another pass over all of them.
        target_BT = jnp.take_along_axis(logits_BTV, targets_BT[..., None], axis=-1)[..., 0]
        correct_BT = target_BT >= jnp.max(logits_BTV, axis=-1)
    else:
        largest_BT = _largest_of_mixture(logits_BTV, log_z_BT, copied)
        correct_BT = -nll_BT >= largest_BT - 1e-5  # both are sums of the same terms, in another order
    return loss, {
        "loss": loss,
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
    """The largest log-probability of the mixture, which is never computed as a whole.

    A token that the source lacks can only be generated: the largest logit bounds those. Tokens of the source are
    looked up at their positions.
    """
    log_generate_BT = copied.log_generate_BT - log_z_BT
    index_BTS = jnp.broadcast_to(copied.tokens_BS[:, None], copied.log_copied_BTS.shape)
    generated_BTS = jnp.take_along_axis(logits_BTV, index_BTS, axis=-1) + log_generate_BT[..., None]
    of_source_BT = jnp.max(jnp.logaddexp(generated_BTS, copied.log_copied_BTS), axis=-1)
    return jnp.maximum(jnp.max(logits_BTV, axis=-1) + log_generate_BT, of_source_BT)


def chunked_cross_entropy(
    prediction: Prediction,
    targets_BT: Int[Array, "B T"],
    weights_BT: Float[Array, "B T"],
    *,
    chunk: int,
    label_smoothing: float,
    z_loss: float,
    r_drop: float = 0.0,
    logit_softcap: float = 0.0,
) -> Sums:
    """``token_sums`` of a prediction, with the logits of at most ``chunk`` positions of each row at a time.

    The length is padded, with weight 0, to chunks of equal size. Chunks cut the length and not the batch, so a batch
    that is split over devices stays split.

    The gradient is computed chunk by chunk in the forward pass, while the chunk's logits exist; the backward pass only
    scales it. So logits are neither stored nor computed twice. Only ``loss`` carries a gradient.

    With ``r_drop`` the prediction is of a batch whose rows are repeated (``r_drop.predict_twice``).
    """

    sums = functools.partial(
        token_sums, label_smoothing=label_smoothing, z_loss=z_loss, r_drop=r_drop, logit_softcap=logit_softcap
    )
    length = targets_BT.shape[1]
    count = -(-length // chunk)
    size = -(-length // count)

    def cut(x: Array) -> Array:
        padded = jnp.pad(x, ((0, 0), (0, count * size - length), *((0, 0),) * (x.ndim - 2)))
        return jnp.moveaxis(padded.reshape(x.shape[0], count, size, *x.shape[2:]), 1, 0)

    targets, states = (cut(targets_BT), cut(weights_BT)), cut(prediction.states_BTD)
    if (copying := prediction.copying) is None:
        return _chunked(sums, states, prediction.table_VD, targets, (), None)
    scores = cut(copying.log_generate_BT), cut(copying.log_copied(targets_BT))
    source = cut(jax.lax.stop_gradient(copying.log_copied_source())), copying.tokens_BS
    result = _chunked(sums, states, prediction.table_VD, targets, scores, source)
    if r_drop:
        result["loss"] = result["loss"] + r_drop / 4 * pointing_divergence(copying, weights_BT)
    return result


Targets = tuple[Int[Array, "K B C"], Float[Array, "K B C"]]
Scores = tuple[()] | tuple[Float[Array, "K B C"], Float[Array, "K B C"]]
Source = tuple[Float[Array, "K B C S"], Int[Array, "B S"]] | None
TokenSums = Callable[..., tuple[Array, Sums]]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _chunked(
    sums: TokenSums, states_KBCD: Array, table_VD: Array, targets: Targets, scores: Scores, source: Source
) -> Sums:
    """The sums alone, for evaluation, where no gradient is asked for.

    Args:
      sums: ``token_sums`` with its options.
      states_KBCD: decoder states.
      table_VD: the output table.
      targets: and their weights.
      scores: with the copying head, log-probabilities of generating and of copying the target; they carry a gradient.
      source: with the copying head, log-probabilities of copying each source token, and these tokens.
    """
    table_VD = table_VD.astype(states_KBCD.dtype)

    def body(total: Sums, chunk: tuple[Array, ...]) -> tuple[Sums, None]:
        states_BCD, targets_BC, weights_BC, *copied = chunk
        result = sums(_logits(states_BCD, table_VD), targets_BC, weights_BC, _copied(copied, source))[1]
        return jax.tree.map(jnp.add, total, result), None

    chunks = (states_KBCD, *targets, *scores, *(source or ())[:1])
    return jax.lax.scan(body, _zero_sums(states_KBCD.shape[1]), chunks)[0]


def _forward(
    sums: TokenSums, states_KBCD: Array, table_VD: Array, targets: Targets, scores: Scores, source: Source
) -> tuple[Sums, tuple[Array, Array, tuple[Array, ...]]]:
    dtype, rows = states_KBCD.dtype, states_KBCD.shape[1]
    table_VD = constrain(table_VD.astype(dtype), "vocab", None)
    # Every shard of the batch adds up the table's gradient over its own chunks, and the shards are added once.
    shards, axes = math.gcd(rows, row_shards()), ("batch", None, "vocab")
    gradient = jax.grad(sums, argnums=(0, 3), has_aux=True, allow_int=True)

    def by_shard(x_BC: Array) -> Array:
        return x_BC.reshape(shards, rows // shards, *x_BC.shape[1:])

    def body(carry: tuple[Sums, Array], chunk: tuple[Array, ...]) -> tuple[tuple[Sums, Array], tuple[Array, ...]]:
        (total, d_table_NDV), (states_BCD, targets_BC, weights_BC, *copied) = carry, chunk
        logits_BCV = _logits(states_BCD, table_VD)
        (d_logits_BCV, d_copied), result = gradient(logits_BCV, targets_BC, weights_BC, _copied(copied, source))
        d_logits_BCV = d_logits_BCV.astype(dtype)
        d_states_BCD = jnp.einsum("bcv,vd->bcd", d_logits_BCV, table_VD)
        # Width first, so that the operand to transpose is the narrow one (see ``models.products``).
        d_table_NDV += jnp.einsum(
            "nbcd,nbcv->ndv", by_shard(states_BCD), by_shard(d_logits_BCV), preferred_element_type=jnp.float32
        )
        total = jax.tree.map(jnp.add, total, result)
        return (total, constrain(d_table_NDV, *axes)), (d_states_BCD, *(d_copied or ())[:2])

    start = (_zero_sums(rows), constrain(jnp.zeros((shards, *table_VD.shape[::-1]), jnp.float32), *axes))
    chunks = (states_KBCD, *targets, *scores, *(source or ())[:1])
    (total, d_table_NDV), (d_states_KBCD, *d_scores) = jax.lax.scan(body, start, chunks)
    d_table_DV = sum_over_rows(lambda d_NDV: jnp.sum(d_NDV, axis=0), d_table_NDV, width=table_VD.shape[1])
    d_table_DV = constrain(d_table_DV, "embed", "vocab")
    if shards > 1:
        # Nothing needs the sum before the optimizer does, so that a compiler would keep the unsummed V x D numbers on
        # each device all through the backward pass. That begins with these states: not before the sum.
        d_states_KBCD, d_table_DV = jax.lax.optimization_barrier((d_states_KBCD, d_table_DV))
    return total, (d_states_KBCD, d_table_DV.T, tuple(d_scores))


def _backward(
    sums: TokenSums, residuals: tuple[Array, Array, tuple[Array, ...]], cotangent: Sums
) -> tuple[Array, Array, None, tuple[Array, ...], None]:
    d_states_KBCD, d_table_VD, d_scores = jax.tree.map(
        lambda gradient: gradient * cotangent["loss"].astype(gradient.dtype), residuals
    )
    return d_states_KBCD, d_table_VD, None, d_scores, None


_chunked.defvjp(_forward, _backward)


def _logits(states_BCD: Float[Array, "B C D"], table_VD: Float[Array, "V D"]) -> Float[Array, "B C V"]:
    return jnp.einsum("bcd,vd->bcv", states_BCD, table_VD, preferred_element_type=jnp.float32)


def _copied(scores: Sequence[Array], source: Source) -> CopiedTargets | None:
    if source is None:
        return None
    log_generate_BC, log_copied_BC, log_copied_BCS = scores
    return CopiedTargets(log_generate_BC, log_copied_BC, log_copied_BCS, source[1])


def _zero_sums(rows: int) -> Sums:
    zeros = {name: jnp.zeros(()) for name in ("loss", "nll", "nll_squared", "correct", "weight")}
    return {**zeros, "nll_B": jnp.zeros(rows), "weight_B": jnp.zeros(rows)}
