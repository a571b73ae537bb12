"""GPT-2 as an encoder (Radford et al. 2019, section 2.3): pre-norm causal blocks, learned positions, its own table.

Parameters come from ``t2c import`` through config.origin.

Letters: B batch, S source, E encoder's width.
"""

from __future__ import annotations

import jax
from flax import nnx
from jaxtyping import Array, Float, Key

from t2c_jax.config import ModelConfig
from t2c_jax.kernels.attention_mask import AttentionMask
from t2c_jax.mesh import constrain
from t2c_jax.models.interface import Batch, Embed, Encoded, Summary
from t2c_jax.models.layers import dropout, look_up
from t2c_jax.models.pretrained.config import GPT2Config
from t2c_jax.models.pretrained.layers import BiasedAttention, BiasedFeedForward, LayerNorm, layer_mix, table, through
from t2c_jax.models.stack import stack


class GPT2Block(nnx.Module):
    """Causal self-attention and feed-forward, each normalised before."""

    def __init__(self, sizes: GPT2Config, model: ModelConfig, *, rngs: nnx.Rngs) -> None:
        self.rate = model.dropout
        width, epsilon = sizes.width, sizes.norm_epsilon
        self.attention_norm = LayerNorm(width, epsilon, rngs=rngs)
        self.attention = BiasedAttention(width, sizes.num_heads, model.attention, rngs=rngs)
        self.feed_forward_norm = LayerNorm(width, epsilon, rngs=rngs)
        self.feed_forward = BiasedFeedForward(width, sizes.feed_forward, sizes.activation, rngs=rngs)

    def __call__(
        self, x_BSE: Float[Array, "B S E"], mask: AttentionMask, key: Key[Array, ""] | None
    ) -> Float[Array, "B S E"]:
        """The residual stream after this block."""
        keys = (None, None) if key is None else jax.random.split(key)
        y_BSE = dropout(self.attention(self.attention_norm(x_BSE), mask), self.rate, keys[0])
        x_BSE = constrain(x_BSE + y_BSE, "batch", "length", "activation")
        y_BSE = dropout(self.feed_forward(self.feed_forward_norm(x_BSE)), self.rate, keys[1])
        return constrain(x_BSE + y_BSE, "batch", "length", "activation")


class GPT2Encoder(nnx.Module):
    """GPT-2 over the pieces of its own tokenizer; the last position's state, which saw all others, is the summary."""

    def __init__(self, sizes: GPT2Config, model: ModelConfig, *, rngs: nnx.Rngs) -> None:
        self.sizes, self.model = sizes, model
        self.width = self.summary_width = sizes.width
        self.tokens = table(rngs, sizes.vocab_size, "source_vocab", sizes.width)
        self.positions = table(rngs, sizes.positions, "positions", sizes.width)
        self.blocks = stack(lambda rngs: GPT2Block(sizes, model, rngs=rngs), sizes.layers, rngs)
        self.norm = LayerNorm(sizes.width, sizes.norm_epsilon, rngs=rngs)
        self.mix = layer_mix(sizes, rngs=rngs)

    def __call__(self, batch: Batch, embed: Embed, key: Key[Array, ""] | None = None) -> Encoded:
        """Encoded states, normalised; segments never see each other, and each starts at the first position.

        ``embed``, the decoder's table, is left alone: the pieces are others. Where layers are mixed, each passes the
        final norm first, for their scales grow with depth.
        """
        sizes, model, segments_BS = self.sizes, self.model, batch["encoder_segment_ids"]
        positions_BS = batch["encoder_positions"]
        x_BSE = look_up(self.tokens[...], batch["encoder_input_tokens"])
        x_BSE = (x_BSE + look_up(self.positions[...], positions_BS)).astype(model.dtype)
        keys = None if key is None else jax.random.split(key, sizes.layers + 1)
        mask = AttentionMask(segments_BS, segments_BS, causal=True)
        states_BSE = through(
            self.blocks,
            constrain(
                dropout(x_BSE, model.dropout, None if keys is None else keys[0]), "batch", "length", "activation"
            ),
            None if keys is None else keys[1:],
            sizes.layers,
            model,
            self.mix,
            lambda block, x_BSE, key: block(x_BSE, mask, key),
            finish=self.norm,
        )
        states_BSE = constrain(states_BSE, "batch", None, "activation")  # gathered once for all that read them
        return Encoded(states_BSE, segments_BS, (Summary("last", states_BSE),))
