"""Tokens to batches: step k's batch is computed from (seed, k), and tf.data computes ahead.

The data has no state but the step. Rows are numbered through the epochs; with R rows in an epoch and B in a batch,
step k takes rows kB to (k + 1)B - 1, and row g is row g mod R of epoch g div R (``packing``). A run that resumes at
step k, or goes on with other hosts, computes the same global batches; nothing is replayed.

The batch contract is T5X's. Two pairs, text [7] with code [8, 9] and text [5, 6] with code [4], packed in one row
of S = 6 and T = 6 (1 is eos, 0 is pad):

    encoder_input_tokens    7 1 5 6 1 0
    encoder_segment_ids     1 1 2 2 2 0
    encoder_positions       0 1 0 1 2 0
    decoder_target_tokens   8 9 1 4 1 0
    decoder_input_tokens    0 8 9 0 4 0
    decoder_segment_ids     1 1 1 2 2 0
    decoder_positions       0 1 2 0 1 0
    decoder_loss_weights    1 1 1 1 1 0

All are int32 of shape (B, S) or (B, T), the weights float32. Segment ids and positions are there also where every
row holds one pair. Where the model copies and sources and targets have tokenizers of their own,
``encoder_copy_tokens`` (B, S) says what each source token is as a target, 0 for nothing.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from t2c_jax import runtime
from t2c_jax.config import DataConfig
from t2c_jax.data.objectives import Translate
from t2c_jax.data.packing import Plan, Rows, plan
from t2c_jax.data.prepare import Tokens
from t2c_jax.errors import UserError

if TYPE_CHECKING:
    import tensorflow as tf

Batch = dict[str, np.ndarray]
KEYS = (
    "encoder_input_tokens",
    "encoder_segment_ids",
    "encoder_positions",
    "decoder_target_tokens",
    "decoder_input_tokens",
    "decoder_segment_ids",
    "decoder_positions",
    "decoder_loss_weights",
)


class Batches:
    """One host's part of every batch, by step.

    With ``repeat`` the epochs follow each other without end (training). Without it there is one pass in a fixed
    order that no seed changes, its last batch filled up with empty rows (evaluation). ``plan`` is the packing: rows
    in an epoch, share of real tokens, pairs left out.
    """

    def __init__(
        self,
        tokens: Tokens,
        data: DataConfig,
        seed: int,
        objective: Translate | None = None,
        *,
        repeat: bool = True,
        process_index: int = 0,
        process_count: int = 1,
    ) -> None:
        """Makes the plan; O(pairs), seconds for a million.

        Args:
          tokens: a split.
          data: lengths, batch size, packing.
          seed: of the order.
          objective: makes sources and targets of pairs; by default text to code.
          repeat: epochs without end, or one pass.
          process_index, process_count: this host among those that share a global batch.

        Raises:
          UserError: the hosts cannot share the batch evenly, or no pair fits a row.
        """
        if data.batch_size % process_count:
            raise UserError(
                f"config.data.batch_size={data.batch_size} is not divisible by the number of hosts, {process_count}"
            )
        self._tokens, self._data, self._repeat = tokens, data, repeat
        self._seed = seed if repeat else 0
        self._objective = objective or Translate()
        self._process_index = process_index
        self._local_size = data.batch_size // process_count
        lengths = self._objective.lengths(tokens.text_lengths, tokens.code_lengths)
        pool = data.packing_pool if data.pack else 0
        self.plan: Plan = plan(*lengths, data.encoder_length, data.decoder_length, pool, self._seed)
        self._epochs: dict[int, Rows] = {}
        self._lock = threading.Lock()
        if repeat and not len(self.plan.rows):
            raise UserError(
                f"none of the {len(tokens)} pairs fits config.data.encoder_length={data.encoder_length} and"
                f" decoder_length={data.decoder_length}; raise them"
            )

    @property
    def per_pass(self) -> int:
        """Batches in one pass over the pairs, the last one perhaps not full."""
        return -(-len(self.plan.rows) // self._data.batch_size)

    def batch(self, step: int) -> Batch:
        """This host's rows of the global batch of ``step``: a pure function of it."""
        first = step * self._data.batch_size + self._process_index * self._local_size
        return self._assembled(self._rows(np.arange(first, first + self._local_size)))

    def pair_ids(self, step: int) -> list[str]:
        """The ids of the pairs in this host's rows of the global batch of ``step``."""
        first = step * self._data.batch_size + self._process_index * self._local_size
        rows = self._rows(np.arange(first, first + self._local_size))
        return [self._tokens.ids[i] for i in rows.pairs.tolist()]

    def _rows(self, numbers: np.ndarray) -> Rows:
        size = len(self.plan.rows)
        if not self._repeat:
            present = numbers[numbers < size]
            rows = self._epoch(0).take(present)
            return Rows(rows.pairs, np.pad(rows.starts, (0, len(numbers) - len(present)), mode="edge"))
        epochs = numbers // size
        parts = [self._epoch(epoch).take(numbers[epochs == epoch] % size) for epoch in np.unique(epochs).tolist()]
        counts = np.concatenate([np.diff(part.starts) for part in parts])
        return Rows(np.concatenate([part.pairs for part in parts]), np.concatenate([[0], np.cumsum(counts)]))

    def _epoch(self, epoch: int) -> Rows:
        with self._lock:  # tf.data asks from several threads
            if epoch not in self._epochs:
                self._epochs = {e: rows for e, rows in self._epochs.items() if e == epoch - 1}
                self._epochs[epoch] = self.plan.epoch(self._seed, epoch)
            return self._epochs[epoch]

    def _assembled(self, rows: Rows) -> Batch:
        tokens, data = self._tokens, self._data
        objective = self._objective
        examples = [objective.example(tokens.text(i), tokens.code(i)) for i in rows.pairs.tolist()]
        encoder = _laid_out([source for source, _ in examples], rows.starts, data.encoder_length)
        decoder = _laid_out([target for _, target in examples], rows.starts, data.decoder_length)
        weights_BT = (decoder.segments_BL > 0).astype(np.float32)
        if self._repeat and objective.weights is not None:
            weights_BT *= objective.weights[decoder.tokens_BL]
        batch = {
            "encoder_input_tokens": encoder.tokens_BL,
            "encoder_segment_ids": encoder.segments_BL,
            "encoder_positions": encoder.positions_BL,
            "decoder_target_tokens": decoder.tokens_BL,
            "decoder_input_tokens": decoder.shifted_right(objective.start),
            "decoder_segment_ids": decoder.segments_BL,
            "decoder_positions": decoder.positions_BL,
            "decoder_loss_weights": weights_BT,
        }
        if objective.copy_table is not None:
            batch["encoder_copy_tokens"] = objective.copy_table[encoder.tokens_BL]
        return batch

    def shapes(self) -> dict[str, tuple[tuple[int, int], np.dtype]]:
        """Shape and dtype of each array of this host's batches."""
        lengths = {"encoder": self._data.encoder_length, "decoder": self._data.decoder_length}
        keys = KEYS if self._objective.copy_table is None else (*KEYS, "encoder_copy_tokens")
        return {
            key: ((self._local_size, lengths[key[:7]]), np.dtype(np.float32 if key.endswith("weights") else np.int32))
            for key in keys
        }

    def dataset(self, start_step: int, stop_step: int) -> tf.data.Dataset:
        """The batches of steps ``start_step`` to ``stop_step - 1``, computed ahead on two threads."""
        tf = runtime.tensorflow()
        shapes = self.shapes()

        def compute(step: np.ndarray) -> list[np.ndarray]:
            batch = self.batch(int(step))
            return [batch[key] for key in shapes]

        def graph(step: Any) -> dict[str, Any]:
            arrays = tf.numpy_function(compute, [step], [dtype for _, dtype in shapes.values()], stateful=False)
            return {key: tf.ensure_shape(array, shapes[key][0]) for key, array in zip(shapes, arrays, strict=True)}

        options = tf.data.Options()
        options.deterministic = True
        options.autotune.enabled = False
        options.threading.private_threadpool_size = 2
        options.threading.max_intra_op_parallelism = 1
        steps = tf.data.Dataset.range(start_step, stop_step)
        return steps.map(graph, num_parallel_calls=2).prefetch(4).with_options(options)


