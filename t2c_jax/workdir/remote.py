"""Object stores: a directory behind a URL such as ``gs://bucket/run``, through fsspec.

They have no rename, no append and no lock. An object is written whole: a reader sees the old one or the new one. So a
directory is published by its manifest, which is deleted first and written last.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from t2c_jax.errors import UserError
from t2c_jax.workdir.retries import TRANSIENT, with_retries

CACHE = "T2C_CACHE_DIR"
STORES = ("gs", "s3")  # protocols that checkpoints can be written to; each is the name of an extra of the package too
_CREDENTIALS = {
    "gs": "run 'gcloud auth application-default login', or name a key in GOOGLE_APPLICATION_CREDENTIALS",
    "s3": "run 'aws configure', or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
}
_NUMBERS = {401: errno.EACCES, 403: errno.EACCES, 404: errno.ENOENT, 408: errno.ETIMEDOUT, 429: errno.EAGAIN}
# By the names of the exceptions of the stores' clients, which are not imported here, and TensorStore's error codes.
_NAMES = {
    "NoCredentialsError": errno.ENOKEY,
    "PartialCredentialsError": errno.ENOKEY,
    "DefaultCredentialsError": errno.ENOKEY,
    "RefreshError": errno.ENOKEY,
    "Forbidden": errno.EACCES,
    "PERMISSION_DENIED": errno.EACCES,
    "UNAUTHENTICATED": errno.EACCES,
    "EndpointConnectionError": errno.ECONNRESET,
    "ClientConnectorError": errno.ECONNRESET,
    "ClientOSError": errno.ECONNRESET,
    "ServerDisconnectedError": errno.ECONNRESET,
    "ConnectTimeoutError": errno.ETIMEDOUT,
    "ReadTimeoutError": errno.ETIMEDOUT,
    "TransportError": errno.ECONNRESET,
    "UNAVAILABLE": errno.ECONNRESET,
    "DEADLINE_EXCEEDED": errno.ETIMEDOUT,
    "RESOURCE_EXHAUSTED": errno.ENOSPC,
}


def is_remote(name: str | os.PathLike[str]) -> bool:
    """Whether it is a URL."""
    return "://" in os.fspath(name)


def cache() -> Path:
    """The directory for copies of remote files: ``T2C_CACHE_DIR``, by default in the user's cache."""
    base = os.environ.get(CACHE)
    return Path(base or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "t2c_jax").expanduser().absolute()


@contextlib.contextmanager
def as_os_errors() -> Iterator[None]:
    """Translates what the stores' clients raise into the OSErrors that a file system would raise."""
    try:
        yield
    except (UserError, FileNotFoundError):
        raise
    except Exception as error:
        if (number := _number(error)) is None:
            raise
        raise OSError(number, os.strerror(number)) from error


def _number(error: BaseException) -> int | None:
    kinds = [kind.__name__ for kind in type(error).__mro__]
    if isinstance(error, OSError) and error.errno and _NAMES.keys().isdisjoint(kinds):
        return None  # an OSError already, and not a client's with its own meaning of the number
    if isinstance(error, PermissionError):
        return errno.EACCES
    if isinstance(error, TimeoutError):
        return errno.ETIMEDOUT
    answers = (getattr(error, name, None) for name in ("status", "code"))
    code = next((answer for answer in answers if isinstance(answer, int)), 0)
    if code in _NUMBERS:
        return _NUMBERS[code]
    if 500 <= code < 600:
        return errno.ECONNRESET
    words = kinds + str(error).replace(":", " ").split()[:1]
    return next((_NAMES[word] for word in words if word in _NAMES), None)


