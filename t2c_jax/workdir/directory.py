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
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import t2c_jax
from t2c_jax import console
from t2c_jax.errors import UserError
from t2c_jax.workdir.remote import Remote, is_remote, move
from t2c_jax.workdir.retries import TRANSIENT, retried

MANIFEST = "manifest.json"
COMMITTED = "commit_success.txt"  # with it, a checkpoint on an object store is whole (Orbax's name)
_TRAINED_ON = ("corpus", "tokenizer", "tokens")
OF_A_PROCESS = ("*.txt", "*.npz")  # files of a run that each process writes for itself
OF_A_RUN = ("*.json", "*.jsonl", "tb/*", *OF_A_PROCESS)


def digest(*parts: bytes | str | Path) -> str:
    """SHA-256, as 16 hexadecimal digits, over byte strings, texts, and the contents of files."""
    state = hashlib.sha256()
    for part in parts:
        if isinstance(part, PurePath):
            with part.open("rb") as file:
                state.update(hashlib.file_digest(file, "sha256").digest())
        else:
            data = part.encode("utf-8") if isinstance(part, str) else part
            state.update(len(data).to_bytes(8, "little") + data)
    return state.hexdigest()[:16]


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file so that a reader sees the old one or the new one, never a part."""
    if not isinstance(path, Path):  # on an object store, where every write is so
        path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")
        return
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
    if isinstance(path, Path):
        path.rename(place)
    else:
        (directory / COMMITTED).write_text("")  # else Orbax takes it for a leftover, and deletes it
        move(str(path), str(place))
    return place


_NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL)


def evaluation_name(step: int, average: int = 1) -> str:
    """The stage that scores a checkpoint, or the mean of the latest ``average`` up to it."""
    return f"evaluations/{step}" if average == 1 else f"evaluations/{step}-average-{average}"


def at_step(name: str) -> tuple[str, int | None]:
    """``DIR``, ``DIR@STEP`` or ``@STEP``: a run's directory, empty for this one, and a step, None for its best.

    Raises:
      UserError: what follows the @ is no step; the message begins with what does.
    """
    directory, separator, step = name.rpartition("@")
    if not separator or "/" in step:  # an @ of the path's own
        return name, None
    if step and not step.isdecimal():
        raise UserError(f"{name}: '{step}' is no step; write DIR, DIR@STEP or @STEP, and DIR/ if its name has an @")
    return directory, int(step) if step else None


class Workdir:
    """Paths of one run; ``locked`` for as long as something writes there.

    Behind a URL lies a directory on an object store, which is what holds, and this machine's copy of it. A stage is
    built in the copy and then written to the store; a stage that the store has, of whichever machine, is fetched when
    it is asked for. Checkpoints are on the store alone.

    Attributes:
      name: as it was given: a directory or a URL.
      path: the directory, or the copy.
      remote: the store's side of it, where there is one.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.name, self._held = os.fspath(path), ""
        self.remote = Remote(self.name) if is_remote(path) else None
        self.path = Path(path) if self.remote is None else self.remote.copy
        self._pool = ThreadPoolExecutor(1)
        self._pushed: Future[None] | None = None

    corpus = property(lambda self: self.current("corpus"))
    tokenizer = property(lambda self: self.current("tokenizer"))
    tokens = property(lambda self: self.current("tokens"))
    evaluations = property(lambda self: self.path / "evaluations")
    metrics = property(lambda self: self.path / "metrics.jsonl")
    tensorboard = property(lambda self: self.path / "tb")

    @property
    def title(self) -> str:
        """The last part of its path."""
        return self.path.resolve().name if self.remote is None else PurePath(self.remote.url).name

    @property
    def checkpoints(self) -> Path:
        """Where they lie; of a URL an ``epath.Path``, which can what a ``Path`` can but for links and locks."""
        if self.remote is None:
            return self.path / "checkpoints"
        return self.remote.directory("checkpoints")

    @property
    def config(self) -> Path:
        """The resolved config."""
        path = self.path / "config.json"
        if self.remote is not None and (content := self.remote.read(path.name)) is not None:
            self._write(path, content)
        return path

    def save_config(self, values: Mapping[str, Any]) -> None:
        """Writes the resolved config."""
        path = self.path / "config.json"
        with disk_errors(path):
            write_json(path, values)
        if self.remote is not None:
            self.remote.write(path.name, path.read_bytes())

    def current(self, stage: str) -> Path:
        """The directory of a stage, as it is now, whoever built it."""
        if self.remote is not None:
            with disk_errors(self.path):
                self.remote.fetch(stage, MANIFEST)
        return self.path / stage

    def text(self, name: str) -> str:
        """What a file of the run holds now, wherever it trains; empty where there is none."""
        if self.remote is not None:
            return (self.remote.read(name) or b"").decode("utf-8")
        path = self.path / name
        return path.read_text("utf-8") if path.exists() else ""

    def push(self, patterns: Sequence[str] = OF_A_RUN) -> None:
        """Begins to write the run's small files to the object store, where there is one, after the last time's."""
        if self.remote is not None:
            self.pushed()
            found = (path for pattern in patterns for path in sorted(self.path.glob(pattern)))
            paths = [path for path in found if path.is_file() and not path.name.startswith(".")]
            self._pushed = self._pool.submit(self.remote.push, paths)

    def pushed(self) -> None:
        """Waits for ``push``."""
        if self._pushed is not None:
            pushed, self._pushed = self._pushed, None
            pushed.result()

    def _write(self, path: Path, content: bytes) -> None:
        if not path.is_file() or path.read_bytes() != content:
            with disk_errors(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                aside = path.with_name(f".{path.name}.{os.getpid()}.partial")
                aside.write_bytes(content)
                aside.replace(path)

    def _catch_up(self) -> None:
        """The metrics of another machine, unless this one has them and has gone on."""
        if self.remote is not None and (there := self.remote.read(self.metrics.name)) is not None:
            here = self.metrics.read_bytes() if self.metrics.is_file() else b""
            if not here.startswith(there):
                self._write(self.metrics, there)

    @contextlib.contextmanager
    def locked(self, part: str = "") -> Iterator[None]:
        """Holds the workdir for this process, or only its ``evaluations``: those are made beside a run that trains.

        The lock is the kernel's, so one left by a killed run is no lock. Not every network file system tells other
        hosts of it, or has locks at all; ``check_held`` then finds out.

        Raises:
        An object store has no locks: there the run that comes last takes the workdir over.

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
                    where, holder = os.path.join(self.name, part).rstrip("/"), _holder(file.read())
                    raise UserError(
                        f"workdir '{where}' is in use by another run ({holder}); wait for it, stop it, or choose"
                        " another --workdir"
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
            if part:
                yield
                return
            if self.remote is not None:
                self.remote.write(".lock", held.encode())
                self._catch_up()
            self._held = held
            try:
                yield
            finally:
                if self._held:  # and no other run has taken it
                    self.push()
                    self.pushed()
                self._held = ""

    def check_held(self) -> None:
        """To be asked before something is written in a workdir that has been locked for long.

        Raises:
          UserError: another run has taken it since, which the lock did not keep out.
        """
        if self._held:
            path = self.path / ".lock"
            if self.remote is not None:
                found = (self.remote.read(path.name) or b"").decode("utf-8")
            else:
                with disk_errors(self.path):
                    found = retried(lambda: path.read_text("utf-8"), f"cannot read '{path}'")
            if found != self._held:
                self._held = ""
                raise UserError(
                    f"workdir '{self.name}' has been taken by another run ({_holder(found)}), which"
                    f" {'no lock keeps' if self.remote else 'its file system did not keep'} out; this one stops"
                )

    def manifest(self, name: str) -> dict[str, Any]:
        """The manifest of a finished stage.

        Raises:
          UserError: the stage has not run here.
        """
        path = self.current(name) / MANIFEST
        try:
            manifest = json.loads(retried(lambda: path.read_text("utf-8"), f"cannot read '{path}'"))
            if not isinstance(manifest, dict):
                raise ValueError("not an object")
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(f"'{self.name}' holds no finished {name}; run the stage before, or t2c run") from None
        except ValueError:
            raise UserError(f"'{path}' is damaged; delete '{path.parent}' and run again") from None
        return manifest

    def digest(self, name: str) -> str:
        """What a later stage names as its input: a finished stage's manifest, the time it took apart."""
        manifest = {field: value for field, value in self.manifest(name).items() if field != "seconds"}
        return digest(json.dumps(manifest, sort_keys=True))

    def finished(self, name: str, config: Mapping[str, Any], inputs: Mapping[str, str]) -> StageResult | None:
        """The stage's result where it stands already, made of the same config and inputs."""
        key = _key(name, config, inputs)

        def fits(content: bytes | str | None) -> dict[str, Any] | None:
            with contextlib.suppress(ValueError):
                manifest = json.loads(content or "null")
                if isinstance(manifest, dict) and {field: manifest.get(field) for field in key} == key:
                    return manifest
            return None

        path = self.path / name / MANIFEST
        if self.remote is not None and fits(self.remote.read(f"{name}/{MANIFEST}")) is not None:
            self.current(name)  # what this machine may have built of the same, others have not read
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            if (manifest := fits(retried(path.read_bytes, f"cannot read '{path}'"))) is not None:
                return StageResult(path.parent, manifest, ran=False)
        return None

    def stage(
        self,
        name: str,
        config: Mapping[str, Any],
        inputs: Mapping[str, str],
        build: Callable[[Path], Mapping[str, Any]],
    ) -> StageResult:
        """Runs ``build`` unless the directory ``name`` already holds its result.

        What checkpoints were trained on stays: with another tokenizer they answer nothing, and with another corpus the
        run would go on with other batches. It stays too where no more than the package's version has changed.

        Args:
          name: the directory under the workdir; ``a/b`` is one level deeper.
          config: the part of the config that the stage reads, as plain values.
          inputs: a digest for each thing it reads.
          build: writes into the directory it is given and returns the counts for the manifest.

        Raises:
          UserError: the disk is full or read-only, and nothing that looks finished is left; or the workdir has
            checkpoints that were trained on what would be replaced.
        """
        if (stands := self.finished(name, config, inputs) or self._kept(name, config, inputs)) is not None:
            self._publish(name)
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
        self._publish(name)
        return StageResult(final, manifest, ran=True)

    def _kept(self, name: str, config: Mapping[str, Any], inputs: Mapping[str, str]) -> StageResult | None:
        """A stage that checkpoints were trained on, made by another version of the package."""
        if name not in _TRAINED_ON or not self.checkpoint_steps():
            return None
        try:
            manifest = self.manifest(name)
        except UserError:
            return None  # what is gone or damaged may be made again
        key = _key(name, config, inputs)
        changed = [
            f"{what}.{entry}" if what == "config" else entry
            for what in ("config", "inputs")
            for entry in sorted(manifest.get(what, {}).keys() | key[what])
            if manifest.get(what, {}).get(entry) != key[what].get(entry)
        ]
        if changed:
            listed = ", ".join(changed[:3]) + (f" and {len(changed) - 3} more" if len(changed) > 3 else "")
            raise UserError(
                f"'{self.name}' has checkpoints that were trained on its {name}, which would be another now (changed:"
                f" {listed}): take another --workdir, or delete '{self.checkpoints}' to train anew"
            )
        return StageResult(self.path / name, manifest, ran=False)

    def checkpoint_steps(self) -> set[int]:
        """Of the checkpoints that were trained, or imported, here; some may be damaged or under way."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, UserError):  # a store that takes none has none
            return {int(path.name) for path in self.checkpoints.iterdir() if path.name.isdecimal()}
        return set()

    def _publish(self, name: str) -> None:
        """Writes a stage to the object store, where it is not there."""
        directory = self.path / name
        if self.remote is not None and self.remote.read(f"{name}/{MANIFEST}") != (directory / MANIFEST).read_bytes():
            self.remote.put(directory, name, MANIFEST)


def _holder(text: str) -> str:
    process, _, rest = text.partition(" ")
    return f"process {process or 'unknown'}{' on ' + rest.split()[0] if rest else ''}"


def _key(name: str, config: Mapping[str, Any], inputs: Mapping[str, str]) -> dict[str, Any]:
    key = {"stage": name, "version": t2c_jax.__version__, "config": dict(config), "inputs": dict(inputs)}
    return json.loads(json.dumps(key))  # as it reads back: tuples are lists


@contextlib.contextmanager
def disk_errors(path: Path, option: str = "--workdir") -> Iterator[None]:
    """Turns a full disk, or an ``option``'s ``path`` that cannot be written, into one clear line; other errors pass."""
    try:
        yield
    except OSError as error:
        full = {
            errno.ENOSPC: "the disk is full; free some space and run the same command again",
            errno.EDQUOT: "the disk quota is used up; free some space and run the same command again",
        }
        unfit = {
            errno.EROFS: f"the file system is read-only; choose another {option}",
            **dict.fromkeys((errno.EACCES, errno.EPERM), f"permission denied; choose another {option}"),
            errno.ENOTDIR: f"a part of the path is a file; choose another {option}",
            errno.EEXIST: f"a file is in the way; choose another {option}",
        }
        hitch = f"{error.strerror}; run the same command again when the file system is steady"
        where = Path(error.filename) if isinstance(error.filename, str) else path
        about_path = where.is_relative_to(path) or path.is_relative_to(where)  # and not, say, a source that is read
        number = error.errno or 0
        reason = full.get(number) or (unfit.get(number, hitch if number in TRANSIENT else None) if about_path else None)
        if reason is None:
            raise
        raise UserError(f"cannot write '{error.filename or path}': {reason}") from error
