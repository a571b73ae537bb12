"""The run's directory: its layout, its lock, and stages that finish whole or leave nothing.

A stage is a function of (config, workdir) that writes one directory with a ``manifest.json`` in it: digests
of its inputs, the part of the config that it read, counts and versions. ``Workdir.stage`` skips one whose
manifest still matches, and otherwise lets it write aside and renames the result into place.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import itertools
import json
import os
import shutil
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import t2c_jax
from t2c_jax import console
from t2c_jax.errors import UserError

Result = TypeVar("Result")

MANIFEST = "manifest.json"


def digest(*parts: bytes | str | Path) -> str:
    """SHA-256, as 16 hexadecimal digits, over byte strings, texts, and the contents of files."""
    state = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            with part.open("rb") as file:
                state.update(hashlib.file_digest(file, "sha256").digest())
        else:
            data = part.encode("utf-8") if isinstance(part, str) else part
            state.update(len(data).to_bytes(8, "little") + data)
    return state.hexdigest()[:16]


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file so that a reader sees the old one or the new one, never a part."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with aside.open("w", encoding="utf-8") as file:
            json.dump(value, file, indent=1, ensure_ascii=False)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


@dataclass(frozen=True)
class StageResult:
    """What a stage left: its directory, its manifest, and whether it ran or stood already."""

    path: Path
    manifest: dict[str, Any]
    ran: bool


def move_aside(path: Path, directory: Path) -> Path:
    """Renames into a directory, under a name that is free there, and returns what it is called now."""
    directory.mkdir(exist_ok=True)
    names = itertools.chain([path.name], (f"{path.name}.{number}" for number in itertools.count(1)))
    place = next(directory / name for name in names if not (directory / name).exists())
    path.rename(place)
    return place


# What a network file system says while it or its server has a hitch.
TRANSIENT = frozenset(
    (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EREMOTEIO, errno.ENOTCONN, errno.ECONNRESET)
)
_NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL)
WAITS = (1.0, 4.0, 16.0, 64.0)  # seconds between trials


def retried(action: Callable[[], Result], what: str) -> Result:
    """Does it, again after each of ``WAITS`` where a file system has a hitch; ``what`` then says what went wrong.

    Raises:
      OSError: it went wrong in another way, or still after the last of them.
    """
    for wait in WAITS:
        try:
            return action()
        except OSError as error:
            if error.errno not in TRANSIENT:
                raise
            console.warn(f"{what}: {error.strerror}; trying again in {wait:g} s")
            time.sleep(wait)
    return action()


def at_step(name: str) -> tuple[str, int | None]:
    """``DIR``, ``DIR@STEP`` or ``@STEP``: a run's directory, empty for this one, and a step, None for its best.

    Raises:
      UserError: what follows the @ is no step; the message begins with what does.
    """
    directory, separator, step = name.rpartition("@")
    if not separator or "/" in step:  # an @ of the path's own
        return name, None
    if step and not step.isdecimal():
        raise UserError(f"{name}: '{step}' is no step; write DIR, DIR@STEP or @STEP")
    return directory, int(step) if step else None


class Workdir:
    """Paths of one run; ``locked`` for as long as something writes there."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        if "://" in os.fspath(path):
            raise UserError(f"workdir '{path}' must be a directory; mount the bucket (gcsfuse, s3fs) and name its path")
        self.path, self._held = Path(path), ""

    corpus = property(lambda self: self.path / "corpus")
    tokenizer = property(lambda self: self.path / "tokenizer")
    tokens = property(lambda self: self.path / "tokens")
    checkpoints = property(lambda self: self.path / "checkpoints")
    evaluations = property(lambda self: self.path / "evaluations")
    config = property(lambda self: self.path / "config.json")
    metrics = property(lambda self: self.path / "metrics.jsonl")
    tensorboard = property(lambda self: self.path / "tb")

    @contextlib.contextmanager
    def locked(self, part: str = "") -> Iterator[None]:
        """Holds the workdir for this process, or only its ``evaluations``: those are made beside a run that trains.

        The lock is the kernel's, so one left by a killed run is no lock. Not every network file system tells other
        hosts of it, or has locks at all; ``check_held`` then finds out.

        Raises:
          UserError: another run holds it, or the directory cannot be written.
        """
        with disk_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            file = (self.path / f".lock{part and '.'}{part}").open("a+")
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno in _NO_LOCKS:
                    console.warn(f"the file system of '{self.path}' has no locks; see that no other run uses it")
                elif error.errno in (errno.EAGAIN, errno.EACCES):
                    file.seek(0)
                    raise UserError(
                        f"workdir '{self.path / part}' is in use by another run ({_holder(file.read())}); wait for it,"
                        " stop it, or choose another --workdir"
                    ) from None
                else:
                    raise
            held = f"{os.getpid()} {socket.gethostname()} {uuid.uuid4().hex}"
            with disk_errors(self.path):
                file.truncate(0)
                file.write(held)
                file.flush()
            for pattern in (".*.partial",) if part else (".*.partial", "checkpoints/.*.partial"):
                for leftover in (self.path / part).glob(pattern):  # of a run that was killed
                    if leftover.is_dir():
                        shutil.rmtree(leftover, ignore_errors=True)
                    else:
                        leftover.unlink(missing_ok=True)
            if not part:
                self._held = held
            yield
        self._held = ""

    def check_held(self) -> None:
        """To be asked before something is written in a workdir that has been locked for long.

        Raises:
          UserError: another run has taken it since, which the lock did not keep out.
        """
        if self._held:
            path = self.path / ".lock"
            with disk_errors(self.path):
                found = retried(lambda: path.read_text("utf-8"), f"cannot read '{path}'")
            if found != self._held:
                raise UserError(
                    f"workdir '{self.path}' has been taken by another run ({_holder(found)}), which its file system's"
                    " locks did not keep out; this one stops"
                )

    def manifest(self, name: str) -> dict[str, Any]:
        """The manifest of a finished stage.

        Raises:
          UserError: the stage has not run here.
        """
        path = self.path / name / MANIFEST
        try:
            manifest = json.loads(retried(lambda: path.read_text("utf-8"), f"cannot read '{path}'"))
            if not isinstance(manifest, dict):
                raise ValueError("not an object")
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(f"'{self.path}' holds no finished {name}; run the stage before, or t2c run") from None
        except ValueError:
            raise UserError(f"'{path}' is damaged; delete '{path.parent}' and run again") from None
        return manifest

    def digest(self, name: str) -> str:
        """What a later stage names as its input: a finished stage's manifest, the time it took apart."""
        manifest = {field: value for field, value in self.manifest(name).items() if field != "seconds"}
        return digest(json.dumps(manifest, sort_keys=True))

    def finished(self, name: str, config: Mapping[str, Any], inputs: Mapping[str, str]) -> StageResult | None:
        """The stage's result where it stands already, made of the same config and inputs."""
        with contextlib.suppress(UserError):
            manifest = self.manifest(name)
            key = _key(name, config, inputs)
            if {field: manifest.get(field) for field in key} == key:
                return StageResult(self.path / name, manifest, ran=False)
        return None

    def stage(
        self,
        name: str,
        config: Mapping[str, Any],
        inputs: Mapping[str, str],
        build: Callable[[Path], Mapping[str, Any]],
    ) -> StageResult:
        """Runs ``build`` unless the directory ``name`` already holds its result.

        Args:
          name: the directory under the workdir; ``a/b`` is one level deeper.
          config: the part of the config that the stage reads, as plain values.
          inputs: a digest for each thing it reads.
          build: writes into the directory it is given and returns the counts for the manifest.

        Raises:
          UserError: the disk is full or read-only; nothing that looks finished is left.
        """
        if (stands := self.finished(name, config, inputs)) is not None:
            return stands
        key, final = _key(name, config, inputs), self.path / name
        aside, replaced = (final.with_name(f".{final.name}.{what}.partial") for what in ("new", "old"))
        started = time.monotonic()
        with disk_errors(self.path):
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir(parents=True)
            try:
                counts = build(aside)
                manifest = {**key, "counts": dict(counts), "seconds": round(time.monotonic() - started, 1)}

                def publish() -> None:
                    if aside.exists():  # else it was, though the answer was lost
                        write_json(aside / MANIFEST, manifest)
                        if final.exists():  # out of the way whole: half deleted, it might still look finished
                            shutil.rmtree(replaced, ignore_errors=True)
                            final.rename(replaced)
                        aside.rename(final)

                retried(publish, f"cannot write '{final}'")
                shutil.rmtree(replaced, ignore_errors=True)
            except BaseException:
                shutil.rmtree(aside, ignore_errors=True)
                raise
        return StageResult(final, manifest, ran=True)


