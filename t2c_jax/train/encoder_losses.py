"""Losses of the heads over the encoder, as sums like those of the decoder's tokens.

Letters: B batch, S source, M segments of a row (2 for each pair), P width of an embedding, N pairs of the batch.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

Sums = dict[str, Float[Array, ""]]


def tagging_sums(logits_BS: Float[Array, "B S"], tags_BS: Int[Array, "B S"]) -> Sums:
    """Binary cross-entropy of identifier tags (Wang et al. 2021, "CodeT5", equation 3); tags of -1 are ignored.

    Returns:
      ``tagging_nll`` in nats, ``tagging_correct`` and ``tagging_weight``, the tagged tokens.
    """
    tagged_BS = (tags_BS >= 0).astype(jnp.float32)
    nll_BS = optax.losses.sigmoid_binary_cross_entropy(logits_BS, (tags_BS > 0).astype(jnp.float32))
    correct_BS = (logits_BS > 0) == (tags_BS > 0)
    return {
        "tagging_nll": jnp.sum(nll_BS * tagged_BS),
        "tagging_correct": jnp.sum(correct_BS * tagged_BS),
        "tagging_weight": jnp.sum(tagged_BS),
    }


def contrastive_sums(
    vectors_BMP: Float[Array, "B M P"], pairs_B: Int[Array, " B"], temperature: Float[Array, ""]
) -> Sums:
    """Cross-entropy of finding a text's code among all codes of the batch, and the other way (Wang et al. 2023,
    "CodeT5+", section 3.2; Radford et al. 2021, figure 3); the negatives are the pairs of all devices and, in a step of
    several, of all microbatches (``train.gradcache``).

    The paper's momentum encoder and queue of negatives, which make up for small batches, are not implemented.

    Args:
      vectors_BMP: unit vectors, of the i-th text at 2i and of its code at 2i + 1.
      pairs_B: pairs in each row.
      temperature: what similarities are divided by.

    Returns:
      ``contrastive_nll``: the mean of both ways in nats, summed over pairs, ``contrastive_correct``: pairs whose code
      is the nearest to the text, ``contrastive_weight``: pairs.
    """
    real_BM = jnp.arange(vectors_BMP.shape[1] // 2)[None] < pairs_B[:, None]
    real_N = real_BM.reshape(-1)
    texts_NP, codes_NP = (vectors_BMP[:, side::2].reshape(real_N.size, -1) for side in (0, 1))
    scores_NN = texts_NP @ codes_NP.T / temperature
    scores_NN = jnp.where(real_N[:, None] & real_N[None], scores_NN, -1e9)
    own_N = jnp.diagonal(scores_NN)
    ways = (jax.nn.logsumexp(scores_NN, axis=axis) - own_N for axis in (0, 1))
    nll_N = (next(ways) + next(ways)) / 2
    found_N = own_N >= jnp.max(scores_NN, axis=1)
    return {
        "contrastive_nll": jnp.sum(jnp.where(real_N, nll_N, 0.0)),
        "contrastive_correct": jnp.sum(found_N & real_N).astype(jnp.float32),
        "contrastive_weight": jnp.sum(real_N).astype(jnp.float32),
    }
