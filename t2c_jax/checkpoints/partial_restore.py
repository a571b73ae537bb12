"""How each parameter of a run gets its first value from another run's parameters: a plan by path and shape.

Nothing happens silently. The plan lists every parameter, and what no rule below explains is an error.

- copied: the source has the same path and shape. An output table may come from the source's embedding, where that was
  both; it is scaled so that the logits are the same.
- extended: a table of positions, a stack of blocks or of recurrent layers, or what starts each recurrent layer, is
  longer here. The source's rows, layers or states come first, and the further ones are initialised at random. A shorter
  one is an error.
- remapped: this run has a tokenizer of its own (config.origin.take without tokenizer). Rows of the vocabulary's tables
  go by what a piece stands for; a piece that the source lacks starts from the mean of the source's rows.
- initialised: at random, where the source lacks a whole part, such as the decoder over a pre-trained encoder, a head,
  or the mix of an encoder's layers. A part that the source has without one of its parameters is an error.
- dropped: only the source has it. A head may be dropped; anything else is an error.

Letters: V vocabulary here, U vocabulary of the source, D model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from t2c_jax.errors import UserError
from t2c_jax.models.parameters import EMBEDDING, OPTIONAL_PARTS, OUTPUT, ParameterInfo
from t2c_jax.tokenizers.base import Tokenizer

Shapes = Mapping[str, tuple[int, ...]]
How = Literal["copied", "extended", "remapped", "initialised", "dropped"]

_AS_THERE = "make config.model the same as in the origin's config.json, or add shape to config.origin.take"


@dataclass(frozen=True)
class Transfer:
    """Where one parameter's first value comes from.

    Attributes:
      path: dotted.
      shape: here; of a dropped one, in the source.
      how: see the module.
      source: the path of the parameter that is read; empty for none.
      reach: rows, layers or states that the source has of an extended one.
      axis: the axis of those.
      unit: which of the three they are.
      scale: what the source's numbers are multiplied by.
    """

    path: str
    shape: tuple[int, ...]
    how: How
    source: str = ""
    reach: int = 0
    axis: int = 0
    unit: str = ""
    scale: float = 1.0

    def describe(self, vocabulary: VocabularyMap | None) -> str:
        """For the table of initial parameters; ``vocabulary`` where this run has another tokenizer."""
        words: str = self.how
        if self.how == "extended":
            words = f"{self.unit} {_span(0, self.reach)} copied, {_span(self.reach, self.shape[self.axis])} new"
        elif self.how == "remapped" and vocabulary is not None:
            words = f"remapped {vocabulary.found:,} of {len(vocabulary.source_V):,} pieces"
        return f"{words}, from embedding" if self.path == OUTPUT and self.source == EMBEDDING else words


@dataclass(frozen=True)
class VocabularyMap:
    """For each piece here the source's piece that it starts from; -1 for none."""

    source_V: Int[np.ndarray, " V"]

    @property
    def found(self) -> int:
        """Pieces that the source has."""
        return int((self.source_V >= 0).sum())


def map_vocabulary(ours: Tokenizer, theirs: Tokenizer) -> VocabularyMap:
    """Pairs specials by role, sentinels by number, other pieces by their bytes.

    A fallback byte is paired with a fallback byte, or with the piece of that one byte where the source has no such
    byte.
    """
    roles = dict(zip(_roles(ours), _roles(theirs), strict=True))
    roles |= dict(zip(ours.sentinels, theirs.sentinels, strict=False))
    special = {*_roles(theirs), *theirs.sentinels}
    known: dict[tuple[bool, bytes], int] = {}
    for i, surface in enumerate(theirs.surfaces):
        if surface and i not in special:
            known.setdefault((bool(theirs.is_byte[i]), surface), i)
    source_V = np.full(ours.vocab_size, -1, np.int32)
    for i, surface in enumerate(ours.surfaces):
        is_byte = bool(ours.is_byte[i])
        if i in roles:
            source_V[i] = roles[i]
        elif i not in ours.sentinels and surface:
            source_V[i] = known.get((is_byte, surface), known.get((not is_byte, surface), -1))
    return VocabularyMap(source_V)


def _roles(tokenizer: Tokenizer) -> tuple[int, ...]:
    return tokenizer.eos, tokenizer.start, tokenizer.unk


