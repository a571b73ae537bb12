"""Transformer encoder and decoder: pre-norm blocks, stacked (``models.stack``).

Letters: B batch, S source, T target, L either, D model, E encoder's width, H heads, K head width.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from t2c_jax.config import ModelConfig
from t2c_jax.kernels.attention_mask import AttentionMask
from t2c_jax.kernels.cached_attention import KeysValues, split
from t2c_jax.mesh import constrain
from t2c_jax.models.attention import Attention, attend
from t2c_jax.models.interface import Batch, Embed, Encoded, Summary
from t2c_jax.models.layers import FeedForward, RMSNorm, dropout
from t2c_jax.models.positions import RelativeBias, Rotation, rotation
from t2c_jax.models.stack import run, stack, unstack
from t2c_jax.models.transformer.config import T5Config
from t2c_jax.models.transformer.steps import DecoderMemory, Sizes, StepBlock, TransformerSteps


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

    def memory(self, states_BSE: Float[Array, "B S E"]) -> KeysValues:
        """This block's cross-attention keys and values."""
        k_BSHK, v_BSHK = self.cross_attention.keys_values(states_BSE, None)
        return split(jnp.transpose(k_BSHK, (0, 2, 3, 1)), jnp.swapaxes(v_BSHK, 1, 2))


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

    def steps(self) -> TransformerSteps:
        """The decoder one token at a time."""
        dtype = jnp.dtype(self.model.dtype)
        blocks = [StepBlock.of(block, dtype) for block in unstack(self.blocks, self.sizes.layers)]
        return TransformerSteps(self.sizes, self.sizes.activation, blocks, self.norm, self.bias)

    def read(self, encoded: Encoded, beams: int) -> tuple[DecoderMemory, tuple[()]]:
        """Cross-attention memories; beams have no state of their own."""
        blocks = unstack(self.blocks, self.sizes.layers)
        return DecoderMemory([block.memory(encoded.states_BSE) for block in blocks], encoded.segments_BS > 0), ()
