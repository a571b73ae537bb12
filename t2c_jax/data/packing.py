"""Which pairs share a row: two-sided packing as a plan made of lengths alone.

A row has room for S encoder and T decoder tokens, so filling rows is vector bin packing in two dimensions. The
plan is made once, by a greedy that fills one row at a time (the bin-centric heuristics of Panigrahy, Talwar, Uyeda,
Wieder 2011, "Heuristics for Vector Bin Packing"), in integers, so that it is the same on every machine.

An epoch keeps the plan and deals the pairs out anew over its places: pairs of the same two lengths swap
places, and rows change their order. (Planning on lengths and dealing pairs out afterwards is how Krell et al. 2021,
"Efficient Sequence Packing without Cross-contamination", pack a histogram of lengths.) Every epoch then has the same
number of rows, so that a step's epoch and rows are found by one division, however far into a run; and an epoch holds
every pair exactly once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from t2c_jax.data.permutation import permutation


@dataclass(frozen=True)
class Rows:
    """Pairs in rows: row r holds ``pairs[starts[r]:starts[r + 1]]``, in that order."""

    pairs: np.ndarray
    starts: np.ndarray

    def __len__(self) -> int:
        return len(self.starts) - 1

    def take(self, rows: np.ndarray) -> Rows:
        """These rows, in this order."""
        counts = (self.starts[1:] - self.starts[:-1])[rows]
        ends = np.cumsum(counts)
        places = np.repeat(self.starts[rows] - (ends - counts), counts) + np.arange(counts.sum())
        return Rows(self.pairs[places], np.concatenate([[0], ends]))


@dataclass(frozen=True)
class Plan:
    """Rows for the pairs that fit.

    Attributes:
      rows: the plan's own; ``epoch`` gives those of an epoch.
      source_lengths, target_lengths: tokens of each pair, special tokens included, of dropped pairs too.
      encoder_length, decoder_length: S and T.
    """

    rows: Rows
    source_lengths: np.ndarray
    target_lengths: np.ndarray
    encoder_length: int
    decoder_length: int

    @property
    def dropped(self) -> int:
        """Pairs longer than a row on either side, never cut, and those without anything to read."""
        return len(self.source_lengths) - len(self.rows.pairs)

    @property
    def real_token_share(self) -> float:
        """Share of the rows' S + T positions that hold a token."""
        real = self.source_lengths[self.rows.pairs].sum() + self.target_lengths[self.rows.pairs].sum()
        return float(real) / max(len(self.rows) * (self.encoder_length + self.decoder_length), 1)

    def epoch(self, seed: int, epoch: int) -> Rows:
        """An epoch's rows: a pure function of the plan and (seed, epoch)."""
        shuffled = self.rows.pairs[permutation(len(self.rows.pairs), seed, epoch, 0)]
        dealt = np.empty_like(shuffled)
        dealt[self._places_by_lengths] = shuffled[np.argsort(self._lengths_key(shuffled), kind="stable")]
        return Rows(dealt, self.rows.starts).take(permutation(len(self.rows), seed, epoch, 1))

    def _lengths_key(self, pairs: np.ndarray) -> np.ndarray:
        return self.source_lengths[pairs] * (self.decoder_length + 1) + self.target_lengths[pairs]

    @cached_property
    def _places_by_lengths(self) -> np.ndarray:
        return np.argsort(self._lengths_key(self.rows.pairs), kind="stable")


def plan(
    source_lengths: np.ndarray,
    target_lengths: np.ndarray,
    encoder_length: int,
    decoder_length: int,
    pool: int = 1,
    seed: int = 0,
    max_per_row: int = 0,
) -> Plan:
    """Puts every pair that fits into a row.

    Args:
      source_lengths, target_lengths: tokens of each pair as the model sees them.
      encoder_length, decoder_length: S and T.
      pool: pairs packed among themselves at a time; more pack tighter. 0 puts one pair in a row.
      seed: of the order in which pairs come into the pools.
      max_per_row: pairs in a row at most; 0 for as many as fit.
    """
    source_lengths, target_lengths = source_lengths.astype(np.int64), target_lengths.astype(np.int64)
    fitting = np.flatnonzero((source_lengths <= encoder_length) & (target_lengths <= decoder_length))
    stream = fitting[permutation(len(fitting), seed)]
    if pool == 0:
        rows = Rows(stream, np.arange(len(stream) + 1))
    else:
        rows = _packed(stream, source_lengths, target_lengths, encoder_length, decoder_length, pool)
    if max_per_row:
        counts = np.diff(rows.starts)
        extra = [
            np.arange(0, count, max_per_row) + start for count, start in zip(counts, rows.starts[:-1], strict=True)
        ]
        rows = Rows(rows.pairs, np.concatenate([*extra, rows.starts[-1:]]))
    return Plan(rows, source_lengths, target_lengths, encoder_length, decoder_length)


def _packed(stream: np.ndarray, source: np.ndarray, target: np.ndarray, S: int, T: int, pool: int) -> Rows:
    """Packs the stream by pools of equal size, ``pool`` pairs at most.

    Both sides are measured in units of 1 / (S T): a full encoder row counts as much as a full decoder row.
    """
    packed: list[np.ndarray] = []
    for pairs_P in np.array_split(stream, max(-(-len(stream) // pool), 1)):
        packed += _rows_of_pool(pairs_P, source[pairs_P] * T, target[pairs_P] * S, S * T)
    counts = [len(row) for row in packed]
    return Rows(np.concatenate([stream[:0], *packed]), np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]))


def _rows_of_pool(pairs_P: np.ndarray, source_P: np.ndarray, target_P: np.ndarray, room: int) -> list[np.ndarray]:
    """Fills row after row: the largest pair left opens it, and while one fits, the best one follows.

    The best leaves the least room on the roomier side (greedy in the maximum norm). That fills both sides evenly,
    which is what counts, since a row with one side full takes no more pairs.
    """
    by_size_P = np.argsort(-(source_P + target_P), kind="stable")
    pairs_P, source_P, target_P = pairs_P[by_size_P], source_P[by_size_P], target_P[by_size_P]
    rows = []
    while len(pairs_P):
        left_P = np.ones(len(pairs_P), bool)
        row, chosen, source_room, target_room = [], 0, room, room
        while True:
            row.append(chosen)
            left_P[chosen] = False
            source_room -= int(source_P[chosen])
            target_room -= int(target_P[chosen])
            fits_P = left_P & (source_P <= source_room) & (target_P <= target_room)
            roomier_P = np.maximum(source_room - source_P, target_room - target_P)
            roomier_P[~fits_P] = room + 1
            chosen = int(np.argmin(roomier_P))
            if roomier_P[chosen] > room:
                break
        rows.append(pairs_P[row])
        pairs_P, source_P, target_P = pairs_P[left_P], source_P[left_P], target_P[left_P]
    return rows
