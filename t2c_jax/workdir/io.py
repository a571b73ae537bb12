"""Files: digests, atomic writes, renames that replace nothing, and I/O errors as one clear line."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

from t2c_jax.errors import UserError
from t2c_jax.workdir.remote import move
from t2c_jax.workdir.retries import TRANSIENT

COMMITTED = "commit_success.txt"  # Orbax's marker: with it, a checkpoint on an object store is complete


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


def write_bytes(path: Path, content: bytes) -> None:
    """Replaces a file atomically: a reader sees the old content or the new one, never a part."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file atomically, locally or on an object store."""
    text = json.dumps(value, indent=1, ensure_ascii=False) + "\n"
    if isinstance(path, Path):
        write_bytes(path, text.encode("utf-8"))
    else:  # on an object store, where every write is atomic
        path.write_text(text)


def move_aside(path: Path, directory: Path) -> Path:
    """Renames ``path`` into ``directory``, under a name that is free there, and returns the new path."""
    directory.mkdir(exist_ok=True)
    names = itertools.chain([path.name], (f"{path.name}.{number}" for number in itertools.count(1)))
    target = next(directory / name for name in names if not (directory / name).exists())
    if isinstance(path, Path):
        path.rename(target)
    else:
        (directory / COMMITTED).write_text("")  # without it Orbax deletes the directory as an unfinished checkpoint
        move(str(path), str(target))
    return target


@contextlib.contextmanager
def disk_errors(path: Path, option: str = "--workdir") -> Iterator[None]:
    """Turns I/O errors that the user can mend into a ``UserError``; other errors pass.

    Args:
      path: what is written. Errors about another path, such as a source that is read, pass.
      option: the command-line option that names ``path``.
    """
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
            errno.EEXIST: f"a file of that name exists; choose another {option}",
            **dict.fromkeys(TRANSIENT, f"{error.strerror}; run the same command again when the file system works"),
        }
        where = Path(error.filename) if isinstance(error.filename, str) else path
        about_path = where.is_relative_to(path) or path.is_relative_to(where)
        number = error.errno or 0
        reason = full.get(number) or (unfit.get(number) if about_path else None)
        if reason is None:
            raise
        raise UserError(f"cannot write '{error.filename or path}': {reason}") from error
