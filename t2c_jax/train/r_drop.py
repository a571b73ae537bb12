"""R-Drop: two passes with different dropout are to agree (Liang et al. 2021).

The two passes are one, over a batch that holds each row twice, side by side: each copy draws its own dropout, rows stay
on the devices that hold them, and the chunked loss finds both copies' logits of a position in the same chunk. The heads
over the encoder are asked about the first copy alone: a pair's other copy would be a negative of its own.

Under the copying head what is to agree is the distribution over the ways to come by a token: to write v, with
probability g P(v), or to point at the source position s, with probability (1 - g) a_s. Divergences are sums over such
outcomes, so the written and the pointed ones are added up each where it lies. A token's probability in the mixture is
the sum of its outcomes', so the divergence of the mixtures is at most that of the outcomes (the log sum inequality,
Cover and Thomas 2006, theorem 2.7.1), and they are equal where no token can come about in two ways.

Letters: B batch, R rows (2 B), T target, S source, E encoder's width, C positions in a chunk, V vocabulary, X outcomes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from t2c_jax import mesh as meshes
from t2c_jax.models.pointer import Copying
from t2c_jax.models.seq2seq import Prediction

if TYPE_CHECKING:
    from t2c_jax.train.loss import CopiedTargets

_TINY = 1e-30  # attention to what is masked, or far from the best: its logarithm is finite
WEIGHTS = "decoder_loss_weights"


def twice(batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """Each row two times, its targets' weights halved: sums over the copies are means of the two passes."""

    def doubled(x: jax.Array) -> jax.Array:
        copies = jnp.broadcast_to(x[:, None], (x.shape[0], 2, *x.shape[1:])).reshape(2 * x.shape[0], *x.shape[1:])
        return meshes.constrain(copies, "batch", *(None,) * (x.ndim - 1))

    return {name: doubled(x) / 2 if name == WEIGHTS else doubled(x) for name, x in batch.items()}


def predict_twice(
    model: Any, batch: Mapping[str, jax.Array], key: jax.Array | None
) -> tuple[dict[str, jax.Array], Prediction]:
    """The batch given ``twice`` and what the model makes of it; ``encoded`` is of each row's first copy."""
    given = twice(batch)
    prediction: Prediction = model.predict(given, key)

    def first(x: jax.Array) -> jax.Array:
        rows = x.reshape(x.shape[0] // 2, 2, *x.shape[1:])[:, 0]
        return meshes.constrain(rows, "batch", *(None,) * (rows.ndim - 1))

    encoded = prediction.encoded
    once = encoded._replace(states_BSE=first(encoded.states_BSE), segments_BS=first(encoded.segments_BS), summaries=())
    return given, prediction._replace(encoded=once)


def r_drop_sums(
    sums: Callable[..., dict[str, jax.Array]],
    alpha: float,
    logits_RCV: Float[Array, "R C V"],
    targets_RC: Int[Array, "R C"],
    weights_RC: Float[Array, "R C"],
    copied: CopiedTargets | None = None,
) -> dict[str, jax.Array]:
    """``sums`` over both copies of each row, with the divergence of what they write in the loss.

    The loss of a target is half of Liang et al. 2021, equation 4, so that it stays the cost of one target:
    ``(loss_1 + loss_2) / 2 + alpha / 4 * (KL(p_1 || p_2) + KL(p_2 || p_1))``.
    """
    total = sums(logits_RCV, targets_RC, weights_RC, copied)
    log_p_RCV = jax.nn.log_softmax(logits_RCV, axis=-1)
    if copied is not None:
        log_p_RCV += copied.log_generate_BT[..., None]
    return {**total, "loss": total["loss"] + alpha / 4 * _divergence(log_p_RCV, weights_RC)}


def pointing_divergence(alpha: float, copying: Copying, weights_RT: Float[Array, "R T"]) -> Float[Array, ""]:
    """The same of where both copies of each row point: the rest of the loss under the copying head."""
    log_p_RTS = copying.log_point_BT[..., None] + jnp.log(copying.attention_BTS + _TINY)
    return alpha / 4 * _divergence(log_p_RTS, weights_RT)


def _divergence(log_p_RTX: Float[Array, "R T X"], weights_RT: Float[Array, "R T"]) -> Float[Array, ""]:
    """Of one copy from the other and back, summed over outcomes, which need not be all there are, and over targets."""
    log_p_B2TX, weights_B2T = (x.reshape(x.shape[0] // 2, 2, *x.shape[1:]) for x in (log_p_RTX, weights_RT))
    one_BTX, other_BTX = log_p_B2TX[:, 0], log_p_B2TX[:, 1]
    both_ways_BT = jnp.sum((jnp.exp(one_BTX) - jnp.exp(other_BTX)) * (one_BTX - other_BTX), axis=-1)
    return jnp.sum(both_ways_BT * jnp.sum(weights_B2T, axis=1))
