"""System calls that Python 3.11 has no function for."""

from __future__ import annotations

import ctypes
import os
import platform

MACHINE = platform.machine()

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x2000000, 0x4000000, 0x8000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 8, 0x1000, 0x4000, 0x40000
MNT_DETACH = 2
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV = 1, 2, 4

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_KEEPCAPS = 1, 4, 8
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 36, 38
CAP_DAC_READ_SEARCH = 1 << 2

_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_SYS_MOUNT_SETATTR = 442  # the same number on all architectures, as all calls since 424
_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_SYS_CAPSET = {"x86_64": 126, "aarch64": 91}

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]


def syscall(number: int, *arguments: int | bytes | ctypes.Array[ctypes.c_char] | None) -> int:
    """Calls the kernel by number.

    Raises:
      OSError: the kernel refuses.
    """
    passed = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    result = _libc.syscall(ctypes.c_long(number), *passed)
    if result < 0:
        raise _error(f"system call {number}")
    return int(result)


def unshare(flags: int) -> None:
    """Gives this process namespaces of its own (unshare(2))."""
    if _libc.unshare(ctypes.c_int(flags)):
        raise _error("unshare")


def mount(source: str, target: str, kind: str | None = None, flags: int = 0, data: str | None = None) -> None:
    """Mounts a file system (mount(2))."""
    encoded = [value.encode() if value is not None else None for value in (source, target, kind, data)]
    if _libc.mount(encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3]):
        raise _error(f"mount on {target}")


def make_read_only(target: str) -> None:
    """Makes a mount and all below it read-only, without devices and set-user-id programs (mount_setattr(2))."""
    attributes = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV
    structure = b"".join(value.to_bytes(8, "little") for value in (attributes, 0, 0, 0))
    syscall(_SYS_MOUNT_SETATTR, _AT_FDCWD, target.encode(), _AT_RECURSIVE, structure, len(structure))


def unmount(target: str) -> None:
    """Detaches a mount (umount2(2))."""
    if _libc.umount2(target.encode(), ctypes.c_int(MNT_DETACH)):
        raise _error(f"unmount {target}")


def pivot_root(new: str, old: str) -> None:
    """Makes ``new`` the root directory and puts the present one at ``old`` (pivot_root(2))."""
    syscall(_SYS_PIVOT_ROOT[MACHINE], new.encode(), old.encode())


def prctl(option: int, value: int, second: int = 0) -> None:
    """Sets a property of this process (prctl(2))."""
    if _libc.prctl(option, value, second, 0, 0):
        raise _error(f"prctl {option}")


def permitted_capabilities() -> int:
    """The capabilities that this process may use, one bit each."""
    with open("/proc/self/status", encoding="utf-8") as file:
        fields = dict(line.split(":", 1) for line in file)
    return int(fields["CapPrm"], 16)


def keep_capabilities(mask: int) -> None:
    """Gives up all of this process's capabilities but those of ``mask`` (capset(2))."""
    version = 0x20080522
    kept = mask.to_bytes(4, "little")
    syscall(_SYS_CAPSET[MACHINE], version.to_bytes(4, "little") + bytes(4), kept + kept + bytes(16))


def _error(call: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{call}: {os.strerror(number)}")