class Remote:
    """A remote directory, and this machine's copy of it.

    Attributes:
      url: without a slash at the end.
      protocol: what precedes ``://``.
      copy: the local directory.
    """

    def __init__(self, url: str) -> None:
        """Makes no request yet."""
        self.url = url.rstrip("/")
        self.protocol, _, place = self.url.partition("://")
        self.copy = cache() / "workdirs" / f"{place.rpartition('/')[2]}-{_short(self.url)}"
        self._seen: dict[str, tuple[int, int]] = {}

    @functools.cached_property
    def _files(self) -> Any:
        return file_system(self.url)

    def directory(self, name: str) -> Any:
        """A directory as an ``epath.Path``, which is how Orbax knows one.

        Raises:
          UserError: Orbax does not write there.
        """
        if self.protocol not in STORES:
            raise UserError(f"'{self.url}': checkpoints can be on {' and '.join(f'{name}://' for name in STORES)}")
        file_system(self.url)  # raises if a library is missing
        from etils import epath

        return epath.Path(self.url) / name

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Turns the store's errors that the user can mend into a ``UserError``; FileNotFoundError passes."""
        try:
            with as_os_errors():
                yield
        except OSError as error:
            reason = {
                errno.ENOENT: "there is no such bucket; make it, or choose another",
                errno.ENOKEY: f"no credentials; {_CREDENTIALS.get(self.protocol, 'see its documentation')}",
                errno.EACCES: "permission denied; ask for the right to read, write and delete in this bucket",
            }.get(error.errno or 0)
            if error.errno in TRANSIENT:
                reported = f"{error.__cause__ or ''}" or error.strerror
                reason = f"{reported}; run the same command again when the store answers"
            if reason is None or isinstance(error, FileNotFoundError):
                raise
            raise UserError(f"'{self.url}': {reason}") from error

    def read(self, name: str) -> bytes | None:
        """A file's content; None where there is none."""
        with self.errors():
            try:
                return with_retries(lambda: self._read(name), f"cannot read '{self.url}/{name}'")
            except FileNotFoundError:
                return None

    def names(self, directory: str) -> list[str]:
        """The names of a directory's entries; none where there is no directory."""

        def listed() -> list[str]:
            with as_os_errors():
                entries = self._files.ls(url, detail=False, refresh=True)
                return [entry.rstrip("/").rpartition("/")[2] for entry in entries]

        url = f"{self.url}/{directory}"
        with self.errors():
            try:
                return with_retries(listed, f"cannot list '{url}'")
            except FileNotFoundError:
                return []

    def _read(self, name: str) -> bytes:
        with as_os_errors():
            return self._files.cat_file(f"{self.url}/{name}")

    def write(self, name: str, content: bytes) -> None:
        """Writes a file whole."""
        self._with_retries(lambda: self._files.pipe_file(f"{self.url}/{name}", content), name)

    def _with_retries(self, action: Any, name: str) -> None:
        def translated() -> None:
            with as_os_errors():
                action()

        try:
            with self.errors():
                with_retries(translated, f"cannot write '{self.url}/{name}'")
        except FileNotFoundError as error:
            raise UserError(f"'{self.url}': there is no such bucket; make it, or choose another") from error

    def put(self, directory: Path, name: str, last: str) -> None:
        """Replaces the remote directory ``name`` by a local one: ``last`` is deleted first and written last."""
        target = f"{self.url}/{name}"
        names = sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())
        names.remove(last)

        def action() -> None:
            stale = [path for path in self._files.find(target) if not path.endswith(f"/{last}")]
            with contextlib.suppress(FileNotFoundError):
                self._files.rm_file(f"{target}/{last}")
            if stale:
                self._files.rm(stale)
            if names:
                self._files.put([str(directory / one) for one in names], [f"{target}/{one}" for one in names])
            self._files.pipe_file(f"{target}/{last}", (directory / last).read_bytes())

        self._with_retries(action, name)

    def fetch(self, name: str, last: str) -> None:
        """Replaces the copy's directory ``name`` by the remote one, if that is complete: has its file ``last``."""
        if (wanted := self.read(f"{name}/{last}")) is None:
            return
        final = self.copy / name
        final.parent.mkdir(parents=True, exist_ok=True)
        with (self.copy / ".fetch.lock").open("a") as lock:
            with contextlib.suppress(OSError):  # of a file system without locks
                fcntl.flock(lock, fcntl.LOCK_EX)
            while wanted is not None and _content(final / last) != wanted:
                aside, replaced = (final.with_name(f".{final.name}.{what}.fetch") for what in ("new", "old"))
                for leftover in (aside, replaced):
                    shutil.rmtree(leftover, ignore_errors=True)
                aside.mkdir()
                self._get(name, aside)
                again = self.read(f"{name}/{last}")
                if again == wanted == _content(aside / last):  # else it was replaced during the download
                    if final.exists():
                        final.rename(replaced)
                    aside.rename(final)
                    shutil.rmtree(replaced, ignore_errors=True)
                wanted = again

    def _get(self, name: str, target: Path) -> None:
        source = f"{self.url}/{name}".rstrip("/")
        root = self._files._strip_protocol(source)

        def action() -> None:
            paths = self._files.find(source)
            places = [target / path.removeprefix(root).lstrip("/") for path in paths]
            for place in places:
                place.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # replaced during the download
                self._files.get(paths, [str(place) for place in places])

        self._with_retries(action, name)

    def full_copy(self) -> Path:
        """A complete local copy of a directory that never changes.

        Raises:
          UserError: it is missing or cannot be read.
        """
        if not self.copy.is_dir():
            with self.errors(), as_os_errors():
                if not self._files.isdir(self.url):
                    raise UserError(f"'{self.url}' does not exist")
            aside = self.copy.with_name(f".{self.copy.name}.{os.getpid()}.partial")
            aside.mkdir(parents=True)
            self._get("", aside)
            aside.rename(self.copy)
        return self.copy

    def push(self, paths: Sequence[Path]) -> None:
        """Uploads those files of the copy that have changed since this object uploaded them."""
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                status, name = path.stat(), path.relative_to(self.copy).as_posix()
                state = (status.st_size, status.st_mtime_ns)
                if self._seen.get(name) != state:
                    self.write(name, path.read_bytes())
                    self._seen[name] = state


