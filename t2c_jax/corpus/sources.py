"""Finds, checks and digests what config.corpus.sources names, before anything is read.

- a directory, or a git checkout: of a checkout the tracked files, so that nothing built or ignored is read, and each
  initialised submodule as a source of its own;
- a file of pairs in a format of ``pairs_file.file_formats``, or a URL of one that fsspec reads (``gs://`` …);
- a dataset folder of Hugging Face, or another folder of files of pairs alone: each file is a source;
- an archive of a repository, ``.zip`` or ``.tar`` with any of ``archives.SUFFIXES``, which is not unpacked;
- ``tfds:NAME``, a public set of ``sets.catalog``, or a prepared TFDS dataset by its name or its directory, which may
  be a URL too;
- ``python:stdlib``, the standard library of the running Python;
- ``package:NAME``, the files of an installed package, such as ``package:jax``.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import re
import stat
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from t2c_jax.config import CorpusConfig
from t2c_jax.console import warn
from t2c_jax.corpus import archives
from t2c_jax.corpus.archives import ArchiveTree, is_archive
from t2c_jax.corpus.checkout import Checkout
from t2c_jax.corpus.exclusion import Exclusion
from t2c_jax.corpus.licences import guess_licence
from t2c_jax.corpus.pairs_file.file_formats import SUFFIXES, is_pairs_file
from t2c_jax.corpus.pairs_file.pairs_folder import files_of_pairs
from t2c_jax.corpus.tally import Tally
from t2c_jax.errors import UserError, nearest
from t2c_jax.languages.extractor import extractor_for
from t2c_jax.workdir import digest
from t2c_jax.workdir.remote import is_remote, local_file


@dataclass(frozen=True)
class FileTree:
    """Files to mine.

    Attributes:
      name: as the config names it.
      root: the directory that ``files`` are relative to.
      repository: see ``pairs.Source``.
      commit: see ``pairs.Source``.
      licence: see ``pairs.Source``.
      prefix: of a file's path, to make it relative to the repository's root; empty or ends in "/".
      files: what extractors will read, sorted, with forward slashes.
      skipped: entries that are not read, by reason.
      digest: over commit, licence and (path, size, modification time) of every file.
      submodules: of a checkout, those that are initialised.
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
    submodules: tuple[FileTree, ...] = ()


@dataclass(frozen=True)
class PairsFile:
    """A file of pairs.

    Attributes:
      name: as the config names it; of a file in a folder of pairs with its place.
      path: of the file.
      digest: over its bytes.
      folder: the name of the folder of pairs that it is in, else of its directory.
      place: its path relative to that folder, with forward slashes.
    """

    name: str
    path: Path
    digest: str
    folder: str
    place: str

    @classmethod
    def of(cls, name: str, path: Path, folder: Path | None = None) -> PairsFile:
        """Digests a file.

        Args:
          name: as the config names it.
          path: of the file.
          folder: the folder of pairs that it is in, if it is in one.

        Raises:
          OSError: it cannot be read.
        """
        if folder is None:
            return cls(name, path, digest(path), path.absolute().parent.name, path.name)
        place = path.relative_to(folder).as_posix()
        return cls(f"{name.rstrip('/')}/{place}", path, digest(path), folder.resolve().name, place)


@dataclass(frozen=True)
class PairsFolder:
    """A dataset folder of Hugging Face, or another folder that holds files of pairs alone."""

    name: str
    files: tuple[PairsFile, ...]


@dataclass(frozen=True)
class PairsDataset:
    """A prepared TFDS dataset of pairs.

    Attributes:
      name: as the config names it.
      dataset: its name or directory, for TFDS.
      full_name: its name and version.
      splits: their names.
      digest: over its version and the splits' sizes.
      licence: of all its pairs; empty if it is unknown.
    """

    name: str
    dataset: str
    full_name: str
    splits: tuple[str, ...]
    digest: str
    licence: str = ""


Resolved = FileTree | ArchiveTree | PairsFile | PairsDataset


def resolve_all(config: CorpusConfig, skip: Path) -> list[Resolved]:
    """Finds all of config.corpus.sources, and behind each checkout its submodules.

    Warns of a pattern of config.corpus.exclude, other than the default ones, that matches nothing in any source.

    Args:
      config: for the sources and what of them to read.
      skip: a directory that is never read, though it may lie in a source: the workdir.

    Raises:
      UserError: as ``resolve``, or a source is named twice.
    """
    if repeated := [name for name in config.sources if config.sources.count(name) > 1]:
        raise UserError(f"config.corpus.sources names '{repeated[0]}' twice; name it once")
    exclusion = Exclusion(config.exclude)
    places = {Path(name).expanduser().resolve() for name in config.sources}
    found: list[Resolved] = []
    for name in config.sources:
        resolved = resolve(name, config, skip, exclusion)
        if isinstance(resolved, PairsFolder):
            found += resolved.files
            continue
        source, *submodules = _with_submodules(resolved)
        # A submodule that is a source itself is mined under its own name only.
        found += [source, *(tree for tree in submodules if tree.root.resolve() not in places)]
    if any(isinstance(source, FileTree | ArchiveTree) for source in found):
        for pattern in set(exclusion.unmatched()).difference(CorpusConfig().exclude):
            warn(f"config.corpus.exclude: '{pattern}' matches nothing in the sources; patterns are those of .gitignore")
    return found


