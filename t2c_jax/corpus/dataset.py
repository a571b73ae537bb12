"""The corpus on disk: a TFDS dataset, written by the corpus stage and read by every later one.

It is ``DIRECTORY/t2c_pairs/1.0.0``, TFRecord, with the features of ``Pair`` except its split; ``tests`` is JSON text.
Its own files describe it, so ``tfds.load("t2c_pairs", data_dir=DIRECTORY)`` needs nothing of this package, and the
directory may be moved. A split without pairs does not exist there: TFDS fails to load empty ones.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from t2c_jax import runtime
from t2c_jax.corpus.pairs import SPLITS, Pair, Source
from t2c_jax.corpus.tfrecord import read_examples, write_record
from t2c_jax.errors import UserError, nearest
from t2c_jax.languages.execution import Execution
from t2c_jax.workdir import Workdir

NAME, VERSION = "t2c_pairs", "1.0.0"

_TEXTS = ("id", "text", "code", "language", "kind")
_LATER = ("group", "tests")  # corpora that were written before these were kept lack them
_SOURCE_TEXTS = ("repository", "commit", "path", "licence")
_SOURCE_NUMBERS = ("start_line", "end_line")
_SHARD_PAIRS = 65_536  # some 100 MB, as TFDS advises
_DESCRIPTION = "Pairs of text and the code that answers it, mined and cleaned by t2c_jax; card.md beside it says how."


def read_pairs(workdir: Workdir, split: str) -> Iterator[Pair]:
    """The pairs of a split, in the order of the sources; none if the split is empty.

    Raises:
      UserError: unknown split, no finished corpus in the workdir, or a damaged one.
    """
    count_pairs(workdir, split)
    return read_dataset(workdir.corpus, split)


def count_pairs(workdir: Workdir, split: str) -> int:
    """How many pairs a split has, from the manifest.

    Raises:
      UserError: unknown split, or no finished corpus in the workdir.
    """
    if split not in SPLITS:
        raise UserError(f"unknown split '{split}'{nearest(split, SPLITS)}; splits are {', '.join(SPLITS)}")
    return workdir.manifest("corpus")["counts"]["splits"].get(split, 0)


def write_dataset(directory: Path, pairs: Iterable[Pair], splits: Sequence[str]) -> None:
    """Writes the corpus in the order of ``pairs``, holding one of them at a time.

    Args:
      directory: the dataset goes to ``t2c_pairs/1.0.0`` under it.
      pairs: each with its split.
      splits: those that have pairs.

    Raises:
      OSError: the disk is full (ENOSPC) or may not be written (EACCES).
    """
    target = directory / NAME / VERSION
    target.mkdir(parents=True)
    with contextlib.ExitStack() as opened:
        writers = {split: opened.enter_context(_SplitWriter(target, split)) for split in splits}
        for pair in pairs:
            writers[pair.split].write(_example(pair))
    _write_description(target, list(writers.values()))


class _SplitWriter(contextlib.AbstractContextManager["_SplitWriter"]):
    """Writes the examples of a split, in shards."""

    def __init__(self, directory: Path, split: str) -> None:
        self.split = split
        self.bytes = 0
        self.shard_lengths: list[int] = []
        self._directory = directory
        self._file: BinaryIO | None = None

    def write(self, example: bytes) -> None:
        if self._file is None or self.shard_lengths[-1] == _SHARD_PAIRS:
            self._close()
            path = self._directory / f"{NAME}-{self.split}.tfrecord-{len(self.shard_lengths):05d}"
            self._file = path.open("wb", buffering=1 << 20)
            self.shard_lengths.append(0)
        write_record(self._file, example)
        self.shard_lengths[-1] += 1
        self.bytes += len(example)

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _example(pair: Pair) -> bytes:
    from tensorflow_datasets.proto import tf_example_pb2

    values: dict[str, str | int] = {name: getattr(pair, name) for name in _TEXTS}
    values |= {"group": pair.group, "tests": "" if pair.tests is None else pair.tests.to_json()}
    values |= {f"source/{name}": getattr(pair.source, name) for name in (*_SOURCE_TEXTS, *_SOURCE_NUMBERS)}
    example = tf_example_pb2.Example()
    for name, value in values.items():
        feature = example.features.feature[name]
        if isinstance(value, int):
            feature.int64_list.value.append(value)
        else:
            feature.bytes_list.value.append(value.encode("utf-8"))
    return example.SerializeToString(deterministic=True)


def _write_description(target: Path, writers: Sequence[_SplitWriter]) -> None:
    """Writes what TFDS needs to open the dataset, without TensorFlow."""
    import tensorflow_datasets as tfds

    text = tfds.features.Text
    features = {name: text() for name in (*_TEXTS, *_LATER)}
    source = {name: text() for name in _SOURCE_TEXTS}
    source |= {name: tfds.features.Scalar(np.int32) for name in _SOURCE_NUMBERS}
    identity = tfds.core.DatasetIdentity(
        name=NAME, version=tfds.core.Version(VERSION), data_dir=str(target), module_name=NAME
    )
    info = tfds.core.DatasetInfo(
        builder=identity,
        description=_DESCRIPTION,
        features=tfds.features.FeaturesDict({**features, "source": source}),
    )
    template = tfds.core.ShardedFileTemplate(
        data_dir=target,
        template="{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_INDEX}",
        dataset_name=NAME,
        filetype_suffix="tfrecord",
    )
    with quiet_tfds():
        info.set_file_format(tfds.core.FileFormat.TFRECORD)
        info.set_splits(
            tfds.core.splits.SplitDict(
                tfds.core.SplitInfo(
                    name=writer.split,
                    shard_lengths=writer.shard_lengths,
                    num_bytes=writer.bytes,
                    filename_template=template.replace(split=writer.split),
                )
                for writer in writers
            )
        )
        info.write_to_directory(target)


def read_dataset(directory: Path, split: str) -> Iterator[Pair]:
    """The pairs of a split as ``write_dataset`` left them, in the same order; none where there is no such split.

    Raises:
      UserError: the dataset is missing or damaged.
    """
    files = sorted((directory / NAME / VERSION).glob(f"{NAME}-{split}.tfrecord-*"))
    count = 0
    try:
        for path in files:
            for values in read_examples(path):
                yield _pair(values, split)
                count += 1
        expected = count_examples(directory).get(split, 0)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"the corpus in '{directory}' is damaged ({type(error).__name__}); {_AGAIN}") from None
    if count != expected:
        raise UserError(f"the corpus in '{directory}' has {count:,} of {expected:,} pairs in {split}; {_AGAIN}")


def _pair(values: Mapping[str, bytes | int], split: str) -> Pair:
    def read(names: Sequence[str], prefix: str = "") -> dict[str, Any]:
        found = {name: values[prefix + name] for name in names}
        return {name: value.decode("utf-8") if isinstance(value, bytes) else value for name, value in found.items()}

    source = Source(**read((*_SOURCE_TEXTS, *_SOURCE_NUMBERS), "source/"))
    texts = read([*_TEXTS, *(name for name in _LATER if name in values)])
    tests = texts.pop("tests", "")
    return Pair(**texts, source=source, split=split, tests=Execution.from_json(tests) if tests else None)


_AGAIN = "delete that directory and run the corpus stage again"


def count_examples(directory: Path) -> dict[str, int]:
    """Pairs in each split, from the dataset's own description, without TensorFlow."""
    info = json.loads((directory / NAME / VERSION / "dataset_info.json").read_text("utf-8"))
    return {split["name"]: sum(map(int, split.get("shardLengths", ()))) for split in info["splits"]}


@contextlib.contextmanager
def quiet_tfds() -> Iterator[None]:
    """Hides warnings of absl, in which TFDS reports its steps, and of urllib3, which reports each failed attempt."""
    loggers = [logging.getLogger(name) for name in ("absl", "urllib3.connectionpool")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def import_tensorflow() -> tuple[Any, Any]:
    """TensorFlow and TFDS, imported late (it takes seconds), without their greeting and without an accelerator."""
    tf = runtime.tensorflow()
    import tensorflow_datasets as tfds

    return tf, tfds
