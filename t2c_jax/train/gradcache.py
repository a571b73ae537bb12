"""The contrastive loss of a batch that the encoder reads in parts (Gao et al. 2021, "Scaling Deep Contrastive Learning
Batch Size under Memory Limited Setup", section 3, the gradient cache).

The negatives of a pair are the whole batch's, and a microbatch knows its own alone. But the loss knows the parameters
through the vectors and the temperature only. So the vectors of all microbatches come first, without a gradient; then
the loss over all of them, and its gradient in the vectors and in the temperature; and what each microbatch minimises
afterwards is the product of its vectors, made anew, with that gradient. By the chain rule its gradient in the
parameters, summed over microbatches, is the loss's. The price is one more forward pass of the encoder.

Letters: K microbatches, B rows of one, M segments of a row, P width of an embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from t2c_jax.mesh import constrain
from t2c_jax.train.encoder_losses import Sums, contrastive_sums

Parts = Mapping[str, jax.Array]


class Cotangents(NamedTuple):
    """The gradient of ``contrastive_nll``: (K, B, M, P) in the vectors, and in the temperature, (K,) equal parts of it.

    One microbatch's are without the leading axis.
    """

    vectors: Float[Array, "*K B M P"]
    temperature: Float[Array, "*K"]


def over_all_parts(
    embed: Callable[[Parts, Int[Array, ""]], tuple[Float[Array, "B M P"], Float[Array, ""]]], parts: Parts
) -> tuple[Sums, Cotangents]:
    """``contrastive_sums`` of a whole batch, and its gradient.

    Args:
      embed: one microbatch's vectors, given it and its number, the same ones as when its turn comes; the temperature.
      parts: the batch, with a leading axis of microbatches.
    """
    pairs_KB = parts["contrastive_pairs"]
    count = pairs_KB.shape[0]
    vectors_KBMP, temperature_K = jax.lax.map(lambda item: embed(*item), (parts, jnp.arange(count)))

    def whole(x: jax.Array) -> jax.Array:  # rows stay on the devices that hold them, as where they were split
        rows = jnp.swapaxes(x, 0, 1).reshape(-1, *x.shape[2:])
        return constrain(rows, "batch", *(None,) * (rows.ndim - 1))

    def objective(vectors_KBMP: jax.Array, temperature: jax.Array) -> tuple[jax.Array, Sums]:
        sums = contrastive_sums(whole(vectors_KBMP), whole(pairs_KB), temperature)
        return sums["contrastive_nll"], sums

    (d_vectors_KBMP, d_temperature), sums = jax.grad(objective, argnums=(0, 1), has_aux=True)(
        vectors_KBMP, temperature_K[0]
    )
    d_vectors_KBMP = constrain(d_vectors_KBMP, None, "batch", None, None)
    return sums, Cotangents(d_vectors_KBMP, jnp.full(count, d_temperature / count))


def of_one_part(cotangents: Cotangents) -> Callable[..., Sums]:
    """Stands in for ``contrastive_sums`` in a microbatch, given its part of the cotangents.

    All that it adds up is 0, but ``contrastive_nll`` has the gradient that is the microbatch's due. For example, with
    vectors v, a temperature t and cotangents a and b, it is ``sum(a v) + b t`` less that same value held constant.
    """

    def sums(vectors_BMP: Float[Array, "B M P"], pairs_B: Int[Array, " B"], temperature: Float[Array, ""]) -> Sums:
        value = jnp.sum(vectors_BMP * cotangents.vectors) + temperature * cotangents.temperature
        zero = jnp.zeros(())
        return {
            "contrastive_nll": value - jax.lax.stop_gradient(value),
            "contrastive_correct": zero,
            "contrastive_weight": zero,
        }

    return sums
