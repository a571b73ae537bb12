"""Transformer encoder and decoder: pre-norm blocks, stacked (``models.stack``).

Letters: B batch, S source, T target, L either, D model, E encoder's width, H heads, K head width.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from t2c_jax.config import ModelConfig
from t2c_jax.kernels.attention_mask import AttentionMask
from t2c_jax.kernels.cached_attention import KeysValues, split
from t2c_jax.mesh import constrain
from t2c_jax.models.attention import Attention
from t2c_jax.models.interface import Batch, Embed, Encoded, Summary
from t2c_jax.models.layers import Embedding, FeedForward, RMSNorm, dropout, normalised
from t2c_jax.models.positions import RelativeBias, Rotation, rotation_of
from t2c_jax.models.stack import run, stack, unstack
from t2c_jax.models.transformer.config import (
    DecoderSizes,
    EncoderSizes,
    Sizes,
    T5Config,
    window_of,
)
from t2c_jax.models.transformer.steps import DecoderMemory, StepBlock, TransformerSteps


def _split(key: Key[Array, ""] | None, count: int) -> Any:
    return [None] * count if key is None else jax.random.split(key, count)


class Seen(NamedTuple):
    """What self-attention of one kind of layer reads, besides the stream.

    Attributes:
      mask: which tokens see which.
      rotary: rotations of queries and keys.
      bias: T5's.
    """

    mask: AttentionMask
    rotary: Rotation | None
    bias: Float[Array, "1 H L L"] | None


class _Block(nnx.Module):
    """Self-attention and feed-forward, each with a norm before it, and behind it too where the config says so."""

    def __init__(
        self, sizes: Sizes, model: ModelConfig, width: int, cross_width: int | None = None, *, rngs: nnx.Rngs
    ) -> None:
        """With cross-attention over states ``cross_width`` wide, where there are such."""
        self.sizes, self.model = sizes, model

        def norm(wanted: bool = True) -> RMSNorm | None:
            return RMSNorm(width, sizes.norm_epsilon, rngs=rngs) if wanted else None

        self.attention_norm = norm()
        self.attention = Attention(sizes, width, rngs=rngs)
        crosses = cross_width is not None
        self.cross_norm = norm(crosses)
        self.cross_attention = Attention(sizes, width, cross_width, rngs=rngs) if crosses else None
        self.feed_forward_norm = norm()
        self.feed_forward = FeedForward(width, sizes.feed_forward, sizes.activation, model.dropout, rngs=rngs)
        self.attention_post_norm = norm(sizes.sandwich_norms)
        self.cross_post_norm = norm(sizes.sandwich_norms and crosses)
        self.feed_forward_post_norm = norm(sizes.sandwich_norms)

    def _attended(
        self, x_BLD: Float[Array, "B L D"], seen: Seen, source_BSD: Float[Array, "B S D"] | None = None
    ) -> Float[Array, "B L D"]:
        """Self-attention's update, over a source too if one is given."""
        y_BLD, attention = normalised(self.attention_norm, x_BLD), self.attention
        q, (k, v) = attention.queries(y_BLD, seen.rotary), attention.keys_values(y_BLD, seen.rotary)
        if source_BSD is not None:
            of_source = attention.keys_values(source_BSD, None)
            k, v = (jnp.concatenate(both, axis=1) for both in zip((k, v), of_source, strict=True))
        return attention(q, k, v, seen.mask, bias=seen.bias, kernel=self.model.attention)

    def _added(
        self,
        x_BLD: Float[Array, "B L D"],
        update_BLD: Float[Array, "B L D"],
        norm: RMSNorm | None,
        key: Key[Array, ""] | None,
    ) -> Float[Array, "B L D"]:
        update_BLD = dropout(normalised(norm, update_BLD), self.model.dropout, key)
        return constrain(x_BLD + update_BLD, "batch", "length", "activation")

    def _fed_forward(
        self, x_BLD: Float[Array, "B L D"], inner_key: Key[Array, ""] | None, key: Key[Array, ""] | None
    ) -> Float[Array, "B L D"]:
        update_BLD = self.feed_forward(normalised(self.feed_forward_norm, x_BLD), inner_key)
        return self._added(x_BLD, update_BLD, self.feed_forward_post_norm, key)


