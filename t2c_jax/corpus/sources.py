"""What config.corpus.sources names: found, checked and digested, before anything is read.

- a directory, or a git checkout: of a checkout the tracked files, so that nothing built or ignored is read;
- a ``.jsonl`` or ``.jsonl.gz`` of pairs, also behind a URL that fsspec reads (``gs://``, ``s3://`` …);
- ``tfds:NAME``, a prepared TFDS dataset by its name or its directory, which may be a URL too;
- ``python:stdlib``, the standard library of the Python at hand.
"""

from __future__ import annotations

import os
import platform
import re
import stat
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from t2c_jax.config import CorpusConfig
from t2c_jax.corpus.checkout import Checkout
from t2c_jax.corpus.licences import guess_licence
from t2c_jax.corpus.tally import Tally
from t2c_jax.errors import UserError, nearest
from t2c_jax.languages.extractor import extractor_for
from t2c_jax.workdir import digest
from t2c_jax.workdir.remote import is_remote, local_file

PAIRS = (".jsonl", ".jsonl.gz")


@dataclass(frozen=True)
class FileTree:
    """Files to mine.

    Attributes:
      name: as the config names it.
      root: the directory that ``files`` are relative to.
      repository: see ``pairs.Source``.
      commit: see ``pairs.Source``.
      licence: see ``pairs.Source``.
      prefix: what stands before a file's path to make it relative to the repository's root; empty or ends in "/".
      files: what extractors will read, sorted, with forward slashes.
      skipped: entries that are not read, by reason.
      digest: over commit, licence and (path, size, modification time) of every file.
    """

    name: str
    root: Path
    repository: str
    commit: str
    licence: str
    prefix: str
    files: tuple[str, ...]
    skipped: Tally
    digest: str


@dataclass(frozen=True)
class PairsFile:
    """A ``.jsonl`` or ``.jsonl.gz`` of pairs; ``digest`` is over its bytes."""

    name: str
    path: Path
    digest: str


@dataclass(frozen=True)
class PairsDataset:
    """A prepared TFDS dataset of pairs.

    Attributes:
      name: as the config names it.
      dataset: its name or directory, for TFDS.
      full_name: its name and version.
      splits: their names.
      digest: over its version and the splits' sizes.
    """

    name: str
    dataset: str
    full_name: str
    splits: tuple[str, ...]
    digest: str


Resolved = FileTree | PairsFile | PairsDataset


def resolve(name: str, config: CorpusConfig, skip: Path) -> Resolved:
    """Finds one of config.corpus.sources.

    Args:
      name: as in the config.
      config: for ``exclude`` and ``kinds``.
      skip: a directory that is never read, though it may lie in a source: the workdir.

    Raises:
      UserError: it does not exist, cannot be read, or is of no known kind.
    """
    if name.startswith("python:"):
        if name != "python:stdlib":
            raise UserError(f"source '{name}' is unknown{nearest(name, ['python:stdlib'])}")
        return _stdlib(name, config, skip)
    if name.startswith("tfds:"):
        from t2c_jax.corpus import writer

        dataset = name.removeprefix("tfds:")
        return PairsDataset(name, dataset, *writer.describe_dataset(dataset))
    path = local_file(name) if is_remote(name) and name.endswith(PAIRS) else Path(name).expanduser()
    if path.is_dir():
        return _directory(name, path, config, skip)
    if path.name.endswith(PAIRS) and path.is_file():
        try:
            return PairsFile(name, path, digest(path))
        except OSError as error:
            raise UserError(f"source '{name}' cannot be read: {error.strerror}") from None
    if path.exists():
        raise UserError(f"source '{name}' is neither a directory nor a .jsonl or .jsonl.gz file; convert it to one")
    if is_remote(name) or name.startswith("git@"):
        raise UserError(f"source '{name}' is an address; clone or download it first and name the directory or file")
    raise UserError(f"source '{name}' does not exist; check config.corpus.sources")


def _stdlib(name: str, config: CorpusConfig, skip: Path) -> FileTree:
    root = Path(sysconfig.get_path("stdlib"))
    skipped = Tally()
    version = platform.python_version()
    found = [item for item in _walk(root, config, skip, skipped) if not _INSTALLED.search(f"/{item[0]}")]
    if not found:
        raise UserError(f"source '{name}': '{root}' holds no .py files; this Python comes without its library's source")
    # Files that come with a Python keep their bytes for as long as they keep their size and time.
    return FileTree(
        name=name,
        root=root,
        repository=name,
        commit=version,
        licence="PSF-2.0",
        prefix="",
        files=tuple(path for path, _ in found),
        skipped=skipped,
        digest=_tree_digest(found, version),
    )


