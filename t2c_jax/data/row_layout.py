"""Sequences end to end in rows of one length, with segment ids and positions.

Letters: B rows, L positions of a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class RowArrays:
    """Rows of tokens, with segment ids (from 1; 0 is padding) and positions within the segment."""

    tokens_BL: np.ndarray
    segments_BL: np.ndarray
    positions_BL: np.ndarray

    def shifted_right(self, start: int) -> np.ndarray:
        """Teacher forcing's input: each segment's tokens one position later, after the start token."""
        shifted_BL = np.where(self.positions_BL > 0, np.roll(self.tokens_BL, 1, axis=1), start)
        return np.where(self.segments_BL > 0, shifted_BL, 0).astype(np.int32)


def lay_out(sequences: Sequence[np.ndarray], starts: np.ndarray, length: int) -> RowArrays:
    """Puts sequences end to end in rows of ``length``; row r holds those from ``starts[r]`` to ``starts[r + 1]``."""
    shape = (len(starts) - 1, length)
    tokens_BL, segments_BL, positions_BL = (np.zeros(shape, np.int32) for _ in range(3))
    if sequences:
        counts = np.diff(starts)
        lengths = np.array([len(sequence) for sequence in sequences])
        begins = np.cumsum(lengths) - lengths  # of each sequence, if all rows were one
        row = np.repeat(np.arange(len(counts)), counts)
        begins_in_row = begins - begins[starts[row]]
        positions = np.arange(lengths.sum()) - np.repeat(begins, lengths)
        places = np.repeat(row * length + begins_in_row, lengths) + positions
        tokens_BL.flat[places] = np.concatenate(sequences)
        segments_BL.flat[places] = np.repeat(np.arange(len(sequences)) - starts[row] + 1, lengths)
        positions_BL.flat[places] = positions
    return RowArrays(tokens_BL, segments_BL, positions_BL)
