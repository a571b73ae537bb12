"""What keeps a program from the machine and from other programs."""

from __future__ import annotations

import abc
import os
from collections.abc import Mapping
from typing import Any


class Isolation(abc.ABC):
    """One way to isolate a program.

    Attributes:
      box: the directory that holds all that a program writes: its working directory, temporary files, shared memory.
      user: the user and group that programs run as.
    """

    box: str
    user: int

    @property
    def work(self) -> str:
        """The working directory."""
        return f"{self.box}/work"

    @property
    def temporary(self) -> str:
        """The directory for temporary files."""
        return f"{self.box}/tmp"

    def make_directories(self) -> None:
        """Creates the program's directories and gives them to its user."""
        for path in (self.work, self.temporary, f"{self.box}/shm"):
            os.mkdir(path)
            self.give_to_user(path)

    def give_to_user(self, path: str) -> None:
        """Makes the program's user the owner."""
        if os.getuid() != self.user:
            os.chown(path, self.user, self.user)

    @abc.abstractmethod
    def begin(self, limits: Mapping[str, Any]) -> None:
        """In the server, before a program: empty directories for it.

        Raises:
          OSError: the machine refuses.
        """

    @abc.abstractmethod
    def process_limit(self, wanted: int) -> int:
        """The kernel's limit of processes for the program's user, so that ``wanted`` are left for the program."""

    @abc.abstractmethod
    def confine(self) -> None:
        """In the process that is to run the program: gives up all privileges, for good."""

    @abc.abstractmethod
    def processes(self) -> list[int]:
        """In the server: the ids of the program's processes."""

    @abc.abstractmethod
    def end(self) -> None:
        """In the server: kills all of the program's processes. They remain to be collected."""

    @abc.abstractmethod
    def clean(self) -> None:
        """In the server, after a program: removes what it left.

        Raises:
          OSError: something cannot be removed; the server must not run another program.
        """

    def disk_bytes(self) -> int:
        """In the server: bytes that the program has written, where the file system has no limit of its own."""
        return 0