def _holder(text: str) -> str:
    process, _, rest = text.partition(" ")
    return f"process {process or 'unknown'}{' on ' + rest.split()[0] if rest else ''}"


def _key(name: str, config: Mapping[str, Any], inputs: Mapping[str, str]) -> dict[str, Any]:
    key = {"stage": name, "version": t2c_jax.__version__, "config": dict(config), "inputs": dict(inputs)}
    return json.loads(json.dumps(key))  # as it reads back: tuples are lists


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turns a full disk, or a ``path`` that cannot be written, into one clear line; other errors pass."""
    try:
        yield
    except OSError as error:
        full = {
            errno.ENOSPC: "the disk is full; free some space and run the same command again",
            errno.EDQUOT: "the disk quota is used up; free some space and run the same command again",
        }
        unfit = {
            errno.EROFS: "the file system is read-only; choose another --workdir",
            errno.EACCES: "permission denied; choose another --workdir",
            errno.ENOTDIR: "a part of the path is a file; choose another --workdir",
            errno.EEXIST: "a file is in the way; choose another --workdir",
        }
        hitch = f"{error.strerror}; run the same command again when the file system is steady"
        where = Path(error.filename) if isinstance(error.filename, str) else path
        about_path = where.is_relative_to(path) or path.is_relative_to(where)  # and not, say, a source that is read
        number = error.errno or 0
        reason = full.get(number) or (unfit.get(number, hitch if number in TRANSIENT else None) if about_path else None)
        if reason is None:
            raise
        raise UserError(f"cannot write '{error.filename or path}': {reason}") from error
