"""Fused attention kernels, which keep the scores on the chip: Pallas' splash attention on a TPU, cuDNN's on a GPU.

Both bring the lengths up to what their blocks want, inside; neither limits what a caller may pass. A query that sees
no key averages over all of them, as in the plain formula, but splash attention's gradient of that average is wrong:
only padding may see nothing, and no loss reads padding, so what comes back to it is zero.

Letters: B batch, T queries, S keys, H heads, K head width.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu import splash_attention as splash
from jaxtyping import Array, Float, Int

from t2c_jax.mesh import RULES, partition_spec
from t2c_jax.models.visibility import Visibility, pad_to

LANES = 128  # of a TPU's vector registers; splash attention's blocks are multiples of them
_LONGEST_BLOCK = 512  # of queries or keys: some 4 MiB of scores, weights and their gradients on the chip
_HEADS = ("batch", None, "heads", "head_width")
_SEGMENTS = ("batch", None)


def target_platform() -> str:
    """Where the program that is being traced will run: cpu, gpu or tpu.

    The mesh that is set says it, though its devices be only described, as in ahead-of-time compilation.
    """
    device = jax.sharding.get_abstract_mesh().abstract_device
    return jax.default_backend() if device is None else device.platform


def divisible(rows: int, heads: int) -> bool:
    """Whether the mesh that is set splits rows and heads evenly, as a kernel on each device needs; True without one."""
    sizes = jax.sharding.get_abstract_mesh().shape
    counts = {"batch": rows, "heads": heads}
    return not any(
        count % math.prod(sizes.get(axis, 1) for axis in RULES[name] or ()) for name, count in counts.items()
    )


def splash_attention(
    q_BTHK: Float[Array, "B T H K"],
    k_BSHK: Float[Array, "B S H K"],
    v_BSHK: Float[Array, "B S H K"],
    visibility: Visibility,
    scale: float,
    *,
    interpret: bool = False,
) -> Float[Array, "B T H K"]:
    """Attention in blocks with a running softmax (Dao et al. 2022, algorithm 1) as a TPU kernel, and its gradients.

    Blocks that lie after all their queries are skipped. Sharded as the activations are: the partitioner cannot split a
    kernel, so each device of the mesh runs one on its own rows and heads.

    Args:
      q_BTHK: queries; any length, any head width.
      k_BSHK: keys.
      v_BSHK: values.
      visibility: segment ids and causality; both are applied in the kernel.
      scale: what scores are multiplied with.
      interpret: run the kernel's operations one by one on whatever device there is: for tests.
    """
    queries = q_BTHK.shape[1]
    seen = visibility.padded(LANES)
    q, k, v = (pad_to(x, LANES, axis=1) for x in (q_BTHK * scale, k_BSHK, v_BSHK))

    def on_one_device(q: Array, k: Array, v: Array, query_segments: Array, key_segments: Array) -> Array:
        _, length, heads, _ = q.shape
        kernel = _splash_kernel((length, k.shape[1]), heads, seen.causal, seen.first_query, interpret)
        o_BHTK = jax.vmap(kernel)(*(jnp.swapaxes(x, 1, 2) for x in (q, k, v)), (query_segments, key_segments))
        return jnp.swapaxes(o_BHTK, 1, 2)

    o_BTHK = _on_each_device(on_one_device, (_HEADS,) * 3 + (_SEGMENTS,) * 2, _HEADS)(
        q, k, v, seen.query_segments_BT, seen.key_segments_BS
    )
    return o_BTHK[:, :queries]


def _splash_kernel(
    shape: tuple[int, int], heads: int, causal: bool, first_query: int, interpret: bool
) -> Callable[..., Array]:
    block_q, block_kv = (_block(length) for length in shape)
    # With all keys in one block the backward pass gives dq, dk and dv in one kernel; with several it would write as
    # many partial dq, so dq is then a kernel of its own.
    fused = block_kv == shape[1]
    sizes = splash.BlockSizes(
        block_q=block_q,
        block_kv=block_kv,
        block_q_dkv=block_q,
        block_kv_dkv=block_kv,
        block_q_dq=None if fused else block_q,
        block_kv_dq=None if fused else block_kv,
        use_fused_bwd_kernel=fused,
    )
    mask = splash.CausalMask(shape, offset=first_query) if causal else splash.FullMask(shape)
    kernel = splash.make_splash_mha(
        splash.MultiHeadMask([mask] * heads), block_sizes=sizes, head_shards=1, q_seq_shards=1, interpret=interpret
    )

    def call(q_HTK: Array, k_HSK: Array, v_HSK: Array, segments: tuple[Int[Array, " T"], Int[Array, " S"]]) -> Array:
        return kernel(q_HTK, k_HSK, v_HSK, splash.SegmentIds(*segments))

    return call


def _block(length: int) -> int:
    """The longest block that divides a length which is a multiple of ``LANES``."""
    return max(size for size in range(LANES, _LONGEST_BLOCK + 1, LANES) if length % size == 0)


def _on_each_device(
    f: Callable[..., Any], inputs: tuple[tuple[str | None, ...], ...], output: Any
) -> Callable[..., Any]:
    """``f`` on each device's part of arrays with these logical axes; ``f`` itself where no mesh is set."""
    if jax.sharding.get_abstract_mesh().empty:
        return f
    specs = tuple(partition_spec(names) for names in inputs)
    # check_vma: what a kernel returns says nothing of the axes that it varies over.
    return jax.shard_map(f, in_specs=specs, out_specs=partition_spec(output), check_vma=False)


def cudnn_attention(
    q_BTHK: Float[Array, "B T H K"],
    k_BSHK: Float[Array, "B S H K"],
    v_BSHK: Float[Array, "B S H K"],
    visibility: Visibility,
    bias: Float[Array, "1 H T S"] | None,
    scale: float,
) -> Float[Array, "B T H K"]:
    """cuDNN's flash attention, and its gradients; half precision, and a head width of ``cudnn_fits``.

    Segments reach it as a mask of a head's size. Its own packed layout wants a Hopper, has no public function, and
    takes a list of as many segments in every row.
    """
    queries = q_BTHK.shape[1]
    # Training with a bias, which cuDNN makes of the mask too, wants even lengths.
    seen = visibility.padded(2)
    q, k, v = (pad_to(x, 2, axis=1) for x in (q_BTHK, k_BSHK, v_BSHK))
    if bias is not None:
        bias = pad_to(pad_to(bias.astype(q.dtype), 2, axis=2), 2, axis=3)
    # Told apart from segments, causality lets the kernel skip what lies after its queries.
    skips = seen.causal and seen.first_query == 0
    mask = Visibility(seen.query_segments_BT, seen.key_segments_BS).mask() if skips else seen.mask()
    o_BTHK = jax.nn.dot_product_attention(
        q, k, v, bias=bias, mask=mask, scale=scale, is_causal=skips, implementation="cudnn"
    )
    return o_BTHK[:, :queries]


def cudnn_fits(dtype: Any, head_width: int) -> bool:
    """Whether cuDNN's kernel, in training and on every GPU that it runs on, takes such heads."""
    return dtype in (jnp.bfloat16, jnp.float16) and head_width % 8 == 0 and head_width <= 128
