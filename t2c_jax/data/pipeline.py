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

An encoder that reads paths of a syntax tree gets other keys in the place of ``encoder_*``, one pair a row. Of
``x = y_1``, drawn into K = 2 paths of M = 4 nodes and terminals of N = 3 tokens (x is 7, y is 5 6; node ids are
``paths``'s):

    path_start_tokens       7 0 0   0 0 0        (B, K, N)
    path_nodes              a b c 0 0 0 0 0      (B, K, M)  Name:Store^ Assign Namev
    path_end_tokens         5 6 0   0 0 0        (B, K, N)
    encoder_segment_ids     1       0            (B, K)     1 where a path is
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from t2c_jax import runtime
from t2c_jax.config import DataConfig
from t2c_jax.data.layout import laid_out
from t2c_jax.data.objectives import Translate
from t2c_jax.data.packing import Plan, Rows, plan
from t2c_jax.data.prepare import Tokens
from t2c_jax.data.source_side import TOKEN_KEYS, SourceSide, TokenSource
from t2c_jax.errors import UserError

if TYPE_CHECKING:
    import tensorflow as tf

Batch = dict[str, np.ndarray]
DECODER_KEYS = (
    "decoder_target_tokens",
    "decoder_input_tokens",
    "decoder_segment_ids",
    "decoder_positions",
    "decoder_loss_weights",
)
KEYS = (*TOKEN_KEYS, *DECODER_KEYS)


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
        source: SourceSide | None = None,
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
          source: lays out what the encoder reads; by default the objective's tokens.
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
        self._source = source or TokenSource(data, self._objective)
        source_N, target_N = self._objective.lengths(tokens.text_lengths, tokens.code_lengths)
        lengths = self._source.lengths(source_N), target_N
        pool = data.packing_pool if data.pack else 0
        self.plan: Plan = plan(*lengths, self._source.length, data.decoder_length, pool, self._seed)
        self._epochs: dict[int, Rows] = {}
        self._lock = threading.Lock()
        if repeat and not len(self.plan.rows):
            raise UserError(
                f"none of the {len(tokens)} pairs fits config.data.{self._source.what}={self._source.length} and"
                f" decoder_length={data.decoder_length}; raise them"
            )

    @property
    def per_pass(self) -> int:
        """Batches in one pass over the pairs, the last one perhaps not full."""
        return -(-len(self.plan.rows) // self._data.batch_size)

    def batch(self, step: int) -> Batch:
        """This host's rows of the global batch of ``step``: a pure function of it."""
        return self._assembled(*self._rows(step))

    def pair_ids(self, step: int) -> list[str]:
        """The ids of the pairs in this host's rows of the global batch of ``step``."""
        return [self._tokens.ids[i] for i in self._rows(step)[0].pairs.tolist()]

    def _rows(self, step: int) -> tuple[Rows, np.ndarray]:
        """This host's rows, and the epoch of each of their pairs."""
        first = step * self._data.batch_size + self._process_index * self._local_size
        numbers, size = np.arange(first, first + self._local_size), len(self.plan.rows)
        if not self._repeat:
            present = numbers[numbers < size]
            rows = self._epoch(0).take(present)
            starts = np.pad(rows.starts, (0, len(numbers) - len(present)), mode="edge")
            return Rows(rows.pairs, starts), np.zeros(len(rows.pairs), np.int64)
        epochs = numbers // size
        parts = [self._epoch(epoch).take(numbers[epochs == epoch] % size) for epoch in np.unique(epochs).tolist()]
        counts = np.concatenate([np.diff(part.starts) for part in parts])
        starts = np.concatenate([[0], np.cumsum(counts)])
        return Rows(np.concatenate([part.pairs for part in parts]), starts), np.repeat(epochs, counts)

    def _epoch(self, epoch: int) -> Rows:
        with self._lock:  # tf.data asks from several threads
            if epoch not in self._epochs:
                self._epochs = {e: rows for e, rows in self._epochs.items() if e == epoch - 1}
                self._epochs[epoch] = self.plan.epoch(self._seed, epoch)
            return self._epochs[epoch]

    def _assembled(self, rows: Rows, epochs: np.ndarray) -> Batch:
        tokens, objective = self._tokens, self._objective
        examples = [objective.example(tokens.text(i), tokens.code(i)) for i in rows.pairs.tolist()]
        decoder = laid_out([target for _, target in examples], rows.starts, self._data.decoder_length)
        weights_BT = (decoder.segments_BL > 0).astype(np.float32)
        if self._repeat and objective.weights is not None:
            weights_BT *= objective.weights[decoder.tokens_BL]
        return {
            **self._source.arrays([source for source, _ in examples], rows, epochs, self._seed),
            "decoder_target_tokens": decoder.tokens_BL,
            "decoder_input_tokens": decoder.shifted_right(objective.start),
            "decoder_segment_ids": decoder.segments_BL,
            "decoder_positions": decoder.positions_BL,
            "decoder_loss_weights": weights_BT,
        }

    def shapes(self) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
        """Shape and dtype of each array of this host's batches."""
        rows = {**self._source.shapes(), **dict.fromkeys(DECODER_KEYS, (self._data.decoder_length,))}
        return {
            key: ((self._local_size, *row), np.dtype(np.float32 if key.endswith("weights") else np.int32))
            for key, row in rows.items()
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
