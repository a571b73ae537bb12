"""The tracked files of a directory in a git checkout, with the repository and the commit."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from t2c_jax.console import warn
from t2c_jax.corpus.git_commands import read_git

_SUBMODULE = "160000"  # the mode of a commit in git's index


@dataclass(frozen=True)
class Checkout:
    """A directory in a git checkout.

    Attributes:
      top: the checkout's root.
      repository: host/owner/name of the origin, without credentials; the root's name where there is no origin.
      commit: the full hash, with ``-dirty`` where tracked files differ from it; empty before the first commit.
      prefix: the directory relative to the root, empty or ending in "/".
      files: the tracked files under the directory, relative to it, sorted.
      submodules: those under the directory, relative to it, sorted, initialised or not.
    """

    top: Path
    repository: str
    commit: str
    prefix: str
    files: tuple[str, ...]
    submodules: tuple[str, ...]

    @classmethod
    def at(cls, root: Path) -> Checkout | None:
        """The checkout that tracks files in ``root``, if there is one."""
        listing = _git(root, "ls-files", "-z", "--stage")
        if not listing:
            if (root / ".git").exists():
                warn(f"git cannot read the checkout '{root}'; it is mined as a plain directory, without its commit")
            return None
        entries = [entry.split("\t", maxsplit=1) for entry in listing.split("\0") if entry]
        modes = {path: about.split()[0] for about, path in entries}  # a conflict lists a path three times
        top = Path(_git(root, "rev-parse", "--show-toplevel") or root)
        return cls(
            top=top,
            repository=repository_name(_git(root, "remote", "get-url", "origin") or "") or top.name,
            commit=_git(root, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*") or "",
            prefix=_git(root, "rev-parse", "--show-prefix") or "",
            files=tuple(sorted(path for path, mode in modes.items() if mode != _SUBMODULE)),
            submodules=tuple(sorted(path for path, mode in modes.items() if mode == _SUBMODULE)),
        )


def repository_name(address: str) -> str:
    """``host/owner/name`` from a remote's address (``https://…``, ``ssh://…``, ``git@host:…``) or local path."""
    address = address.strip().rstrip("/").removesuffix(".git")
    if "://" in address:
        parts = urlsplit(address)
        return f"{parts.hostname or ''}{parts.path}".strip("/")
    host, colon, path = address.partition(":")
    if colon and "/" not in host:
        return f"{host.rpartition('@')[2]}/{path}"
    return Path(address).name


def _git(root: Path, *arguments: str) -> str | None:
    printed = read_git(root, *arguments)
    return None if printed is None else os.fsdecode(printed).rstrip("\n")
