"""BERT as an encoder (Devlin et al. 2019, section 3): post-norm blocks, learned positions, a table of its own.

RoBERTa (Liu et al. 2019) and CodeBERT (Feng et al. 2020) are the same network; their positions start at row 2.
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
from t2c_jax.models.pretrained.config import BartConfig, BertConfig
from t2c_jax.models.pretrained.layers import BiasedAttention, BiasedFeedForward, LayerNorm, layer_mix, table, through
from t2c_jax.models.stack import stack


class BertBlock(nnx.Module):
    """Self-attention and feed-forward, each normalised after its residual connection; BART's encoder block too."""

    def __init__(self, sizes: BertConfig | BartConfig, width: int, model: ModelConfig, *, rngs: nnx.Rngs) -> None:
        self.rate = model.dropout
        self.attention = BiasedAttention(width, sizes.num_heads, model.attention, rngs=rngs)
        self.attention_norm = LayerNorm(width, sizes.norm_epsilon, rngs=rngs)
        self.feed_forward = BiasedFeedForward(width, sizes.feed_forward, sizes.activation, rngs=rngs)
        self.feed_forward_norm = LayerNorm(width, sizes.norm_epsilon, rngs=rngs)

    def __call__(
        self, x_BSE: Float[Array, "B S E"], mask: AttentionMask, key: Key[Array, ""] | None
    ) -> Float[Array, "B S E"]:
        """States after this block."""
        keys = (None, None) if key is None else jax.random.split(key)
        y_BSE = dropout(self.attention(x_BSE, mask), self.rate, keys[0])
        x_BSE = constrain(self.attention_norm(x_BSE + y_BSE), "batch", "length", "activation")
        y_BSE = dropout(self.feed_forward(x_BSE), self.rate, keys[1])
        return constrain(self.feed_forward_norm(x_BSE + y_BSE), "batch", "length", "activation")


class BertEncoder(nnx.Module):
    """BERT over the pieces of its own tokenizer; the first position's state, [CLS], is the summary."""

    def __init__(self, sizes: BertConfig, model: ModelConfig, *, rngs: nnx.Rngs) -> None:
        self.sizes, self.model = sizes, model
        self.width = self.summary_width = sizes.width
        self.tokens = table(rngs, sizes.vocab_size, "source_vocab", sizes.width)
        self.positions = table(rngs, sizes.positions, "positions", sizes.width)
        self.token_types = table(rngs, sizes.token_types, "token_types", sizes.width) if sizes.token_types else None
        self.norm = LayerNorm(sizes.width, sizes.norm_epsilon, rngs=rngs)
        self.blocks = stack(lambda rngs: BertBlock(sizes, sizes.width, model, rngs=rngs), sizes.layers, rngs)
        self.mix = layer_mix(sizes, rngs=rngs)

    def __call__(self, batch: Batch, embed: Embed, key: Key[Array, ""] | None = None) -> Encoded:
        """Encoded states; segments never see each other, and each starts at its first position.

        ``embed``, the decoder's table, is left alone: the pieces are others.
        """
        sizes, model, segments_BS = self.sizes, self.model, batch["encoder_segment_ids"]
        positions_BS = batch["encoder_positions"] + sizes.first_position
        x_BSE = look_up(self.tokens[...], batch["encoder_input_tokens"])
        x_BSE = x_BSE + look_up(self.positions[...], positions_BS)
        if self.token_types is not None:
            x_BSE = x_BSE + self.token_types[...][None, :1]
        keys = None if key is None else jax.random.split(key, sizes.layers + 1)
        x_BSE = dropout(self.norm(x_BSE).astype(model.dtype), model.dropout, None if keys is None else keys[0])
        mask = AttentionMask(segments_BS, segments_BS)
        states_BSE = through(
            self.blocks,
            constrain(x_BSE, "batch", "length", "activation"),
            None if keys is None else keys[1:],
            sizes.layers,
            model,
            self.mix,
            lambda block, x_BSE, key: block(x_BSE, mask, key),
        )
        states_BSE = constrain(states_BSE, "batch", None, "activation")  # gathered once for all that read them
        return Encoded(states_BSE, segments_BS, (Summary("first", states_BSE),))
