"""Strings to the encoder's part of a batch, for generation: one source a row.

Letters: B batch, S source.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from t2c_jax import console
from t2c_jax.config import DataConfig, Experiment
from t2c_jax.data.tasks.task import Translate
from t2c_jax.errors import UserError
from t2c_jax.papers.code2seq.columns import encode, lay_out
from t2c_jax.papers.code2seq.config import PathsConfig
from t2c_jax.tokenizers.loading import Tokenizers


class Source(NamedTuple):
    """A read source.

    Attributes:
      value: what ``Inputs.batch`` lays out.
      size: what it costs, for putting sources of like sizes together.
      truncated: it was longer than fits, and was cut.
    """

    value: Any
    size: int
    truncated: bool


class Inputs(Protocol):
    """How an encoder's sources are read."""

    def read(self, sources: Sequence[str]) -> list[Source]:
        """Each source as the encoder will read it."""
        ...

    def batch(self, sources: Sequence[Source], rows: int) -> dict[str, np.ndarray]:
        """The encoder's part of a batch: a row for each source, then empty ones; of a handful of shapes."""
        ...


class TokenInputs:
    """Sources as token ids: ``encoder_input_tokens``, ``encoder_segment_ids``, ``encoder_positions``, each (B, S)."""

    def __init__(self, tokenizers: Tokenizers, objective: Translate, data: DataConfig) -> None:
        """Reads nothing yet.

        Raises:
          UserError: what belongs around a source leaves no room for it.
        """
        self._tokenizer, self._objective, self._length = tokenizers.source, objective, data.encoder_length
        self._room = self._length - objective.around_source
        if self._room < 1:
            raise UserError(
                f"config.data.encoder_length={self._length} leaves no room for a source: the prefix {data.prefix!r} and"
                f" special tokens around it are {objective.around_source}"
            )

    def read(self, sources: Sequence[str]) -> list[Source]:
        """Tokens with what belongs around them; the source's own are cut to fit config.data.encoder_length."""
        encoded = self._tokenizer.encode_batch(sources)
        made = [self._objective.source(ids[: self._room]) for ids in encoded]
        return [Source(value, len(value), len(ids) > self._room) for value, ids in zip(made, encoded, strict=True)]

    def batch(self, sources: Sequence[Source], rows: int) -> dict[str, np.ndarray]:
        """Rows as long as the next power of two; empty ones hold a single pad, which is read as a token."""
        longest = max(source.size for source in sources)
        length = min(self._length, max(16, 1 << (longest - 1).bit_length()))
        tokens_BS = np.zeros((rows, length), np.int32)
        segments_BS = np.zeros((rows, length), np.int32)
        segments_BS[:, 0] = 1
        for row, source in enumerate(sources):
            tokens_BS[row, : source.size] = source.value
            segments_BS[row, : source.size] = 1
        positions_BS = np.broadcast_to(np.arange(length, dtype=np.int32), tokens_BS.shape)
        batch = {
            "encoder_input_tokens": tokens_BS,
            "encoder_segment_ids": segments_BS,
            "encoder_positions": positions_BS,
        }
        if self._objective.copy_table is not None:
            batch["encoder_copy_tokens"] = self._objective.copy_table[tokens_BS]
        return batch


class PathInputs:
    """Code as paths of its syntax tree: the arrays of ``path_columns.lay_out``, with K paths a row."""

    def __init__(self, tokenizers: Tokenizers, config: PathsConfig) -> None:
        self._tokenizer, self._config = tokenizers.source, config

    def read(self, sources: Sequence[str]) -> list[Source]:
        """``paths.sampled`` of each code's paths, drawn by nothing but their number; warns of code that has none."""
        encoded, unparsable = encode(sources, self._tokenizer, self._config)
        empty = sum(len(one.ends_P2) == 0 for one in encoded)
        if empty:
            console.warn(
                f"{empty} of {len(sources)} sources have no paths ({unparsable} of them are not this Python's syntax):"
                " their answers are guesses"
            )
        drawn = [one.take(self._config.sampled, 0) for one in encoded]
        return [Source(one, len(one.ends_P2), truncated=False) for one in drawn]

    def batch(self, sources: Sequence[Source], rows: int) -> dict[str, np.ndarray]:
        """As many paths a row as the next power of two; rows without any hold a single empty path, which is read."""
        longest = max(source.size for source in sources)
        paths = min(self._config.sampled, max(16, 1 << max(longest - 1, 0).bit_length()))
        batch = lay_out([source.value for source in sources], rows, paths, self._config)
        batch["encoder_segment_ids"][:, 0] = 1
        return batch


def inputs(experiment: Experiment, tokenizers: Tokenizers, objective: Translate) -> Inputs:
    """How config.model.encoder's sources are read."""
    encoder = experiment.model.encoder
    if isinstance(encoder, PathsConfig):
        return PathInputs(tokenizers, encoder)
    return TokenInputs(tokenizers, objective, experiment.data)
