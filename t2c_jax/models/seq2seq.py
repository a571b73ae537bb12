"""The sequence-to-sequence model: any encoder, any decoder, their embedding, the output table and the copying head.

Letters: B batch, S source, T target, D model, E encoder's width, V vocabulary, W beams, X cache slots.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, Key

from t2c_jax.config import ModelConfig
from t2c_jax.mesh import constrain
from t2c_jax.models.heads import Heads
from t2c_jax.models.interface import Batch, Encoded, gather_beams
from t2c_jax.models.layers import Embedding
from t2c_jax.models.parameters import parameter
from t2c_jax.models.pointer import BEFORE, Copying, Pointer


class Prediction(NamedTuple):
    """What the loss is made of; never all logits.

    Attributes:
      states_BTD: decoder states, whose products with the rows of ``table_VD`` are the logits.
      table_VD: the output table.
      copying: the copying head's part of the mixture, where the model has one.
      encoded: what the encoder made of the source, for the heads over it.
    """

    states_BTD: Float[Array, "B T D"]
    table_VD: Float[Array, "V D"]
    copying: Copying | None = None
    encoded: Any = None


class Seq2Seq(nnx.Module):
    """Encoder-decoder over the batch contract."""

    def __init__(self, config: ModelConfig, vocab_size: int, *, rngs: nnx.Rngs) -> None:
        self.config = config
        self.embedding = Embedding(config, vocab_size, rngs=rngs)
        self.encoder = config.encoder.build(config, rngs=rngs)
        widths = self.encoder.width, self.encoder.summary_width
        self.decoder = config.decoder.build(config, *widths, rngs=rngs)
        shape, initializer = (vocab_size, config.width), nnx.initializers.normal(config.width**-0.5)
        untied = functools.partial(parameter, rngs, shape, ("vocab", "embed"), initializer, output_first=True)
        self.output = None if config.tied_embeddings else untied()
        self.pointer = Pointer(config, self.encoder.width, rngs=rngs) if config.copy else None
        self.heads: Any = Heads(config, self.encoder.width, rngs=rngs) if config.output_heads else None

    def encode(self, batch: Batch, key: Key[Array, ""] | None = None) -> Encoded:
        """Encoded states of (packed) source rows; ``key`` turns dropout on."""
        encoded: Encoded = self.encoder(batch, self.embedding, key)
        return encoded

    def predict(self, batch: Batch, key: Key[Array, ""] | None = None) -> Prediction:
        """Predictions of every target under teacher forcing; ``key`` turns dropout on."""
        keys = (None, None) if key is None else jax.random.split(key)
        encoded = self.encode(batch, keys[0])
        inputs_BTD = self.embedding(batch["decoder_input_tokens"])
        segments_BT = batch["decoder_segment_ids"]
        states_BTD = self.decoder(inputs_BTD, segments_BT, batch["decoder_positions"], encoded, keys[1])
        states_BTD = constrain(states_BTD, "batch", None, "activation")  # the loss scans along the length
        copying = None
        if self.pointer is not None:
            tokens_BT = batch["decoder_input_tokens"]
            copying = self.pointer(states_BTD, inputs_BTD, tokens_BT, segments_BT, encoded, copied_tokens(batch))
        return Prediction(self.scale_output(states_BTD), self.output_table(), copying, encoded)

    def start(self, batch: Batch, *, beams: int, steps: int) -> tuple[Callable[..., Any], Any]:
        """A decoder step over a cache (``decode.search.Step``), and the cache before the first step.

        The source, the encoder's part of a batch with one pair a row, is encoded here, and what the steps need of it
        is made, once for all beams.
        """
        encoded = self.encode(batch)
        shared, cache = self.decoder.start(encoded, beams, steps)
        pointer = self.pointer
        if pointer is None:
            source, last = None, None
        else:
            source = pointer.read(encoded, copied_tokens(batch))
            last = jnp.zeros((encoded.segments_BS.shape[0], beams, BEFORE), jnp.int32)

        def step(
            tokens_BW: Int[Array, "B W"], step: Int[Array, ""], cache: Any, visible_BWX: Bool[Array, "B W X"]
        ) -> tuple[Float[Array, "B W V"], Any]:
            inputs_BWD = self.embedding(tokens_BW)
            cache, last_BWN = cache
            states_BWD, cache = self.decoder.step(shared, inputs_BWD, step, cache, visible_BWX)
            logits_BWV = self.logits(self.scale_output(states_BWD))
            if pointer is not None and source is not None:
                earlier_BWN = gather_beams(last_BWN, step, visible_BWX)[..., :-1]
                last_BWN = jnp.concatenate((tokens_BW[..., None], earlier_BWN), axis=-1)
                logits_BWV = pointer.step(states_BWD, inputs_BWD, last_BWN, logits_BWV, encoded, source)
            return logits_BWV, (cache, last_BWN)

        return step, (cache, last)

    def embed(self, batch: Batch, segments: int = 1) -> Float[Array, "B M P"]:
        """Unit vectors of each row's first ``segments`` sources; the model has the embedding head."""
        vectors: Float[Array, "B M P"] = self.heads.embedding(self.encode(batch), segments)
        return vectors

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


def copied_tokens(batch: Batch) -> Int[Array, "B S"]:
    """What each source position would be as a target token; 0 where nothing can be copied.

    Where the encoder has a tokenizer of its own, the batch brings them along as ``encoder_copy_tokens``.
    """
    tokens_BS = batch.get("encoder_copy_tokens", batch["encoder_input_tokens"])
    return jnp.where(batch["encoder_segment_ids"] > 0, tokens_BS, 0)
