"""BART (Lewis et al. 2020): post-norm blocks with biases, learned positions, a norm over what is embedded.

PLBART (Ahmad et al. 2021) is the same network with config.model.scale_embeddings. Neither stack has a norm at its end:
a block's last one is it. Published tables of positions start with two rows that nothing reads; here they are left out.

Letters: B batch, S source, T target, L either, D model, E encoder's width.
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
from t2c_jax.models.interface import Batch, Embed, Encoded, Summary
from t2c_jax.models.layers import dropout, look_up
from t2c_jax.models.pretrained.bart_steps import BartStepBlock, BartSteps
from t2c_jax.models.pretrained.bert import BertBlock
from t2c_jax.models.pretrained.config import BartConfig
from t2c_jax.models.pretrained.layers import BiasedAttention, BiasedFeedForward, LayerNorm, table
from t2c_jax.models.stack import run, stack, unstack
from t2c_jax.models.transformer.steps import DecoderMemory


class BartInput(nnx.Module):
    """What a stack starts from: tokens and their positions, normalised."""

    def __init__(self, sizes: BartConfig, model: ModelConfig, *, rngs: nnx.Rngs) -> None:
        self.positions = table(rngs, sizes.positions, "positions", model.width)
        self.norm = LayerNorm(model.width, sizes.norm_epsilon, rngs=rngs)

    def __call__(self, x_BLD: Float[Array, "B L D"], positions_BL: Int[Array, "B L"]) -> Float[Array, "B L D"]:
        """Of embedded tokens."""
        return self.norm(x_BLD + look_up(self.positions[...], positions_BL, x_BLD.dtype))


class BartDecoderBlock(nnx.Module):
    """Causal self-attention, cross-attention and feed-forward, each normalised after its residual connection."""

    def __init__(self, sizes: BartConfig, model: ModelConfig, encoder_width: int, *, rngs: nnx.Rngs) -> None:
        width, heads, kernel = model.width, sizes.num_heads, model.attention
        self.rate = model.dropout
        self.attention = BiasedAttention(width, heads, kernel, rngs=rngs)
        self.attention_norm = LayerNorm(width, sizes.norm_epsilon, rngs=rngs)
        self.cross_attention = BiasedAttention(width, heads, kernel, encoder_width, rngs=rngs)
        self.cross_norm = LayerNorm(width, sizes.norm_epsilon, rngs=rngs)
        self.feed_forward = BiasedFeedForward(width, sizes.feed_forward, sizes.activation, rngs=rngs)
        self.feed_forward_norm = LayerNorm(width, sizes.norm_epsilon, rngs=rngs)

    def __call__(
        self,
        x_BTD: Float[Array, "B T D"],
        states_BSE: Float[Array, "B S E"],
        mask: AttentionMask,
        cross_mask: AttentionMask,
        key: Key[Array, ""] | None,
    ) -> Float[Array, "B T D"]:
        """States after this block, all target positions at once (teacher forcing)."""
        keys = (None, None, None) if key is None else jax.random.split(key, 3)
        y_BTD = dropout(self.attention(x_BTD, mask), self.rate, keys[0])
        x_BTD = constrain(self.attention_norm(x_BTD + y_BTD), "batch", "length", "activation")
        y_BTD = dropout(self.cross_attention(x_BTD, cross_mask, states_BSE), self.rate, keys[1])
        x_BTD = constrain(self.cross_norm(x_BTD + y_BTD), "batch", "length", "activation")
        y_BTD = dropout(self.feed_forward(x_BTD), self.rate, keys[2])
        return constrain(self.feed_forward_norm(x_BTD + y_BTD), "batch", "length", "activation")

    def memory(self, states_BSE: Float[Array, "B S E"], more: int) -> KeysValues:
        """This block's cross-attention keys and values, ``more`` of them behind the source that nothing sees."""
        k_BSHK, v_BSHK = self.cross_attention.keys_values(states_BSE)
        return split(jnp.transpose(k_BSHK, (0, 2, 3, 1)), jnp.swapaxes(v_BSHK, 1, 2), more)


