"""LSTM and GRU decoders: no attention, additive or multiplicative attention, with input feeding or without.

Under teacher forcing, layers are scanned one after the other and attention reads the source for all positions at once;
with input feeding a step needs the attentional state before it, and all is one scan. Parameters and numbers are the
same as those of the cached step, which does one token after the other.

Letters: B batch, S source, T target, N segments, D model, E encoder's width, C summary's width, H hidden units,
G gates, L layers, P parts of a state, W beams, X cache slots.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, Key

from t2c_jax.config import ModelConfig
from t2c_jax.kernels.deferred_scan import Apply, apply_with, scan_with_deferred_gradients
from t2c_jax.models.interface import At, Encoded, summarise
from t2c_jax.models.layers import dropout, fan_in
from t2c_jax.models.parameters import label, parameter
from t2c_jax.models.recurrent.cells import (
    GRU,
    LSTM,
    RECURRENCE,
    Cell,
    Kind,
    Layer,
    SourceAttention,
    State,
    attention_specs,
    attentional,
    segment_start,
)
from t2c_jax.models.recurrent.config import RecurrentDecoderConfig

_SEGMENTS_SHARE = 3  # rows of T targets rarely hold more than T / 3 pairs


class _Token(NamedTuple):
    """What goes into one step: (B, ...) each, float32.

    Attributes:
      gates: the embedding's part of the first layer's gates.
      start: 1 where a segment starts, (B, 1).
      begin: for each layer the state that a segment starts from; None where none starts.
      visible: 1 for source positions of the segment, (B, S).
      kept: for each layer, ones after dropout; None without dropout.
    """

    gates: Array
    start: Array
    begin: tuple[State, ...] | None
    visible: Array
    kept: tuple[Array, ...] | None


class _Carry(NamedTuple):
    """Each layer's state, and the attentional state (B, D) where it is fed back."""

    states: tuple[State, ...]
    fed: Array | None


@dataclass(frozen=True)
class _TokenStep:
    """One token through all layers and attention."""

    cell: Cell
    layers: int
    attention: Kind
    feeding: bool
    dtype: str

    def __call__(self, apply: Apply, shared: dict[str, Any], carry: _Carry, x: _Token) -> tuple[_Carry, Array]:
        gates_BGH, fed_BD = x.gates, carry.fed
        if fed_BD is not None:
            gates_BGH = gates_BGH + apply("feed", (fed_BD * (1 - x.start)).astype(self.dtype))
        states: list[State] = []
        h_BH = gates_BGH[:, 0]  # replaced by the first layer's
        for i in range(self.layers):
            if i:
                gates_BGH = apply(f"input_{i}", h_BH.astype(self.dtype)) + shared["biases"][i][None]
            state = segment_start(carry.states[i], x.start, None if x.begin is None else x.begin[i])
            states.append(self.cell.next(gates_BGH, apply(f"state_{i}", state[0].astype(self.dtype)), state))
            h_BH = states[-1][0]
            if x.kept is not None:
                h_BH = h_BH * x.kept[i]
        if self.attention != "none":
            h_BH = attentional(self.attention, apply, shared["scored"], h_BH.astype(self.dtype), x.visible > 0)
        return _Carry(tuple(states), h_BH if self.feeding else None), h_BH


class _Memory(NamedTuple):
    """What the steps of a search read of a source: its states, the keys made of them, and which positions there are."""

    states_BSE: Float[Array, "B S E"]
    keys_BSA: Float[Array, "B S A"] | None
    source_BS: Bool[Array, "B S"]


