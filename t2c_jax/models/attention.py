"""Attention: ``attend`` is its single entry point and chooses the kernel.

Letters: B batch, T queries, S keys, D model, H heads of queries, G of keys and values, K head width.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from t2c_jax.kernels.attention import choose, cudnn_attention, soft_cap
from t2c_jax.kernels.attention_mask import AttentionMask, joined
from t2c_jax.kernels.cached_attention import MASKED as MASKED
from t2c_jax.kernels.projections import down_projection, up_projection
from t2c_jax.models.layers import RMSNorm, fan_in, normalised, remat
from t2c_jax.models.parameters import parameter
from t2c_jax.models.positions import Rotation, rotate
from t2c_jax.models.transformer.config import Sizes


def attend(
    q_BTHK: Float[Array, "B T H K"],
    k_BSGK: Float[Array, "B S G K"],
    v_BSGK: Float[Array, "B S G K"],
    mask: AttentionMask,
    *,
    bias: Float[Array, "1 H T S"] | None = None,
    kernel: str = "auto",
    scale: float | None = None,
    softcap: float = 0.0,
) -> Float[Array, "B T H K"]:
    """Scaled dot-product attention (Vaswani et al. 2017, section 3.2.1) by the kernel that suits the platform.

    Args:
      q_BTHK: queries.
      k_BSGK: keys; G divides H, and query head h reads head h // (H / G) of them (Ainslie et al. 2023).
      v_BSGK: values.
      mask: which keys a query sees.
      bias: added to the scores.
      kernel: config.model.attention.
      scale: what scores are multiplied by; 1/sqrt(K) by default.
      softcap: bound c of the scores, c tanh(score / c), before the bias and the mask; 0 for none.

    Raises:
      UserError: the config names a kernel that is not of this platform.
    """
    if scale is None:
        scale = q_BTHK.shape[-1] ** -0.5
    chosen = choose(kernel, q_BTHK, k_BSGK, biased=bias is not None, softcap=softcap)
    if chosen == "cudnn":
        return cudnn_attention(q_BTHK, k_BSGK, v_BSGK, mask, bias, scale)
    if chosen != "xla":
        from t2c_jax.kernels.pallas_attention import padded_single_block_attention, splash_attention

        if chosen == "single_block":
            return padded_single_block_attention(q_BTHK, k_BSGK, v_BSGK, mask, bias, scale, softcap)
        return splash_attention(q_BTHK, k_BSGK, v_BSGK, mask, scale, softcap)
    # Scores and weights, H T S of them, outgrow all else that a block would keep.
    return remat(functools.partial(_in_blocks, scale=scale, softcap=softcap))(q_BTHK, k_BSGK, v_BSGK, mask, bias)


def _in_blocks(
    q_BTHK: Float[Array, "B T H K"],
    k_BSGK: Float[Array, "B S G K"],
    v_BSGK: Float[Array, "B S G K"],
    mask: AttentionMask,
    bias: Float[Array, "1 H T S"] | None,
    scale: float,
    softcap: float,
) -> Float[Array, "B T H K"]:
    q, k, v = (jnp.swapaxes(x, 1, 2) for x in (q_BTHK, k_BSGK, v_BSGK))
    blocks = []
    for rows, keys, part in mask.blocks():
        read = joined(k, keys, axis=2), joined(v, keys, axis=2)
        cut = None if bias is None else joined(bias[:, :, rows], keys, axis=3)
        blocks.append(softmax_attention(q[:, :, rows], *read, part.dense(), cut, scale, softcap))
    return jnp.swapaxes(jnp.concatenate(blocks, axis=2), 1, 2)


def softmax_attention(
    q_BHTK: Float[Array, "B H T K"],
    k_BGSK: Float[Array, "B G S K"],
    v_BGSK: Float[Array, "B G S K"],
    mask: Bool[Array, "B 1 T S"],
    bias: Float[Array, "1 H T S"] | None,
    scale: float,
    softcap: float = 0.0,
) -> Float[Array, "B H T K"]:
    """The plain formula; the softmax is float32 whatever the compute dtype."""
    batch, heads, queries, head_width = q_BHTK.shape
    groups, keys = k_BGSK.shape[1:3]
    # Queries that share a head of keys are rows of one product.
    q_BGRK = (q_BHTK * scale).reshape(batch, groups, heads // groups * queries, head_width)
    scores_BGRS = jnp.einsum("bhtk,bhsk->bhts", q_BGRK, k_BGSK, preferred_element_type=jnp.float32)
    scores_BHTS = soft_cap(scores_BGRS.reshape(batch, heads, queries, keys), softcap)
    if bias is not None:
        scores_BHTS = scores_BHTS + bias.astype(jnp.float32)
    weights_BHTS = jax.nn.softmax(jnp.where(mask, scores_BHTS, MASKED), axis=-1).astype(v_BGSK.dtype)
    weights_BGRS = weights_BHTS.reshape(scores_BGRS.shape)
    return jnp.einsum("bhts,bhsk->bhtk", weights_BGRS, v_BGSK).reshape(q_BHTK.shape)


class Attention(nnx.Module):
    """Multi-head projections; what lies between them is ``attend`` or a cached step."""

    def __init__(self, config: Sizes, width: int, source_width: int | None = None, *, rngs: nnx.Rngs) -> None:
        """Keys and values are of states ``source_width`` wide, where those are others than the queries'."""
        heads, groups = config.num_heads, config.kv_heads or config.num_heads
        source = width if source_width is None else source_width
        names = ("embed", "heads", "head_width")
        # One head of keys for all queries is whole on every device.
        kv_names = ("embed", "heads" if groups > 1 else "shared_head", "head_width")
        # Unscaled scores want the scale in the query's initialisation (Raffel et al. 2020, T5's choice).
        query_fan = width if config.scale_attention else width * config.head_width
        shape, kv_shape = (width, heads, config.head_width), (source, groups, config.head_width)
        self.query = parameter(rngs, shape, names, fan_in(query_fan), adapted=True)
        self.key = parameter(rngs, kv_shape, kv_names, fan_in(source), adapted=True)
        self.value = parameter(rngs, kv_shape, kv_names, fan_in(source), adapted=True)
        self.output = parameter(rngs, shape, names, fan_in(heads * config.head_width), adapted=True, output_first=True)
        normed = config.query_key_norm
        self.query_norm = RMSNorm(config.head_width, config.norm_epsilon, rngs=rngs) if normed else None
        self.key_norm = RMSNorm(config.head_width, config.norm_epsilon, rngs=rngs) if normed else None
        self.scale, self.softcap = config.score_scale, config.attention_softcap

    def _split(self, x_BLD: Float[Array, "B L D"], kernel_DHK: Float[Array, "D H K"]) -> Float[Array, "B L H K"]:
        width, heads, head_width = kernel_DHK.shape
        h_BLF = up_projection(x_BLD, kernel_DHK.reshape(width, heads * head_width))
        return h_BLF.reshape(*x_BLD.shape[:2], heads, head_width)

    def queries(self, x_BLD: Float[Array, "B L D"], rotary: Rotation | None) -> Float[Array, "B L H K"]:
        """Projected queries, normalised where the config says so, and rotated."""
        return rotate(normalised(self.query_norm, self._split(x_BLD, self.query[...])), rotary)

    def keys_values(
        self, x_BLD: Float[Array, "B L D"], rotary: Rotation | None
    ) -> tuple[Float[Array, "B L G K"], Float[Array, "B L G K"]]:
        """Projected keys, normalised where the config says so, and rotated; and values."""
        k_BLGK = normalised(self.key_norm, self._split(x_BLD, self.key[...]))
        return rotate(k_BLGK, rotary), self._split(x_BLD, self.value[...])

    def __call__(
        self,
        q_BTHK: Float[Array, "B T H K"],
        k_BSGK: Float[Array, "B S G K"],
        v_BSGK: Float[Array, "B S G K"],
        mask: AttentionMask,
        *,
        bias: Float[Array, "1 H T S"] | None = None,
        kernel: str,
    ) -> Float[Array, "B T D"]:
        """The block's update to the residual stream."""
        scale, softcap = self.scale, self.softcap
        return self.project(
            attend(q_BTHK, k_BSGK, v_BSGK, mask, bias=bias, kernel=kernel, scale=scale, softcap=softcap)
        )

    def project(self, o_BLHK: Float[Array, "B L H K"]) -> Float[Array, "B L D"]:
        """Heads back into the residual stream."""
        batch, length, heads, head_width = o_BLHK.shape
        h_BLF = o_BLHK.reshape(batch, length, heads * head_width)
        return down_projection(h_BLF, self.output[...].reshape(-1, heads * head_width))
