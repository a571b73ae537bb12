"""Reads TFDS datasets that config.corpus.sources names: prepared ones, and public sets, which it prepares."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t2c_jax.corpus.dataset import import_tensorflow, quiet_tfds
from t2c_jax.corpus.sets.catalog import SETS, is_public_set, public_set
from t2c_jax.errors import UserError, nearest
from t2c_jax.workdir import digest
from t2c_jax.workdir.remote import Remote, is_remote

_BATCH = 1024  # ArrayRecord reads many records at once 100 times as fast as one by one


@dataclass(frozen=True)
class Description:
    """What is known of a dataset before it is read.

    Attributes:
      full_name: name, part and version.
      splits: their names.
      licence: of all its pairs; empty if it is unknown.
      digest: over its name, the splits' sizes, and of a public set the files that it was made of.
    """

    full_name: str
    splits: tuple[str, ...]
    licence: str
    digest: str


def describe_dataset(dataset: str, set_files: str = "", accept_counts: bool = False) -> Description:
    """Opens a dataset; a public set is downloaded and written first, unless it is there.

    Args:
      dataset: its name or its directory.
      set_files: see ``CorpusConfig``.
      accept_counts: see ``CorpusConfig``.

    Raises:
      UserError: there is no such dataset, it is not prepared, or a public set is not as it was published.
    """
    licence = ""
    if _is_set(dataset):
        from t2c_jax.corpus.sets.set_builder import open_set

        info, licence = open_set(dataset, set_files, accept_counts).info, public_set(dataset)[0].licence
    else:
        info = _builder(dataset).info
    sizes = {name: (split.num_examples, split.num_bytes) for name, split in sorted(info.splits.items())}
    files = json.dumps(info.metadata["files"], sort_keys=True) if info.metadata and "files" in info.metadata else ""
    named = (info.full_name, json.dumps(sizes), *filter(None, (files,)))
    return Description(info.full_name, tuple(info.splits), licence, digest(*named))


def read_examples(dataset: str, split: str) -> Iterator[dict[str, Any]]:
    """Examples of a TFDS dataset as plain values, scalars only: texts as ``str``, numbers as ``int``.

    Raises:
      UserError: it has no features text and code, a text is not UTF-8, or its files are damaged.
    """
    builder = _builder(dataset)
    names = set(builder.info.features)
    if not {"text", "code"} <= names:
        raise UserError(f"source 'tfds:{dataset}' has the features {', '.join(sorted(names))}; it needs text and code")
    tf, _ = import_tensorflow()
    count = 0
    try:
        with quiet_tfds():
            for example in _examples(builder, split):
                flat = {name: value for name, value in example.items() if not hasattr(value, "keys")}
                yield {name: _plain(value, dataset, split) for name, value in flat.items()}
                count += 1
    except (tf.errors.OpError, OSError, RuntimeError, IndexError) as error:  # ArrayRecord raises the last two
        reason = str(error).strip().splitlines()[0][:200]
        raise UserError(f"source 'tfds:{dataset}', split '{split}', is damaged: {reason}; prepare it again") from None
    expected = builder.info.splits[split].num_examples
    if count != expected:
        raise UserError(
            f"source 'tfds:{dataset}', split '{split}', has {count:,} of {expected:,} examples; prepare it again"
        )


def _examples(builder: Any, split: str) -> Iterator[dict[str, Any]]:
    _, tfds = import_tensorflow()
    if builder.info.file_format is tfds.core.FileFormat.ARRAY_RECORD:  # random access alone; tf.data cannot read it
        source = builder.as_data_source(split=split)
        for start in range(0, len(source), _BATCH):
            yield from source.__getitems__(range(start, min(start + _BATCH, len(source))))
        return
    config = tfds.ReadConfig(try_autocache=False, shuffle_seed=0)
    yield from tfds.as_numpy(builder.as_dataset(split=split, shuffle_files=False, read_config=config))


def _plain(value: Any, dataset: str, split: str) -> Any:
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            raise UserError(f"source 'tfds:{dataset}', split '{split}', holds a text that is not UTF-8") from None
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else value


def _builder(dataset: str) -> Any:
    _, tfds = import_tensorflow()
    try:
        with quiet_tfds():
            if _is_set(dataset):
                from t2c_jax.corpus.sets.set_builder import prepared_set

                return prepared_set(dataset)
            place = Remote(dataset).full_copy() if is_remote(dataset) else Path(dataset).expanduser()
            builder = tfds.builder_from_directory(str(place)) if place.is_dir() else tfds.builder(dataset)
    except UserError:
        raise
    except Exception as error:  # opening a dataset runs its own code
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        hint = nearest(dataset.partition("/")[0], SETS)
        raise UserError(f"source 'tfds:{dataset}' cannot be opened{hint or f': {reason}'}") from None
    if not builder.info.splits:
        raise UserError(f"source 'tfds:{dataset}' is not prepared here; run: tfds build {dataset}")
    return builder


def _is_set(dataset: str) -> bool:
    """Whether it is a public set by name; a prepared dataset in a directory of that name goes first."""
    return is_public_set(dataset) and not (Path(dataset) / "dataset_info.json").is_file()
