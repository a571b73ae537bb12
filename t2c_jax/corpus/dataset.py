"""The corpus on disk: a TFDS dataset, written by the corpus stage and read by every later one.

It is ``DIRECTORY/t2c_pairs/1.0.0``, TFRecord, with the features of ``Pair`` except its split; ``tests`` is JSON text.
Its own files describe it, so ``tfds.load("t2c_pairs", data_dir=DIRECTORY)`` needs nothing of this package, and the
directory may be moved. A split without pairs does not exist there: TFDS fails to load empty ones.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from t2c_jax import runtime
from t2c_jax.corpus.pairs import SPLITS, Pair, Source
from t2c_jax.corpus.tfrecord import read_examples
from t2c_jax.errors import UserError, nearest
from t2c_jax.languages.execution import Execution
from t2c_jax.workdir import Workdir

NAME, VERSION = "t2c_pairs", "1.0.0"

_TEXTS = ("id", "text", "code", "language", "kind")
_LATER = ("group", "tests")  # corpora that were written before these were kept lack them
_SOURCE_TEXTS = ("repository", "commit", "path", "licence")
_SOURCE_NUMBERS = ("start_line", "end_line")
_SHARD_PAIRS = 65_536  # some 100 MB, as TFDS advises
_BATCH = 1024
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
    """Writes the corpus in the order of ``pairs``, holding a batch of them at a time.

    Args:
      directory: the dataset goes to ``t2c_pairs/1.0.0`` under it.
      pairs: each with its split.
      splits: those that have pairs.

    Raises:
      OSError: the disk is full (ENOSPC) or may not be written (EACCES).
    """
    tf, tfds = import_tensorflow()
    target = directory / NAME / VERSION
    target.mkdir(parents=True)
    text = tfds.features.Text
    features = {name: text() for name in (*_TEXTS, *_LATER)}
    source = {name: text() for name in _SOURCE_TEXTS}
    source |= {name: tfds.features.Scalar(tf.int32) for name in _SOURCE_NUMBERS}
    identity = tfds.core.DatasetIdentity(
        name=NAME, version=tfds.core.Version(VERSION), data_dir=str(target), module_name=NAME
    )
    info = tfds.core.DatasetInfo(
        builder=identity,
        description=_DESCRIPTION,
        features=tfds.features.FeaturesDict({**features, "source": source}),
    )
    with quiet_tfds(), _as_os_errors(tf, target):
        writer = tfds.core.SequentialWriter(info, max_examples_per_shard=_SHARD_PAIRS)
        writer.initialize_splits(list(splits))
        stream = iter(pairs)
        while batch := list(itertools.islice(stream, _BATCH)):  # the writer rewrites its metadata at every call
            examples: dict[str, list[dict[str, Any]]] = {}
            for pair in batch:
                values = pair.to_dict() | {"tests": "" if pair.tests is None else pair.tests.to_json()}
                examples.setdefault(values.pop("split"), []).append(values)
            writer.add_examples(examples)
        writer.close_all()


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


@contextlib.contextmanager
def _as_os_errors(tf: Any, path: Path) -> Iterator[None]:
    """Raises errors of TensorFlow's file system as ``OSError``."""
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
    except tf.errors.PermissionDeniedError as error:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES), str(path)) from error


def import_tensorflow() -> tuple[Any, Any]:
    """TensorFlow and TFDS, imported late (it takes seconds), without their greeting and without an accelerator."""
    tf = runtime.tensorflow()
    import tensorflow_datasets as tfds

    return tf, tfds
