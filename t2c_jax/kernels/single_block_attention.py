"""Attention for TPUs as a Pallas kernel that holds whole rows of scores on the chip, and takes T5's bias.

At a few hundred tokens all keys of a query fit on the chip, and the softmax needs no running maximum. So the backward
pass needs nothing of the forward pass but its inputs, and the gradient of a bias, which all rows of a batch share, is
summed over them on the chip: nothing as large as the scores is ever written.

Queries, keys and values are read as their projections wrote them, the heads side by side. Heads narrower than the 128
lanes of a register share them with their neighbours, and one at a time is multiplied with the others' lanes at zero:
the matrix unit is 128 lanes wide either way, and nothing is transposed in memory, nor filled up there.

Letters: B batch, T queries, S keys, H heads, K head width, F heads x head width, G heads of a block, W their lanes
(G x K), P queries of a block.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array, Bool, Float, Int

from t2c_jax.kernels.attention_mask import LANES, Band

MASKED = -1e9
_LONGEST = 1024  # keys; beyond, kernels that skip what a causal row does not see are the better ones
_VMEM = 15 * 2**20  # bytes of the 16 MiB that a kernel may use of the chip's memory

Residuals = tuple[Array, Array, Array, Array, Array, Array | None]


class Form(NamedTuple):
    """What a kernel is compiled for, in addition to the shapes of its arrays."""

    heads: int
    band: Band = Band()
    softcap: float = 0.0
    interpret: bool = False


def fits(queries: int, keys: int, heads: int, head_width: int, itemsize: int, *, biased: bool) -> bool:
    """Whether the kernels take such rows, and this many heads of ``itemsize`` bytes a number on each device."""
    group = _group(heads, head_width)
    queries, keys = (-(-length // LANES) * LANES for length in (queries, keys))
    whole = heads % group == 0 and (group == heads or group * head_width % LANES == 0)
    return whole and keys <= _LONGEST and bool(_blocks_that_fit(queries, keys, group, head_width, itemsize, biased))


def _group(heads: int, head_width: int) -> int:
    """How many heads share the lanes of a block."""
    return min(heads, max(1, LANES // head_width))


def _blocks_that_fit(queries: int, keys: int, group: int, head_width: int, itemsize: int, biased: bool) -> list[int]:
    """Sizes of blocks of queries that divide them and leave the backward kernel, the larger one, on the chip."""

    def used(size: int) -> int:
        # Windows on arrays are held twice, this block's and the next one's. Six float32 scores are alive at once, as
        # compilers for v4 and v5e say of what does not fit.
        of_keys, of_queries = 4 * 2 * itemsize + 2 * 4, 3 * 2 * itemsize
        bias = 2 * 4 * group * keys * (queries + size) if biased else 0
        segments = 2 * 4 * LANES * size
        return group * head_width * (keys * of_keys + size * of_queries) + 6 * 4 * size * keys + segments + bias

    return [size for size in range(LANES, queries + 1, LANES) if queries % size == 0 and used(size) <= _VMEM]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def single_block_attention(
    form: Form,
    q_BTF: Float[Array, "B T F"],
    k_BSF: Float[Array, "B S F"],
    v_BSF: Float[Array, "B S F"],
    query_segments_BT: Int[Array, "B T"],
    key_segments_BS: Int[Array, "B S"],
    bias_HTS: Float[Array, "H T S"] | None,
) -> Float[Array, "B T F"]:
    """softmax(softcap(q k') + bias) v of queries that are scaled already, each over the keys of its segment.

    T and S are multiples of ``LANES``, and ``fits`` holds.
    """
    layout = _Layout(form, q_BTF, k_BSF, bias_HTS)
    # The batch's rows come last: a block of the bias is read once for all of them.
    blocks = layout.blocks(lambda head, part, row: (row, head, part))
    return pl.pallas_call(
        functools.partial(_forward_kernel, layout),
        grid=(layout.head_blocks, layout.query_blocks, layout.batch),
        in_specs=blocks.inputs(),
        out_specs=blocks.queries,
        out_shape=jax.ShapeDtypeStruct(q_BTF.shape, q_BTF.dtype),
        compiler_params=_IN_ORDER,
        cost_estimate=layout.cost(products=2, arrays=(q_BTF, q_BTF, k_BSF, v_BSF, bias_HTS)),
        interpret=form.interpret,
        name="single_block_attention_forward",
    )(q_BTF, k_BSF, v_BSF, query_segments_BT[:, :, None], key_segments_BS[:, None], bias_HTS)


def _forward(form: Form, *inputs: Any) -> tuple[Array, Residuals]:
    return single_block_attention(form, *inputs), inputs


def _backward(form: Form, residuals: Residuals, d_BTF: Array) -> tuple[Array | None, ...]:
    q_BTF, k_BSF, v_BSF, query_segments_BT, key_segments_BS, bias_HTS = residuals
    layout = _Layout(form, q_BTF, k_BSF, bias_HTS)
    blocks = layout.blocks(lambda head, row, part: (row, head, part))
    like = (q_BTF, k_BSF, v_BSF, bias_HTS)
    d_q, d_k, d_v, d_bias = pl.pallas_call(
        functools.partial(_backward_kernel, layout),
        grid=(layout.head_blocks, layout.batch, layout.query_blocks),
        in_specs=[*blocks.inputs(), blocks.queries],
        out_specs=[blocks.queries, blocks.keys, blocks.keys, blocks.whole_bias],
        out_shape=[None if x is None else jax.ShapeDtypeStruct(x.shape, x.dtype) for x in like],
        scratch_shapes=[pltpu.VMEM((layout.keys, layout.lanes), jnp.float32)] * 2,
        compiler_params=_IN_ORDER,
        cost_estimate=layout.cost(products=5, arrays=(*like, *like, d_BTF)),
        interpret=form.interpret,
        name="single_block_attention_backward",
    )(q_BTF, k_BSF, v_BSF, query_segments_BT[:, :, None], key_segments_BS[:, None], bias_HTS, d_BTF)
    return d_q, d_k, d_v, None, None, d_bias


single_block_attention.defvjp(_forward, _backward)

# Blocks of heads may go to different cores; within one, sums are carried from block to block.
_IN_ORDER = pltpu.CompilerParams(dimension_semantics=("parallel", "arbitrary", "arbitrary"))


class _Blocks(NamedTuple):
    """Which part of each array a kernel gets."""

    queries: pl.BlockSpec
    keys: pl.BlockSpec
    query_segments: pl.BlockSpec
    key_segments: pl.BlockSpec
    bias: pl.BlockSpec | None
    whole_bias: pl.BlockSpec | None

    def inputs(self) -> list[pl.BlockSpec | None]:
        return [self.queries, self.keys, self.keys, self.query_segments, self.key_segments, self.bias]


class _Layout:
    """How a call is cut into blocks."""

    def __init__(self, form: Form, q_BTF: Array, k_BSF: Array, bias_HTS: Array | None) -> None:
        (self.batch, self.queries, width), self.keys = q_BTF.shape, k_BSF.shape[1]
        self.form, self.head_width, self.biased = form, width // form.heads, bias_HTS is not None
        self.group = _group(form.heads, self.head_width)
        self.lanes = self.group * self.head_width
        itemsize = q_BTF.dtype.itemsize
        self.block = max(_blocks_that_fit(self.queries, self.keys, self.group, self.head_width, itemsize, self.biased))
        self.head_blocks, self.query_blocks = form.heads // self.group, self.queries // self.block

    def cost(self, *, products: int, arrays: tuple[Array | None, ...]) -> pl.CostEstimate:
        """What the compiler cannot see in a kernel: its work, and what it reads and writes."""
        scores = self.batch * self.form.heads * self.queries * self.keys
        moved = sum(x.size * x.dtype.itemsize for x in arrays if x is not None)
        return pl.CostEstimate(
            flops=2 * products * self.head_width * scores, transcendentals=scores, bytes_accessed=moved
        )

    def blocks(self, places: Callable[[Any, Any, Any], tuple[Any, Any, Any]]) -> _Blocks:
        """``places`` of a grid's indices are those of the batch's row, the block of heads and the block of queries."""

        def spec(shape: tuple[int | None, ...], place: Callable[[Any, Any, Any], tuple[Any, ...]]) -> pl.BlockSpec:
            return pl.BlockSpec(shape, lambda *indices: place(*places(*indices)))

        bias = spec((self.group, self.block, self.keys), lambda row, head, part: (head, part, 0))
        whole_bias = spec((self.group, self.queries, self.keys), lambda row, head, part: (head, 0, 0))
        return _Blocks(
            queries=spec((None, self.block, self.lanes), lambda row, head, part: (row, part, head)),
            keys=spec((None, self.keys, self.lanes), lambda row, head, part: (row, 0, head)),
            query_segments=spec((None, self.block, 1), lambda row, head, part: (row, part, 0)),
            key_segments=spec((None, 1, self.keys), lambda row, head, part: (row, 0, 0)),
            bias=bias if self.biased else None,
            whole_bias=whole_bias if self.biased else None,
        )

    def visible(self, query_segments_P1: Array, key_segments_1S: Array, part: Array) -> Bool[Array, "P S"]:
        """Which keys the queries of block ``part`` see."""
        visible_PS = query_segments_P1 == key_segments_1S
        if self.form.band.limits:
            query_PS = part * self.block + jax.lax.broadcasted_iota(jnp.int32, visible_PS.shape, 0)
            visible_PS &= self.form.band.sees(query_PS, jax.lax.broadcasted_iota(jnp.int32, visible_PS.shape, 1))
        return visible_PS

    def own(self, head: int, x_LW: Array, other: Array | None = None) -> Array:
        """``x`` in the lanes of one head of the block, ``other`` or zero in its neighbours'."""
        if self.group == 1:
            return x_LW
        first = head * self.head_width
        lane_LW = jax.lax.broadcasted_iota(jnp.int32, x_LW.shape, 1)
        mine_LW = (lane_LW >= first) & (lane_LW < first + self.head_width)
        return jnp.where(mine_LW, x_LW, jnp.zeros_like(x_LW) if other is None else other)


def _exponentials(
    q_PW: Array, k_SW: Array, visible_PS: Array, bias_PS: Array | None, softcap: float
) -> tuple[Array, Array, Array | float]:
    """The softmax's numerators and denominator, in float32, and the soft-cap's derivative."""
    scores_PS = _times_transposed(q_PW, k_SW)
    slope_PS: Array | float = 1.0
    if softcap:
        bounded_PS = jnp.tanh(scores_PS / softcap)
        scores_PS, slope_PS = softcap * bounded_PS, 1 - bounded_PS * bounded_PS
    if bias_PS is not None:
        scores_PS += bias_PS.astype(jnp.float32)
    scores_PS = jnp.where(visible_PS, scores_PS, MASKED)
    numerators_PS = jnp.exp(scores_PS - jnp.max(scores_PS, axis=1, keepdims=True))
    return numerators_PS, jnp.sum(numerators_PS, axis=1, keepdims=True), slope_PS


def _product(axes: tuple[int, int], x: Array, y: Array) -> Array:
    contracted = (((axes[0],), (axes[1],)), ((), ()))
    return jax.lax.dot_general(x, y, contracted, preferred_element_type=jnp.float32)


_times = functools.partial(_product, (1, 0))
_times_transposed = functools.partial(_product, (1, 1))
_transposed_times = functools.partial(_product, (0, 0))


def _forward_kernel(
    layout: _Layout,
    q_ref: Any,
    k_ref: Any,
    v_ref: Any,
    query_segments_ref: Any,
    key_segments_ref: Any,
    bias_ref: Any,
    o_ref: Any,
) -> None:
    q_PW, k_SW, v_SW = q_ref[...], k_ref[...], v_ref[...]
    visible_PS = layout.visible(query_segments_ref[...], key_segments_ref[...], pl.program_id(1))
    o_PW = jnp.zeros(q_PW.shape, jnp.float32)
    for head in range(layout.group):
        bias_PS = None if bias_ref is None else bias_ref[head]
        numerators_PS, denominator_P1, _ = _exponentials(
            layout.own(head, q_PW), k_SW, visible_PS, bias_PS, layout.form.softcap
        )
        o_PW = layout.own(head, _times(numerators_PS.astype(v_SW.dtype), v_SW) / denominator_P1, o_PW)
    o_ref[...] = o_PW.astype(o_ref.dtype)


def _backward_kernel(
    layout: _Layout,
    q_ref: Any,
    k_ref: Any,
    v_ref: Any,
    query_segments_ref: Any,
    key_segments_ref: Any,
    bias_ref: Any,
    d_ref: Any,
    d_q_ref: Any,
    d_k_ref: Any,
    d_v_ref: Any,
    d_bias_ref: Any,
    d_k_sum_ref: Any,
    d_v_sum_ref: Any,
) -> None:
    row, part = pl.program_id(1), pl.program_id(2)
    q_PW, k_SW, v_SW, d_PW = q_ref[...], k_ref[...], v_ref[...], d_ref[...]
    visible_PS = layout.visible(query_segments_ref[...], key_segments_ref[...], part)
    d_q_PW = jnp.zeros(q_PW.shape, jnp.float32)
    d_k_SW = d_v_SW = jnp.zeros(k_SW.shape, jnp.float32)
    for head in range(layout.group):
        bias_PS = None if bias_ref is None else bias_ref[head]
        numerators_PS, denominator_P1, slope_PS = _exponentials(
            layout.own(head, q_PW), k_SW, visible_PS, bias_PS, layout.form.softcap
        )
        weights_PS = numerators_PS / denominator_P1
        d_weights_PS = _times_transposed(layout.own(head, d_PW), v_SW)
        d_scores_PS = weights_PS * (d_weights_PS - jnp.sum(weights_PS * d_weights_PS, axis=1, keepdims=True))
        d_scores_PS = jnp.where(visible_PS, d_scores_PS, 0.0)  # of a query that sees nothing, too
        narrow_PS = (d_scores_PS * slope_PS).astype(q_PW.dtype)
        d_q_PW = layout.own(head, _times(narrow_PS, k_SW), d_q_PW)
        d_k_SW = layout.own(head, _transposed_times(narrow_PS, q_PW), d_k_SW)
        d_v_SW = layout.own(head, _transposed_times(weights_PS.astype(d_PW.dtype), d_PW), d_v_SW)
        if d_bias_ref is not None:
            place = (head, pl.ds(part * layout.block, layout.block))
            _add(d_bias_ref, place, d_scores_PS, first=row == 0)
    d_q_ref[...] = d_q_PW.astype(d_q_ref.dtype)
    _add(d_k_sum_ref, ..., d_k_SW, first=part == 0)
    _add(d_v_sum_ref, ..., d_v_SW, first=part == 0)

    @pl.when(part == layout.query_blocks - 1)
    def _write() -> None:
        d_k_ref[...] = d_k_sum_ref[...].astype(d_k_ref.dtype)
        d_v_ref[...] = d_v_sum_ref[...].astype(d_v_ref.dtype)


def _add(ref: Any, place: Any, value: Array, *, first: Array) -> None:
    """Adds to a sum that is carried from block to block, or begins it."""

    @pl.when(first)
    def _begin() -> None:
        ref[place] = value

    @pl.when(jnp.logical_not(first))
    def _go_on() -> None:
        ref[place] += value
