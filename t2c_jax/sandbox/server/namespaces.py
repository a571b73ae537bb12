"""A root directory, process ids, users and a network of the server's own, by namespaces.

The root directory is a tmpfs, later read-only, with read-only binds of what interpreters need. The network has no
interface that is up. Where the machine's user is root, programs run as another user: the kernel enforces no limit of
processes on user 0, whatever its number in the namespace.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from typing import Any

from t2c_jax.sandbox.server import kernel
from t2c_jax.sandbox.server.isolation import Isolation
from t2c_jax.sandbox.server.seccomp import Filter

BOX = "/box"  # each program has a tmpfs there
_FILES = 10_000
SYSTEM_DIRECTORIES = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
DEVICES = ("null", "zero", "full", "random", "urandom")
_NOBODY = 65534
_PROGRAM_USER = 1000


def enter(visible: Sequence[str]) -> int:
    """Moves this process into namespaces of its own, as process 1.

    Args:
      visible: absolute paths to show read-only.

    Returns:
      The user and group that programs run as; they are the server's own where the machine's user is not root.

    Raises:
      OSError: the machine does not allow it.
    """
    user = _become_owner()
    kernel.unshare(kernel.CLONE_NEWPID)
    child = os.fork()
    if child:
        _wait_for(child)
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)  # programs of the same user may not look into this process
    _new_root(visible, user)
    return user


def _become_owner() -> int:
    """A user namespace with all the others in it."""
    uid, gid = os.getuid(), os.getgid()
    user = _PROGRAM_USER if uid == 0 else uid
    if uid == 0:
        users = f"0 0 1\n{_PROGRAM_USER} {_NOBODY} 1\n"
        groups = users
    else:
        users, groups = f"{uid} {uid} 1\n", f"{gid} {gid} 1\n"
    parent = os.getpid()
    ready, go = os.pipe()
    writer = os.fork()  # a map of two users can be written only from outside
    if not writer:
        try:
            os.close(go)
            if os.read(ready, 1):
                if uid:
                    _write(f"/proc/{parent}/setgroups", "deny")
                _write(f"/proc/{parent}/uid_map", users)
                _write(f"/proc/{parent}/gid_map", groups)
                os._exit(0)
        finally:
            os._exit(1)
    os.close(ready)
    try:
        kernel.unshare(
            kernel.CLONE_NEWUSER
            | kernel.CLONE_NEWNS
            | kernel.CLONE_NEWNET
            | kernel.CLONE_NEWIPC
            | kernel.CLONE_NEWUTS
            | kernel.CLONE_NEWCGROUP
        )
        os.write(go, b"1")
    finally:
        os.close(go)
        _, status = os.waitpid(writer, 0)
    if status:
        raise OSError(1, "the user map of the namespace could not be written")
    return user


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    os.write(descriptor, text.encode())
    os.close(descriptor)


def _wait_for(child: int) -> None:
    for descriptor in range(3):
        os.close(descriptor)
    _, status = os.waitpid(child, 0)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def _new_root(visible: Sequence[str], user: int) -> None:
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("tmpfs", "/tmp", "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=755,size=1m")
    os.mkdir("/tmp/old")
    os.mkdir("/tmp/new")
    kernel.pivot_root("/tmp", "/tmp/old")
    os.chdir("/")
    new, old = "/new", "/old"
    kernel.mount("tmpfs", new, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=755,size=1m")
    for path in visible:
        _show(f"{old}{path}", f"{new}{path}")
    _links(old, new)
    _accounts(new, user)
    _devices(old, new)
    os.mkdir(f"{new}/proc")
    kernel.mount("proc", f"{new}/proc", "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)
    os.mkdir(f"{new}{BOX}")
    if not os.path.exists(f"{new}/tmp"):  # an interpreter or a package may lie below it; TMPDIR names the program's own
        os.symlink(f"{BOX}/tmp", f"{new}/tmp")
    os.mkdir(f"{new}/inner")
    kernel.pivot_root(new, f"{new}/inner")
    os.chdir("/")
    kernel.unmount("/inner")
    os.rmdir("/inner")
    kernel.mount("none", "/", None, kernel.MS_BIND | 0x20 | kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV)


def _show(source: str, target: str) -> None:
    """Binds a file or directory read-only."""
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
    kernel.mount(source, target, None, kernel.MS_BIND | kernel.MS_REC)
    kernel.make_read_only(target)


def _links(old: str, new: str) -> None:
    """/bin, /lib and their like, where they are links into /usr."""
    for name in SYSTEM_DIRECTORIES:
        if os.path.islink(f"{old}/{name}"):
            os.symlink(os.readlink(f"{old}/{name}"), f"{new}/{name}")


def _accounts(new: str, user: int) -> None:
    """Names for the program's user; the machine's own accounts stay hidden."""
    os.makedirs(f"{new}/etc", exist_ok=True)
    with open(f"{new}/etc/passwd", "w", encoding="utf-8") as file:
        file.write(f"user:x:{user}:{user}::{BOX}/work:/bin/bash\n")
    with open(f"{new}/etc/group", "w", encoding="utf-8") as file:
        file.write(f"user:x:{user}:\n")


def _devices(old: str, new: str) -> None:
    os.mkdir(f"{new}/dev")
    for name in DEVICES:
        target = f"{new}/dev/{name}"
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o666))
        kernel.mount(f"{old}/dev/{name}", target, None, kernel.MS_BIND)
    os.symlink(f"{BOX}/shm", f"{new}/dev/shm")
    os.symlink("/proc/self/fd", f"{new}/dev/fd")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        os.symlink(f"/proc/self/fd/{number}", f"{new}/dev/{name}")


class Namespaces(Isolation):
    """The server is process 1 of a namespace; everything else in it belongs to the program.

    Args:
      visible: absolute paths to show read-only.

    Raises:
      OSError: the machine does not allow it.
    """

    box = BOX

    def __init__(self, visible: Sequence[str]) -> None:
        self.user = enter(visible)
        self._filter = Filter(shared=True)

    def begin(self, limits: Mapping[str, Any]) -> None:
        """Mounts an empty tmpfs for all that the program writes."""
        flags = kernel.MS_NOSUID | kernel.MS_NODEV
        kernel.mount("tmpfs", BOX, "tmpfs", flags, f"mode=755,size={limits['file_bytes']},nr_inodes={_FILES}")
        self.make_directories()

    def process_limit(self, wanted: int) -> int:
        """The server counts too if the program's user is its own."""
        return wanted + (os.getuid() == self.user)

    def confine(self) -> None:
        """Becomes the program's user, without capabilities."""
        if os.getuid() != self.user:
            os.setgroups([])
            os.setresgid(self.user, self.user, self.user)
            os.setresuid(self.user, self.user, self.user)
        kernel.keep_capabilities(0)
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        self._filter.install()

    def processes(self) -> list[int]:
        """All processes but the server."""
        return [int(name) for name in os.listdir("/proc") if name.isdigit() and name != "1"]

    def end(self) -> None:
        """Process 1 reaches all others of its namespace at once."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)

    def clean(self) -> None:
        """Unmounts the tmpfs."""
        kernel.unmount(BOX)
