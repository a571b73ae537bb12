"""Rules for the file system, TCP and signals that a process sets for itself (Landlock)."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterable

from t2c_jax.sandbox.server import kernel

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_VERSION = 1
_PATH_BENEATH = 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIRECTORY = 1, 2, 4, 8
_TRUNCATE, _IOCTL = 1 << 14, 1 << 15
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL
_NETWORK = 0b11  # bind, connect
_SCOPES = 0b11  # abstract UNIX sockets, signals
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}  # rights that a version knows; 16 from version 5 on

TRUNCATE_VERSION, SIGNALS_VERSION = 3, 6  # the first to keep programs from emptying files, and from sending signals


def version() -> int:
    """The kernel's version of Landlock.

    Raises:
      OSError: it has none, or it is switched off.
    """
    return kernel.syscall(_CREATE, None, 0, _VERSION)


class Rules:
    """What a process may do from now on, with all that it starts.

    Args:
      readable: paths to read and to execute; everything below them too.
      writable: paths where everything is allowed.
      usable: files to read and write, such as devices.
    """

    def __init__(self, readable: Iterable[str], writable: Iterable[str], usable: Iterable[str] = ()) -> None:
        number = version()
        self._known = (1 << _FILE_RIGHTS.get(number, 16)) - 1
        attributes = struct.pack("QQQ", self._known, _NETWORK, _SCOPES)[: 8 if number < 4 else 16 if number < 6 else 24]
        self._ruleset = kernel.syscall(_CREATE, attributes, len(attributes), 0)
        for path in readable:
            self._allow(path, _EXECUTE | _READ_FILE | _READ_DIRECTORY)
        for path in writable:
            self._allow(path, self._known)
        for path in usable:
            self._allow(path, _READ_FILE | _WRITE_FILE)

    def _allow(self, path: str, rights: int) -> None:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
                rights &= _OF_FILES
            rule = struct.pack("=Qi", rights & self._known, descriptor)
            kernel.syscall(_ADD, self._ruleset, _PATH_BENEATH, rule, 0)
        finally:
            os.close(descriptor)

    def apply(self) -> None:
        """Applies the rules to this process. ``no_new_privs`` must be set."""
        kernel.syscall(_RESTRICT, self._ruleset, 0)