@dataclass(frozen=True)
class _Side:
    """One side's rows: tokens, segment ids (from 1; 0 is padding) and positions within the segment."""

    tokens_BL: np.ndarray
    segments_BL: np.ndarray
    positions_BL: np.ndarray

    def shifted_right(self, start: int) -> np.ndarray:
        """Teacher forcing's input: each segment's tokens one later, after the start token."""
        shifted_BL = np.where(self.positions_BL > 0, np.roll(self.tokens_BL, 1, axis=1), start)
        return np.where(self.segments_BL > 0, shifted_BL, 0).astype(np.int32)


def _laid_out(sequences: list[np.ndarray], starts: np.ndarray, length: int) -> _Side:
    """Lays sequences end to end in rows of ``length``; row r holds those from ``starts[r]`` to ``starts[r + 1]``."""
    shape = (len(starts) - 1, length)
    tokens_BL, segments_BL, positions_BL = (np.zeros(shape, np.int32) for _ in range(3))
    if sequences:
        counts = np.diff(starts)
        lengths = np.array([len(sequence) for sequence in sequences])
        begins = np.cumsum(lengths) - lengths  # of each sequence, were all rows one
        row = np.repeat(np.arange(len(counts)), counts)
        begins_in_row = begins - begins[starts[row]]
        positions = np.arange(lengths.sum()) - np.repeat(begins, lengths)
        places = np.repeat(row * length + begins_in_row, lengths) + positions
        tokens_BL.flat[places] = np.concatenate(sequences)
        segments_BL.flat[places] = np.repeat(np.arange(len(sequences)) - starts[row] + 1, lengths)
        positions_BL.flat[places] = positions
    return _Side(tokens_BL, segments_BL, positions_BL)
