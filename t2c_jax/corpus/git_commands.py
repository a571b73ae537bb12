"""Runs git on repositories that nobody vouches for: it reads what is there, runs no program and fetches nothing.

A repository's own config may name programs: hooks, file system monitors, filters of file contents, text converters, a
program for signatures. None of them is run. Objects that a partial clone left out are not fetched.
"""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

_SECONDS = 300
_CHUNK = 1 << 16
_SETTINGS = (
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    "core.pager=cat",
    "log.showSignature=false",
    "submodule.recurse=false",
)
_ENVIRONMENT = {
    "GIT_ALLOW_PROTOCOL": "none",  # a list of the protocols that a fetch may use
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
}


def read_git(root: Path, *arguments: str, data: bytes = b"") -> bytes | None:
    """What a git command prints; None if it fails or git is not installed.

    Args:
      root: a directory in the repository.
      arguments: of git, the command first; it must only read.
      data: its standard input.
    """
    return _run(root, [*_filters_off(root), *arguments], data)


def stream_git(root: Path, *arguments: str, separator: bytes, limit: int) -> Iterator[bytes]:
    """What a git command prints, a record at a time; it ends early where git does.

    Args:
      root: a directory in the repository.
      arguments: of git, the command first; it must only read.
      separator: one byte, which begins each record.
      limit: bytes of a record; the rest of a longer one is left out.
    """
    try:
        process = subprocess.Popen(
            _command(root, [*_filters_off(root), *arguments]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
        )
    except OSError:
        return
    with process:
        try:
            assert process.stdout is not None
            record = b""
            while chunk := process.stdout.read(_CHUNK):
                first, *others = chunk.split(separator)
                record = (record + first)[:limit]
                for other in others:
                    if record:
                        yield record
                    record = other[:limit]
            if record:
                yield record
        finally:
            process.kill()


def _command(root: Path, arguments: Sequence[str]) -> list[str]:
    settings = [part for setting in _SETTINGS for part in ("-c", setting)]
    return ["git", *settings, "-C", str(root), *arguments]


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | _ENVIRONMENT


def _run(root: Path, arguments: Sequence[str], data: bytes = b"") -> bytes | None:
    command = _command(root, arguments)
    try:
        done = subprocess.run(
            command, input=data, capture_output=True, env=_environment(), timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if done.returncode else done.stdout


@functools.lru_cache(maxsize=1000)
def _filters_off(root: Path) -> tuple[str, ...]:
    """Options that turn off the filters of the repository's own config; those of the user's are the user's."""
    listing = _run(root, ["config", "--null", "--show-scope", "--name-only", "--get-regexp", r"^filter\."]) or b""
    fields = os.fsdecode(listing).split("\0")
    scoped = zip(fields[::2], fields[1::2], strict=False)
    names = {name.rpartition(".")[0] for scope, name in scoped if scope in ("local", "worktree")}
    settings = (
        f"{name}.{key}" for name in sorted(names) for key in ("clean=", "smudge=", "process=", "required=false")
    )
    return tuple(part for setting in settings for part in ("-c", setting))
