"""The Transformer decoder one token at a time: its parameters laid out for a step, and the step.

A step multiplies a few rows by every parameter, so it costs what it takes to read them. Products of the same input are
one product, and every kernel has the axis that is summed over first: on a CPU both are faster for few rows. The layout
is made once before a search.

Letters: B rows, N tokens of a step in each row, S source, D model, E encoder's width, H heads of queries, G of keys and
values, J both and G again, K head width, F the feed-forward's width, X cache slots.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from t2c_jax.kernels.cached_attention import KeysValues, Visible, behind, cached_attention, empty, visible, write
from t2c_jax.kernels.few_rows import FewRowsKernel
from t2c_jax.models.interface import At
from t2c_jax.models.layers import ACTIVATIONS, RMSNorm, normalised
from t2c_jax.models.positions import RelativeBias, Rotation, rotate, rotation_of
from t2c_jax.models.transformer.config import DecoderSizes, window_of


class DecoderMemory(NamedTuple):
    """What the steps of a search read of a source: each block's keys and values, and which positions there are."""

    blocks: list[KeysValues]
    source_BS: Bool[Array, "B S"]


class StepCross(NamedTuple):
    """A block's cross-attention."""

    norm: RMSNorm
    query_norm: RMSNorm | None
    query_DHK: Float[Array, "D H K"]
    output_HKD: Float[Array, "H K D"]
    post_norm: RMSNorm | None


class StepBlock(NamedTuple):
    """A block's norms, and its kernels in the compute dtype; ``cross`` is None where attention is merged."""

    attention_norm: RMSNorm
    query_norm: RMSNorm | None
    key_norm: RMSNorm | None
    qkv_DJK: Float[Array, "D J K"]
    output_HKD: Float[Array, "H K D"]
    attention_post_norm: RMSNorm | None
    cross: StepCross | None
    feed_forward_norm: RMSNorm
    up: FewRowsKernel
    down: FewRowsKernel
    feed_forward_post_norm: RMSNorm | None

    @classmethod
    def of(cls, block: Any, dtype: Any) -> StepBlock:
        """Of a ``DecoderBlock``."""
        own, cross, forward = block.attention, block.cross_attention, block.feed_forward
        ups = [forward.gate[...]] if forward.up is None else [forward.gate[...], forward.up[...]]
        kernels = (
            jnp.concatenate([own.query[...], own.key[...], own.value[...]], axis=1),
            jnp.moveaxis(own.output[...], 0, -1),
            () if cross is None else (cross.query[...], jnp.moveaxis(cross.output[...], 0, -1)),
            FewRowsKernel.of(jnp.concatenate(ups, axis=1)),
            FewRowsKernel.of_table(forward.down[...]),
        )
        # The barrier keeps the compiler from laying them out anew within the loop.
        kernels = jax.lax.optimization_barrier(jax.tree.map(lambda kernel: kernel.astype(dtype), kernels))
        qkv, output, of_cross, up, down = kernels
        return cls(
            block.attention_norm,
            own.query_norm,
            own.key_norm,
            qkv,
            output,
            block.attention_post_norm,
            StepCross(block.cross_norm, cross.query_norm, of_cross[0], of_cross[1], block.cross_post_norm)
            if of_cross
            else None,
            block.feed_forward_norm,
            up,
            down,
            block.feed_forward_post_norm,
        )


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["blocks", "norm", "bias"], meta_fields=["sizes", "activation"]
)
@dataclass(frozen=True)
class TransformerSteps:
    """A ``TransformerDecoder`` laid out for steps; a pytree."""

    sizes: DecoderSizes
    activation: str
    blocks: list[StepBlock]
    norm: RMSNorm
    bias: RelativeBias | None

    @property
    def _groups(self) -> int:
        """Heads of keys and values."""
        return self.sizes.kv_heads or self.sizes.num_heads

    def cache(self, rows: int, slots: int, dtype: Any) -> list[KeysValues]:
        """Zeros for each block."""
        return [empty(rows, self._groups, self.sizes.head_width, slots, dtype) for _ in self.blocks]

    def step(
        self, memory: DecoderMemory, cache: list[KeysValues], carry: tuple[()], x_BND: Float[Array, "B N D"], at: At
    ) -> tuple[Float[Array, "B N D"], list[KeysValues], tuple[()]]:
        """Normalised states of the tokens, and the caches with them written."""
        shared = self.sizes.num_heads // self._groups
        seen_BNS = memory.source_BS[:, None] & at.active_B[:, None, None]
        if shared > 1 or self.sizes.merged_attention:
            seen_BNS = jnp.broadcast_to(seen_BNS, (*at.steps_BN.shape, seen_BNS.shape[-1]))
        source = visible(seen_BNS, shared=shared)
        kinds = {kind: self._kind(kind, at, shared) for kind in dict.fromkeys(self.sizes.layer_kinds)}
        through = functools.partial(_block, sizes=self.sizes, activation=self.activation)
        written = []
        for i, (block, kept, read) in enumerate(zip(self.blocks, cache, memory.blocks, strict=True)):
            own, rotary = kinds[self.sizes.layer_kinds[i % len(self.sizes.layer_kinds)]]
            x_BND, kept = through(block, x_BND, at, kept, read, own, source, rotary)
            written.append(kept)
        return self.norm(x_BND), written, carry

    def _kind(self, kind: str, at: At, shared: int) -> tuple[list[Visible], Rotation | None]:
        """What layers of a kind see of their caches, and how they rotate."""
        # Of all steps, so that the compiler makes it a constant; of one, each block would compute it per element.
        rotary = rotation_of(self.sizes, kind, jnp.arange(at.visible_BNX.shape[-1])[None])
        if rotary is not None:
            rotary = rotary[0][0, at.steps_BN], rotary[1][0, at.steps_BN]
        bias_BHNX = None if self.bias is None else self.bias.of_steps(at.steps_BN, at.slot_steps_BX)
        visible_BNX, window = at.visible_BNX, window_of(self.sizes)
        if kind == "local" and window is not None:
            visible_BNX &= at.slot_steps_BX[:, None] >= at.steps_BN[..., None] - window[0]
        return visible(visible_BNX, bias_BHNX, shared=shared), rotary