def plan(
    source: Shapes,
    target: Shapes,
    info: Mapping[str, ParameterInfo],
    where: str,
    *,
    new_vocabulary: bool = False,
    output_scale: float = 1.0,
) -> list[Transfer]:
    """A transfer for each parameter, in the order of their paths; dropped ones come last.

    Args:
      source: shapes of the parameters to start from.
      target: shapes of the run's own.
      info: what is known of each of the run's own.
      where: names the source in messages.
      new_vocabulary: whether this run has a tokenizer of its own.
      output_scale: the scale of the source's decoder states where its embedding is its output table.

    Raises:
      UserError: naming a parameter that no rule explains, and why.
    """
    parts = {_part(path, info) for path in source}
    transfers = []
    for path, shape in sorted(target.items()):
        tied = path == OUTPUT and OUTPUT not in source and EMBEDDING in source
        read, scale = (EMBEDDING, output_scale) if tied else (path, 1.0)
        if read not in source:
            if info[path].part in parts:
                raise UserError(
                    f"config.origin.run: {where} lacks the parameter {path}, though it has other parts of the"
                    f" {info[path].part}; {_AS_THERE}"
                )
            transfers.append(Transfer(path, shape, "initialised"))
            continue
        theirs, axis = source[read], info[path].extendable
        if new_vocabulary and info[path].axes[:1] == ("vocab",) and shape[1:] == theirs[1:]:
            transfers.append(Transfer(path, shape, "remapped", read, scale=scale))
        elif shape == theirs:
            transfers.append(Transfer(path, shape, "copied", read, scale=scale))
        elif axis is not None and _longer(shape, theirs, axis):
            unit = "rows" if info[path].kind == "positions" else "layers" if info[path].stack else "states"
            transfers.append(Transfer(path, shape, "extended", read, reach=theirs[axis], axis=axis, unit=unit))
        else:
            raise UserError(
                f"config.origin.run: {path} is {list(theirs)} in {where} and {list(shape)} here; {_AS_THERE}"
            )
    for path, shape in sorted(source.items()):
        if path not in target:
            if path.partition(".")[0] not in OPTIONAL_PARTS:
                raise UserError(
                    f"config.origin.run: {where} has the parameter {path}, which this run's model lacks; {_AS_THERE}"
                )
            transfers.append(Transfer(path, shape, "dropped"))
    return transfers


def _part(path: str, info: Mapping[str, ParameterInfo]) -> str:
    """The part that a parameter of the source belongs to; of one that this model lacks, its first name."""
    return info[path].part if path in info else path.partition(".")[0]


def _longer(shape: tuple[int, ...], theirs: tuple[int, ...], axis: int) -> bool:
    same = len(shape) == len(theirs) and (*shape[:axis], *shape[axis + 1 :]) == (*theirs[:axis], *theirs[axis + 1 :])
    return same and shape[axis] > theirs[axis]


def _span(start: int, end: int) -> str:
    return str(start) if end - start == 1 else f"{start}-{end - 1}"


def combine(transfer: Transfer, source: jax.Array, initial: jax.Array, vocabulary: VocabularyMap | None) -> jax.Array:
    """A parameter's first value from the source's array and its random initial one."""
    if transfer.how == "extended":
        return extend(source, initial, transfer.axis)
    if transfer.how == "remapped":
        assert vocabulary is not None
        source = remap(source, jnp.asarray(vocabulary.source_V))
    return source if transfer.scale == 1.0 else source * transfer.scale  # nothing is rounded that need not be


def extend(source: Float[Array, ...], initial: Float[Array, ...], axis: int = 0) -> Float[Array, ...]:
    """The source's rows, layers or states, followed by the further initial ones."""
    further = jax.lax.slice_in_dim(initial, source.shape[axis], None, axis=axis)
    return jnp.concatenate([source, further], axis=axis)


def remap(table_UD: Float[Array, "U D"], source_V: Int[Array, " V"]) -> Float[Array, "V D"]:
    """The source's row of each piece that it has; the mean of its rows for the others."""
    mean_D = jnp.mean(table_UD, axis=0)
    return jnp.where(source_V[:, None] >= 0, jnp.take(table_UD, jnp.maximum(source_V, 0), axis=0), mean_D[None])
