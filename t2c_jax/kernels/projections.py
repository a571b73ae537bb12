"""Up and down projection with custom gradients: from the residual stream to a hidden width, and back.

All kernels have the stream's width first, whichever way they are applied. A kernel's gradient transposes one of its two
operands. The custom gradient transposes the residual stream. The derived one transposes the hidden side, and XLA fuses
the activation function into that copy and computes it again in a strided order, which on a CPU is a quarter of a train
step.

Under a tensor axis the hidden side has whole rows and its share of the width; the residual stream has its share of each
row. A constraint on the hidden side alone makes each projection gather the stream, or scatter its sum, and never the
kernel (Korthikanti et al. 2022, figure 6).

Letters: B batch, L length, D model, F the other width (feed-forward, or heads x head width).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float

from t2c_jax.mesh import constrain, sum_over_rows

PROJECTION = "projection"  # what config.model.remat=dots keeps; a policy on primitives sees no custom gradient
Residuals = tuple[Float[Array, "B L A"], Float[Array, "D F"]]


def up_projection(x_BLD: Float[Array, "B L D"], kernel_DF: Float[Array, "D F"]) -> Float[Array, "B L F"]:
    """``x @ kernel`` in the dtype of ``x``, named ``PROJECTION``."""
    return checkpoint_name(_up_projection(x_BLD, kernel_DF), PROJECTION)


@jax.custom_vjp
def _up_projection(x_BLD: Array, kernel_DF: Array) -> Array:
    return constrain(jnp.einsum("bld,df->blf", x_BLD, kernel_DF.astype(x_BLD.dtype)), "batch", None, "mlp")


@jax.custom_vjp
def down_projection(h_BLF: Float[Array, "B L F"], kernel_DF: Float[Array, "D F"]) -> Float[Array, "B L D"]:
    """``h @ kernel.T`` in the dtype of ``h``."""
    return jnp.einsum("blf,df->bld", h_BLF, kernel_DF.astype(h_BLF.dtype))


def _kernel_gradient(x_BLD: Array, h_BLF: Array, kernel_DF: Array) -> Array:
    def part(x_BLD: Array, h_BLF: Array) -> Array:
        return jnp.einsum("bld,blf->df", x_BLD, h_BLF, preferred_element_type=jnp.float32)

    return sum_over_rows(part, x_BLD, h_BLF, width=kernel_DF.shape[0]).astype(kernel_DF.dtype)


def _up_forward(x_BLD: Array, kernel_DF: Array) -> tuple[Array, Residuals]:
    return _up_projection(x_BLD, kernel_DF), (x_BLD, kernel_DF)


def _up_backward(residuals: Residuals, d_BLF: Array) -> tuple[Array, Array]:
    x_BLD, kernel_DF = residuals
    return down_projection(d_BLF, kernel_DF), _kernel_gradient(x_BLD, d_BLF, kernel_DF)


def _down_forward(h_BLF: Array, kernel_DF: Array) -> tuple[Array, Residuals]:
    return down_projection(h_BLF, kernel_DF), (h_BLF, kernel_DF)


def _down_backward(residuals: Residuals, d_BLD: Array) -> tuple[Array, Array]:
    h_BLF, kernel_DF = residuals
    return _up_projection(d_BLD, kernel_DF), _kernel_gradient(d_BLD, h_BLF, kernel_DF)


_up_projection.defvjp(_up_forward, _up_backward)
down_projection.defvjp(_down_forward, _down_backward)