@functools.partial(jax.jit, static_argnames=("sizes", "activation"))
def _block(
    block: StepBlock,
    x_BND: Float[Array, "B N D"],
    at: At,
    cache: KeysValues,
    memory: KeysValues,
    own: list[Visible],
    source: list[Visible],
    rotary: Rotation | None,
    *,
    sizes: DecoderSizes,
    activation: str,
) -> tuple[Float[Array, "B N D"], KeysValues]:
    """A block's part of a step; it is traced once for all blocks of a kind, and for all searches of as many beams."""
    heads, groups = sizes.num_heads, sizes.kv_heads or sizes.num_heads
    qkv_BNJK = jnp.einsum("bnd,djk->bnjk", block.attention_norm(x_BND), block.qkv_DJK)
    q_BNHK, k_BNGK, v_BNGK = jnp.split(qkv_BNJK, (heads, heads + groups), axis=2)
    q_BNHK = rotate(normalised(block.query_norm, q_BNHK), rotary)
    k_BNGK = rotate(normalised(block.key_norm, k_BNGK), rotary)
    cache = write(cache, k_BNGK, v_BNGK, at.slots_BN)
    read, seen = (cache, own) if block.cross is not None else (behind(cache, memory), [*own, *source])
    y_BND = _attended(sizes, q_BNHK, read, seen, block.output_HKD)
    x_BND = x_BND + normalised(block.attention_post_norm, y_BND)
    if (cross := block.cross) is not None:
        q_BNHK = jnp.einsum("bnd,dhk->bnhk", cross.norm(x_BND), cross.query_DHK)
        q_BNHK = normalised(cross.query_norm, q_BNHK)
        y_BND = _attended(sizes, q_BNHK, memory, source, cross.output_HKD)
        x_BND = x_BND + normalised(cross.post_norm, y_BND)
    h_BNF = block.up(block.feed_forward_norm(x_BND))
    if activation.startswith("gated_"):
        gate_BNF, h_BNF = jnp.split(h_BNF, 2, axis=-1)
        h_BNF = ACTIVATIONS[activation.removeprefix("gated_")](gate_BNF) * h_BNF
    else:
        h_BNF = ACTIVATIONS[activation](h_BNF)
    return x_BND + normalised(block.feed_forward_post_norm, block.down(h_BNF)), cache


def _attended(
    sizes: DecoderSizes,
    q_BNHK: Float[Array, "B N H K"],
    cache: KeysValues,
    seen: list[Visible],
    output_HKD: Float[Array, "H K D"],
) -> Float[Array, "B N D"]:
    scale, softcap = sizes.score_scale, sizes.attention_softcap
    o_BHNK = cached_attention(jnp.swapaxes(q_BNHK, 1, 2), cache, seen, scale, softcap)
    return jnp.einsum("bhnk,hkd->bnd", o_BHNK, output_HKD)