class EncoderBlock(_Block):
    """Self-attention and feed-forward."""

    def __call__(self, x_BSD: Float[Array, "B S D"], seen: Seen, key: Key[Array, ""] | None) -> Float[Array, "B S D"]:
        """The residual stream after this block."""
        keys = _split(key, 3)
        x_BSD = self._added(x_BSD, self._attended(x_BSD, seen), self.attention_post_norm, keys[0])
        return self._fed_forward(x_BSD, keys[1], keys[2])


class DecoderBlock(_Block):
    """Causal self-attention, cross-attention and feed-forward.

    With merged attention, self-attention reads the source too, by the same projections and without rotation.
    """

    def __init__(self, sizes: DecoderSizes, model: ModelConfig, encoder_width: int, *, rngs: nnx.Rngs) -> None:
        super().__init__(sizes, model, model.width, None if sizes.merged_attention else encoder_width, rngs=rngs)

    def __call__(
        self,
        x_BTD: Float[Array, "B T D"],
        states_BSE: Float[Array, "B S E"],
        seen: Seen,
        cross_mask: AttentionMask,
        key: Key[Array, ""] | None,
    ) -> Float[Array, "B T D"]:
        """The residual stream after this block, all target positions at once (teacher forcing)."""
        keys = _split(key, 4)
        merged = self.cross_attention is None
        update_BTD = self._attended(x_BTD, seen, states_BSE if merged else None)
        x_BTD = self._added(x_BTD, update_BTD, self.attention_post_norm, keys[0])
        if self.cross_attention is not None:
            q = self.cross_attention.queries(normalised(self.cross_norm, x_BTD), None)
            k, v = self.cross_attention.keys_values(states_BSE, None)
            update_BTD = self.cross_attention(q, k, v, cross_mask, kernel=self.model.attention)
            x_BTD = self._added(x_BTD, update_BTD, self.cross_post_norm, keys[1])
        return self._fed_forward(x_BTD, keys[2], keys[3])

    def memory(self, states_BSE: Float[Array, "B S E"], more: int) -> KeysValues:
        """The source's keys and values of this block, ``more`` of them behind it that nothing sees."""
        reads = self.attention if self.cross_attention is None else self.cross_attention
        k_BSGK, v_BSGK = reads.keys_values(states_BSE, None)
        return split(jnp.transpose(k_BSGK, (0, 2, 3, 1)), jnp.swapaxes(v_BSGK, 1, 2), more)


def _each_kind(
    sizes: Sizes, mask: AttentionMask, positions_BL: Int[Array, "B L"], bias: Float[Array, "1 H L L"] | None
) -> list[Seen]:
    """What each layer of the pattern reads; layers of a kind share one rotation."""
    made = {}
    for kind in dict.fromkeys(sizes.layer_kinds):
        seen = replace(mask, window=window_of(sizes)) if kind == "local" else mask
        made[kind] = Seen(seen, rotation_of(sizes, kind, positions_BL), bias)
    return [made[kind] for kind in sizes.layer_kinds]


def _read(seen: Seen, block: Any, x_BSD: Array, key: Key[Array, ""] | None) -> Array:
    found: Array = block(x_BSD, seen, key)
    return found


def _write(
    states_BSE: Array, seen: Seen, cross_mask: AttentionMask, block: Any, x_BTD: Array, key: Key[Array, ""] | None
) -> Array:
    found: Array = block(x_BTD, states_BSE, seen, cross_mask, key)
    return found


def _relative_bias(sizes: Sizes, model: ModelConfig, *, bidirectional: bool, rngs: nnx.Rngs) -> RelativeBias | None:
    if not isinstance(sizes, T5Config):
        return None
    return RelativeBias(sizes, model.width, bidirectional=bidirectional, rngs=rngs)


