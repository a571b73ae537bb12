"""Transformer encoder and decoder: pre-norm blocks, stacked (``models.stack``).

Letters: B batch, S source, T target, L either, D model, E encoder's width, H heads, K head width, W beams,
X cache slots (T x W).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, Key

from t2c_jax.config import ModelConfig
from t2c_jax.kernels.attention_mask import AttentionMask
from t2c_jax.mesh import constrain
from t2c_jax.models.attention import Attention, attend, cached_attention
from t2c_jax.models.interface import Batch, Embed, Encoded, Summary
from t2c_jax.models.layers import FeedForward, RMSNorm, dropout
from t2c_jax.models.positions import RelativeBias, Rotation, rotation
from t2c_jax.models.stack import run, stack, unstack
from t2c_jax.models.transformer.config import T5Config, TransformerConfig

Sizes = TransformerConfig | T5Config


class Memory(NamedTuple):
    """One block's cross-attention keys and values: computed once a prompt and shared by its beams."""

    k_BHKS: Float[Array, "B H K S"]
    v_BHSK: Float[Array, "B H S K"]


class Cache(NamedTuple):
    """One block's self-attention keys and values, slot ``t * W + w`` for beam w at step t.

    Slots are written once and never move: which of them a beam descends from is the search's ancestry table.
    """

    k_BHKX: Float[Array, "B H K X"]
    v_BHXK: Float[Array, "B H X K"]


def _split(key: Key[Array, ""] | None, count: int) -> Any:
    return [None] * count if key is None else jax.random.split(key, count)


class EncoderBlock(nnx.Module):
    """Self-attention and feed-forward."""

    def __init__(self, sizes: Sizes, model: ModelConfig, *, rngs: nnx.Rngs) -> None:
        self.sizes, self.model = sizes, model
        self.attention_norm = RMSNorm(model.width, sizes.norm_epsilon, rngs=rngs)
        self.attention = Attention(sizes, model.width, rngs=rngs)
        self.feed_forward_norm = RMSNorm(model.width, sizes.norm_epsilon, rngs=rngs)
        self.feed_forward = FeedForward(model.width, sizes.feed_forward, sizes.activation, model.dropout, rngs=rngs)

    def __call__(
        self,
        x_BSD: Float[Array, "B S D"],
        mask: AttentionMask,
        rotary: Rotation | None,
        bias: Float[Array, "1 H S S"] | None,
        key: Key[Array, ""] | None,
    ) -> Float[Array, "B S D"]:
        """The residual stream after this block."""
        rate = self.model.dropout
        keys = _split(key, 3)
        y_BSD = self.attention_norm(x_BSD)
        k, v = self.attention.keys_values(y_BSD, rotary)
        o = attend(
            self.attention.queries(y_BSD, rotary),
            k,
            v,
            mask,
            bias=bias,
            kernel=self.model.attention,
            scaled=self.sizes.scale_attention,
        )
        x_BSD = constrain(x_BSD + dropout(self.attention.project(o), rate, keys[0]), "batch", "length", "activation")
        y_BSD = self.feed_forward(self.feed_forward_norm(x_BSD), keys[1])
        return constrain(x_BSD + dropout(y_BSD, rate, keys[2]), "batch", "length", "activation")