def _with_submodules(source: Resolved) -> Iterator[Any]:
    yield source
    if isinstance(source, FileTree):
        for submodule in source.submodules:
            yield from _with_submodules(submodule)


def resolve(name: str, config: CorpusConfig, skip: Path, exclusion: Exclusion | None = None) -> Resolved | PairsFolder:
    """Finds one of config.corpus.sources.

    Args:
      name: as in the config.
      config: for ``exclude`` and ``extractors``.
      skip: a directory that is never read, though it may lie in a source: the workdir.
      exclusion: of ``config.exclude``, where several sources share it.

    Raises:
      UserError: it does not exist, cannot be read, or is of an unknown kind.
    """
    exclusion = exclusion or Exclusion(config.exclude)
    if name.startswith("python:"):
        if name != "python:stdlib":
            raise UserError(f"source '{name}' is unknown{nearest(name, ['python:stdlib'])}")
        return _stdlib(name, _Reading(config, skip, exclusion))
    if name.startswith("package:"):
        return _package(name, _Reading(config, skip, exclusion))
    if name.startswith("tfds:"):
        from t2c_jax.corpus.tfds_source import describe_dataset

        dataset = name.removeprefix("tfds:")
        found = describe_dataset(dataset, config.set_files, config.accept_counts)
        return PairsDataset(name, dataset, found.full_name, found.splits, found.digest, found.licence)
    path = local_file(name) if is_remote(name) and is_pairs_file(name) else Path(name).expanduser()
    try:
        if path.is_dir():
            if files := files_of_pairs(path):
                return PairsFolder(name, tuple(PairsFile.of(name, file, path) for file in files))
            return _directory(name, path, _Reading(config, skip, exclusion))
        if is_pairs_file(path.name) and path.is_file():
            return PairsFile.of(name, path)
        if is_archive(path.name) and path.is_file():
            return _archive(name, path, _Reading(config, skip, exclusion))
    except OSError as error:
        raise UserError(f"source '{name}' cannot be read: {error.strerror}") from None
    if path.exists():
        raise UserError(
            f"source '{name}' is no directory, no file of pairs ({', '.join(SUFFIXES)}) and no archive"
            f" ({', '.join(archives.SUFFIXES)}); convert it to one of them"
        )
    if is_remote(name) or name.startswith("git@"):
        raise UserError(f"source '{name}' is an address; clone or download it first and name the directory or file")
    raise UserError(f"source '{name}' does not exist; check config.corpus.sources")


@dataclass(frozen=True)
class _Reading:
    """What decides which files of a tree are read; ``prefix`` is the tree's place in its source."""

    config: CorpusConfig
    skip: Path
    exclusion: Exclusion
    prefix: str = ""

    def excludes(self, path: str) -> bool:
        return self.exclusion.excludes(self.prefix + path)


def _stdlib(name: str, reading: _Reading) -> FileTree:
    root = Path(sysconfig.get_path("stdlib"))
    skipped = Tally()
    version = platform.python_version()
    # Its few files in other languages are of its tests and of the build.
    files = (item for item in _walk(root, reading, skipped) if item[0].endswith(".py"))
    found = [item for item in files if not _INSTALLED.search(f"/{item[0]}")]
    if not found:
        raise UserError(f"source '{name}': '{root}' holds no .py files; this Python comes without its library's source")
    # The library's files keep their bytes as long as they keep their size and time.
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


def _package(name: str, reading: _Reading) -> FileTree:
    distribution = _distribution(name)
    root = Path(str(distribution.locate_file("")))
    skipped = Tally()
    found: list[tuple[str, os.stat_result]] = []
    for path in sorted(file.as_posix() for file in distribution.files or ()):
        status = _status(root / path)
        if not path.startswith("../") and _is_minable(path, status, reading, skipped):
            assert status is not None
            found.append((path, status))
    if not found:
        raise UserError(
            f"source '{name}' has no files that config.corpus.extractors read; name a package with sources, or the"
            " directory of one that is installed in editable mode"
        )
    return FileTree(
        name=name,
        root=root,
        repository=name,
        commit=distribution.version,
        licence=_licence_of(distribution),
        prefix="",
        files=tuple(path for path, _ in found),
        skipped=skipped,
        digest=_tree_digest(found, distribution.version),
    )