class RecurrentDecoder(nnx.Module):
    """Layers over layers, started by the source's summary; dropout is between layers (Zaremba et al. 2014)."""

    cell: Cell

    def __init__(
        self,
        sizes: RecurrentDecoderConfig,
        model: ModelConfig,
        encoder_width: int,
        summary_width: int,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        self.sizes, self.rate, self.width = sizes, model.dropout, model.width
        hidden, width, layers, cell = sizes.width, model.width, sizes.layers, self.cell
        for i in range(layers):
            layer = Layer(cell, hidden if i else width, hidden, rngs=rngs)
            setattr(self, f"layer_{i}", label(layer, stack="layer", layers=(i,), depth=layers, is_part=True))
        if sizes.bridge == "dense":
            shape = (summary_width, layers * cell.parts, hidden)
            self.bridge = parameter(rngs, shape, ("embed", "gates", "recurrent"), fan_in(summary_width), extendable=1)
            axes = ("gates", "recurrent")
            self.bridge_bias = parameter(rngs, shape[1:], axes, nnx.initializers.zeros, "bias", extendable=0)
        if sizes.attention != "none":
            self.attention = SourceAttention(sizes.attention, hidden, encoder_width, width, rngs=rngs)
            if sizes.input_feeding:
                shape = (width, cell.gates, hidden)
                self.feed = parameter(rngs, shape, ("embed", "gates", "recurrent"), fan_in(width))
        elif hidden != width:
            self.output = parameter(rngs, (hidden, width), ("state", "embed"), fan_in(hidden), adapted=True)

    def __call__(
        self,
        x_BTD: Float[Array, "B T D"],
        segments_BT: Int[Array, "B T"],
        positions_BT: Int[Array, "B T"],
        encoded: Encoded,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "B T D"]:
        """Attentional states, or without attention the last layer's, under teacher forcing."""
        sizes = self.sizes
        keys = [None] * (sizes.layers + 2) if key is None else jax.random.split(key, sizes.layers + 2)
        x_BTD = dropout(x_BTD, self.rate, keys[-1])
        starts_BT = positions_BT == 0
        begin = self._begin(encoded, segments_BT)
        if sizes.attention != "none" and sizes.input_feeding:
            h_BTH = self._fed(x_BTD, segments_BT, starts_BT, begin, encoded, keys)
        else:
            h_BTH = x_BTD
            for i in range(sizes.layers):
                h_BTH = self._layer(i)(h_BTH, starts_BT, begin[i])[0].astype(x_BTD.dtype)
                h_BTH = dropout(h_BTH, self.rate, keys[i])
            if sizes.attention != "none":
                h_BTH = self._read(h_BTH, segments_BT, encoded)
        return dropout(self._out(h_BTH.astype(x_BTD.dtype)), self.rate, keys[-2])

    def _layer(self, i: int) -> Layer:
        layer: Layer = getattr(self, f"layer_{i}")
        return layer

    def _out(self, h_BTH: Float[Array, "B T H"]) -> Float[Array, "B T D"]:
        if self.sizes.attention != "none" or self.sizes.width == self.width:
            return h_BTH
        return jnp.einsum("bth,hd->btd", h_BTH, self.output[...].astype(h_BTH.dtype))

    def _bridged(self, summary_BNC: Float[Array, "B N C"]) -> Float[Array, "B N LP H"]:
        """All parts of all layers' first states."""
        if self.sizes.bridge == "copy":
            return summary_BNC.reshape(*summary_BNC.shape[:2], -1, self.sizes.width)
        kernel_CPH = self.bridge[...].astype(summary_BNC.dtype)
        product = jnp.einsum("bnc,cph->bnph", summary_BNC, kernel_CPH, preferred_element_type=jnp.float32)
        return jnp.tanh(product + self.bridge_bias[...][None, None])

    def _begin(self, encoded: Encoded, segments_BT: Int[Array, "B T"]) -> tuple[State, ...]:
        """For each layer and part, what each position's segment starts from: (B, T, H).

        The bridge is computed once a segment where rows hold few segments, as they nearly always do, and otherwise for
        every position.
        """
        length = segments_BT.shape[1]
        few = max(1, length // _SEGMENTS_SHARE)

        def by_segment(_: None) -> Array:
            segments_BN = jnp.broadcast_to(jnp.arange(1, few + 1)[None], (segments_BT.shape[0], few))
            own_BTN = (segments_BT[:, :, None] == segments_BN[:, None]).astype(jnp.float32)
            begin = self._bridged(summarise(encoded, segments_BN)).astype(jnp.float32)
            return jnp.einsum("btn,bnph->btph", own_BTN, begin, precision="highest")

        def by_position(_: None) -> Array:
            return self._bridged(summarise(encoded, segments_BT)).astype(jnp.float32)

        begin_BTPH = jax.lax.cond(jnp.max(segments_BT) <= few, by_segment, by_position, None)
        return self._by_layer(begin_BTPH)

    def _by_layer(self, begin_BTPH: Float[Array, "B T LP H"]) -> tuple[State, ...]:
        parts = [begin_BTPH[:, :, i] for i in range(begin_BTPH.shape[2])]
        per = self.cell.parts
        return tuple(tuple(parts[i * per : (i + 1) * per]) for i in range(self.sizes.layers))

    def _read(
        self, h_BTH: Float[Array, "B T H"], segments_BT: Int[Array, "B T"], encoded: Encoded
    ) -> Float[Array, "B T D"]:
        """Attention of all positions: one after the other where the scores are not products, to bound the memory."""
        weights, shared = self._attention_weights(encoded.states_BSE, None)
        apply = apply_with(attention_specs(self.sizes.attention), weights)
        visible_BTS = segments_BT[:, :, None] == encoded.segments_BS[:, None]

        def read(h_BH: Array, visible_BS: Array) -> Array:
            return attentional(self.sizes.attention, apply, shared, h_BH, visible_BS)

        if self.sizes.attention == "multiplicative":
            return jax.vmap(read, in_axes=1, out_axes=1)(h_BTH, visible_BTS)
        states = jax.lax.map(
            lambda x: jax.checkpoint(read)(*x), (jnp.swapaxes(h_BTH, 0, 1), jnp.swapaxes(visible_BTS, 0, 1))
        )
        return jnp.swapaxes(states, 0, 1)

    def _attention_weights(
        self, states_BSE: Float[Array, "B S E"], keys_BSA: Float[Array, "B S A"] | None
    ) -> tuple[dict[str, Array], tuple[Array, Array] | None]:
        attention = self.attention
        keys_BSA = attention.keys(states_BSE) if keys_BSA is None else keys_BSA
        weights = {
            "query": attention.query[...],
            "memory": states_BSE,
            "from_state": attention.from_state[...],
            "from_context": attention.from_context[...],
        }
        if attention.kind == "additive":
            return weights, (keys_BSA.astype(jnp.float32), attention.score[...])
        return {**weights, "keys": keys_BSA}, None

    def _all_weights(
        self, states_BSE: Float[Array, "B S E"], keys_BSA: Float[Array, "B S A"] | None = None
    ) -> tuple[dict[str, Array], dict[str, Any]]:
        """The products' weights of ``_TokenStep``, and what else it shares; ``keys_BSA`` if they are made already."""
        layers = [self._layer(i) for i in range(self.sizes.layers)]
        weights = {f"state_{i}": layer.state[...] for i, layer in enumerate(layers)}
        weights |= {f"input_{i}": layer.input[...] for i, layer in enumerate(layers) if i}
        shared: dict[str, Any] = {"biases": [layer.bias[...] for layer in layers], "scored": None}
        if self.sizes.attention != "none":
            read, shared["scored"] = self._attention_weights(states_BSE, keys_BSA)
            weights |= read
            if self.sizes.input_feeding:
                weights["feed"] = self.feed[...]
        return weights, shared

    def _specs(self) -> dict[str, str]:
        sizes = self.sizes
        specs = {f"state_{i}": RECURRENCE for i in range(sizes.layers)}
        specs |= {f"input_{i}": "bi,igh->bgh" for i in range(1, sizes.layers)}
        if sizes.attention != "none":
            specs |= attention_specs(sizes.attention)
            if sizes.input_feeding:
                specs["feed"] = "bd,dgh->bgh"
        return specs

    def _token_step(self, dtype: Any) -> _TokenStep:
        sizes = self.sizes
        feeding = sizes.attention != "none" and sizes.input_feeding
        return _TokenStep(self.cell, sizes.layers, sizes.attention, feeding, jnp.dtype(dtype).name)

    def _fed(
        self,
        x_BTD: Float[Array, "B T D"],
        segments_BT: Int[Array, "B T"],
        starts_BT: Bool[Array, "B T"],
        begin: tuple[State, ...],
        encoded: Encoded,
        keys: Any,
    ) -> Float[Array, "B T D"]:
        sizes, (batch, length, _) = self.sizes, x_BTD.shape
        hidden = sizes.width
        visible_BTS = segments_BT[:, :, None] == encoded.segments_BS[:, None]
        kept = None
        if keys[0] is not None and self.rate:
            ones = jnp.ones((batch, length, hidden))
            kept = tuple(dropout(ones, self.rate, keys[i]) for i in range(sizes.layers))
        tokens = _Token(
            gates=self._layer(0).project(x_BTD),
            start=starts_BT[..., None].astype(jnp.float32),
            begin=begin,
            visible=visible_BTS.astype(jnp.float32),
            kept=kept,
        )
        weights, shared = self._all_weights(encoded.states_BSE)
        empty = tuple(tuple(jnp.zeros((batch, hidden)) for _ in range(self.cell.parts)) for _ in begin)
        carry = _Carry(empty, jnp.zeros((batch, self.width)))
        by_time = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), tokens)
        _, states = scan_with_deferred_gradients(
            self._token_step(x_BTD.dtype), self._specs(), weights, shared, carry, by_time
        )
        return jnp.swapaxes(states, 0, 1)

    def steps(self) -> RecurrentDecoder:
        """The decoder itself: its layers are no stack."""
        return self

    def read(self, encoded: Encoded, more: int = 0) -> tuple[_Memory, _Carry]:
        """The source's keys, and the first state."""
        encoded = encoded.padded(more)
        batch = encoded.states_BSE.shape[0]
        segments_BN = jnp.ones((batch, 1), jnp.int32)
        begin = self._by_layer(self._bridged(summarise(encoded, segments_BN)).astype(jnp.float32))
        states = jax.tree.map(lambda part_BNH: part_BNH[:, 0], begin)
        feeding = self._token_step(encoded.states_BSE.dtype).feeding
        fed = jnp.zeros((batch, self.width)) if feeding else None
        keys_BSA = self.attention.keys(encoded.states_BSE) if self.sizes.attention != "none" else None
        return _Memory(encoded.states_BSE, keys_BSA, encoded.segments_BS > 0), _Carry(states, fed)

    def cache(self, rows: int, slots: int, dtype: Any) -> tuple[()]:
        """No token's own state is kept."""
        return ()

    def step(
        self, memory: _Memory, cache: tuple[()], carry: _Carry, x_BND: Float[Array, "B N D"], at: At
    ) -> tuple[Float[Array, "B N D"], tuple[()], _Carry]:
        """States of one new token for each beam, and the beams' states after it."""
        weights, shared = self._all_weights(memory.states_BSE, memory.keys_BSA)
        take, apply = self._token_step(x_BND.dtype), apply_with(self._specs(), weights)
        gates_BNGH = self._layer(0).project(x_BND)
        continuing = jnp.zeros((x_BND.shape[0], 1))
        visible_BS = memory.source_BS.astype(jnp.float32)

        def advance(carry: _Carry, gates_BGH: Array) -> tuple[_Carry, Array]:
            return take(apply, shared, carry, _Token(gates_BGH, continuing, None, visible_BS, None))

        carry, h_BNH = jax.vmap(advance, in_axes=1, out_axes=1)(carry, gates_BNGH)
        return self._out(h_BNH.astype(x_BND.dtype)), cache, carry


class LSTMDecoder(RecurrentDecoder):
    """Of LSTM layers."""

    cell = LSTM


class GRUDecoder(RecurrentDecoder):
    """Of GRU layers."""

    cell = GRU
