"""The sequence-to-sequence model: an encoder, a decoder, their embedding and the output table.

Letters: B batch, S source, T target, D model, V vocabulary, W beams, X cache slots.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, Key

from t2c_jax.config import ModelConfig
from t2c_jax.mesh import constrain
from t2c_jax.models.layers import Embedding, parameter
from t2c_jax.models.transformer import Decoder, Encoder

Batch = Mapping[str, jax.Array]


class Seq2Seq(nnx.Module):
    """Encoder-decoder over the batch contract; returns decoder states, because the loss never wants all logits."""

    def __init__(self, config: ModelConfig, vocab_size: int, *, rngs: nnx.Rngs) -> None:
        self.config = config
        self.embedding = Embedding(config, vocab_size, rngs=rngs)
        self.encoder = Encoder(config, rngs=rngs)
        self.decoder = Decoder(config, rngs=rngs)
        shape, initializer = (vocab_size, config.width), nnx.initializers.normal(config.width**-0.5)
        self.output = None if config.tied_embeddings else parameter(rngs, shape, ("vocab", "embed"), initializer)

    def encode(
        self,
        tokens_BS: Int[Array, "B S"],
        segments_BS: Int[Array, "B S"],
        positions_BS: Int[Array, "B S"],
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "B S D"]:
        """Encoded states of (packed) source rows."""
        x_BSD = constrain(self.embedding(tokens_BS), "batch", "length", "activation")
        return self.encoder(x_BSD, segments_BS, positions_BS, key)

    def states(self, batch: Batch, key: Key[Array, ""] | None = None) -> Float[Array, "B T D"]:
        """Decoder states under teacher forcing, ready for ``output_table``; ``key`` turns dropout on."""
        keys = (None, None) if key is None else jax.random.split(key)
        encoded_BSD = self.encode(
            batch["encoder_input_tokens"], batch["encoder_segment_ids"], batch["encoder_positions"], keys[0]
        )
        x_BTD = constrain(self.embedding(batch["decoder_input_tokens"]), "batch", "length", "activation")
        x_BTD = self.decoder(
            x_BTD,
            batch["decoder_segment_ids"],
            batch["decoder_positions"],
            encoded_BSD,
            batch["encoder_segment_ids"],
            keys[1],
        )
        return self.scale_output(x_BTD)

    def start(
        self, tokens_BS: Int[Array, "B S"], lengths_B: Int[Array, " B"], *, beams: int, steps: int
    ) -> tuple[Callable[..., Any], Any]:
        """A decoder step over a cache (``decode.search.Step``), and the cache before the first step.

        The source is encoded here and each block's cross-attention keys and values are made, once for all beams.
        """
        index_S = jnp.arange(tokens_BS.shape[1])
        source_BS = index_S[None] < lengths_B[:, None]
        positions_BS = jnp.broadcast_to(index_S[None], tokens_BS.shape)
        encoded_BSD = self.encode(tokens_BS, source_BS.astype(jnp.int32), positions_BS)
        blocks = self.decoder.unrolled()
        memories, caches = self.decoder.start(blocks, encoded_BSD, beams, steps)

        def step(
            tokens_BW: Int[Array, "B W"], step: Int[Array, ""], caches: Any, visible_BWX: Bool[Array, "B W X"]
        ) -> tuple[Float[Array, "B W V"], Any]:
            x_BWD = self.embedding(tokens_BW)
            x_BWD, caches = self.decoder.step(blocks, x_BWD, step, caches, memories, visible_BWX, source_BS)
            return self.logits(self.scale_output(x_BWD)), caches

        return step, caches

    def scale_output(self, x_BTD: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        """Decoder states at the scale that the output table expects."""
        scaled = self.config.tied_embeddings and self.config.scale_tied_output
        return x_BTD * self.config.width**-0.5 if scaled else x_BTD

    def output_table(self) -> Float[Array, "V D"]:
        """The rows whose products with decoder states are the logits."""
        return (self.embedding.embedding if self.output is None else self.output)[...]

    def logits(self, x_BTD: Float[Array, "B T D"]) -> Float[Array, "B T V"]:
        """Logits of scaled decoder states, in float32."""
        table_VD = self.output_table().astype(x_BTD.dtype)
        return jnp.einsum("btd,vd->btv", x_BTD, table_VD, preferred_element_type=jnp.float32)
