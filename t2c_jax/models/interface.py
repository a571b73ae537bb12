"""The interface between any encoder and any decoder: what is passed between them, and the methods of both.

An encoder turns the encoder's part of a batch into an ``Encoded``: states to attend to, and what a decoder without
memory of its own starts from. To add one, write a module that fits ``Encoder`` and register a config class that builds
it (``config.encoders``); the model, the step, the search and the checkpoint stay as they are. Decoders likewise.

Letters: B batch, S source, T target, D model, E encoder's width, C summary's width, W beams, X cache slots (T x W).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

Batch = Mapping[str, jax.Array]


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


class Embed(Protocol):
    """Tokens to vectors in the compute dtype: (...) to (..., D)."""

    def __call__(self, tokens: Int[Array, ...]) -> Float[Array, ...]:
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

    def start(self, encoded: Encoded, beams: int, steps: int) -> tuple[Any, Any]:
        """What all steps share, computed once a prompt, and the cache before the first of ``steps`` steps."""
        ...

    def step(
        self,
        shared: Any,
        x_BWD: Float[Array, "B W D"],
        step: Int[Array, ""],
        cache: Any,
        visible_BWX: Bool[Array, "B W X"],
    ) -> tuple[Float[Array, "B W D"], Any]:
        """States of one new token for each beam, and the cache with it.

        ``visible_BWX`` says which slot of each step a beam descends from (``decode.search``).
        """
        ...


def gather_beams(states: Any, step: Int[Array, ""], visible_BWX: Bool[Array, "B W X"]) -> Any:
    """What each beam takes over from the one it descends from: leaves (B, W, ...), as the step before left them."""
    beams = visible_BWX.shape[1]
    # Among the slots of the step before; before the first step, every beam from itself.
    before = jnp.maximum(step - 1, 0) * beams
    parents_BWW = jax.lax.dynamic_slice_in_dim(visible_BWX, before, beams, axis=2)
    parents_BW1 = jnp.argmax(parents_BWW, axis=-1)[..., None]
    return jax.tree.map(lambda leaf_BWH: jnp.take_along_axis(leaf_BWH, parents_BW1, axis=1), states)


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
