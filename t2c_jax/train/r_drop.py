"""R-Drop: two passes with different dropout are to agree (Liang et al. 2021).

The two passes are one, over a batch that holds each row twice, side by side: each copy draws its own dropout, rows stay
on the devices that hold them, and the chunked loss finds both copies' logits of a position in the same chunk.

Letters: B batch, R rows (2 B), C positions in a chunk, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from t2c_jax import mesh as meshes

WEIGHTS = "decoder_loss_weights"


def twice(batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """Each row two times, its targets' weights halved: sums over the copies are means of the two passes."""

    def doubled(x: jax.Array) -> jax.Array:
        copies = jnp.broadcast_to(x[:, None], (x.shape[0], 2, *x.shape[1:])).reshape(2 * x.shape[0], *x.shape[1:])
        return meshes.constrain(copies, "batch", *(None,) * (x.ndim - 1))

    return {name: doubled(x) / 2 if name == WEIGHTS else doubled(x) for name, x in batch.items()}


def r_drop_sums(
    sums: Callable[..., dict[str, jax.Array]],
    alpha: float,
    logits_RCV: Float[Array, "R C V"],
    targets_RC: Int[Array, "R C"],
    weights_RC: Float[Array, "R C"],
    copied: None = None,
) -> dict[str, jax.Array]:
    """``sums`` over both copies of each row, with their divergence in the loss.

    The loss of a target is half of Liang et al. 2021, equation 4, so that it stays the cost of one target:
    ``(loss_1 + loss_2) / 2 + alpha / 4 * (KL(p_1 || p_2) + KL(p_2 || p_1))``.
    """
    total = sums(logits_RCV, targets_RC, weights_RC, copied)
    rows, length, vocabulary = logits_RCV.shape
    log_p_B2CV = jax.nn.log_softmax(logits_RCV, axis=-1).reshape(rows // 2, 2, length, vocabulary)
    one_BCV, other_BCV = log_p_B2CV[:, 0], log_p_B2CV[:, 1]
    both_ways_BC = jnp.sum((jnp.exp(one_BCV) - jnp.exp(other_BCV)) * (one_BCV - other_BCV), axis=-1)
    weights_BC = jnp.sum(weights_RC.reshape(rows // 2, 2, length), axis=1)
    return {**total, "loss": total["loss"] + alpha / 4 * jnp.sum(both_ways_BC * weights_BC)}
