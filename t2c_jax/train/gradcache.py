"""GradCache: the contrastive loss of a whole batch whose encoder runs on microbatches (Gao et al. 2021, "Scaling Deep
Contrastive Learning Batch Size under Memory Limited Setup", section 3).

The negatives of a pair are those of the whole batch, but a microbatch sees only its own. The loss depends on the
parameters only through the vectors and the temperature. So there are two passes: ``gradcache_forward`` computes the
vectors of all microbatches without a gradient, then the loss over all of them and its gradient in the vectors and the
temperature; then each microbatch computes its vectors again and minimises their product with that gradient
(``gradcache_backward``). By the chain rule, the sum of the microbatches' gradients in the parameters is that of the
loss. The price is one more forward pass of the encoder.

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


class Cotangents(NamedTuple):
    """The gradient of ``contrastive_nll`` in the vectors and in the temperature, the latter in K equal parts.

    One microbatch's have no leading axis.
    """

    vectors: Float[Array, "*K B M P"]
    temperature: Float[Array, "*K"]


def gradcache_forward(
    embed: Callable[[Mapping[str, Array], Int[Array, ""]], tuple[Float[Array, "B M P"], Float[Array, ""]]],
    microbatches: Mapping[str, Array],
) -> tuple[Sums, Cotangents]:
    """``contrastive_sums`` of a whole batch, and its gradient.

    Args:
      embed: vectors and temperature of a microbatch, given it and its number. The vectors must be those of the second
        pass: the same dropout key.
      microbatches: the batch, with a leading axis of microbatches.
    """
    pairs_KB = microbatches["contrastive_pairs"]
    count = pairs_KB.shape[0]
    vectors_KBMP, temperature_K = jax.lax.map(lambda item: embed(*item), (microbatches, jnp.arange(count)))

    def merged(x: Array) -> Array:  # in the order of ``split_rows``: rows stay on the devices that hold them
        rows = jnp.swapaxes(x, 0, 1).reshape(-1, *x.shape[2:])
        return constrain(rows, "batch", *(None,) * (rows.ndim - 1))

    def objective(vectors_KBMP: Array, temperature: Array) -> tuple[Array, Sums]:
        sums = contrastive_sums(merged(vectors_KBMP), merged(pairs_KB), temperature)
        return sums["contrastive_nll"], sums

    (d_vectors_KBMP, d_temperature), sums = jax.grad(objective, argnums=(0, 1), has_aux=True)(
        vectors_KBMP, temperature_K[0]
    )
    d_vectors_KBMP = constrain(d_vectors_KBMP, None, "batch", None, None)
    return sums, Cotangents(d_vectors_KBMP, jnp.full(count, d_temperature / count))


def gradcache_backward(cotangents: Cotangents) -> Callable[..., Sums]:
    """Replaces ``contrastive_sums`` in a microbatch, given its part of the cotangents.

    All its sums are 0, but ``contrastive_nll`` has the microbatch's part of the gradient. For example, with vectors v,
    a temperature t and cotangents a and b, it is ``sum(a v) + b t`` minus that same value held constant.
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
