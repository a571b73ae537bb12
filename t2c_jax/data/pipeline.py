"""Tokens to batches: step k's batch is computed from (seed, k), and tf.data computes ahead.

The data has no state but the step. Rows are numbered through the epochs; with R rows in an epoch and B in a batch,
step k takes rows kB to (k + 1)B - 1, and row g is row g mod R of epoch g div R (``packing``). Where several tasks are
mixed, rows alternate (``schedule.TaskSchedule``), and a task's rows are numbered among themselves. A run that resumes
at step k, or with other hosts, computes the same global batches; nothing is replayed.

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

In a mixture ``task`` (B) is the number of each row's task. With a contrastive task ``contrastive_pairs`` (B) counts the
pairs of two sources in each row, with text and code of pair i in the segments 2i + 1 and 2i + 2. With one that tags
identifiers, ``encoder_tags`` (B, S) holds 1 for an identifier, 0 for none, -1 where no loss is taken.

An encoder that reads something else than tokens has other keys in the place of ``encoder_*`` (``encoder_features``).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from t2c_jax import runtime
from t2c_jax.config import DataConfig
from t2c_jax.data.encoder_features import SourceRows, TokenRows
from t2c_jax.data.packing import Plan, Rows, plan
from t2c_jax.data.row_layout import lay_out
from t2c_jax.data.schedule import TaskSchedule
from t2c_jax.data.tasks.task import Example, Task, objective_of
from t2c_jax.data.tasks.translation import Translation
from t2c_jax.data.templates import TOKEN_KEYS
from t2c_jax.data.tokens import Tokens
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
TASK_KEYS = ("task", "contrastive_pairs", "encoder_tags")
"""Arrays that only some mixtures of tasks bring."""


def task_keys(data: DataConfig) -> list[str]:
    """Which of ``TASK_KEYS`` the config's tasks need."""
    needed = {"task", *(objective_of(task).batch_key for task in data.tasks.values())} if data.tasks else set()
    return [key for key in TASK_KEYS if key in needed]


def batch_shapes(
    data: DataConfig, source: Mapping[str, tuple[int, ...]], extra_keys: Sequence[str], rows: int
) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Shape and dtype of each array of a batch of ``rows``, given the shapes of a row of what the encoder reads."""
    shapes = {**source, **dict.fromkeys(DECODER_KEYS, (data.decoder_length,))}
    extra: dict[str, tuple[int, ...]] = {"encoder_tags": (data.encoder_length,)}
    shapes |= {key: extra.get(key, ()) for key in TASK_KEYS if key in extra_keys}
    return {
        key: ((rows, *row), np.dtype(np.float32 if key.endswith("weights") else np.int32))
        for key, row in shapes.items()
    }


class _Row(NamedTuple):
    """A row's stream, and its examples with the epoch of each."""

    stream: int
    examples: list[int]
    epochs: list[int]


def _ints(values: Sequence[int]) -> np.ndarray:
    return np.array(values, np.int64)


def _starts(counts: Sequence[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(_ints(counts))])


