"""Attention: ``attend`` is its single entry point and chooses the kernel.

Letters: B batch, T queries, S keys, D model, H heads, K head width.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from t2c_jax.kernels.attention import choose, cudnn_attention, padded_single_block_attention, splash_attention
from t2c_jax.kernels.attention_mask import AttentionMask
from t2c_jax.kernels.cached_attention import MASKED as MASKED
from t2c_jax.kernels.projections import down_projection, up_projection
from t2c_jax.models.layers import fan_in, remat
from t2c_jax.models.parameters import parameter
from t2c_jax.models.positions import Rotation, rotate
from t2c_jax.models.transformer.config import T5Config, TransformerConfig


def attend(
    q_BTHK: Float[Array, "B T H K"],
    k_BSHK: Float[Array, "B S H K"],
    v_BSHK: Float[Array, "B S H K"],
    mask: AttentionMask,
    *,
    bias: Float[Array, "1 H T S"] | None,
    kernel: str = "auto",
    scaled: bool = True,
) -> Float[Array, "B T H K"]:
    """Scaled dot-product attention (Vaswani et al. 2017, section 3.2.1) by the kernel that suits the platform.

    Args:
      q_BTHK: queries.
      k_BSHK: keys.
      v_BSHK: values.
      mask: which keys a query sees.
      bias: added to the scores.
      kernel: config.model.attention.
      scaled: divide the scores by sqrt(K).

    Raises:
      UserError: the config names a kernel that is not of this platform.
    """
    scale = q_BTHK.shape[-1] ** -0.5 if scaled else 1.0
    chosen = choose(kernel, q_BTHK, k_BSHK, biased=bias is not None)
    if chosen == "cudnn":
        return cudnn_attention(q_BTHK, k_BSHK, v_BSHK, mask, bias, scale)
    if chosen == "single_block":
        return padded_single_block_attention(q_BTHK, k_BSHK, v_BSHK, mask, bias, scale)
    if chosen == "splash":
        return splash_attention(q_BTHK, k_BSHK, v_BSHK, mask, scale)
    # Scores and weights, H T S of them, outgrow all else that a block would keep.
    return remat(functools.partial(_in_blocks, scale=scale))(q_BTHK, k_BSHK, v_BSHK, mask, bias)


def _in_blocks(
    q_BTHK: Float[Array, "B T H K"],
    k_BSHK: Float[Array, "B S H K"],
    v_BSHK: Float[Array, "B S H K"],
    mask: AttentionMask,
    bias: Float[Array, "1 H T S"] | None,
    scale: float,
) -> Float[Array, "B T H K"]:
    q, k, v = (jnp.swapaxes(x, 1, 2) for x in (q_BTHK, k_BSHK, v_BSHK))
    blocks = [
        softmax_attention(q[:, :, rows], k[:, :, keys], v[:, :, keys], part.dense(), _cut(bias, rows, keys), scale)
        for rows, keys, part in mask.blocks()
    ]
    return jnp.swapaxes(jnp.concatenate(blocks, axis=2), 1, 2)


def _cut(bias: Float[Array, "1 H T S"] | None, rows: slice, keys: slice) -> Float[Array, "1 H t s"] | None:
    return None if bias is None else bias[:, :, rows, keys]


def softmax_attention(
    q_BHTK: Float[Array, "B H T K"],
    k_BHSK: Float[Array, "B H S K"],
    v_BHSK: Float[Array, "B H S K"],
    mask: Bool[Array, "B 1 T S"],
    bias: Float[Array, "1 H T S"] | None,
    scale: float,
) -> Float[Array, "B H T K"]:
    """The plain formula; the softmax is float32 whatever the compute dtype."""
    scores_BHTS = jnp.einsum("bhtk,bhsk->bhts", q_BHTK * scale, k_BHSK, preferred_element_type=jnp.float32)
    if bias is not None:
        scores_BHTS = scores_BHTS + bias.astype(jnp.float32)
    weights_BHTS = jax.nn.softmax(jnp.where(mask, scores_BHTS, MASKED), axis=-1).astype(v_BHSK.dtype)
    return jnp.einsum("bhts,bhsk->bhtk", weights_BHTS, v_BHSK)


class Attention(nnx.Module):
    """Multi-head projections; what lies between them is ``attend`` or a cached step."""

    def __init__(
        self, config: TransformerConfig | T5Config, width: int, source_width: int | None = None, *, rngs: nnx.Rngs
    ) -> None:
        """Keys and values are of states ``source_width`` wide, where those are others than the queries'."""
        shape = (width, config.num_heads, config.head_width)
        source = width if source_width is None else source_width
        names = ("embed", "heads", "head_width")
        # Unscaled scores want the scale in the query's initialisation (Raffel et al. 2020, T5's choice).
        query_fan = width if config.scale_attention else width * config.head_width
        self.query = parameter(rngs, shape, names, fan_in(query_fan), adapted=True)
        self.key = parameter(rngs, (source, *shape[1:]), names, fan_in(source), adapted=True)
        self.value = parameter(rngs, (source, *shape[1:]), names, fan_in(source), adapted=True)
        fan = config.num_heads * config.head_width
        self.output = parameter(rngs, shape, names, fan_in(fan), adapted=True, output_first=True)

    def _split(self, x_BLD: Float[Array, "B L D"], kernel_DHK: Float[Array, "D H K"]) -> Float[Array, "B L H K"]:
        width, heads, head_width = kernel_DHK.shape
        h_BLF = up_projection(x_BLD, kernel_DHK.reshape(width, heads * head_width))
        return h_BLF.reshape(*x_BLD.shape[:2], heads, head_width)

    def queries(self, x_BLD: Float[Array, "B L D"], rotary: Rotation | None) -> Float[Array, "B L H K"]:
        """Projected and rotated queries."""
        return rotate(self._split(x_BLD, self.query[...]), rotary)

    def keys_values(
        self, x_BLD: Float[Array, "B L D"], rotary: Rotation | None
    ) -> tuple[Float[Array, "B L H K"], Float[Array, "B L H K"]]:
        """Projected keys, rotated, and values."""
        return rotate(self._split(x_BLD, self.key[...]), rotary), self._split(x_BLD, self.value[...])

    def project(self, o_BLHK: Float[Array, "B L H K"]) -> Float[Array, "B L D"]:
        """Heads back into the residual stream."""
        batch, length, heads, head_width = o_BLHK.shape
        h_BLF = o_BLHK.reshape(batch, length, heads * head_width)
        return down_projection(h_BLF, self.output[...].reshape(-1, heads * head_width))