_INSTALLED = re.compile(r"/(?:site|dist)-packages/")


def _directory(name: str, root: Path, config: CorpusConfig, skip: Path) -> FileTree:
    skipped = Tally()
    checkout = Checkout.at(root)
    if checkout is None:
        found = list(_walk(root, config, skip, skipped))
        repository, commit, prefix = root.resolve().name, "", ""
        licence = guess_licence(root)
    else:
        found = list(_tracked(root, checkout, config, skipped))
        repository, commit, prefix = checkout.repository, checkout.commit, checkout.prefix
        licence = guess_licence(root) or guess_licence(checkout.top)
    return FileTree(
        name=name,
        root=root,
        repository=repository,
        commit=commit,
        licence=licence,
        prefix=prefix,
        files=tuple(path for path, _ in found),
        skipped=skipped,
        digest=_tree_digest(found, repository, commit, licence, prefix),
    )


def _tree_digest(found: Iterable[tuple[str, os.stat_result]], *origin: str) -> str:
    listing = (f"{path}\0{status.st_size}\0{status.st_mtime_ns}" for path, status in found)
    return digest(*origin, "\n".join(listing).encode("utf-8", "surrogateescape"))


def _walk(root: Path, config: CorpusConfig, skip: Path, skipped: Tally) -> Iterator[tuple[str, os.stat_result]]:
    """Files under ``root`` in the order of their paths; symbolic links are not followed, so there are no loops."""
    excluded = exclusion(config.exclude)
    workdir = skip.resolve()
    stack = [""]
    found: list[tuple[str, os.stat_result]] = []
    while stack:
        directory = stack.pop()
        try:
            with os.scandir(root / directory) as entries:
                names = sorted(entry.name for entry in entries)
        except OSError as error:
            if not directory:
                raise UserError(f"source directory '{root}' cannot be read: {error.strerror}") from None
            skipped.add("unreadable directory", directory)
            continue
        for entry_name in names:
            path = directory + entry_name
            status = _status(root / path)
            if status is not None and stat.S_ISDIR(status.st_mode):
                if not excluded(path + "/") and (root / path).resolve() != workdir:
                    stack.append(path + "/")
            elif (
                extractor_for(path, config.extractors)
                and not excluded(path)
                and _is_minable(path, status, config, skipped)
            ):
                assert status is not None
                found.append((path, status))
    yield from sorted(found, key=lambda item: item[0])


def _tracked(
    root: Path, checkout: Checkout, config: CorpusConfig, skipped: Tally
) -> Iterator[tuple[str, os.stat_result]]:
    excluded = exclusion(config.exclude)
    for path in checkout.files:
        if extractor_for(path, config.extractors) and not excluded(path):
            status = _status(root / path)
            if _is_minable(path, status, config, skipped):
                assert status is not None
                yield path, status


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except (OSError, ValueError):
        return None


def _is_minable(path: str, status: os.stat_result | None, config: CorpusConfig, skipped: Tally) -> bool:
    if status is None:
        skipped.add("unreadable file", path)
    elif stat.S_ISLNK(status.st_mode):
        skipped.add("symbolic link", path)
    elif not stat.S_ISREG(status.st_mode):
        skipped.add("not a regular file", path)
    elif status.st_size > config.max_file_bytes:
        skipped.add("larger than max_file_bytes", path)
    else:
        return True
    return False


def exclusion(patterns: Iterable[str]) -> Callable[[str], object]:
    """A test of paths (directories end in "/") against glob patterns.

    ``*`` and ``?`` stay within a name, ``**/`` is any number of directories, also none, and a final ``/**`` is all
    that a directory holds.

    Raises:
      UserError: a pattern is none.
    """
    expressions = []
    for pattern in patterns:
        expressions.append(_regex(pattern))
        try:
            re.compile(expressions[-1])
        except re.error as error:
            raise UserError(f"config.corpus.exclude: '{pattern}' is no glob pattern: {error.msg}") from None
    return re.compile("|".join(expressions) or r"(?!)", re.DOTALL).fullmatch


_GLOB = re.compile(r"\*\*/|/\*\*\Z|\*|\?|\[!?[^\]]+\]|[^*?\[/]+|.", re.DOTALL)


def _regex(pattern: str) -> str:
    special = {"**/": "(?:.*/)?", "/**": "/.*", "*": "[^/]*", "?": "[^/]"}
    parts = []
    for part in _GLOB.findall(pattern):
        if part in special:
            parts.append(special[part])
        elif part.startswith("[") and len(part) > 2:
            parts.append(part.replace("[!", "[^", 1).replace("\\", r"\\"))
        else:
            parts.append(re.escape(part))
    return "".join(parts)
