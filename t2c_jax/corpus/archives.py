"""Reads the files of a repository out of its archive, without unpacking it.

Nothing is written, so no member can leave a folder, whatever its name. Only regular members that are mined are read,
one after the other and none beyond config.corpus.max_file_bytes. Links, devices and pipes are counted and skipped, and
so is every member whose name is absolute or has ``..``. An archive that unpacks to far more than it is ends the stage.
"""

from __future__ import annotations

import contextlib
import functools
import lzma
import re
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol, cast

from t2c_jax.corpus.licences import guess_licence
from t2c_jax.corpus.pairs_file.file_formats import open_compressed
from t2c_jax.corpus.tally import Tally, readable
from t2c_jax.errors import UserError
from t2c_jax.workdir import digest

_TAR = {".tar": "", ".tar.gz": ".gz", ".tgz": ".gz", ".tar.bz2": ".bz2", ".tbz2": ".bz2"}
_TAR |= {".tar.xz": ".xz", ".txz": ".xz", ".tar.zst": ".zst", ".tzst": ".zst"}
SUFFIXES = (".zip", *_TAR)
"""What the names of archives end with, in any case."""

_MOST_EXPANSION = 200  # times the size of the archive; text seldom takes less than a fiftieth
_ALWAYS_ALLOWED = 100_000_000  # bytes that even a small archive may unpack to
_HEADER_BYTES = 1 << 20  # of a member of a tar archive, and of those before it that describe it
_LICENCE = re.compile(r"(?i)[^/]*(?:licen[cs]e|copying)[^/]*|pyproject\.toml")
_LICENCE_BYTES = 200_000
_COMMIT = re.compile(r"[0-9a-f]{40}")
_DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)


@dataclass(frozen=True)
class ArchiveTree:
    """The files of an archive that are mined.

    Attributes:
      name: as the config names it.
      path: of the archive.
      repository: the name of the only directory at its top, else of the archive without its suffix.
      commit: where its comment is one, as GitHub's and ``git archive``'s are; else empty.
      licence: guessed from the files at its top.
      top: the only directory at its top, with a slash, which is no part of the files' paths; else empty.
      files: in the order of the archive, below ``top``.
      skipped: members that are not read, by reason.
      digest: over its bytes.
    """

    name: str
    path: Path
    repository: str
    commit: str
    licence: str
    top: str
    files: tuple[str, ...]
    skipped: Tally
    digest: str


@dataclass(frozen=True)
class _Member:
    """A member.

    Attributes:
      name: with slashes.
      flaw: why it is not mined, whatever its name; empty if it may be.
      size: as the archive says.
      read: at most so many of its bytes, or why they cannot be read.
    """

    name: str
    flaw: str
    size: int
    read: Callable[[int], bytes | str]


def is_archive(name: str) -> bool:
    """Whether a file of this name is an archive."""
    return name.lower().endswith(SUFFIXES)


def open_archive(name: str, path: Path, wanted: Callable[[str], bool], max_file_bytes: int) -> ArchiveTree:
    """Lists what is mined of an archive.

    Args:
      name: as the config names it.
      path: of the archive.
      wanted: whether a file of this path is mined, by its name.
      max_file_bytes: larger members are skipped.

    Raises:
      UserError: it is damaged, or unpacks to too much.
    """
    members, licences, comment = list[tuple[str, str, int]](), dict[str, bytes](), ""
    with _reader(name, path) as reader:
        for member in reader.members():
            members.append((member.name, member.flaw, member.size))
            is_top = member.name.count("/") <= 1 and not member.flaw and member.size <= _LICENCE_BYTES
            if is_top and _LICENCE.fullmatch(member.name.rpartition("/")[2]):
                text = member.read(_LICENCE_BYTES)
                licences[member.name] = text if isinstance(text, bytes) else b""
        comment = reader.comment()
    top = _top(name for name, flaw, _ in members if not flaw)
    skipped, files = Tally(), dict[str, None]()
    for member_name, flaw, size in members:
        file = member_name.removeprefix(top)
        if not wanted(file):
            continue
        if reason := flaw or _flaw_of_name(member_name):
            skipped.add(reason, member_name)
        elif size > max_file_bytes:
            skipped.add("larger than max_file_bytes", member_name)
        elif file in files:
            skipped.add("name of another member", member_name)
        else:
            files[file] = None
    return ArchiveTree(
        name=name,
        path=path,
        repository=readable(top.rstrip("/") or _stem(path.name)),
        commit=comment if _COMMIT.fullmatch(comment) else "",
        licence=_licence({name.removeprefix(top): data for name, data in licences.items()}),
        top=top,
        files=tuple(files),
        skipped=skipped,
        digest=digest(path),
    )


def read_archive(archive: ArchiveTree, max_file_bytes: int) -> Iterator[tuple[str, bytes | str]]:
    """The path and the bytes of each file of an archive, in order; or why it cannot be read.

    Raises:
      UserError: the archive is damaged, or unpacks to too much.
    """
    left = set(archive.files)
    with _reader(archive.name, archive.path) as reader:
        for member in reader.members():
            file = member.name.removeprefix(archive.top)
            if file in left and not (member.flaw or _flaw_of_name(member.name)) and member.size <= max_file_bytes:
                left.remove(file)
                yield file, member.read(max_file_bytes + 1)


