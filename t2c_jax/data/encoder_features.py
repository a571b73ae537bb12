"""The encoder's part of a batch: what an encoder reads of each pair, and how it lies in rows.

``Batches`` plans rows and lays out targets, whatever the encoder; an encoder whose input is other than tokens brings
its own ``SourceSide``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from t2c_jax.config import DataConfig, Experiment
from t2c_jax.data.prepare import Tokens
from t2c_jax.data.rows import laid_out
from t2c_jax.errors import UserError
from t2c_jax.papers.code2seq.columns import StoredPaths, lay_out, shapes, stored_part
from t2c_jax.papers.code2seq.config import PathsConfig

TOKEN_KEYS = ("encoder_input_tokens", "encoder_segment_ids", "encoder_positions")


class SourceSide(Protocol):
    """How sources lie in rows.

    Attributes:
      length: positions of a row.
      what: the config's key of ``length``, for messages.
    """

    length: int
    what: str

    def lengths(self, records_N: np.ndarray, tokens_N: np.ndarray) -> np.ndarray:
        """Positions that each example takes, given its record and its source's tokens; more than ``length`` leaves it
        out."""
        ...

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of a row of each array; all are int32."""
        ...

    def arrays(
        self, sources: Sequence[np.ndarray], starts: np.ndarray, records: np.ndarray, epochs: np.ndarray, seed: int
    ) -> dict[str, np.ndarray]:
        """The arrays of some rows.

        Args:
          sources: tokens of each source, as the task makes them.
          starts: row r holds the sources from ``starts[r]`` to ``starts[r + 1]``.
          records: each source's record.
          epochs: the epoch that each is read in; with ``seed`` it keys whatever is drawn.
          seed: of the run, 0 in evaluation.
        """
        ...


class TokenSource:
    """Tokens, packed: ``encoder_input_tokens``, ``encoder_segment_ids``, ``encoder_positions``, each (B, S)."""

    what = "data.encoder_length"

    def __init__(self, data: DataConfig, copy_table: np.ndarray | None = None) -> None:
        self.length, self._copy_table = data.encoder_length, copy_table

    def lengths(self, records_N: np.ndarray, tokens_N: np.ndarray) -> np.ndarray:
        """The tokens themselves."""
        return tokens_N

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """(S) each; ``encoder_copy_tokens`` where sources are copied by a table."""
        keys = TOKEN_KEYS if self._copy_table is None else (*TOKEN_KEYS, "encoder_copy_tokens")
        return dict.fromkeys(keys, (self.length,))

    def arrays(
        self, sources: Sequence[np.ndarray], starts: np.ndarray, records: np.ndarray, epochs: np.ndarray, seed: int
    ) -> dict[str, np.ndarray]:
        """Sources end to end; nothing is drawn."""
        side = laid_out(sources, starts, self.length)
        batch = dict(zip(TOKEN_KEYS, (side.tokens_BL, side.segments_BL, side.positions_BL), strict=True))
        if self._copy_table is not None:
            batch["encoder_copy_tokens"] = self._copy_table[side.tokens_BL]
        return batch


class PathSource:
    """Paths, one pair a row (Alon et al. 2019, section 3.2): K of them, drawn afresh each epoch."""

    what = "model.encoder.sampled"

    def __init__(self, stored: StoredPaths, config: PathsConfig) -> None:
        self._stored, self._config, self.length = stored, config, config.sampled

    def lengths(self, records_N: np.ndarray, tokens_N: np.ndarray) -> np.ndarray:
        """Paths in a row; a pair without any has no place."""
        counts_N = self._stored.counts[records_N]
        return np.where(counts_N > 0, np.minimum(counts_N, self.length), self.length + 1)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """``path_columns.shapes`` of K paths."""
        return shapes(self._config, self.length)

    def arrays(
        self, sources: Sequence[np.ndarray], starts: np.ndarray, records: np.ndarray, epochs: np.ndarray, seed: int
    ) -> dict[str, np.ndarray]:
        """Each pair's draw is keyed by (seed, epoch, pair) alone."""
        pairs = zip(records.tolist(), epochs.tolist(), strict=True)
        drawn = (self._stored[i].take(self.length, seed, epoch, i) for i, epoch in pairs)
        return lay_out(drawn, len(starts) - 1, self.length, self._config)


def source_shapes(experiment: Experiment) -> dict[str, tuple[int, ...]]:
    """Shape of a row of each array of what config.model.encoder reads, without any tokens; all are int32."""
    data, model = experiment.data, experiment.model
    if isinstance(model.encoder, PathsConfig):
        return shapes(model.encoder, model.encoder.sampled)
    table = np.zeros(0, np.int32) if model.copy and model.encoder.own_tokenizer else None
    return TokenSource(data, table).shapes()


def source_side(experiment: Experiment, tokens: Tokens, copy_table: np.ndarray | None) -> SourceSide:
    """What config.model.encoder reads.

    Raises:
      UserError: the tokens stage has not made it, or not as config.model.encoder says.
    """
    encoder = experiment.model.encoder
    if not isinstance(encoder, PathsConfig):
        return TokenSource(experiment.data, copy_table)
    if tokens.paths is None or tokens.paths.settings != stored_part(encoder):
        raise UserError("the tokens hold no paths as config.model.encoder wants them; run t2c prepare")
    return PathSource(tokens.paths, encoder)
