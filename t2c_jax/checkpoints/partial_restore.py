"""How each parameter of a run gets its first value from another run's parameters, settled by path and shape.

Nothing is settled silently: each parameter is listed with how, and what no rule below explains is an error.

- The same path and shape: taken.
- A table of positions, or a stack of blocks or of recurrent layers, that is longer here: the source's rows or layers
  come first, and the further ones are drawn; so it is with what starts each recurrent layer. A shorter one is an error.
- Another tokenizer (config.tokenizer.retrain): rows of the vocabulary's tables go by what a piece stands for, and a
  piece that the source has not starts from the mean of its rows.
- An output table where the source has its embedding for one: that embedding, scaled so that the logits are the same.
- What the source lacks: drawn, where it is a whole part, such as the decoder over a pre-trained encoder, a head, or the
  mix of an encoder's layers. A part with a hole in it is an error, for nobody would want one.
- What only the source has: left, where it is a head; an error, where it is anything else.

Letters: V vocabulary here, U vocabulary of the source, D model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from t2c_jax.errors import UserError
from t2c_jax.tokenizers.base import Tokenizer

Shapes = Mapping[str, tuple[int, ...]]
How = Literal["taken", "drawn", "extended", "matched", "left"]

MIX = "encoder.mix"  # of all layers: a run's own way to use an encoder, which an import does not have
EMBEDDING, OUTPUT, POSITIONS = "embedding.embedding", "output", "encoder.positions"
BLOCKS = ("encoder.blocks.", "decoder.blocks.")
BRIDGE = {"decoder.bridge": 1, "decoder.bridge_bias": 0}  # the axis of first states, layer by layer
_LAYER = re.compile(r"(encoder\.(forward|backward)|decoder\.layer)_\d+(?=\.)")
_AS_THERE = "make config.model as it is in the source's config.json"


@dataclass(frozen=True)
class Settled:
    """One parameter's first value.

    Attributes:
      path: dotted.
      shape: here; there, of what is left.
      how: ``extended`` is taken as far as the source reaches and drawn from there on; ``matched`` goes by pieces.
      source: the path of what is read of the source; empty for none.
      reach: rows, layers or states that the source has of an extended one.
      axis: of those.
      scale: what the source's numbers are multiplied with.
    """

    path: str
    shape: tuple[int, ...]
    how: How
    source: str = ""
    reach: int = 0
    axis: int = 0
    scale: float = 1.0

    def in_words(self, matching: Matching | None) -> str:
        """For the table; ``matching`` is of the tokenizers, where this run has another one."""
        words: str = self.how
        if self.how == "extended":
            what = {POSITIONS: "rows", **dict.fromkeys(BRIDGE, "states")}.get(self.path, "layers")
            words = f"{what} {_span(0, self.reach)} taken, {_span(self.reach, self.shape[self.axis])} drawn"
        elif self.how == "matched" and matching is not None:
            words = f"matched {matching.found:,} of {len(matching.rows_V):,} pieces"
        return f"{words}, from embedding" if self.path == OUTPUT and self.source == EMBEDDING else words


@dataclass(frozen=True)
class Matching:
    """Which of the source's rows each piece here starts from; -1 for none."""

    rows_V: Int[np.ndarray, " V"]

    @property
    def found(self) -> int:
        """Pieces that have one."""
        return int((self.rows_V >= 0).sum())


def match_pieces(ours: Tokenizer, theirs: Tokenizer) -> Matching:
    """Pieces by what they stand for: specials by role, sentinels by number, others by their bytes.

    A byte that rare characters fall back to is matched with such a byte, and with the piece that is that byte where
    the source has none.
    """
    roles = dict(zip(_roles(ours), _roles(theirs), strict=True))
    roles |= dict(zip(ours.sentinels, theirs.sentinels, strict=False))
    special = {*_roles(theirs), *theirs.sentinels}
    known: dict[tuple[bool, bytes], int] = {}
    for i, surface in enumerate(theirs.surfaces):
        if surface and i not in special:
            known.setdefault((bool(theirs.is_byte[i]), surface), i)
    rows_V = np.full(ours.vocab_size, -1, np.int32)
    for i, surface in enumerate(ours.surfaces):
        is_byte = bool(ours.is_byte[i])
        if i in roles:
            rows_V[i] = roles[i]
        elif i not in ours.sentinels and surface:
            rows_V[i] = known.get((is_byte, surface), known.get((not is_byte, surface), -1))
    return Matching(rows_V)


