"""LSTM and GRU encoders: stacked layers, one way or both.

Letters: B batch, S source, D model, E encoder's width, H hidden units.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Key

from t2c_jax.config import ModelConfig
from t2c_jax.models.interface import Batch, Embed, Encoded, Summary
from t2c_jax.models.layers import dropout
from t2c_jax.models.parameters import label
from t2c_jax.models.recurrent.cells import GRU, LSTM, Cell, Layer
from t2c_jax.models.recurrent.config import RecurrentEncoderConfig


class RecurrentEncoder(nnx.Module):
    """Layers over layers; each direction's states side by side. Dropout is between layers (Zaremba et al. 2014).

    The summary is where each direction ends: of the last layer, or for a decoder that copies states (Sutskever et al.
    2014) all parts of all layers.
    """

    cell: Cell

    def __init__(self, sizes: RecurrentEncoderConfig, model: ModelConfig, *, rngs: nnx.Rngs) -> None:
        self.sizes, self.rate = sizes, model.dropout
        hidden, ways = sizes.width, 2 if sizes.bidirectional else 1
        self.width = hidden * ways
        self.copied = model.decoder.starts_from_states
        self.summary_width = hidden * (sizes.layers * self.cell.parts if self.copied else ways)
        for i in range(sizes.layers):
            below = self.width if i else model.width
            for way in ("forward", "backward")[:ways]:
                layer = Layer(self.cell, below, hidden, rngs=rngs)
                setattr(self, f"{way}_{i}", label(layer, stack=way, layers=(i,), depth=sizes.layers, is_part=True))

    def __call__(self, batch: Batch, embed: Embed, key: Key[Array, ""] | None = None) -> Encoded:
        """States of the last layer."""
        sizes, segments_BS = self.sizes, batch["encoder_segment_ids"]
        keys = [None] * (sizes.layers + 1) if key is None else jax.random.split(key, sizes.layers + 1)
        x_BSI = dropout(embed(batch["encoder_input_tokens"]), self.rate, keys[-1])
        starts_BS = batch["encoder_positions"] == 0
        ends_BS = jnp.concatenate([segments_BS[:, 1:] != segments_BS[:, :-1], jnp.ones_like(starts_BS[:, :1])], axis=1)
        ways: list[Array] = []
        parts: list[Array] = []
        for i in range(sizes.layers):
            forward = getattr(self, f"forward_{i}")(x_BSI, starts_BS)
            ways, parts = [forward[0]], [*parts, *forward]
            if sizes.bidirectional:
                ways.append(getattr(self, f"backward_{i}")(x_BSI, ends_BS, reverse=True)[0])
            x_BSI = dropout(jnp.concatenate(ways, axis=-1).astype(x_BSI.dtype), self.rate, keys[i])
        if self.copied:
            return Encoded(x_BSI, segments_BS, (Summary("last", jnp.concatenate(parts, axis=-1)),))
        summaries = (Summary("last", ways[0]), *(Summary("first", way) for way in ways[1:]))
        return Encoded(x_BSI, segments_BS, summaries)


class LSTMEncoder(RecurrentEncoder):
    """Of LSTM layers."""

    cell = LSTM


class GRUEncoder(RecurrentEncoder):
    """Of GRU layers."""

    cell = GRU
