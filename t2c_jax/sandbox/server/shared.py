"""Programs that share what the server is in: bubblewrap's namespaces, or none.

One program runs at a time. Landlock and a filter of system calls keep it from the server and from everything outside;
afterwards the server ends all of its descendants and empties its directories.
"""

from __future__ import annotations

import contextlib
import math
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from t2c_jax.sandbox.server import kernel, landlock
from t2c_jax.sandbox.server.isolation import Isolation
from t2c_jax.sandbox.server.namespaces import DEVICES
from t2c_jax.sandbox.server.seccomp import Filter

_NOBODY = 65534
_BLOCK = 4096
_COUNT_SECONDS = 1.0
_KILL_SECONDS = 0.0005


class SharedNamespaces(Isolation):
    """Isolation within the server's own namespaces.

    Args:
      box: an empty directory of the server's own.
      visible: absolute paths that programs may read; everything if empty.
      outside: whether the user's other processes and files are in the same namespaces.
      servers: how many servers of the sandbox share the user's limit of processes.
      unprotected: whether to go on where the kernel has no Landlock or no filter.

    Raises:
      OSError: the machine does not allow it.
    """

    def __init__(self, box: str, visible: Sequence[str], *, outside: bool, servers: int, unprotected: bool) -> None:
        self.box, self._servers = box, servers
        # Root's files belong to another user then, and the kernel limits that user's processes.
        self.user = _NOBODY if outside and os.getuid() == 0 else os.getuid()
        self._kept_capabilities = kernel.permitted_capabilities() & kernel.CAP_DAC_READ_SEARCH
        self._others, self._counted = 0, -math.inf
        self._rules: landlock.Rules | None = None
        self._filter: Filter | None = None
        kernel.prctl(kernel.PR_SET_DUMPABLE, 0)  # no other process of this user may look into this one
        kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
        os.chmod(box, 0o755)
        version = 0
        try:
            version = landlock.version()
            if version < landlock.TRUNCATE_VERSION and outside:
                raise OSError(0, f"Landlock's version {version} does not keep programs from emptying files")
            self._rules = landlock.Rules(visible or ["/"], [box], [f"/dev/{name}" for name in DEVICES])
        except OSError:
            if outside and not unprotected:
                raise
        try:
            keeps_signals = bool(self._rules) and version >= landlock.SIGNALS_VERSION
            owns = self.user == os.getuid()
            self._filter = Filter(shared=True, outside=outside, signals=not keeps_signals, metadata=outside and owns)
        except OSError:
            if not unprotected:
                raise

    def begin(self, limits: Mapping[str, Any]) -> None:
        """Creates the directories, and counts the user's threads: the kernel counts them with the program's."""
        self.make_directories()
        now = time.monotonic()
        if now - self._counted > _COUNT_SECONDS:
            self._counted = now
            self._others = sum(_threads_of(int(name), self.user) for name in os.listdir("/proc") if name.isdigit())

    def process_limit(self, wanted: int) -> int:
        """Leaves room for the programs of other servers. The supervisor ends a program that has too many processes."""
        return self._others + wanted * (self._servers + 1)

    def confine(self) -> None:
        """Gives up capabilities, then applies Landlock's rules and the filter."""
        kept = 0
        if os.getuid() != self.user:
            # Interpreters may be where only root can read. Landlock decides what is read.
            kept = self._kept_capabilities if self._rules else 0
            kernel.prctl(kernel.PR_SET_KEEPCAPS, 1)
            os.setgroups([])
            os.setresgid(self.user, self.user, self.user)
            os.setresuid(self.user, self.user, self.user)
        kernel.keep_capabilities(kept)
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        if self._rules:
            self._rules.apply()
        if self._filter:
            self._filter.install()

    def processes(self) -> list[int]:
        """The server's descendants."""
        return descendants(os.getpid())

    def end(self) -> None:
        """Kills all descendants, also those that are started meanwhile."""
        while alive := [each for each in self.processes() if not _is_dead(each)]:
            for process in alive:  # first stop them from forking
                with contextlib.suppress(OSError):
                    resource.prlimit(process, resource.RLIMIT_NPROC, (0, 0))
            for process in alive:
                with contextlib.suppress(OSError):
                    os.kill(process, signal.SIGKILL)
            time.sleep(_KILL_SECONDS)

    def clean(self) -> None:
        """Empties the box."""
        for name in os.listdir(self.box):
            _remove(os.path.join(self.box, name))

    def disk_bytes(self) -> int:
        """Size of all files in the box; each counts as a block at least, so that many empty ones count too."""
        total = 0
        pending = [self.box]
        while pending:
            try:
                with os.scandir(pending.pop()) as entries:
                    for entry in entries:
                        total += max(entry.stat(follow_symlinks=False).st_blocks * 512, _BLOCK)
                        if entry.is_dir(follow_symlinks=False):
                            pending.append(entry.path)
            except FileNotFoundError:  # removed meanwhile
                continue
            except OSError:  # too deep, or closed by the program: anything could be in there
                return sys.maxsize
        return total


def descendants(process: int) -> list[int]:
    """Children, their children, and so on."""
    found: list[int] = []
    pending = [process]
    while pending:
        parent = pending.pop()
        with contextlib.suppress(OSError):
            for thread in os.listdir(f"/proc/{parent}/task"):
                with open(f"/proc/{parent}/task/{thread}/children", encoding="utf-8") as file:
                    pending += (children := [int(text) for text in file.read().split()])
                    found += children
    return found


def _is_dead(process: int) -> bool:
    try:
        with open(f"/proc/{process}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] in (b"Z", b"X")
    except OSError:
        return True


def _threads_of(process: int, user: int) -> int:
    try:
        with open(f"/proc/{process}/status", "rb") as file:
            fields = dict(line.split(b":", 1) for line in file.read().splitlines())
    except OSError:
        return 0
    return int(fields[b"Threads"]) if int(fields[b"Uid"].split()[0]) == user else 0


def _remove(path: str) -> None:
    """Removes a file or a tree, whatever its depth and the modes of its directories."""
    try:
        os.unlink(path)
    except IsADirectoryError:
        try:
            os.rmdir(path)
        except OSError:
            # Python's own functions for trees recurse; a program can nest deeper than that.
            subprocess.run(["chmod", "-R", "u+rwx", path], stderr=subprocess.DEVNULL, check=False)
            subprocess.run(["rm", "-rf", path], stderr=subprocess.DEVNULL, check=True)