class TransformerEncoder(nnx.Module):
    """Pre-norm self-attention over tokens (Vaswani et al. 2017, with the norm's place of Xiong et al. 2020)."""

    def __init__(self, sizes: EncoderSizes, model: ModelConfig, vocab_size: int, *, rngs: nnx.Rngs) -> None:
        self.sizes, self.model = sizes, model
        self.width = self.summary_width = width = sizes.width or model.width
        self.embedding = Embedding(model, vocab_size, width, rngs=rngs) if sizes.width else None
        self.blocks = stack(lambda rngs: EncoderBlock(sizes, model, width, rngs=rngs), sizes.layers, rngs)
        self.norm = RMSNorm(width, sizes.norm_epsilon, rngs=rngs)
        self.bias = _relative_bias(sizes, model, bidirectional=True, rngs=rngs)

    def __call__(self, batch: Batch, embed: Embed, key: Key[Array, ""] | None = None) -> Encoded:
        """Encoded states, normalised; segments never see each other. Their mean is the summary."""
        sizes, model, segments_BS = self.sizes, self.model, batch["encoder_segment_ids"]
        own: Embed = embed if self.embedding is None else self.embedding
        x_BSD = constrain(own(batch["encoder_input_tokens"]), "batch", "length", "activation")
        keys = _split(key, sizes.layers + 2)
        index_S = jnp.arange(x_BSD.shape[1])
        bias = None if self.bias is None else self.bias(index_S, index_S)
        kinds = _each_kind(sizes, AttentionMask(segments_BS, segments_BS), batch["encoder_positions"], bias)
        x_BSD = run(
            self.blocks,
            dropout(x_BSD, model.dropout, keys[0]),
            None if key is None else keys[2:],
            sizes.layers,
            model,
            [functools.partial(_read, seen) for seen in kinds],
        )
        # Whole rows, gathered once for all the layers that read them.
        states_BSD = constrain(dropout(self.norm(x_BSD), model.dropout, keys[1]), "batch", None, "activation")
        return Encoded(states_BSD, segments_BS, (Summary("mean", states_BSD),))


class TransformerDecoder(nnx.Module):
    """Causal self-attention and cross-attention; all positions at once, or a cached step."""

    def __init__(self, sizes: DecoderSizes, model: ModelConfig, encoder_width: int, *, rngs: nnx.Rngs) -> None:
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
        cross_mask = AttentionMask(segments_BT, encoded.segments_BS)
        index_T = jnp.arange(x_BTD.shape[1])
        bias = None if self.bias is None else self.bias(index_T, index_T)
        mask = AttentionMask(segments_BT, segments_BT, causal=True)
        if sizes.merged_attention:
            both_BTS = jnp.concatenate([segments_BT, encoded.segments_BS], axis=1)
            mask = replace(mask, key_segments_BS=both_BTS, own_keys=x_BTD.shape[1])
        kinds = _each_kind(sizes, mask, positions_BT, bias)
        x_BTD = run(
            self.blocks,
            constrain(dropout(x_BTD, model.dropout, keys[0]), "batch", "length", "activation"),
            None if key is None else keys[2:],
            sizes.layers,
            model,
            [functools.partial(_write, encoded.states_BSE, seen, cross_mask) for seen in kinds],
        )
        return dropout(self.norm(x_BTD), model.dropout, keys[1])

    def steps(self) -> TransformerSteps:
        """The decoder one token at a time."""
        dtype = jnp.dtype(self.model.dtype)
        blocks = [StepBlock.of(block, dtype) for block in unstack(self.blocks, self.sizes.layers)]
        return TransformerSteps(self.sizes, self.sizes.activation, blocks, self.norm, self.bias)

    def read(self, encoded: Encoded, more: int = 0) -> tuple[DecoderMemory, tuple[()]]:
        """The source's keys and values for each block; beams have no state of their own."""
        blocks = unstack(self.blocks, self.sizes.layers)
        is_source_BS = jnp.pad(encoded.segments_BS > 0, ((0, 0), (0, more)))
        return DecoderMemory([block.memory(encoded.states_BSE, more) for block in blocks], is_source_BS), ()
