"""BART's decoder one token at a time: its parameters laid out for a step (``transformer.steps``), and the step.

Letters: B rows, N tokens of a step in each row, S source, D model, H heads, K head width, F the feed-forward's width.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from t2c_jax.kernels.cached_attention import KeysValues, Visible, cached_attention, empty, visible, write
from t2c_jax.kernels.few_rows import FewRowsKernel
from t2c_jax.models.interface import At
from t2c_jax.models.layers import ACTIVATIONS
from t2c_jax.models.pretrained.config import BartConfig
from t2c_jax.models.pretrained.layers import LayerNorm
from t2c_jax.models.transformer.steps import DecoderMemory


class BartKernels(NamedTuple):
    """A block's kernels and biases in the compute dtype."""

    qkv_D3HK: Float[Array, "D 3 H K"]
    qkv_bias_3HK: Float[Array, "3 H K"]
    output_HKD: Float[Array, "H K D"]
    output_bias_D: Float[Array, " D"]
    cross_query_DHK: Float[Array, "D H K"]
    cross_query_bias_HK: Float[Array, "H K"]
    cross_output_HKD: Float[Array, "H K D"]
    cross_output_bias_D: Float[Array, " D"]
    up: FewRowsKernel
    up_bias_F: Float[Array, " F"]
    down: FewRowsKernel
    down_bias_D: Float[Array, " D"]


class BartStepBlock(NamedTuple):
    """A block's norms and kernels."""

    attention_norm: LayerNorm
    cross_norm: LayerNorm
    feed_forward_norm: LayerNorm
    kernels: BartKernels

    @classmethod
    def of(cls, block: Any, dtype: Any) -> BartStepBlock:
        """Of a ``BartDecoderBlock``."""
        own, cross, forward = block.attention, block.cross_attention, block.feed_forward
        kernels = BartKernels(
            jnp.stack([own.query[...], own.key[...], own.value[...]], axis=1),
            jnp.stack([own.query_bias[...], own.key_bias[...], own.value_bias[...]]),
            jnp.moveaxis(own.output[...], 0, -1),
            own.output_bias[...],
            cross.query[...],
            cross.query_bias[...],
            jnp.moveaxis(cross.output[...], 0, -1),
            cross.output_bias[...],
            FewRowsKernel.of(forward.up[...]),
            forward.up_bias[...],
            FewRowsKernel.of_table(forward.down[...]),
            forward.down_bias[...],
        )
        # The barrier keeps the compiler from laying them out anew within the loop.
        kernels = jax.lax.optimization_barrier(jax.tree.map(lambda kernel: kernel.astype(dtype), kernels))
        return cls(block.attention_norm, block.cross_norm, block.feed_forward_norm, kernels)


@functools.partial(jax.tree_util.register_dataclass, data_fields=["input", "blocks"], meta_fields=["sizes"])
@dataclass(frozen=True)
class BartSteps:
    """A ``BartDecoder`` laid out for steps; a pytree."""

    sizes: BartConfig
    input: Any
    blocks: list[BartStepBlock]

    def cache(self, rows: int, slots: int, dtype: Any) -> list[KeysValues]:
        """Zeros for each block."""
        heads, width = self.blocks[0].kernels.cross_query_bias_HK.shape
        return [empty(rows, heads, width, slots, dtype) for _ in self.blocks]

    def step(
        self, memory: DecoderMemory, cache: list[KeysValues], carry: tuple[()], x_BND: Float[Array, "B N D"], at: At
    ) -> tuple[Float[Array, "B N D"], list[KeysValues], tuple[()]]:
        """States of the tokens, and the caches with them written."""
        # A program may have room for more steps than there are positions; no answer comes that far.
        x_BND = self.input(x_BND, jnp.minimum(at.steps_BN, self.sizes.positions - 1))
        own = visible(at.visible_BNX)
        source = visible(memory.source_BS[:, None] & at.active_B[:, None, None])
        written = []
        for block, kept, read in zip(self.blocks, cache, memory.blocks, strict=True):
            x_BND, kept = self._block(block, x_BND, at, kept, read, own, source)
            written.append(kept)
        return x_BND, written, carry

    def _block(
        self,
        block: BartStepBlock,
        x_BND: Float[Array, "B N D"],
        at: At,
        cache: KeysValues,
        memory: KeysValues,
        own: list[Visible],
        source: list[Visible],
    ) -> tuple[Float[Array, "B N D"], KeysValues]:
        kernels = block.kernels
        scale = kernels.cross_query_bias_HK.shape[-1] ** -0.5
        qkv_BN3HK = jnp.einsum("bnd,dchk->bnchk", x_BND, kernels.qkv_D3HK) + kernels.qkv_bias_3HK[None, None]
        q_BNHK, k_BNHK, v_BNHK = (qkv_BN3HK[:, :, i] for i in range(3))
        cache = write(cache, k_BNHK, v_BNHK, at.slots_BN)
        o_BHNK = cached_attention(jnp.swapaxes(q_BNHK, 1, 2), cache, own, scale)
        y_BND = jnp.einsum("bhnk,hkd->bnd", o_BHNK, kernels.output_HKD) + kernels.output_bias_D[None, None]
        x_BND = block.attention_norm(x_BND + y_BND)
        q_BNHK = jnp.einsum("bnd,dhk->bnhk", x_BND, kernels.cross_query_DHK) + kernels.cross_query_bias_HK[None, None]
        o_BHNK = cached_attention(jnp.swapaxes(q_BNHK, 1, 2), memory, source, scale)
        y_BND = jnp.einsum("bhnk,hkd->bnd", o_BHNK, kernels.cross_output_HKD) + kernels.cross_output_bias_D[None, None]
        x_BND = block.cross_norm(x_BND + y_BND)
        h_BNF = ACTIVATIONS[self.sizes.activation](kernels.up(x_BND) + kernels.up_bias_F[None, None])
        return block.feed_forward_norm(x_BND + kernels.down(h_BNF) + kernels.down_bias_D[None, None]), cache