def _top(names: Iterable[str]) -> str:
    """The only directory at the top, with a slash; empty if there are others, or files."""
    tops = {name.partition("/")[0] if "/" in name else "" for name in names}
    only = tops.pop() if len(tops) == 1 else ""
    return f"{only}/" if only and only not in (".", "..") else ""


def _flaw_of_name(name: str) -> str:
    parts = name.split("/")
    return "path that leaves the archive" if name.startswith("/") or ".." in parts or "" in parts else ""


def _stem(name: str) -> str:
    return name[: -max(len(suffix) for suffix in SUFFIXES if name.lower().endswith(suffix))]


def _licence(files: Mapping[str, bytes]) -> str:
    with tempfile.TemporaryDirectory() as directory:
        for name, data in files.items():
            if _LICENCE.fullmatch(name):  # so it has no slash
                (Path(directory) / name).write_bytes(data)
        return guess_licence(Path(directory))


class _Reader(Protocol):
    def members(self) -> Iterator[_Member]:
        """All members but directories, in order; each can be read until the next one is asked for."""

    def comment(self) -> str:
        """Of the archive, after its members."""


@contextlib.contextmanager
def _reader(name: str, path: Path) -> Iterator[_Reader]:
    """Opens an archive; what is wrong with it becomes a ``UserError``."""
    limit = _Limit(name, _ALWAYS_ALLOWED + _MOST_EXPANSION * path.stat().st_size)
    try:
        if path.name.lower().endswith(".zip"):
            with zipfile.ZipFile(path) as file:
                yield _Zip(file, limit)
        else:
            compression = next(_TAR[suffix] for suffix in _TAR if path.name.lower().endswith(suffix))
            with contextlib.ExitStack() as opened:
                stream = _Counted(opened.enter_context(open_compressed(path, compression)), limit)
                with stream.at_most(_HEADER_BYTES):  # opening reads the first header
                    tar = opened.enter_context(tarfile.open(fileobj=cast("IO[bytes]", stream), mode="r|"))
                yield _Tar(tar, stream)
    except _DAMAGED as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise UserError(f"source '{name}' is damaged or no archive: {reason}; download or pack it again") from None


@dataclass
class _Limit:
    """The bytes that may still be unpacked."""

    name: str
    left: int

    def spend(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise UserError(
                f"source '{self.name}' unpacks to more than {_MOST_EXPANSION} times its size; if you trust it, unpack"
                " it and name the directory"
            )


@dataclass
class _Zip:
    file: zipfile.ZipFile
    limit: _Limit

    def members(self) -> Iterator[_Member]:
        for info in self.file.infolist():
            if not info.is_dir():
                yield _Member(info.filename, _flaw_in_zip(info), info.file_size, functools.partial(self._read, info))

    def comment(self) -> str:
        return self.file.comment.decode("utf-8", "replace")

    def _read(self, info: zipfile.ZipInfo, size: int) -> bytes | str:
        try:
            with self.file.open(info) as member:
                data = member.read(size)
        except _DAMAGED as error:
            return f"damaged member ({type(error).__name__})"
        self.limit.spend(len(data))
        return data


def _flaw_in_zip(info: zipfile.ZipInfo) -> str:
    mode = info.external_attr >> 16  # of Unix; 0 where another system made the archive
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return "symbolic link" if stat.S_ISLNK(mode) else "not a regular file"
    return "encrypted" if info.flag_bits & 1 else ""


@dataclass
class _Tar:
    file: tarfile.TarFile
    stream: _Counted

    def members(self) -> Iterator[_Member]:
        while True:
            with self.stream.at_most(_HEADER_BYTES):
                info = self.file.next()
            if info is None:
                return
            self.file.members = []  # type: ignore[attr-defined]  # it would keep all headers in memory
            if not info.isdir():
                yield _Member(info.name, _flaw_in_tar(info), info.size, functools.partial(self._read, info))
            # What is left of the member is passed over before the next header is read, whose length is limited.
            self.file.fileobj.seek(max(self.file.fileobj.tell(), self.file.offset - 1))

    def comment(self) -> str:
        return self.file.pax_headers.get("comment", "")

    def _read(self, info: tarfile.TarInfo, size: int) -> bytes | str:
        member = self.file.extractfile(info)
        return b"" if member is None else member.read(size)


def _flaw_in_tar(info: tarfile.TarInfo) -> str:
    if info.isreg():
        return ""
    return "symbolic link" if info.issym() else "hard link" if info.islnk() else "not a regular file"


class _Counted:
    """A stream that counts what is read of it."""

    def __init__(self, raw: IO[bytes], limit: _Limit) -> None:
        self._raw, self._limit = raw, limit
        self._most: int | None = None

    def read(self, size: int) -> bytes:
        data = self._raw.read(size)
        self._limit.spend(len(data))
        if self._most is not None:
            self._most -= len(data)
            if self._most < 0:
                raise tarfile.ReadError(f"a header of more than {_HEADER_BYTES:,} bytes")
        return data

    @contextlib.contextmanager
    def at_most(self, size: int) -> Iterator[None]:
        """Within it, no more than ``size`` bytes may be read."""
        self._most = size
        yield
        self._most = None
