"""The interface between any encoder and any decoder: what is passed between them, and the methods of both.

An encoder turns the encoder's part of a batch into an ``Encoded``: states to attend to, and what a decoder without
memory of its own starts from. To add one, write a module that fits ``Encoder`` and register a config class that builds
it (``config.encoders``); the model, the step, the search and the checkpoint stay as they are. Decoders likewise.

Letters: B batch, S source, T target, D model, E encoder's width, C summary's width, W beams, X cache slots, N tokens of
a step in each row (one for each beam), R tokens before one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

Batch = Mapping[str, jax.Array]
RECENT = 3
"""R: the tokens fed last that a step knows of."""


class Summary(NamedTuple):
    """States of which one vector a segment is left: the ``mean`` of its positions, its ``first`` or its ``last``."""

    pool: Literal["mean", "first", "last"]
    states_BSC: Float[Array, "B S C"]


class Encoded(NamedTuple):
    """What an encoder passes to a decoder.

    Attributes:
      states_BSE: what cross-attention reads.
      segments_BS: each state's segment; 0 where there is nothing to read.
      summaries: what a recurrent decoder starts from, a segment's summaries side by side.
    """

    states_BSE: Float[Array, "B S E"]
    segments_BS: Int[Array, "B S"]
    summaries: tuple[Summary, ...]

    def padded(self, more: int) -> Encoded:
        """The same states with so many positions behind them that belong to no segment."""
        if not more:
            return self

        def pad(states_BSE: Array) -> Array:
            return jnp.pad(states_BSE, ((0, 0), (0, more), (0, 0)))

        summaries = tuple(Summary(each.pool, pad(each.states_BSC)) for each in self.summaries)
        return Encoded(pad(self.states_BSE), jnp.pad(self.segments_BS, ((0, 0), (0, more))), summaries)


class At(NamedTuple):
    """Where the tokens of a decoder step stand.

    A row's answers are at a step of their own. What a token leaves for later ones is written to a cache slot. Which
    slots a token sees is a table, so that beams share the past that they have in common, and slots are used again.

    Attributes:
      steps_BN: how many tokens were fed before this one in its answer: its position.
      slots_BN: the slot that each token is written to; different ones within a row.
      visible_BNX: the slots that a token attends to: those of its answer so far and its own.
      slot_steps_BX: the position of the token in each slot; anything where no token sees it.
      recent_BNR: the tokens fed last, the latest first and this one included; 0 before the first.
      active_B: rows whose states are of use.
    """

    steps_BN: Int[Array, "B N"]
    slots_BN: Int[Array, "B N"]
    visible_BNX: Bool[Array, "B N X"]
    slot_steps_BX: Int[Array, "B X"]
    recent_BNR: Int[Array, "B N R"]
    active_B: Bool[Array, " B"]


class Embed(Protocol):
    """Tokens to vectors in the compute dtype: (...) to (..., D)."""

    def __call__(self, tokens: Int[Array, ...], /) -> Float[Array, ...]:
        """The vectors."""
        ...


class Encoder(Protocol):
    """A source reader.

    Attributes:
      width: E of its states.
      summary_width: C of its summaries side by side.
    """

    width: int
    summary_width: int

    def __call__(self, batch: Batch, embed: Embed, key: Key[Array, ""] | None) -> Encoded:
        """Encoded states of (packed) source rows.

        Args:
          batch: the encoder's part of the batch contract, or of the keys that this encoder adds to it.
          embed: the table it may share with the decoder.
          key: turns dropout on.
        """
        ...


class Decoder(Protocol):
    """A target writer."""

    def __call__(
        self,
        x_BTD: Float[Array, "B T D"],
        segments_BT: Int[Array, "B T"],
        positions_BT: Int[Array, "B T"],
        encoded: Encoded,
        key: Key[Array, ""] | None,
    ) -> Float[Array, "B T D"]:
        """States under teacher forcing, of (packed) target rows; a segment reads its own source alone."""
        ...

    def read(self, encoded: Encoded, more: int = 0) -> tuple[Any, Any]:
        """What steps read of a source, and the state of any beam before its first step; leaves (B, ...).

        Args:
          encoded: the source, one segment a row.
          more: positions behind the source that belong to no segment; nothing need be computed for them.
        """
        ...

    def steps(self) -> DecoderSteps:
        """The decoder one token at a time, its parameters laid out for that once, before a search."""
        ...


class DecoderSteps(Protocol):
    """A target writer, one token at a time; a pytree."""

    def cache(self, rows: int, slots: int, dtype: Any) -> Any:
        """An empty cache of ``slots`` tokens for each row, leaves (B, ...); () where no token's own state is kept."""
        ...

    def step(
        self, memory: Any, cache: Any, carry: Any, x_BND: Float[Array, "B N D"], at: At
    ) -> tuple[Float[Array, "B N D"], Any, Any]:
        """States of N new tokens in each row, and the cache and the beams' states with them.

        Args:
          memory: of ``Decoder.read``.
          cache: of ``cache``, as the steps before left it.
          carry: each beam's state, of the beam that it continues; leaves (B, W, ...).
          x_BND: embedded tokens.
          at: where they stand.
        """
        ...


def summarise(encoded: Encoded, segments_BT: Int[Array, "B T"]) -> Float[Array, "B T C"]:
    """The summaries of the source segment that each target position belongs to; zeros where there is none.

    A product with weights that pick or average positions: so is its gradient, where a gather's would scatter.
    """
    own_BTS = (segments_BT[:, :, None] == encoded.segments_BS[:, None, :]) & (segments_BT > 0)[:, :, None]
    parts = []
    for pool, states_BSC in encoded.summaries:
        weights_BTS = _pooling(own_BTS, pool).astype(states_BSC.dtype)
        parts.append(jnp.einsum("bts,bsc->btc", weights_BTS, states_BSC, precision="highest"))
    return jnp.concatenate(parts, axis=-1)


def _pooling(own_BTS: Bool[Array, "B T S"], pool: str) -> Float[Array, "B T S"]:
    if pool == "mean":
        return own_BTS / jnp.maximum(jnp.sum(own_BTS, axis=-1, keepdims=True), 1)
    index_S = jnp.arange(own_BTS.shape[-1])
    if pool == "first":
        chosen_BT = jnp.argmax(own_BTS, axis=-1)
    else:
        chosen_BT = jnp.max(jnp.where(own_BTS, index_S[None, None], -1), axis=-1)
    return ((index_S[None, None] == chosen_BT[..., None]) & own_BTS).astype(jnp.float32)
