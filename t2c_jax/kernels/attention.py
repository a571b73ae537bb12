"""Which kernel computes attention, and cuDNN's; those of Pallas are in ``kernels.pallas_attention``.

Letters: B batch, T queries, S keys, H heads of queries, G of keys and values, K head width.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from t2c_jax.errors import UserError
from t2c_jax.kernels.attention_mask import LANES, AttentionMask, Band, pad_to
from t2c_jax.mesh import RULES


def target_platform() -> str:
    """Where the program that is being traced will run: cpu, gpu or tpu.

    It is the platform of the mesh that is set, also where its devices are only described (ahead-of-time compilation).
    """
    device = jax.sharding.get_abstract_mesh().abstract_device
    return jax.default_backend() if device is None else device.platform


def choose(
    asked: str, q_BTHK: Array, k_BSHK: Array, *, biased: bool, softcap: float = 0.0
) -> Literal["xla", "cudnn", "single_block", "splash"]:
    """The kernel for these queries and keys: config.model.attention's, or under ``auto`` the target platform's own.

    ``auto`` and ``pallas`` fall back to XLA: on a GPU, for heads and soft-caps that cuDNN does not take; on a TPU, for
    rows so short that they would be filled up to the lanes and that have small scores, for rows or heads that the mesh
    does not divide, and for a bias over rows too long for ``single_block_attention``. Splash attention takes no bias;
    the flash attention that comes with Pallas wants one for each of the batch's rows, and writes the gradient of each.

    Raises:
      UserError: the kernel that is asked for is not of the target platform.
    """
    platform = target_platform()
    if platform not in {"cudnn": ("gpu",), "pallas": ("tpu", "cpu")}.get(asked, (platform,)):
        raise UserError(f"config.model.attention={asked} does not run on a {platform}; set it to auto")
    batch, queries, heads, head_width = q_BTHK.shape
    keys = k_BSHK.shape[1]
    on_gpu = asked == "auto" and platform == "gpu" and not softcap
    if asked == "cudnn" or (on_gpu and _cudnn_takes(q_BTHK.dtype, head_width)):
        return "cudnn"
    if asked != "pallas" and not (asked == "auto" and platform == "tpu" and min(queries, keys) >= LANES):
        return "xla"
    here = heads_of_a_device(batch, heads)
    if here is None:
        return "xla"
    from t2c_jax.kernels.single_block_attention import fits  # Pallas is slow to import, and a server on a CPU has none

    if fits(queries, keys, here, head_width, q_BTHK.dtype.itemsize, biased=biased):
        return "single_block"
    return "xla" if biased else "splash"


def _cudnn_takes(dtype: Any, head_width: int) -> bool:
    """In training, and on every GPU that has the kernel."""
    return dtype in (jnp.bfloat16, jnp.float16) and head_width % 8 == 0 and head_width <= 128


def heads_of_a_device(batch: int, heads: int) -> int | None:
    """The heads that each device of the mesh has; nothing where it does not divide them or the batch evenly."""
    sizes = jax.sharding.get_abstract_mesh().shape
    over_batch, over_heads = (
        math.prod(sizes.get(axis, 1) for axis in RULES[name] or ()) for name in ("batch", "heads")
    )
    return None if batch % over_batch or heads % over_heads else heads // over_heads


def soft_cap(x: Float[Array, ...], bound: float) -> Float[Array, ...]:
    """``bound tanh(x / bound)``; the identity where the bound is 0."""
    return bound * jnp.tanh(x / bound) if bound else x


def cudnn_attention(
    q_BTHK: Float[Array, "B T H K"],
    k_BSGK: Float[Array, "B S G K"],
    v_BSGK: Float[Array, "B S G K"],
    mask: AttentionMask,
    bias: Float[Array, "1 H T S"] | None,
    scale: float,
) -> Float[Array, "B T H K"]:
    """cuDNN's flash attention, and its gradients; half precision, and heads at most 128 wide.

    Segments reach it as a mask of a head's size. Its own packed layout wants a Hopper, has no public function, and
    takes a list of as many segments in every row.
    """
    queries = q_BTHK.shape[1]
    # Training with a bias needs even lengths, and cuDNN turns the mask into a bias.
    seen = mask.padded(2)
    q, k, v = (pad_to(x, 2, axis=1) for x in (q_BTHK, k_BSGK, v_BSGK))
    if bias is not None:
        bias = pad_to(pad_to(bias.astype(q.dtype), 2, axis=2), 2, axis=3)
    # Causality apart from segments lets the kernel skip keys after its queries.
    skips = seen.band == Band(after=0)
    dense = AttentionMask(seen.query_segments_BT, seen.key_segments_BS).dense() if skips else seen.dense()
    o_BTHK = jax.nn.dot_product_attention(
        q, k, v, bias=bias, mask=dense, scale=scale, is_causal=skips, implementation="cudnn"
    )
    return o_BTHK[:, :queries]