class DecoderBlock(nnx.Module):
    """Causal self-attention, cross-attention and feed-forward."""

    def __init__(self, sizes: Sizes, model: ModelConfig, encoder_width: int, *, rngs: nnx.Rngs) -> None:
        self.sizes, self.model = sizes, model
        self.attention_norm = RMSNorm(model.width, sizes.norm_epsilon, rngs=rngs)
        self.attention = Attention(sizes, model.width, rngs=rngs)
        self.cross_norm = RMSNorm(model.width, sizes.norm_epsilon, rngs=rngs)
        self.cross_attention = Attention(sizes, model.width, encoder_width, rngs=rngs)
        self.feed_forward_norm = RMSNorm(model.width, sizes.norm_epsilon, rngs=rngs)
        self.feed_forward = FeedForward(model.width, sizes.feed_forward, sizes.activation, model.dropout, rngs=rngs)

    def __call__(
        self,
        x_BTD: Float[Array, "B T D"],
        states_BSE: Float[Array, "B S E"],
        mask: AttentionMask,
        cross_mask: AttentionMask,
        rotary: Rotation | None,
        bias: Float[Array, "1 H T T"] | None,
        key: Key[Array, ""] | None,
    ) -> Float[Array, "B T D"]:
        """The residual stream after this block, all target positions at once (teacher forcing)."""
        rate = self.model.dropout
        keys = _split(key, 4)
        y_BTD = self.attention_norm(x_BTD)
        k, v = self.attention.keys_values(y_BTD, rotary)
        o = attend(
            self.attention.queries(y_BTD, rotary),
            k,
            v,
            mask,
            bias=bias,
            kernel=self.model.attention,
            scaled=self.sizes.scale_attention,
        )
        x_BTD = constrain(x_BTD + dropout(self.attention.project(o), rate, keys[0]), "batch", "length", "activation")
        q = self.cross_attention.queries(self.cross_norm(x_BTD), None)
        k, v = self.cross_attention.keys_values(states_BSE, None)
        o = attend(q, k, v, cross_mask, bias=None, kernel=self.model.attention, scaled=self.sizes.scale_attention)
        y_BTD = dropout(self.cross_attention.project(o), rate, keys[1])
        x_BTD = constrain(x_BTD + y_BTD, "batch", "length", "activation")
        y_BTD = self.feed_forward(self.feed_forward_norm(x_BTD), keys[2])
        return constrain(x_BTD + dropout(y_BTD, rate, keys[3]), "batch", "length", "activation")

    def memory(self, states_BSE: Float[Array, "B S E"]) -> Memory:
        """This block's cross-attention keys and values."""
        k_BSHK, v_BSHK = self.cross_attention.keys_values(states_BSE, None)
        return Memory(jnp.transpose(k_BSHK, (0, 2, 3, 1)), jnp.swapaxes(v_BSHK, 1, 2))

    def step(
        self,
        x_BWD: Float[Array, "B W D"],
        step: Int[Array, ""],
        cache: Cache,
        memory: Memory,
        visible_BWX: Bool[Array, "B W X"],
        source_BS: Bool[Array, "B S"],
        rotary: Rotation | None,
        bias: Float[Array, "1 H W X"] | None,
    ) -> tuple[Float[Array, "B W D"], Cache]:
        """One token for each beam: the beams of a prompt are the queries of one attention over shared slots."""
        scale = self.sizes.head_width**-0.5 if self.sizes.scale_attention else 1.0
        y_BWD = self.attention_norm(x_BWD)
        slot = step * x_BWD.shape[1]
        k_BWHK, v_BWHK = self.attention.keys_values(y_BWD, rotary)
        cache = Cache(
            jax.lax.dynamic_update_slice(cache.k_BHKX, jnp.transpose(k_BWHK, (0, 2, 3, 1)), (0, 0, 0, slot)),
            jax.lax.dynamic_update_slice(cache.v_BHXK, jnp.swapaxes(v_BWHK, 1, 2), (0, 0, slot, 0)),
        )
        q_BHWK = jnp.swapaxes(self.attention.queries(y_BWD, rotary), 1, 2)
        o_BHWK = cached_attention(q_BHWK, *cache, visible_BWX[:, None], bias, scale)
        x_BWD = x_BWD + self.attention.project(jnp.swapaxes(o_BHWK, 1, 2))
        q_BHWK = jnp.swapaxes(self.cross_attention.queries(self.cross_norm(x_BWD), None), 1, 2)
        o_BHWK = cached_attention(q_BHWK, *memory, source_BS[:, None, None], None, scale)
        x_BWD = x_BWD + self.cross_attention.project(jnp.swapaxes(o_BHWK, 1, 2))
        return x_BWD + self.feed_forward(self.feed_forward_norm(x_BWD), None), cache


def _rotation(positions_BL: Int[Array, "B L"], sizes: Sizes) -> Rotation | None:
    if isinstance(sizes, T5Config):
        return None
    return rotation(positions_BL, sizes.head_width, sizes.rope_theta)


def _relative_bias(sizes: Sizes, model: ModelConfig, *, bidirectional: bool, rngs: nnx.Rngs) -> RelativeBias | None:
    if not isinstance(sizes, T5Config):
        return None
    return RelativeBias(sizes, model.width, bidirectional=bidirectional, rngs=rngs)


class TransformerEncoder(nnx.Module):
    """Pre-norm self-attention over tokens (Vaswani et al. 2017, with the norm's place of Xiong et al. 2020)."""

    def __init__(self, sizes: Sizes, model: ModelConfig, *, rngs: nnx.Rngs) -> None:
        self.sizes, self.model = sizes, model
        self.width = self.summary_width = model.width
        self.blocks = stack(lambda rngs: EncoderBlock(sizes, model, rngs=rngs), sizes.layers, rngs)
        self.norm = RMSNorm(model.width, sizes.norm_epsilon, rngs=rngs)
        self.bias = _relative_bias(sizes, model, bidirectional=True, rngs=rngs)

    def __call__(self, batch: Batch, embed: Embed, key: Key[Array, ""] | None = None) -> Encoded:
        """Encoded states, normalised; segments never see each other. Their mean is the summary."""
        sizes, model, segments_BS = self.sizes, self.model, batch["encoder_segment_ids"]
        x_BSD = constrain(embed(batch["encoder_input_tokens"]), "batch", "length", "activation")
        keys = _split(key, sizes.layers + 2)
        mask = AttentionMask(segments_BS, segments_BS)
        rotary = _rotation(batch["encoder_positions"], sizes)
        index_S = jnp.arange(x_BSD.shape[1])
        bias = None if self.bias is None else self.bias(index_S, index_S)
        x_BSD = run(
            self.blocks,
            dropout(x_BSD, model.dropout, keys[0]),
            None if key is None else keys[2:],
            sizes.layers,
            model,
            lambda block, x, k: block(x, mask, rotary, bias, k),
        )
        # Whole rows, gathered once for all the layers that read them.
        states_BSD = constrain(dropout(self.norm(x_BSD), model.dropout, keys[1]), "batch", None, "activation")
        return Encoded(states_BSD, segments_BS, (Summary("mean", states_BSD),))


