"""Attention by Pallas kernels, which keep the scores on the chip of a TPU.

Each pads lengths to what its blocks need; a caller may pass any length. The kernels run on each device of the mesh,
over its own rows and heads.

Letters: B batch, T queries, S keys, H heads of queries, G of keys and values, K head width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.pallas.ops.tpu import splash_attention as splash
from jaxtyping import Array, Float, Int

from t2c_jax.kernels.attention import heads_of_a_device, target_platform
from t2c_jax.kernels.attention_mask import LANES, AttentionMask, Band, pad_to
from t2c_jax.kernels.single_block_attention import Form, single_block_attention
from t2c_jax.mesh import partition_spec

_LONGEST_BLOCK = 512  # of queries or keys: some 4 MiB of scores, weights and their gradients on the chip


def padded_single_block_attention(
    q_BTHK: Float[Array, "B T H K"],
    k_BSGK: Float[Array, "B S G K"],
    v_BSGK: Float[Array, "B S G K"],
    mask: AttentionMask,
    bias: Float[Array, "1 H T S"] | None,
    scale: float,
    softcap: float = 0.0,
) -> Float[Array, "B T H K"]:
    """``single_block_attention`` over rows and heads of any number that ``choose`` gives it."""
    seen = mask.padded(LANES)
    heads = q_BTHK.shape[2]
    q, k, v = (pad_to(x, LANES, axis=1) for x in (q_BTHK * scale, repeated(k_BSGK, heads), repeated(v_BSGK, heads)))
    arrays, names = _arrays(q, k, v, seen)
    if bias is not None:
        arrays.append(pad_to(pad_to(bias[0], LANES, axis=1), LANES, axis=2))
        names.append(("heads", None, None))

    def on_one_device(q: Array, k: Array, v: Array, query_segments: Array, key_segments: Array, *bias: Array) -> Array:
        form = Form(q.shape[2], seen.band, softcap, _interpreted())
        flat = (x.reshape(*x.shape[:2], -1) for x in (q, k, v))
        return single_block_attention(form, *flat, query_segments, key_segments, bias[0] if bias else None).reshape(
            q.shape
        )

    return _on_each_device(on_one_device, names)(*arrays)[:, : q_BTHK.shape[1]]


def splash_attention(
    q_BTHK: Float[Array, "B T H K"],
    k_BSGK: Float[Array, "B S G K"],
    v_BSGK: Float[Array, "B S G K"],
    mask: AttentionMask,
    scale: float,
    softcap: float = 0.0,
) -> Float[Array, "B T H K"]:
    """Pallas' attention in blocks with a running softmax (Dao et al. 2022, algorithm 1), for rows of any length.

    Blocks of which no query sees anything are skipped. A query that sees no key averages over all of them, as in the
    plain formula, but the gradient of that average is wrong here: only padding may see nothing, and no loss reads it.
    """
    seen = mask.padded(LANES)
    if heads_of_a_device(q_BTHK.shape[0], k_BSGK.shape[2]) is None:  # fewer heads of keys than the mesh has places for
        k_BSGK, v_BSGK = (repeated(x, q_BTHK.shape[2]) for x in (k_BSGK, v_BSGK))
    q, k, v = (pad_to(x, LANES, axis=1) for x in (q_BTHK * scale, k_BSGK, v_BSGK))

    def on_one_device(q: Array, k: Array, v: Array, query_segments: Array, key_segments: Array) -> Array:
        kernel = _splash_kernel((q.shape[1], k.shape[1]), q.shape[2], seen.band, softcap)
        o_BHTK = jax.vmap(kernel)(*(jnp.swapaxes(x, 1, 2) for x in (q, k, v)), (query_segments, key_segments))
        return jnp.swapaxes(o_BHTK, 1, 2)

    arrays, names = _arrays(q, k, v, seen)
    return _on_each_device(on_one_device, names)(*arrays)[:, : q_BTHK.shape[1]]


def _splash_kernel(shape: tuple[int, int], heads: int, band: Band, softcap: float) -> Callable[..., Array]:
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
    kernel = splash.make_splash_mha(
        splash.MultiHeadMask([_splash_mask(shape, band)] * heads),
        block_sizes=sizes,
        head_shards=1,
        q_seq_shards=1,
        attn_logits_soft_cap=softcap or None,
        interpret=_interpreted(),
    )

    def call(q_HTK: Array, k_HSK: Array, v_HSK: Array, segments: tuple[Int[Array, " T"], Int[Array, " S"]]) -> Array:
        return kernel(q_HTK, k_HSK, v_HSK, splash.SegmentIds(*segments))

    return call


def _splash_mask(shape: tuple[int, int], band: Band) -> Any:
    if band.own_keys is not None and band.limits:
        queries, keys = (np.arange(length) for length in shape)
        return splash.NumpyMask(band.sees(queries[:, None], keys[None, :]))
    if band.before is not None:
        return splash.LocalMask(shape, window_size=(band.before, band.after), offset=band.first_query)
    if band.after is not None:
        return splash.CausalMask(shape, offset=band.first_query + band.after)
    return splash.FullMask(shape)


def repeated(x_BSGK: Float[Array, "B S G K"], heads: int) -> Float[Array, "B S H K"]:
    """Keys or values of a head for each of the ``heads`` queries' that share it."""
    times = heads // x_BSGK.shape[2]
    return x_BSGK if times == 1 else jnp.repeat(x_BSGK, times, axis=2)


def _block(length: int) -> int:
    """The longest block that divides a length which is a multiple of ``LANES``."""
    return max(size for size in range(LANES, _LONGEST_BLOCK + 1, LANES) if length % size == 0)


def _interpreted() -> bool:
    """Whether a kernel's operations run one by one, as on a CPU, for tests."""
    return target_platform() == "cpu"


def _arrays(q: Array, k: Array, v: Array, seen: AttentionMask) -> tuple[list[Array], list[tuple[str | None, ...]]]:
    """What every kernel reads, and the logical axes of each."""
    heads, segments = ("batch", None, "heads", "head_width"), ("batch", None)
    return [q, k, v, seen.query_segments_BT, seen.key_segments_BS], [heads, heads, heads, segments, segments]


def _on_each_device(kernel: Callable[..., Array], names: list[tuple[str | None, ...]]) -> Callable[..., Array]:
    """``kernel`` on each device's part of arrays with these logical axes; what it returns is split as the first is.

    A kernel cannot be split by the partitioner.
    """
    if jax.sharding.get_abstract_mesh().empty:
        return kernel
    specs = tuple(partition_spec(axes) for axes in names)
    # check_vma: what a kernel returns says nothing of the mesh axes that it varies over.
    return jax.shard_map(kernel, in_specs=specs, out_specs=specs[0], check_vma=False)
