"""The sequence-to-sequence model: any encoder, any decoder, their embedding, the output table and the copying head.

Letters: B batch, S source, T target, D model, E encoder's width, V vocabulary, N tokens of a step in each row.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from t2c_jax.config import ModelConfig
from t2c_jax.kernels.attention import soft_cap
from t2c_jax.kernels.few_rows import FewRowsKernel
from t2c_jax.mesh import constrain
from t2c_jax.models.heads import Heads
from t2c_jax.models.interface import At, Batch, Encoded
from t2c_jax.models.layers import Embedding
from t2c_jax.models.parameters import parameter
from t2c_jax.models.pointer import Copying, CopySource, Pointer


class Prediction(NamedTuple):
    """What the loss is made of; never all logits.

    Attributes:
      states_BTD: decoder states, whose products with the rows of ``table_VD`` are the logits, but for their soft-cap.
      table_VD: the output table.
      copying: the copying head's part of the mixture, where the model has one.
      encoded: what the encoder made of the source, for the heads over it.
    """

    states_BTD: Float[Array, "B T D"]
    table_VD: Float[Array, "V D"]
    copying: Copying | None = None
    encoded: Any = None


class Memory(NamedTuple):
    """What the steps of a search read of a source, leaves (B, ...): the decoder's part and the pointer's."""

    decoder: Any
    pointer: tuple[CopySource, Encoded] | None


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["embedding", "decoder", "pointer", "output"],
    meta_fields=["config"],
)
@dataclass(frozen=True)
class Steps:
    """A model behind its encoder, one token at a time; a pytree."""

    config: ModelConfig
    embedding: Embedding
    decoder: Any
    pointer: Pointer | None
    output: FewRowsKernel

    def cache(self, rows: int, slots: int) -> Any:
        """The decoder's empty cache."""
        return self.decoder.cache(rows, slots, jnp.dtype(self.config.dtype))

    @jax.jit  # searches of as many beams share its trace
    def step(
        self, memory: Memory, cache: Any, carry: Any, tokens_BN: Int[Array, "B N"], at: At
    ) -> tuple[Float[Array, "B N V"], Any, Any]:
        """Logits of what follows each token, and cache and state with it (``decode.search.DecoderStep``)."""
        inputs_BND = self.embedding(tokens_BN)
        states_BND, cache, carry = self.decoder.step(memory.decoder, cache, carry, inputs_BND, at)
        scaled_BND = scaled_output(self.config, states_BND)
        logits_BNV = soft_cap(self.output(scaled_BND, jnp.float32), self.config.logit_softcap)
        if self.pointer is not None and memory.pointer is not None:
            source, encoded = memory.pointer
            logits_BNV = self.pointer.step(states_BND, inputs_BND, at.recent_BNR, logits_BNV, encoded, source)
        return logits_BNV, cache, carry


class Seq2Seq(nnx.Module):
    """Encoder-decoder over the batch contract."""

    def __init__(self, config: ModelConfig, vocab_size: int, *, rngs: nnx.Rngs) -> None:
        self.config = config
        self.embedding = Embedding(config, vocab_size, config.width, rngs=rngs)
        self.encoder = config.encoder.build(config, vocab_size, rngs=rngs)
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

    def steps(self) -> Steps:
        """The model behind its encoder, one token at a time."""
        # The barrier keeps the compiler from laying it out anew at each step.
        output = jax.lax.optimization_barrier(FewRowsKernel.of_table(self.output_table().astype(self.config.dtype)))
        return Steps(self.config, self.embedding, self.decoder.steps(), self.pointer, output)

    def read(self, batch: Batch, *, length: int | None = None) -> tuple[Memory, Any]:
        """What the steps need of a source, and the state of any beam before the first step; leaves (B, ...).

        Args:
          batch: the encoder's part of a batch, with one pair a row.
          length: positions that the source is padded to behind the encoder; those that it has by default.
        """
        encoded = self.encode(batch)
        more = 0 if length is None else length - encoded.segments_BS.shape[1]
        memory, carry = self.decoder.read(encoded, more)
        source = None
        if self.pointer is not None:
            encoded = encoded.padded(more)
            tokens_BS = copied_tokens(batch)
            source = self.pointer.read(encoded, jnp.pad(tokens_BS, ((0, 0), (0, more)))), encoded._replace(summaries=())
        return Memory(memory, source), carry

    def embed(self, batch: Batch, segments: int = 1) -> Float[Array, "B M P"]:
        """Unit vectors of each row's first ``segments`` sources; the model has the embedding head."""
        vectors: Float[Array, "B M P"] = self.heads.embedding(self.encode(batch), segments)
        return vectors

    def scale_output(self, x_BTD: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        """Decoder states at the scale that the output table expects."""
        return scaled_output(self.config, x_BTD)

    def output_table(self) -> Float[Array, "V D"]:
        """The rows whose products with decoder states are the logits."""
        return (self.embedding.embedding if self.output is None else self.output)[...]

    def logits(self, x_BTD: Float[Array, "B T D"]) -> Float[Array, "B T V"]:
        """Logits of scaled decoder states, in float32."""
        table_VD = self.output_table().astype(x_BTD.dtype)
        logits_BTV = jnp.einsum("btd,vd->btv", x_BTD, table_VD, preferred_element_type=jnp.float32)
        return soft_cap(logits_BTV, self.config.logit_softcap)


def scaled_output(config: ModelConfig, x_BTD: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
    """Decoder states at the scale that the output table expects."""
    scaled = config.tied_embeddings and config.scale_tied_output
    return x_BTD * config.width**-0.5 if scaled else x_BTD


def copied_tokens(batch: Batch) -> Int[Array, "B S"]:
    """What each source position would be as a target token; 0 where nothing can be copied.

    Where the encoder has a tokenizer of its own, the batch brings them along as ``encoder_copy_tokens``.
    """
    tokens_BS = batch.get("encoder_copy_tokens", batch["encoder_input_tokens"])
    return jnp.where(batch["encoder_segment_ids"] > 0, tokens_BS, 0)