class Stream:
    """A task's rows by number, epoch after epoch: a function of (seed, number).

    ``index`` has the task's examples, and ``plan`` is their packing: rows in an epoch, share of real tokens, examples
    that were dropped.
    """

    def __init__(
        self, tokens: Tokens, data: DataConfig, seed: int, task: Task | None = None, source: SourceRows | None = None
    ) -> None:
        """Makes the plan: O(examples), seconds for a million.

        Args:
          tokens: a split.
          data: lengths and packing.
          seed: of the order.
          task: what is made of the tokens; by default text to code.
          source: lays out what the encoder reads; by default tokens.
        """
        self.tokens, self.task, self.seed = tokens, task or Translation(), seed
        self.source = source or TokenRows(data.encoder_length, self.task.source)
        self.index = self.task.index(tokens, seed)
        source_N = self.source.lengths(self.index.records_N, self.index.source_N)
        pool = data.packing_pool if data.pack else 0
        lengths = source_N, self.index.target_N, self.source.length, data.decoder_length
        self.plan: Plan = plan(*lengths, pool, seed, self.task.max_examples_per_row)
        self._epochs: dict[int, Rows] = {}
        self._lock = threading.Lock()

    def one_pass(self, numbers: np.ndarray) -> Rows:
        """These rows of epoch 0, in its order; empty rows past the last.

        That order deals pairs out to rows at random, so the dev loss over the first batches is unbiased.
        """
        present = numbers[numbers < len(self.plan.rows)]
        rows = self._epoch(0).take(present)
        return Rows(rows.pairs, np.pad(rows.starts, (0, len(numbers) - len(present)), mode="edge"))

    def endless(self, numbers: np.ndarray) -> tuple[Rows, np.ndarray]:
        """The rows of these numbers, and the epoch of each example in them."""
        epochs = numbers // len(self.plan.rows)
        found = [
            self._epoch(epoch).take(numbers[epochs == epoch] % len(self.plan.rows))
            for epoch in np.unique(epochs).tolist()
        ]
        counts = np.concatenate([np.diff(part.starts) for part in found])
        starts = np.concatenate([[0], np.cumsum(counts)])
        return Rows(np.concatenate([part.pairs for part in found]), starts), np.repeat(epochs, counts)

    def _epoch(self, epoch: int) -> Rows:
        with self._lock:  # tf.data asks from several threads
            if epoch not in self._epochs:
                self._epochs = {e: rows for e, rows in self._epochs.items() if e == epoch - 1}
                self._epochs[epoch] = self.plan.epoch(self.seed, epoch)
            return self._epochs[epoch]

    def example(self, number: int, epoch: int) -> Example:
        """The example of this number in an epoch."""
        records_N, begins_N, ends_N = self.index[:3]
        record, begin, end = int(records_N[number]), int(begins_N[number]), int(ends_N[number])
        return self.task.example(self.tokens, record, begin, end, self.seed, epoch)