def _distribution(name: str) -> metadata.Distribution:
    """The installed distribution by its own name, or by the name that it is imported by."""
    wanted = name.removeprefix("package:")
    try:
        return metadata.distribution(wanted)
    except (metadata.PackageNotFoundError, ValueError):  # ValueError: an empty name
        by_import = metadata.packages_distributions()
        if providers := by_import.get(wanted):
            return metadata.distribution(min(providers))
        known = [f"package:{found}" for found in {*by_import, *(found.name for found in metadata.distributions())}]
        raise UserError(f"source '{name}': no such package is installed{nearest(name, known)}") from None


def _licence_of(distribution: metadata.Distribution) -> str:
    """What the metadata states in a line, else what the licence files say, else the classifiers."""
    for key in ("License-Expression", "License"):
        stated = str(next(iter(distribution.metadata.get_all(key) or ()), ""))
        if stated and len(stated) <= _LONGEST_LICENCE and "\n" not in stated:
            return stated
    named = (file for file in distribution.files or () if "licen" in file.name.lower())
    places = {Path(str(distribution.locate_file(file))).parent for file in named}
    if found := next((licence for place in sorted(places) if (licence := guess_licence(place))), ""):
        return found
    classifiers = (str(value) for value in distribution.metadata.get_all("Classifier") or ())
    return " OR ".join(value.rpartition(" :: ")[2] for value in classifiers if value.startswith("License :: "))


_LONGEST_LICENCE = 60  # characters; some packages put the whole text into the field
_INSTALLED = re.compile(r"/(?:site|dist)-packages/")


def _directory(name: str, root: Path, reading: _Reading) -> FileTree:
    skipped = Tally()
    checkout = Checkout.at(root)
    submodules: Sequence[FileTree] = ()
    if checkout is None:
        found = list(_walk(root, reading, skipped))
        repository, commit, prefix = root.resolve().name, "", ""
        licence = guess_licence(root)
    else:
        found = list(_tracked(root, checkout, reading, skipped))
        repository, commit, prefix = checkout.repository, checkout.commit, checkout.prefix
        licence = guess_licence(root) or guess_licence(checkout.top)
        submodules = list(_submodules(name, root, checkout, reading, skipped))
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
        submodules=tuple(submodules),
    )


def _archive(name: str, path: Path, reading: _Reading) -> ArchiveTree:
    def wanted(file: str) -> bool:
        return not reading.excludes(file) and extractor_for(file, reading.config.extractors) is not None

    return archives.open_archive(name, path, wanted, reading.config.max_file_bytes)


def _tree_digest(found: Iterable[tuple[str, os.stat_result]], *origin: str) -> str:
    listing = (f"{path}\0{status.st_size}\0{status.st_mtime_ns}" for path, status in found)
    return digest(*origin, "\n".join(listing).encode("utf-8", "surrogateescape"))


def _walk(root: Path, reading: _Reading, skipped: Tally) -> Iterator[tuple[str, os.stat_result]]:
    """Files under ``root`` in the order of their paths; symbolic links are not followed, so there are no loops."""
    workdir = reading.skip.resolve()
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
                if not reading.excludes(path + "/") and (root / path).resolve() != workdir:
                    stack.append(path + "/")
            elif _is_minable(path, status, reading, skipped):
                assert status is not None
                found.append((path, status))
    yield from sorted(found, key=lambda item: item[0])


def _tracked(root: Path, checkout: Checkout, reading: _Reading, skipped: Tally) -> Iterator[tuple[str, os.stat_result]]:
    for path in checkout.files:
        status = _status(root / path)
        if _is_minable(path, status, reading, skipped):
            assert status is not None
            yield path, status


def _submodules(name: str, root: Path, checkout: Checkout, reading: _Reading, skipped: Tally) -> Iterator[FileTree]:
    for path in checkout.submodules:
        if reading.excludes(path + "/"):
            continue
        if not (root / path / ".git").exists():  # git makes an empty directory of it
            skipped.add("submodule that is not initialised", path)
        else:
            within = dataclasses.replace(reading, prefix=f"{reading.prefix}{path}/")
            yield _directory(f"{name.rstrip('/')}/{path}", root / path, within)


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except (OSError, ValueError):
        return None


def _is_minable(path: str, status: os.stat_result | None, reading: _Reading, skipped: Tally) -> bool:
    """Whether to mine a file. One that an extractor reads by its name is counted if it is skipped."""
    if reading.excludes(path) or extractor_for(path, reading.config.extractors) is None:
        return False
    if status is None:
        skipped.add("unreadable file", path)
    elif stat.S_ISLNK(status.st_mode):
        skipped.add("symbolic link", path)
    elif not stat.S_ISREG(status.st_mode):
        skipped.add("not a regular file", path)
    elif status.st_size > reading.config.max_file_bytes:
        skipped.add("larger than max_file_bytes", path)
    else:
        return True
    return False