def file_system(url: str) -> Any:
    """The fsspec file system of a URL, without a cache of listings: others write there too.

    Raises:
      UserError: fsspec does not know the protocol, or its library is not installed.
    """
    import fsspec

    protocol = url.partition("://")[0]
    for name in {protocol, *({"gs", "gcs"} if protocol == "gs" else ())}:  # etils has its own name for it
        fsspec.config.conf.setdefault(name, {}).setdefault("use_listings_cache", False)
    try:
        return fsspec.filesystem(protocol)
    except ImportError as error:
        how = f"pip install 't2c-jax[{protocol}]'" if protocol in STORES else str(error)
        raise UserError(f"'{url}' needs a library that is not installed: {how}") from None
    except ValueError as error:
        raise UserError(f"'{url}': {error}; gs:// and s3:// are known") from None


def move(source: str, target: str) -> None:
    """Moves a directory to a new name: all its files are copied, and then deleted.

    fsspec's own move of a directory fails on ``s3://``, where it takes the intermediate prefixes for files.

    Raises:
      FileNotFoundError: it has no files.
    """
    files = file_system(source)
    paths, root = files.find(source), files._strip_protocol(source)
    if not paths:
        raise FileNotFoundError(source)
    files.copy(paths, [f"{files._strip_protocol(target)}{path.removeprefix(root)}" for path in paths])
    files.rm(paths)


def local_file(url: str) -> Path:
    """This machine's copy of a remote file, with its name and its directory's.

    Raises:
      UserError: it is missing or cannot be read.
    """
    directory, _, name = url.rpartition("/")
    place = cache() / "files" / _short(url) / directory.rpartition("/")[2] / name
    remote, key = Remote(directory), place.with_name(f".{name}.key")
    with remote.errors():
        try:
            with as_os_errors():
                found = str(remote._files.ukey(url))
                if not (place.is_file() and _content(key) == found.encode()):
                    place.parent.mkdir(parents=True, exist_ok=True)
                    aside = place.with_name(f".{name}.{os.getpid()}.partial")
                    remote._files.get_file(url, str(aside))
                    aside.replace(place)
                    key.write_text(found)
        except FileNotFoundError:
            raise UserError(f"'{url}' does not exist") from None
    return place


def _short(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()[:16]


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
