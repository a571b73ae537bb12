"""Finds the published files of a set in a directory, checks their digests, and opens them, also inside archives."""

from __future__ import annotations

import contextlib
import fnmatch
import gzip
import hashlib
import io
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from t2c_jax.errors import UserError

_CHUNK = 1 << 20


class NotAsPublished(ValueError):
    """Content that differs from the published format; the message says how."""


@dataclass(frozen=True)
class PublishedFile:
    """A file as its authors publish it.

    Attributes:
      url: of the file itself, or of the page that leads to it (``by_hand``).
      digest: ``sha256:HEX`` of the bytes, or ``git:HEX``, the object id that git gives them; empty where it is unknown.
      path: relative to the top of what is published, as a checkout or an unpacked archive has it.
      holds: of an archive, the paths in it that are read, which may be patterns.
      by_hand: it cannot be downloaded by a program.
      optional: the set is read without it too; it is never downloaded.
    """

    url: str
    digest: str = ""
    path: str = ""
    holds: tuple[str, ...] = ()
    by_hand: bool = False
    optional: bool = False

    @property
    def name(self) -> str:
        """The name that it is saved under."""
        return (self.path or self.url).rpartition("/")[2]


@dataclass(frozen=True)
class Files:
    """The files of a set by name: each a path, or an archive and the path in it.

    Attributes:
      places: as found.
    """

    places: Mapping[str, tuple[Path, str]]

    def matching(self, pattern: str) -> list[str]:
        """The names that match, those with numbers in the order of the numbers."""
        return sorted(fnmatch.filter(self.places, pattern), key=_natural)

    def lines(self, name: str) -> Iterator[str]:
        """The lines of a text without their line ends; a ``.gz`` is decompressed.

        Raises:
          NotAsPublished: the file is missing, damaged, or not UTF-8.
        """
        with self._opened(name) as stream:
            text = io.TextIOWrapper(cast("IO[bytes]", stream), encoding="utf-8", newline="\n")
            for line in text:
                yield line.removesuffix("\n").removesuffix("\r")

    def read(self, name: str) -> str:
        """A whole text.

        Raises:
          NotAsPublished: as ``lines``.
        """
        with self._opened(name) as stream:
            return stream.read().decode("utf-8")

    def path(self, name: str) -> Path | None:
        """Where a file is; None where there is none, or it is in an archive."""
        path, member = self.places.get(name, (None, ""))
        return None if member else path

    @contextlib.contextmanager
    def _opened(self, name: str) -> Iterator[Any]:
        if name not in self.places:
            raise NotAsPublished(f"'{name}' is missing")
        path, member = self.places[name]
        try:
            with contextlib.ExitStack() as stack:
                if member:
                    archive = stack.enter_context(zipfile.ZipFile(path))
                    stream: Any = stack.enter_context(archive.open(member))
                else:
                    stream = stack.enter_context(path.open("rb"))
                if name.endswith(".gz"):
                    stream = stack.enter_context(gzip.open(stream))
                yield stream
        except UnicodeDecodeError:
            raise NotAsPublished(f"'{name}' is not UTF-8") from None
        except (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile, OSError) as error:
            raise NotAsPublished(f"'{name}' is damaged: {error}") from None


def find_files(name: str, part: str, published: Sequence[PublishedFile], directory: Path) -> Files:
    """The files of a set below a directory.

    They may lie in it, in a directory of the set's or the part's name, or as in a checkout or an unpacked archive.

    Args:
      name: of the set.
      part: of the part; empty for a set of one part.
      published: the files.
      directory: of config.corpus.set_files.

    Raises:
      NotAsPublished: a file is no archive.
      UserError: the directory or files are missing; the message says where they are published.
    """
    source = f"source 'tfds:{name}'"
    if not directory.is_dir():
        raise UserError(f"{source}: config.corpus.set_files '{directory}' is not a directory")
    tops = [directory / name / part, directory / name, directory / part, directory]
    places: dict[str, tuple[Path, str]] = {}
    missing: list[PublishedFile] = []
    for file in published:
        found = _unpacked(file, tops) or _packed(file, _first(file.path or file.name, tops))
        places |= found
        if not (found or file.optional):
            missing.append(file)
    if missing:
        names = ", ".join(file.name for file in missing)
        where = ", ".join(dict.fromkeys(_directory_of(file) for file in missing))
        raise UserError(f"{source}: '{directory}' lacks {names}; published at {where}")
    return Files(places)


def downloaded_files(published: Sequence[PublishedFile], paths: Mapping[str, Path]) -> Files:
    """The files of a set as they were downloaded, by URL.

    Raises:
      NotAsPublished: one is no archive.
    """
    places: dict[str, tuple[Path, str]] = {}
    for file in published:
        if not file.optional:
            places |= _packed(file, paths[file.url])
    return Files(places)


def file_digest(path: Path, kind: str = "sha256") -> str:
    """``sha256:HEX`` of a file, or ``git:HEX``, its id as a git object."""
    hashed = hashlib.sha1(usedforsecurity=False) if kind == "git" else hashlib.sha256()
    if kind == "git":
        hashed.update(f"blob {path.stat().st_size}\0".encode())
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            hashed.update(chunk)
    return f"{kind}:{hashed.hexdigest()}"


def _unpacked(file: PublishedFile, tops: Sequence[Path]) -> dict[str, tuple[Path, str]]:
    """What an archive holds, where somebody unpacked it; nothing unless all of it is there."""
    found: dict[str, tuple[Path, str]] = {}
    for pattern in file.holds:
        names = (pattern, pattern.partition("/")[2], pattern.rpartition("/")[2])
        matches = next((each for top in tops for name in names if name and (each := sorted(top.glob(name)))), [])
        if not matches:
            return {}
        found |= {path.name: (path, "") for path in matches}
    return found


def _packed(file: PublishedFile, path: Path | None) -> dict[str, tuple[Path, str]]:
    if path is None:
        return {}
    if not file.holds:
        return {file.name: (path, "")}
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError) as error:
        raise NotAsPublished(f"'{file.name}' is no archive: {error}") from None
    members = [name for pattern in file.holds for name in fnmatch.filter(names, pattern)]
    return {name.rpartition("/")[2]: (path, name) for name in members}


def _first(path: str, tops: Sequence[Path]) -> Path | None:
    names = (path, path.rpartition("/")[2])
    return next((top / name for top in tops for name in names if (top / name).is_file()), None)


def _directory_of(file: PublishedFile) -> str:
    return file.url if file.by_hand else file.url.rpartition("/")[0]


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(number or 0), word) for word, number in re.findall(r"(\D*)(\d*)", name)]
