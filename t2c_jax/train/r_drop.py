"""R-Drop: two passes with different dropout are made to agree (Liang et al. 2021).

Both passes are computed as one, over a batch that holds each row twice, side by side. Each copy draws its own dropout,
rows stay on the devices that hold them, and the chunked loss has both copies' logits of a position in one chunk. The
heads over the encoder see the first copy alone: a pair's other copy would be a negative of its own.

With the copying head, the distributions that are compared are those over the ways to produce a token: to generate v,
with probability g P(v), or to point at the source position s, with probability (1 - g) a_s. The divergence is a sum
over these outcomes, so the generated ones are added up in the chunked loss and the pointed ones in
``pointing_divergence``. A token's probability in the mixture is the sum of its outcomes', so the divergence of the
mixtures is at most that of the outcomes (the log sum inequality, Cover and Thomas 2006, theorem 2.7.1); they are equal
where no token can be produced in two ways.

Letters: B batch, R rows (2 B), T target, S source, X outcomes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from t2c_jax import mesh as meshes
from t2c_jax.models.pointer import Copying
from t2c_jax.models.seq2seq import Prediction

_TINY = 1e-30  # attention to masked positions is 0: its logarithm must be finite
WEIGHTS = "decoder_loss_weights"


def repeat_rows(batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """Each row twice, its targets' weights halved: sums over both copies are means of the two passes."""

    def repeated(x: jax.Array) -> jax.Array:
        copies = jnp.broadcast_to(x[:, None], (x.shape[0], 2, *x.shape[1:])).reshape(2 * x.shape[0], *x.shape[1:])
        return meshes.constrain(copies, "batch", *(None,) * (x.ndim - 1))

    return {name: repeated(x) / 2 if name == WEIGHTS else repeated(x) for name, x in batch.items()}


def predict_twice(
    model: Any, batch: Mapping[str, jax.Array], key: jax.Array | None
) -> tuple[dict[str, jax.Array], Prediction]:
    """The batch with its rows repeated, and the model's prediction; ``encoded`` is of each row's first copy."""
    repeated = repeat_rows(batch)
    prediction: Prediction = model.predict(repeated, key)

    def first(x: jax.Array) -> jax.Array:
        rows = x.reshape(x.shape[0] // 2, 2, *x.shape[1:])[:, 0]
        return meshes.constrain(rows, "batch", *(None,) * (rows.ndim - 1))

    encoded = prediction.encoded
    once = encoded._replace(states_BSE=first(encoded.states_BSE), segments_BS=first(encoded.segments_BS), summaries=())
    return repeated, prediction._replace(encoded=once)


def pointing_divergence(copying: Copying, weights_RT: Float[Array, "R T"]) -> Float[Array, ""]:
    """``divergence`` of where the two copies of each row point in the source."""
    log_p_RTS = copying.log_point_BT[..., None] + jnp.log(copying.attention_BTS + _TINY)
    return divergence(log_p_RTS, weights_RT)


def divergence(log_p_RTX: Float[Array, "R T X"], weights_RT: Float[Array, "R T"]) -> Float[Array, ""]:
    """KL divergence between the two copies of each row, both ways, summed over outcomes and weighted targets.

    The outcomes may be a part of all there are; the parts' divergences add up.
    """
    log_p_B2TX, weights_B2T = (x.reshape(x.shape[0] // 2, 2, *x.shape[1:]) for x in (log_p_RTX, weights_RT))
    one_BTX, other_BTX = log_p_B2TX[:, 0], log_p_B2TX[:, 1]
    both_ways_BT = jnp.sum((jnp.exp(one_BTX) - jnp.exp(other_BTX)) * (one_BTX - other_BTX), axis=-1)
    return jnp.sum(both_ways_BT * jnp.sum(weights_B2T, axis=1))
