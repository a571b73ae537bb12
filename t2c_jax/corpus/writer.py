"""The one door to TensorFlow Datasets: the corpus written and read as a TFDS dataset, and other datasets read.

The corpus is ``DIRECTORY/t2c_pairs/1.0.0``, TFRecord, with the features of ``Pair`` but its split. Its own files
describe it, so ``tfds.load("t2c_pairs", data_dir=DIRECTORY)`` needs nothing of this package, and the directory may
be moved. A split without pairs does not exist there: TFDS fails to load empty ones.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from t2c_jax import runtime
from t2c_jax.corpus.pairs import Pair, Source
from t2c_jax.errors import UserError
from t2c_jax.workdir import digest
from t2c_jax.workdir.remote import Remote, is_remote

NAME, VERSION = "t2c_pairs", "1.0.0"

_TEXTS = ("id", "text", "code", "language", "kind")
_SOURCE_TEXTS = ("repository", "commit", "path", "licence")
_SOURCE_NUMBERS = ("start_line", "end_line")
_SHARD_PAIRS = 65_536  # some 100 MB, as TFDS advises
_BATCH = 1024
_DESCRIPTION = "Pairs of text and the code that answers it, mined and cleaned by t2c_jax; card.md beside it tells how."


def write_dataset(directory: Path, pairs: Iterable[Pair], splits: Sequence[str]) -> None:
    """Writes the corpus in the order of ``pairs``, holding a batch of them at a time.

    Args:
      directory: the dataset goes to ``t2c_pairs/1.0.0`` under it.
      pairs: each with its split.
      splits: those that have pairs.

    Raises:
      OSError: the disk is full (ENOSPC) or forbidden (EACCES), as everywhere else in Python.
    """
    tf, tfds = _tensorflow()
    target = directory / NAME / VERSION
    target.mkdir(parents=True)
    text = tfds.features.Text
    features = {name: text() for name in _TEXTS}
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
    with _quiet(), _as_os_errors(tf, target):
        writer = tfds.core.SequentialWriter(info, max_examples_per_shard=_SHARD_PAIRS)
        writer.initialize_splits(list(splits))
        stream = iter(pairs)
        while batch := list(itertools.islice(stream, _BATCH)):  # the writer rewrites its metadata at every call
            examples: dict[str, list[dict[str, Any]]] = {}
            for pair in batch:
                values = pair.to_dict()
                examples.setdefault(values.pop("split"), []).append(values)
            writer.add_examples(examples)
        writer.close_all()


def read_dataset(directory: Path, split: str) -> Iterator[Pair]:
    """The pairs of a split as ``write_dataset`` left them, in the same order; none where there is no such split.

    Raises:
      UserError: the dataset is missing or damaged.
    """
    tf, _ = _tensorflow()
    files = sorted(str(path) for path in (directory / NAME / VERSION).glob(f"{NAME}-{split}.tfrecord-*"))
    texts = [*_TEXTS, *(f"source/{name}" for name in _SOURCE_TEXTS)]
    numbers = [f"source/{name}" for name in _SOURCE_NUMBERS]
    form = {name: tf.io.FixedLenFeature((), tf.string) for name in texts}
    form |= {name: tf.io.FixedLenFeature((), tf.int64) for name in numbers}
    count = 0
    try:
        if files:
            for batch in tf.data.TFRecordDataset(files, buffer_size=1 << 20).batch(_BATCH):
                parsed = tf.io.parse_example(batch, form)
                columns = [[value.decode("utf-8") for value in parsed[name].numpy()] for name in texts]
                columns += [parsed[name].numpy().tolist() for name in numbers]
                for pair_id, text, code, language, kind, repository, commit, path, licence, start, end in zip(
                    *columns, strict=True
                ):
                    source = Source(repository, commit, path, start, end, licence)
                    yield Pair(pair_id, text, code, language, kind, source, split)
                    count += 1
        expected = count_examples(directory).get(split, 0)
    except (tf.errors.OpError, OSError, ValueError, KeyError) as error:
        raise UserError(f"the corpus in '{directory}' is damaged ({type(error).__name__}); {_AGAIN}") from None
    if count != expected:
        raise UserError(f"the corpus in '{directory}' has {count:,} of {expected:,} pairs in {split}; {_AGAIN}")


_AGAIN = "delete that directory and run the corpus stage again"


def count_examples(directory: Path) -> dict[str, int]:
    """Pairs in each split, from the dataset's own description, without TensorFlow."""
    info = json.loads((directory / NAME / VERSION / "dataset_info.json").read_text("utf-8"))
    return {split["name"]: sum(map(int, split.get("shardLengths", ()))) for split in info["splits"]}


def describe_dataset(dataset: str) -> tuple[str, tuple[str, ...], str]:
    """A prepared TFDS dataset's full name (with version), its splits, and a digest over these and their sizes.

    Raises:
      UserError: there is no such dataset, or it is not prepared.
    """
    info = _builder(dataset).info
    sizes = {name: (split.num_examples, split.num_bytes) for name, split in sorted(info.splits.items())}
    return info.full_name, tuple(info.splits), digest(info.full_name, json.dumps(sizes))


def read_examples(dataset: str, split: str) -> Iterator[dict[str, Any]]:
    """Examples of a TFDS dataset as plain values, scalars only: texts as ``str``, numbers as ``int``.

    Raises:
      UserError: it has no features text and code, or a text is not UTF-8.
    """
    _, tfds = _tensorflow()
    builder = _builder(dataset)
    names = set(builder.info.features)
    if not {"text", "code"} <= names:
        raise UserError(f"source 'tfds:{dataset}' has the features {', '.join(sorted(names))}; it needs text and code")
    config = tfds.ReadConfig(try_autocache=False, shuffle_seed=0)
    with _quiet():
        for example in tfds.as_numpy(builder.as_dataset(split=split, shuffle_files=False, read_config=config)):
            yield {name: _plain(value, dataset, split) for name, value in example.items() if not hasattr(value, "keys")}


def _plain(value: Any, dataset: str, split: str) -> Any:
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            raise UserError(f"source 'tfds:{dataset}', split '{split}', holds a text that is not UTF-8") from None
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else value


def _builder(dataset: str) -> Any:
    _, tfds = _tensorflow()
    try:
        with _quiet():
            place = Remote(dataset).full_copy() if is_remote(dataset) else Path(dataset).expanduser()
            builder = tfds.builder_from_directory(str(place)) if place.is_dir() else tfds.builder(dataset)
    except UserError:
        raise
    except Exception as error:  # opening a dataset runs its own code
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"source 'tfds:{dataset}' cannot be opened: {reason}") from None
    if not builder.info.splits:
        raise UserError(f"source 'tfds:{dataset}' is not prepared here; run: tfds build {dataset}")
    return builder


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """TFDS tells its steps as absl warnings."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def _as_os_errors(tf: Any, path: Path) -> Iterator[None]:
    """TensorFlow's file system speaks in its own errors."""
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
    except tf.errors.PermissionDeniedError as error:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES), str(path)) from error


def _tensorflow() -> tuple[Any, Any]:
    """TensorFlow and TFDS, imported late (seconds), without their greeting, and without sight of an accelerator."""
    tf = runtime.tensorflow()
    import tensorflow_datasets as tfds

    return tf, tfds
