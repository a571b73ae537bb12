"""The Transformer decoder one token at a time: its parameters laid out for a step, and the step.

A step multiplies a few rows by every parameter, so it costs what it takes to read them. Products of the same input are
one product, and every kernel has the axis that is summed over first: on a CPU both are faster for few rows. The layout
is made once before a search.

Letters: B rows, N tokens of a step in each row, S source, D model, E encoder's width, H heads, K head width, F the
feed-forward's width, X cache slots.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from t2c_jax.kernels.cached_attention import KeysValues, Visible, cached_attention, empty, visible, write
from t2c_jax.kernels.few_rows import FewRowsKernel
from t2c_jax.models.interface import At
from t2c_jax.models.layers import ACTIVATIONS, RMSNorm
from t2c_jax.models.positions import RelativeBias, Rotation, rotate, rotation
from t2c_jax.models.transformer.config import T5Config, TransformerConfig

Sizes = TransformerConfig | T5Config


class DecoderMemory(NamedTuple):
    """What the steps of a search read of a source: each block's keys and values, and which positions there are."""

    blocks: list[KeysValues]
    source_BS: Bool[Array, "B S"]


class StepBlock(NamedTuple):
    """A block's norms, and its kernels in the compute dtype."""

    attention_norm: RMSNorm
    qkv_D3HK: Float[Array, "D 3 H K"]
    output_HKD: Float[Array, "H K D"]
    cross_norm: RMSNorm
    cross_query_DHK: Float[Array, "D H K"]
    cross_output_HKD: Float[Array, "H K D"]
    feed_forward_norm: RMSNorm
    up: FewRowsKernel
    down: FewRowsKernel

    @classmethod
    def of(cls, block: Any, dtype: Any) -> StepBlock:
        """Of a ``DecoderBlock``."""
        own, cross, forward = block.attention, block.cross_attention, block.feed_forward
        ups = [forward.gate[...]] if forward.up is None else [forward.gate[...], forward.up[...]]
        kernels = (
            jnp.stack([own.query[...], own.key[...], own.value[...]], axis=1),
            jnp.moveaxis(own.output[...], 0, -1),
            cross.query[...],
            jnp.moveaxis(cross.output[...], 0, -1),
            FewRowsKernel.of(jnp.concatenate(ups, axis=1)),
            FewRowsKernel.of_table(forward.down[...]),
        )
        # The barrier keeps the compiler from laying them out anew within the loop.
        kernels = jax.lax.optimization_barrier(jax.tree.map(lambda kernel: kernel.astype(dtype), kernels))
        qkv, output, cross_query, cross_output, up, down = kernels
        norms = block.attention_norm, block.cross_norm, block.feed_forward_norm
        return cls(norms[0], qkv, output, norms[1], cross_query, cross_output, norms[2], up, down)


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["blocks", "norm", "bias"], meta_fields=["sizes", "activation"]
)
@dataclass(frozen=True)
class TransformerSteps:
    """A ``TransformerDecoder`` laid out for steps; a pytree."""

    sizes: Sizes
    activation: str
    blocks: list[StepBlock]
    norm: RMSNorm
    bias: RelativeBias | None

    def cache(self, rows: int, slots: int, dtype: Any) -> list[KeysValues]:
        """Zeros for each block."""
        return [empty(rows, self.sizes.num_heads, self.sizes.head_width, slots, dtype) for _ in self.blocks]

    def step(
        self, memory: DecoderMemory, cache: list[KeysValues], carry: tuple[()], x_BND: Float[Array, "B N D"], at: At
    ) -> tuple[Float[Array, "B N D"], list[KeysValues], tuple[()]]:
        """Normalised states of the tokens, and the caches with them written."""
        rotary = bias_BHNX = None
        if not isinstance(self.sizes, T5Config):
            # Of all steps, so that the compiler makes it a constant; of one, each block would compute it per element.
            all_steps = jnp.arange(at.visible_BNX.shape[-1])[None]
            cos, sin = rotation(all_steps, self.sizes.head_width, self.sizes.rope_theta)
            rotary = cos[0, at.steps_BN], sin[0, at.steps_BN]
        if self.bias is not None:
            bias_BHNX = self.bias.of_steps(at.steps_BN, at.slot_steps_BX)
        own = visible(at.visible_BNX, bias_BHNX)
        source = visible(memory.source_BS[:, None] & at.active_B[:, None, None])
        written = []
        for block, kept, read in zip(self.blocks, cache, memory.blocks, strict=True):
            x_BND, kept = self._block(block, x_BND, at, kept, read, own, source, rotary)
            written.append(kept)
        return self.norm(x_BND), written, carry

    def _block(
        self,
        block: StepBlock,
        x_BND: Float[Array, "B N D"],
        at: At,
        cache: KeysValues,
        memory: KeysValues,
        own: list[Visible],
        source: list[Visible],
        rotary: Rotation | None,
    ) -> tuple[Float[Array, "B N D"], KeysValues]:
        scale = self.sizes.head_width**-0.5 if self.sizes.scale_attention else 1.0
        qkv_BN3HK = jnp.einsum("bnd,dchk->bnchk", block.attention_norm(x_BND), block.qkv_D3HK)
        q_BNHK, k_BNHK = rotate(qkv_BN3HK[:, :, 0], rotary), rotate(qkv_BN3HK[:, :, 1], rotary)
        cache = write(cache, k_BNHK, qkv_BN3HK[:, :, 2], at.slots_BN)
        o_BHNK = cached_attention(jnp.swapaxes(q_BNHK, 1, 2), cache, own, scale)
        x_BND = x_BND + jnp.einsum("bhnk,hkd->bnd", o_BHNK, block.output_HKD)
        q_BNHK = jnp.einsum("bnd,dhk->bnhk", block.cross_norm(x_BND), block.cross_query_DHK)
        o_BHNK = cached_attention(jnp.swapaxes(q_BNHK, 1, 2), memory, source, scale)
        x_BND = x_BND + jnp.einsum("bhnk,hkd->bnd", o_BHNK, block.cross_output_HKD)
        h_BNF = block.up(block.feed_forward_norm(x_BND))
        activation = ACTIVATIONS[self.activation.removeprefix("gated_")]
        if self.activation.startswith("gated_"):
            gate_BNF, h_BNF = jnp.split(h_BNF, 2, axis=-1)
            h_BNF = activation(gate_BNF) * h_BNF
        else:
            h_BNF = activation(h_BNF)
        return x_BND + block.down(h_BNF), cache