class _Shared(NamedTuple):
    """What all steps of a search share: the single blocks (a scan would copy every block's cache in and out at each
    token), their cross-attention memories, and which source positions there are."""

    blocks: list[DecoderBlock]
    memories: list[Memory]
    source_BS: Bool[Array, "B S"]


class TransformerDecoder(nnx.Module):
    """Causal self-attention and cross-attention; all positions at once, or a cached step."""

    def __init__(self, sizes: Sizes, model: ModelConfig, encoder_width: int, *, rngs: nnx.Rngs) -> None:
        self.sizes, self.model = sizes, model
        self.blocks = stack(lambda rngs: DecoderBlock(sizes, model, encoder_width, rngs=rngs), sizes.layers, rngs)
        self.norm = RMSNorm(model.width, sizes.norm_epsilon, rngs=rngs)
        self.bias = _relative_bias(sizes, model, bidirectional=False, rngs=rngs)

    def __call__(
        self,
        x_BTD: Float[Array, "B T D"],
        segments_BT: Int[Array, "B T"],
        positions_BT: Int[Array, "B T"],
        encoded: Encoded,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "B T D"]:
        """Decoder states under teacher forcing, normalised."""
        sizes, model = self.sizes, self.model
        keys = _split(key, sizes.layers + 2)
        mask = AttentionMask(segments_BT, segments_BT, causal=True)
        cross_mask = AttentionMask(segments_BT, encoded.segments_BS)
        rotary = _rotation(positions_BT, sizes)
        index_T = jnp.arange(x_BTD.shape[1])
        bias = None if self.bias is None else self.bias(index_T, index_T)
        x_BTD = run(
            self.blocks,
            constrain(dropout(x_BTD, model.dropout, keys[0]), "batch", "length", "activation"),
            None if key is None else keys[2:],
            sizes.layers,
            model,
            lambda block, x, k: block(x, encoded.states_BSE, mask, cross_mask, rotary, bias, k),
        )
        return dropout(self.norm(x_BTD), model.dropout, keys[1])

    def start(self, encoded: Encoded, beams: int, steps: int) -> tuple[_Shared, list[Cache]]:
        """Cross-attention memories, and an empty cache of ``steps x beams`` slots for each block."""
        sizes = self.sizes
        batch, slots = encoded.states_BSE.shape[0], steps * beams
        empty = Cache(
            jnp.zeros((batch, sizes.num_heads, sizes.head_width, slots), encoded.states_BSE.dtype),
            jnp.zeros((batch, sizes.num_heads, slots, sizes.head_width), encoded.states_BSE.dtype),
        )
        blocks = unstack(self.blocks, sizes.layers)
        memories = [block.memory(encoded.states_BSE) for block in blocks]
        return _Shared(blocks, memories, encoded.segments_BS > 0), [empty for _ in blocks]

    def step(
        self,
        shared: _Shared,
        x_BWD: Float[Array, "B W D"],
        step: Int[Array, ""],
        cache: list[Cache],
        visible_BWX: Bool[Array, "B W X"],
    ) -> tuple[Float[Array, "B W D"], list[Cache]]:
        """Normalised states of one new token for each beam, and the caches with it written."""
        slots, beams = visible_BWX.shape[-1], x_BWD.shape[1]
        bias = None
        # Of all steps, so that the compiler makes it a constant; of one, each block would compute it per element.
        rotary = _rotation(jnp.arange(slots // beams)[None], self.sizes)
        if rotary is not None:
            cos, sin = rotary
            rotary = jax.lax.dynamic_index_in_dim(cos, step, axis=1), jax.lax.dynamic_index_in_dim(sin, step, axis=1)
        if self.bias is not None:
            slot_step_X = jnp.arange(slots) // beams
            bias = self.bias(step[None], slot_step_X)
        fresh = []
        for block, written, memory in zip(shared.blocks, cache, shared.memories, strict=True):
            x_BWD, written = block.step(x_BWD, step, written, memory, visible_BWX, shared.source_BS, rotary, bias)
            fresh.append(written)
        return self.norm(x_BWD), fresh