def _roles(tokenizer: Tokenizer) -> tuple[int, ...]:
    return tokenizer.eos, tokenizer.start, tokenizer.unk


def settle(
    source: Shapes, target: Shapes, where: str, *, retrained: bool = False, output_scale: float = 1.0
) -> list[Settled]:
    """Settles every parameter, in the order of their paths; those that are left come last.

    Args:
      source: shapes of the parameters to start from.
      target: shapes of the run's own.
      where: names the source in messages.
      retrained: whether this run has a tokenizer of its own.
      output_scale: the scale of the source's decoder states where its embedding is its output table.

    Raises:
      UserError: naming a parameter that no rule explains, and why.
    """
    parts = {_part(path) for path in source}
    settled = []
    for path, shape in sorted(target.items()):
        tied = path == OUTPUT and OUTPUT not in source and EMBEDDING in source
        read, scale = (EMBEDDING, output_scale) if tied else (path, 1.0)
        if read not in source:
            if _part(path) in parts:
                raise UserError(
                    f"config.init_from: {where} lacks the parameter {path}, though it has other parts of the"
                    f" {_part(path)}; {_AS_THERE}"
                )
            settled.append(Settled(path, shape, "drawn"))
            continue
        theirs = source[read]
        axis = BRIDGE.get(path, 0)
        grows = path == POSITIONS or path.startswith(BLOCKS) or path in BRIDGE
        if retrained and path in (EMBEDDING, OUTPUT) and shape[1:] == theirs[1:]:
            settled.append(Settled(path, shape, "matched", read, scale=scale))
        elif shape == theirs:
            settled.append(Settled(path, shape, "taken", read, scale=scale))
        elif grows and _longer(shape, theirs, axis):
            settled.append(Settled(path, shape, "extended", read, reach=theirs[axis], axis=axis))
        else:
            raise UserError(
                f"config.init_from: {path} is {list(theirs)} in {where} and {list(shape)} here; {_AS_THERE}"
            )
    for path, shape in sorted(source.items()):
        if path not in target:
            if path.partition(".")[0] not in ("pointer", "heads"):
                raise UserError(
                    f"config.init_from: {where} holds the parameter {path}, which this run's model has not; {_AS_THERE}"
                )
            settled.append(Settled(path, shape, "left"))
    return settled


def _part(path: str) -> str:
    if path.startswith(f"{MIX}."):
        return MIX
    if (layer := _LAYER.match(path)) is not None:
        return layer[0]
    names = path.split(".")
    return ".".join(names[:2]) if names[0] == "heads" else names[0]


def _longer(shape: tuple[int, ...], theirs: tuple[int, ...], axis: int) -> bool:
    same = len(shape) == len(theirs) and (*shape[:axis], *shape[axis + 1 :]) == (*theirs[:axis], *theirs[axis + 1 :])
    return same and shape[axis] > theirs[axis]


def _span(start: int, end: int) -> str:
    return str(start) if end - start == 1 else f"{start}-{end - 1}"


def extended(taken: Float[Array, ...], drawn: Float[Array, ...], axis: int = 0) -> Float[Array, ...]:
    """The source's rows, layers or states, and those drawn behind them."""
    further = jax.lax.slice_in_dim(drawn, taken.shape[axis], None, axis=axis)
    return jnp.concatenate([taken, further], axis=axis)


def matched(table_UD: Float[Array, "U D"], rows_V: Int[Array, " V"]) -> Float[Array, "V D"]:
    """The source's rows where a piece has one, their mean where it has none."""
    mean_D = jnp.mean(table_UD, axis=0)
    return jnp.where(rows_V[:, None] >= 0, jnp.take(table_UD, jnp.maximum(rows_V, 0), axis=0), mean_D[None])


def scaled(taken: jax.Array, scale: float) -> jax.Array:
    """As it is where the scale is 1, so that nothing is rounded."""
    return taken if scale == 1.0 else taken * scale
