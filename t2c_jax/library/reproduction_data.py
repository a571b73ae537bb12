"""What a published system trains on: files of pairs, the published files of its set, or a download."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from t2c_jax.corpus.sets.catalog import public_set
from t2c_jax.corpus.sets.published_files import find_files
from t2c_jax.corpus.tfds_source import describe_dataset, read_examples
from t2c_jax.errors import UserError
from t2c_jax.library.published_systems import System
from t2c_jax.workdir import digest
from t2c_jax.workdir.io import write_bytes

QUICK_PAIRS = 120  # of each split
_QUICK_SOURCE = "package:rich"  # smaller than the standard library


@dataclass(frozen=True)
class TrainingData:
    """What a system trains on.

    Attributes:
      described: for the table, in words.
      overrides: of the config.
      split: that is scored.
      key: over the content, as far as it is known without reading it.
    """

    described: str
    overrides: tuple[str, ...]
    split: str
    key: str = ""


def find_data(system: System, directory: Path | None) -> TrainingData:
    """What there is to train on: files of pairs or the published files in a directory, or a set to download.

    Raises:
      UserError: the directory has neither; the message says which files are looked for.
    """
    if directory is None:
        if not system.sets:
            return TrainingData("the sources of the config", (), "")
        return _set_data(system, system.sets[-1], None)
    if not directory.is_dir():
        raise UserError(f"--data '{directory}' is not a directory")
    if pairs := [directory / name for name in system.pairs if (directory / name).is_file()]:
        if not (directory / system.pairs[0]).is_file():
            raise UserError(f"--data '{directory}' has {pairs[0].name} but no {system.pairs[0]}")
        split = "test" if (directory / system.pairs[-1]).is_file() else "dev"
        listed = ",".join(repr(str(path.absolute())) for path in pairs)
        described = f"{', '.join(path.name for path in pairs)} of a directory"
        return TrainingData(described, (f"corpus.sources={listed},",), split, digest(*pairs))
    reasons = []
    for name in system.sets:
        public, part = public_set(name)
        try:
            files = find_files(public.name, part.name, part.files, directory)
        except UserError as error:
            reasons.append(str(error).partition(": ")[2])
            continue
        return _set_data(system, name, directory, digest(*sorted({path for path, _ in files.places.values()})))
    wanted = f"{system.pairs[0]}, {system.pairs[1]} and {system.pairs[2]} with pairs"
    published = f", nor the published files: {'; or '.join(reasons)}" if reasons else ""
    raise UserError(f"--data '{directory}' has none of {wanted}{published}")


def _set_data(system: System, name: str, directory: Path | None, key: str = "") -> TrainingData:
    _, part = public_set(name)
    overrides = [f"corpus.sources=tfds:{name}", *system.overrides.get(name, ())]
    if directory is not None:
        overrides.append(f"corpus.set_files={directory.absolute()}")
    split = "test" if "test" in part.splits or any("test_share" in item for item in overrides) else "dev"
    return TrainingData(f"tfds:{name}", tuple(overrides), split, key)


def with_set_opened(data: TrainingData, accept_counts: bool) -> TrainingData:
    """The same with its public set written, if it is one, so that a set that is refused is refused before any seed.

    Raises:
      UserError: see ``describe_dataset``.
    """
    settings = dict(item.split("=", 1) for item in data.overrides)
    name = settings.get("corpus.sources", "")
    if not name.startswith("tfds:"):
        return data
    found = describe_dataset(name.removeprefix("tfds:"), settings.get("corpus.set_files", ""), accept_counts)
    return dataclasses.replace(data, key=found.digest)


def few_pairs(data: TrainingData, directory: Path, accept_counts: bool = False) -> TrainingData:
    """The first pairs of each split, as files, for a smoke test."""
    sources = dict(item.split("=", 1) for item in data.overrides)
    named = sources.get("corpus.sources", "")
    if not named:
        return TrainingData(f"{_QUICK_SOURCE}", (f"corpus.sources={_QUICK_SOURCE}",), "test", data.key)
    directory.mkdir(parents=True, exist_ok=True)
    kept = [f"{name}={value}" for name, value in sources.items() if name not in ("corpus.sources", "corpus.set_files")]
    paths = []
    if named.startswith("tfds:"):
        dataset = named.removeprefix("tfds:")
        splits = describe_dataset(dataset, sources.get("corpus.set_files", ""), accept_counts).splits
        for split in splits:
            rows = itertools.islice(read_examples(dataset, split), QUICK_PAIRS)
            lines = [json.dumps({name: row[name] for name in ("text", "code", "group")}).encode() for row in rows]
            paths.append(_written(directory / f"{split}.jsonl", lines))
    else:
        for path in _listed(named):
            with path.open("rb") as file:  # t2c mine says what is wrong with a line
                paths.append(_written(directory / path.name, [*itertools.islice(file, QUICK_PAIRS)]))
    listed = ",".join(repr(str(path.absolute())) for path in paths)
    return TrainingData(
        f"{QUICK_PAIRS} pairs a split of {data.described}", (f"corpus.sources={listed},", *kept), data.split
    )


def _listed(sources: str) -> Iterator[Path]:
    yield from (Path(item.strip().strip("'\"")) for item in sources.split(",") if item.strip())


def _written(path: Path, lines: Sequence[bytes]) -> Path:
    write_bytes(path, b"".join(line.rstrip(b"\r\n") + b"\n" for line in lines))
    return path
