"""ModernBERT as an encoder (Warner et al. 2024, section 2.1): rotary positions, windows in most layers, its own table.

The Ettin encoders (Weller et al. 2025) are the same network. The first block has no norm before its attention: the
embedding's has just been there. Parameters come from ``t2c import`` through config.origin.

Letters: B batch, S source, E encoder's width.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
from flax import nnx
from jaxtyping import Array, Float, Key

from t2c_jax.config import ModelConfig
from t2c_jax.kernels.attention_mask import AttentionMask
from t2c_jax.mesh import constrain
from t2c_jax.models.attention import Attention
from t2c_jax.models.interface import Batch, Embed, Encoded, Summary
from t2c_jax.models.layers import FeedForward, dropout, look_up
from t2c_jax.models.parameters import label
from t2c_jax.models.positions import Rotation, rotation
from t2c_jax.models.pretrained.config import ModernBertConfig
from t2c_jax.models.pretrained.layers import LayerNorm, layer_mix, table, through
from t2c_jax.models.stack import stack


class ModernBertBlock(nnx.Module):
    """Self-attention and a gated feed-forward, each normalised before."""

    def __init__(self, sizes: ModernBertConfig, model: ModelConfig, *, is_first: bool = False, rngs: nnx.Rngs) -> None:
        width, epsilon = sizes.width, sizes.norm_epsilon
        self.model = model
        self.attention_norm = None if is_first else LayerNorm(width, epsilon, biased=False, rngs=rngs)
        self.attention = Attention(sizes, width, rngs=rngs)  # type: ignore[arg-type]
        self.feed_forward_norm = LayerNorm(width, epsilon, biased=False, rngs=rngs)
        self.feed_forward = FeedForward(width, sizes.feed_forward, sizes.activation, model.dropout, rngs=rngs)

    def __call__(
        self, x_BSE: Float[Array, "B S E"], mask: AttentionMask, rotary: Rotation, key: Key[Array, ""] | None
    ) -> Float[Array, "B S E"]:
        """The residual stream after this block."""
        rate, attention = self.model.dropout, self.attention
        keys: Any = (None, None, None) if key is None else jax.random.split(key, 3)
        y_BSE = x_BSE if self.attention_norm is None else self.attention_norm(x_BSE)
        q, (k, v) = attention.queries(y_BSE, rotary), attention.keys_values(y_BSE, rotary)
        y_BSE = dropout(attention(q, k, v, mask, kernel=self.model.attention), rate, keys[0])
        x_BSE = constrain(x_BSE + y_BSE, "batch", "length", "activation")
        y_BSE = dropout(self.feed_forward(self.feed_forward_norm(x_BSE), keys[1]), rate, keys[2])
        return constrain(x_BSE + y_BSE, "batch", "length", "activation")


class ModernBertEncoder(nnx.Module):
    """ModernBERT over the pieces of its own tokenizer; the first position's state, [CLS], is the summary."""

    def __init__(self, sizes: ModernBertConfig, model: ModelConfig, *, rngs: nnx.Rngs) -> None:
        self.sizes, self.model = sizes, model
        self.width = self.summary_width = sizes.width
        self.tokens = table(rngs, sizes.vocab_size, "source_vocab", sizes.width)
        self.embedding_norm = LayerNorm(sizes.width, sizes.norm_epsilon, biased=False, rngs=rngs)
        layers = sizes.layers
        first = ModernBertBlock(sizes, model, is_first=True, rngs=rngs)
        self.first = label(first, stack="blocks", layers=(0,), depth=layers)
        blocks = stack(lambda rngs: ModernBertBlock(sizes, model, rngs=rngs), layers - 1, rngs)
        self.blocks = label(blocks, stack="", layers=tuple(range(1, layers)), depth=layers)
        self.norm = LayerNorm(sizes.width, sizes.norm_epsilon, biased=False, rngs=rngs)
        self.mix = layer_mix(sizes, rngs=rngs)

    def __call__(self, batch: Batch, embed: Embed, key: Key[Array, ""] | None = None) -> Encoded:
        """Encoded states, normalised; segments never see each other, and each starts at its first position.

        ``embed``, the decoder's table, is left alone: the pieces are others. Where layers are mixed, each passes the
        final norm first.
        """
        sizes, model, segments_BS = self.sizes, self.model, batch["encoder_segment_ids"]
        keys: Any = None if key is None else jax.random.split(key, sizes.layers + 1)
        calls = [self._call(kind, batch) for kind in sizes.layer_kinds]
        x_BSE = self.embedding_norm(look_up(self.tokens[...], batch["encoder_input_tokens"]))
        x_BSE = dropout(x_BSE.astype(model.dtype), model.dropout, None if keys is None else keys[0])
        embedded_BSE = constrain(x_BSE, "batch", "length", "activation")
        states_BSE = through(
            self.blocks,
            calls[0](self.first, embedded_BSE, None if keys is None else keys[1]),
            None if keys is None else keys[2:],
            sizes.layers - 1,
            model,
            self.mix,
            [*calls[1:], calls[0]],
            finish=self.norm,
            before=(embedded_BSE,),
        )
        states_BSE = constrain(states_BSE, "batch", None, "activation")  # gathered once for all that read them
        return Encoded(states_BSE, segments_BS, (Summary("first", states_BSE),))

    def _call(self, kind: str, batch: Batch) -> Any:
        """A block of this kind: what it sees, and how its heads are rotated."""
        sizes, segments_BS = self.sizes, batch["encoder_segment_ids"]
        is_local = kind == "local"
        window = (sizes.window, sizes.window) if is_local else None
        mask = AttentionMask(segments_BS, segments_BS, window=window)
        theta = sizes.local_rope_theta if is_local else sizes.rope_theta
        return functools.partial(_read, mask, rotation(batch["encoder_positions"], sizes.head_width, theta))


def _read(
    mask: AttentionMask,
    rotary: Rotation,
    block: ModernBertBlock,
    x_BSE: Float[Array, "B S E"],
    key: Key[Array, ""] | None,
) -> Float[Array, "B S E"]:
    return block(x_BSE, mask, rotary, key)
