"""The two matrix products of every layer: out of the residual stream, and back into it.

All kernels lead with the width, whichever way they are applied, and both products write out their gradients. A
kernel's gradient is a product that has to transpose one operand; written out, that is the residual stream. Derived by
transposition, it is the wide side, together with the activation function that XLA fuses into the copy and so computes
again in a strided order: on a CPU that alone is a quarter of a train step.

Under a tensor axis the wide side has whole rows and its share of the width; the residual stream has its share of each
row. Said of the wide side alone, that makes each product gather the stream, or scatter its sum, and never the kernel
(Korthikanti et al. 2022, figure 6).

Letters: B batch, L length, D model, F the other width (feed-forward, or heads x head width).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float

from t2c_jax.mesh import constrain, sum_over_rows

PRODUCT = "product"  # what config.model.remat=dots keeps; a policy on primitives would not see into custom gradients
Residuals = tuple[Float[Array, "B L A"], Float[Array, "D F"]]


def widen(x_BLD: Float[Array, "B L D"], kernel_DF: Float[Array, "D F"]) -> Float[Array, "B L F"]:
    """``x @ kernel`` in the dtype of ``x``, named ``PRODUCT``."""
    return checkpoint_name(_widen(x_BLD, kernel_DF), PRODUCT)


@jax.custom_vjp
def _widen(x_BLD: Array, kernel_DF: Array) -> Array:
    return constrain(jnp.einsum("bld,df->blf", x_BLD, kernel_DF.astype(x_BLD.dtype)), "batch", None, "mlp")


@jax.custom_vjp
def narrow(h_BLF: Float[Array, "B L F"], kernel_DF: Float[Array, "D F"]) -> Float[Array, "B L D"]:
    """``h @ kernel.T`` in the dtype of ``h``."""
    return jnp.einsum("blf,df->bld", h_BLF, kernel_DF.astype(h_BLF.dtype))


def _kernel_gradient(x_BLD: Array, h_BLF: Array, kernel_DF: Array) -> Array:
    def part(x_BLD: Array, h_BLF: Array) -> Array:
        return jnp.einsum("bld,blf->df", x_BLD, h_BLF, preferred_element_type=jnp.float32)

    return sum_over_rows(part, x_BLD, h_BLF, width=kernel_DF.shape[0]).astype(kernel_DF.dtype)


def _widen_forward(x_BLD: Array, kernel_DF: Array) -> tuple[Array, Residuals]:
    return _widen(x_BLD, kernel_DF), (x_BLD, kernel_DF)


def _widen_backward(residuals: Residuals, d_BLF: Array) -> tuple[Array, Array]:
    x_BLD, kernel_DF = residuals
    return narrow(d_BLF, kernel_DF), _kernel_gradient(x_BLD, d_BLF, kernel_DF)


def _narrow_forward(h_BLF: Array, kernel_DF: Array) -> tuple[Array, Residuals]:
    return narrow(h_BLF, kernel_DF), (h_BLF, kernel_DF)


def _narrow_backward(residuals: Residuals, d_BLD: Array) -> tuple[Array, Array]:
    h_BLF, kernel_DF = residuals
    return _widen(d_BLD, kernel_DF), _kernel_gradient(d_BLD, h_BLF, kernel_DF)


_widen.defvjp(_widen_forward, _widen_backward)
narrow.defvjp(_narrow_forward, _narrow_backward)
