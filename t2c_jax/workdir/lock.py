"""The lock of a workdir, so that two runs do not write to it.

It is the kernel's lock on a file, which the kernel releases when its process dies: a killed run leaves no lock. The
file names the holder, for the message that another run gets, and for ``check``. (filelock has neither: it falls back
to a lock that a killed process leaves behind where a file system has no locks.)
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

from t2c_jax import console
from t2c_jax.errors import UserError
from t2c_jax.workdir.io import disk_errors
from t2c_jax.workdir.remote import Remote
from t2c_jax.workdir.retries import with_retries

_NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL)


class Lock:
    """A lock file in a local directory and, where the workdir has a URL, an object that names the latest holder.

    Attributes:
      path: the lock file.
      name: what the messages call the locked directory.
    """

    def __init__(
        self, path: Path, name: str, remote: Remote | None = None, remedy: str = "stop it, or choose another --workdir"
    ) -> None:
        self.path, self.name, self._remote, self._remedy = path, name, remote, remedy
        self.holder = ""  # this process's entry in the file; empty while it does not hold the lock

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Holds the lock.

        Raises:
          UserError: another run holds it, or the file cannot be written.
        """
        with disk_errors(self.path.parent):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = self.path.open("a+")
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno in _NO_LOCKS:
                    console.warn(
                        f"the file system of '{self.path.parent}' has no locks; make sure that no other run uses it"
                    )
                elif error.errno in (errno.EAGAIN, errno.EACCES):
                    file.seek(0)
                    raise UserError(
                        f"workdir '{self.name}' is in use by another run ({_described(file.read())}); wait for it,"
                        f" {self._remedy}"
                    ) from None
                else:
                    raise
            holder = f"{os.getpid()} {socket.gethostname()} {uuid.uuid4().hex}"
            with disk_errors(self.path.parent):
                file.truncate(0)
                file.write(holder)
                file.flush()
            if self._remote is not None:
                self._remote.write(self.path.name, holder.encode())
            self.holder = holder
            try:
                yield
            finally:
                self.holder = ""

    def check(self) -> None:
        """Checks that no other run has taken the lock since; a network file system may not have kept it out.

        Raises:
          UserError: another run has. From then on this process does not hold the lock.
        """
        if not self.holder:
            return
        if self._remote is not None:
            found = (self._remote.read(self.path.name) or b"").decode("utf-8")
        else:
            with disk_errors(self.path.parent):
                found = with_retries(lambda: self.path.read_text("utf-8"), f"cannot read '{self.path}'")
        if found != self.holder:
            self.holder = ""
            because = "an object store has no locks" if self._remote is not None else "its file system shares no locks"
            raise UserError(
                f"workdir '{self.name}' has been taken by another run ({_described(found)}), since {because}; this one"
                " stops"
            )


def _described(holder: str) -> str:
    process, _, rest = holder.partition(" ")
    return f"process {process or 'unknown'}{' on ' + rest.split()[0] if rest else ''}"