class Batches:
    """One host's part of every batch, by step.

    With ``repeat`` the epochs follow each other without end (training), and streams alternate by row. Without it there
    is one pass over one stream in a fixed order that no seed changes, its last batch filled up with empty rows
    (evaluation).
    """

    def __init__(
        self,
        streams: Sequence[Stream],
        data: DataConfig,
        schedule: TaskSchedule | None = None,
        *,
        repeat: bool = True,
        rows: Sequence[int] | np.ndarray | None = None,
        first_task: int | None = None,
        extra_keys: Sequence[str] = (),
    ) -> None:
        """Checks that there is something to read.

        Args:
          streams: tasks over tokens.
          data: lengths and batch size.
          schedule: the task of each row.
          repeat: epochs without end, or one pass.
          rows: of the global batch, those that this host reads (``mesh.local_rows``); by default all.
          first_task: number of the first stream's task among the run's.
          extra_keys: which of ``TASK_KEYS`` to make.

        Raises:
          UserError: no example fits a row.
        """
        self.streams, self._data, self._repeat, self._extra_keys = list(streams), data, repeat, tuple(extra_keys)
        self._schedule = schedule or TaskSchedule.of(np.ones(1))
        self._host_rows = np.arange(data.batch_size) if rows is None else np.asarray(rows)
        self._first_task = first_task or 0
        for stream in self.streams if repeat else ():
            if not len(stream.plan.rows):
                raise UserError(
                    f"none of the {len(stream.tokens)} pairs fits config.{stream.source.key}="
                    f"{stream.source.length} and config.data.decoder_length={data.decoder_length}; raise them"
                )

    @classmethod
    def of(
        cls,
        tokens: Tokens,
        data: DataConfig,
        seed: int,
        task: Task | None = None,
        source: SourceRows | None = None,
        *,
        repeat: bool = True,
        **options: Any,
    ) -> Batches:
        """Of one task, text to code by default; for one pass no seed matters."""
        return cls([Stream(tokens, data, seed if repeat else 0, task, source)], data, repeat=repeat, **options)

    @property
    def plan(self) -> Plan:
        """The first stream's."""
        return self.streams[0].plan

    @property
    def per_pass(self) -> int:
        """Batches in one pass over the first stream, the last one perhaps not full."""
        return -(-len(self.plan.rows) // self._data.batch_size)

    def batch(self, step: int) -> Batch:
        """This host's rows of the global batch of ``step``: a pure function of it."""
        return self._assembled(self._rows(step))

    def pair_ids(self, step: int) -> list[str]:
        """The ids of the pairs in this host's rows of the global batch of ``step``."""
        return [
            self.streams[row.stream].tokens.ids[self.streams[row.stream].index.records_N[number]]
            for row in self._rows(step)
            for number in row.examples
        ]

    def _rows(self, step: int) -> list[_Row]:
        """This host's rows."""
        numbers = step * self._data.batch_size + self._host_rows
        tasks_N, numbers_N = self._schedule.task_of_rows(numbers)
        found: list[_Row | None] = [None] * len(numbers)
        for k in np.unique(tasks_N).tolist():
            places = np.flatnonzero(tasks_N == k)
            if self._repeat:
                rows, epochs = self.streams[k].endless(numbers_N[places])
            else:
                rows = self.streams[k].one_pass(numbers_N[places])
                epochs = np.zeros(len(rows.pairs), np.int64)
            for place, start, end in zip(places.tolist(), rows.starts[:-1], rows.starts[1:], strict=True):
                found[place] = _Row(k, rows.pairs[start:end].tolist(), epochs[start:end].tolist())
        return [row for row in found if row is not None]

    def _assembled(self, rows: Sequence[_Row]) -> Batch:
        seed = self.streams[0].seed
        length, source = self._data.decoder_length, self.streams[0].source
        examples = [
            [
                self.streams[row.stream].example(number, epoch)
                for number, epoch in zip(row.examples, row.epochs, strict=True)
            ]
            for row in rows
        ]
        flat = [example for row in examples for example in row]
        decoder = lay_out([example.target for example in flat], _starts([len(row) for row in examples]), length)
        weights_BT = (decoder.segments_BL > 0).astype(np.float32)
        task = self.streams[0].task  # all tasks of a run share their target template and weights
        if self._repeat and task.weights is not None:
            weights_BT *= task.weights[decoder.tokens_BL]
        counts = [len(example.sources) for example in flat]
        starts = _starts([sum(len(example.sources) for example in row) for row in examples])
        records = [self.streams[row.stream].index.records_N[number] for row in rows for number in row.examples]
        epochs = [epoch for row in rows for epoch in row.epochs]
        sources = [tokens for example in flat for tokens in example.sources]
        return {
            **source.arrays(sources, starts, np.repeat(_ints(records), counts), np.repeat(_ints(epochs), counts), seed),
            "decoder_target_tokens": decoder.tokens_BL,
            "decoder_input_tokens": decoder.shifted_right(task.target.start),
            "decoder_segment_ids": decoder.segments_BL,
            "decoder_positions": decoder.positions_BL,
            "decoder_loss_weights": weights_BT,
            **self._task_arrays(rows, examples, starts),
        }

    def _task_arrays(self, rows: Sequence[_Row], examples: Sequence[Sequence[Example]], starts: np.ndarray) -> Batch:
        made: Batch = {}
        if "task" in self._extra_keys:
            made["task"] = np.array([self._first_task + row.stream for row in rows], np.int32)
        if "contrastive_pairs" in self._extra_keys:
            pairs = [sum(len(example.sources) == 2 for example in row) for row in examples]
            made["contrastive_pairs"] = np.array(pairs, np.int32)
        if "encoder_tags" in self._extra_keys:
            flat = [example for row in examples for example in row]
            tags = [
                tokens * 0 - 1 if example.tags is None else example.tags
                for example in flat
                for tokens in example.sources
            ]
            side = lay_out(tags, starts, self._data.encoder_length)
            made["encoder_tags"] = np.where(side.segments_BL > 0, side.tokens_BL, -1)
        return made

    def shapes(self) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
        """Shape and dtype of each array of this host's batches."""
        return batch_shapes(self._data, self.streams[0].source.shapes(), self._extra_keys, len(self._host_rows))

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
