"""Attention of a decoder step: few queries over keys and values that are kept in chunks.

A cache is as long as the longest answer, and most of the time most of it is empty. On a CPU, where a step costs what it
reads, it is a few arrays, and an array in which no row sees anything is skipped. One program serves all lengths.
Accelerators read one array: a branch costs them more than the reading.

The softmax goes chunk by chunk (Milakov & Gimelshein 2018). A chunk that a row does not see leaves the row's result as
it is to the last bit, so it does not matter to a row which chunks the other rows of the batch need.

Letters: B rows, N tokens of a step, H heads of queries, G of keys and values, K head width, X slots of a chunk, or of
the whole cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from t2c_jax.kernels.attention import soft_cap, target_platform

MASKED = -1e9  # finite: a row that may see nothing averages instead of turning NaN
_SHORTEST = 64  # slots of a chunk


class KeysValues(NamedTuple):
    """Keys and values of all slots, chunk by chunk, in the layouts of their products with queries and weights.

    With the head width last, all keys would be transposed at every token.
    """

    k: tuple[Float[Array, "B G K X"], ...]
    v: tuple[Float[Array, "B G X K"], ...]


class Visible(NamedTuple):
    """What the tokens of a step see of a chunk: added to the scores; and whether any token sees any of it."""

    bias: Float[Array, "B H N X"] | Float[Array, "B 1 N X"]
    is_used: Bool[Array, ""]


def chunks(slots: int) -> list[slice]:
    """Parts of a cache, each as long as all before it."""
    if target_platform() != "cpu" or slots < 2 * _SHORTEST:
        return [slice(0, slots)]
    ends = [_SHORTEST]
    while ends[-1] * 2 < slots - _SHORTEST // 2:  # a last one that is hardly there is not worth its branch
        ends.append(ends[-1] * 2)
    return [slice(start, end) for start, end in zip([0, *ends], [*ends, slots], strict=True)]


def split(k_BGKX: Float[Array, "B G K X"], v_BGXK: Float[Array, "B G X K"], more: int = 0) -> KeysValues:
    """Keys and values of a source in chunks, with ``more`` of them behind that nothing sees."""
    if more:
        k_BGKX = jnp.pad(k_BGKX, ((0, 0), (0, 0), (0, 0), (0, more)))
        v_BGXK = jnp.pad(v_BGXK, ((0, 0), (0, 0), (0, more), (0, 0)))
    parts = chunks(v_BGXK.shape[2])
    return KeysValues(tuple(k_BGKX[..., part] for part in parts), tuple(v_BGXK[:, :, part] for part in parts))


def empty(rows: int, heads: int, width: int, slots: int, dtype: Any) -> KeysValues:
    """Zeros."""
    return split(jnp.zeros((rows, heads, width, slots), dtype), jnp.zeros((rows, heads, slots, width), dtype))


def visible(
    seen_BNX: Bool[Array, "B N X"], bias_BHNX: Float[Array, "B H N X"] | None = None, *, shared: int = 1
) -> list[Visible]:
    """What a step sees of each chunk, for all blocks that read caches of this length.

    Args:
      seen_BNX: the slots that each token sees.
      bias_BHNX: added to the scores.
      shared: how many heads of queries share one of keys (see ``cached_attention``).
    """
    found = []
    for part in chunks(seen_BNX.shape[-1]):
        seen = seen_BNX[..., part]
        masked = jnp.tile(jnp.where(seen, 0.0, MASKED), (1, shared, 1))[:, None]
        found.append(Visible(masked if bias_BHNX is None else masked + bias_BHNX[..., part], jnp.any(seen)))
    return found


def write(
    cache: KeysValues,
    k_BNGK: Float[Array, "B N G K"],
    v_BNGK: Float[Array, "B N G K"],
    slots_BN: Int[Array, "B N"],
) -> KeysValues:
    """The cache with the tokens' keys and values in their slots."""
    rows_B1 = jnp.arange(slots_BN.shape[0])[:, None]
    first, keys, values = 0, [], []
    for k, v in zip(cache.k, cache.v, strict=True):
        size = v.shape[2]
        place_BN = jnp.where((slots_BN >= first) & (slots_BN < first + size), slots_BN - first, size)

        keys.append(k.at[rows_B1, :, :, place_BN].set(k_BNGK, mode="drop"))
        values.append(v.at[rows_B1, :, place_BN].set(v_BNGK, mode="drop"))
        first += size
    return KeysValues(tuple(keys), tuple(values))


def cached_attention(
    q_BHNK: Float[Array, "B H N K"],
    cache: KeysValues,
    seen: Sequence[Visible],
    scale: float,
    softcap: float = 0.0,
) -> Float[Array, "B H N K"]:
    """``softmax(softcap(scale q k) + bias) v``; the softmax is float32 whatever the dtype of keys and values.

    Where heads of keys are fewer, the queries that share one are to it as more tokens of the step.
    """
    shape, groups = q_BHNK.shape, cache.k[0].shape[1]
    q_BGNK = (q_BHNK * scale).reshape(shape[0], groups, -1, shape[3])

    def scores(k_BGKX: Array, bias: Array) -> Array:
        product_BGNX = jnp.einsum("bhnk,bhkx->bhnx", q_BGNK, k_BGKX, preferred_element_type=jnp.float32)
        return soft_cap(product_BGNX, softcap) + bias

    if target_platform() != "cpu" or len(seen) == 1:
        parts = [scores(k, part.bias) for k, part in zip(cache.k, seen, strict=True)]
        scores_BGNX = parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=-1)
        weights_BGNX = jax.nn.softmax(scores_BGNX, axis=-1).astype(cache.v[0].dtype)
        first, o_BGNK = 0, None
        for v in cache.v:
            product = jnp.einsum("bhnx,bhxk->bhnk", weights_BGNX[..., first : first + v.shape[2]], v)
            first, o_BGNK = first + v.shape[2], product if o_BGNK is None else o_BGNK + product
        assert o_BGNK is not None
        return o_BGNK.reshape(shape)

    def more(state: tuple[Array, Array, Array], k: Array, v: Array, bias: Array) -> tuple[Array, Array, Array]:
        most, total, sums = state
        scores_BGNX = scores(k, bias)
        higher = jnp.maximum(most, jnp.max(scores_BGNX, axis=-1, keepdims=True))
        weights_BGNX, shrink = jnp.exp(scores_BGNX - higher), jnp.exp(most - higher)
        product = jnp.einsum("bhnx,bhxk->bhnk", weights_BGNX.astype(v.dtype), v, preferred_element_type=jnp.float32)
        return higher, total * shrink + jnp.sum(weights_BGNX, axis=-1, keepdims=True), sums * shrink + product

    lowest = jnp.full((*q_BGNK.shape[:3], 1), 2 * MASKED, jnp.float32)
    state = lowest, jnp.zeros_like(lowest), jnp.zeros(q_BGNK.shape, jnp.float32)
    for k, v, part in zip(cache.k, cache.v, seen, strict=True):
        state = jax.lax.cond(part.is_used, more, lambda state, *_: state, state, k, v, part.bias)
    _, total, sums = state
    return (sums / jnp.maximum(total, 1e-30)).astype(q_BHNK.dtype).reshape(shape)


def behind(cache: KeysValues, other: KeysValues) -> KeysValues:
    """Two caches as one, which a single softmax reads."""
    return KeysValues((*cache.k, *other.k), (*cache.v, *other.v))