class BartEncoder(nnx.Module):
    """BART's encoder; the mean of its states is the summary."""

    def __init__(self, sizes: BartConfig, model: ModelConfig, *, rngs: nnx.Rngs) -> None:
        self.sizes, self.model = sizes, model
        self.width = self.summary_width = model.width
        self.input = BartInput(sizes, model, rngs=rngs)
        self.blocks = stack(lambda rngs: BertBlock(sizes, model.width, model, rngs=rngs), sizes.layers, rngs)

    def __call__(self, batch: Batch, embed: Embed, key: Key[Array, ""] | None = None) -> Encoded:
        """Encoded states; segments never see each other."""
        segments_BS, layers, model = batch["encoder_segment_ids"], self.sizes.layers, self.model
        keys = None if key is None else jax.random.split(key, layers + 1)
        x_BSD = self.input(embed(batch["encoder_input_tokens"]), batch["encoder_positions"])
        mask = AttentionMask(segments_BS, segments_BS)
        states_BSD = run(
            self.blocks,
            _dropped(x_BSD, model, keys),
            None if keys is None else keys[1:],
            layers,
            model,
            lambda block, x_BSD, key: block(x_BSD, mask, key),
        )
        states_BSD = constrain(states_BSD, "batch", None, "activation")  # gathered once for all that read them
        return Encoded(states_BSD, segments_BS, (Summary("mean", states_BSD),))


class BartDecoder(nnx.Module):
    """BART's decoder; all positions at once, or a cached step."""

    def __init__(self, sizes: BartConfig, model: ModelConfig, encoder_width: int, *, rngs: nnx.Rngs) -> None:
        self.sizes, self.model = sizes, model
        self.input = BartInput(sizes, model, rngs=rngs)
        self.blocks = stack(lambda rngs: BartDecoderBlock(sizes, model, encoder_width, rngs=rngs), sizes.layers, rngs)

    def __call__(
        self,
        x_BTD: Float[Array, "B T D"],
        segments_BT: Int[Array, "B T"],
        positions_BT: Int[Array, "B T"],
        encoded: Encoded,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "B T D"]:
        """Decoder states under teacher forcing."""
        layers, model = self.sizes.layers, self.model
        keys = None if key is None else jax.random.split(key, layers + 1)
        mask = AttentionMask(segments_BT, segments_BT, causal=True)
        cross_mask = AttentionMask(segments_BT, encoded.segments_BS)
        return run(
            self.blocks,
            _dropped(self.input(x_BTD, positions_BT), model, keys),
            None if keys is None else keys[1:],
            layers,
            model,
            lambda block, x_BTD, key: block(x_BTD, encoded.states_BSE, mask, cross_mask, key),
        )

    def steps(self) -> BartSteps:
        """The decoder one token at a time."""
        dtype = jnp.dtype(self.model.dtype)
        blocks = [BartStepBlock.of(block, dtype) for block in unstack(self.blocks, self.sizes.layers)]
        return BartSteps(self.sizes, self.input, blocks)

    def read(self, encoded: Encoded, more: int = 0) -> tuple[DecoderMemory, tuple[()]]:
        """Cross-attention memories; beams have no state of their own."""
        blocks = unstack(self.blocks, self.sizes.layers)
        is_source_BS = jnp.pad(encoded.segments_BS > 0, ((0, 0), (0, more)))
        return DecoderMemory([block.memory(encoded.states_BSE, more) for block in blocks], is_source_BS), ()


def _dropped(x_BLD: Float[Array, "B L D"], model: ModelConfig, keys: Any) -> Float[Array, "B L D"]:
    return constrain(dropout(x_BLD, model.dropout, None if keys is None else keys[0]), "batch", "length", "activation")
