"""What is run, within which limits, and what came of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

MIB = 1 << 20

Status = Literal["passed", "failed", "cpu_time", "memory", "output", "killed", "not_run"]


@dataclass(frozen=True)
class Limits:
    """What a program may use. All of its processes count together.

    Attributes:
      cpu_seconds: CPU time. Time spent waiting for a core of a busy machine does not count.
      memory_bytes: memory that the program may add to its interpreter's.
      processes: processes and threads at one time.
      file_bytes: size of the temporary file system that holds everything the program writes.
      output_bytes: standard output and standard error together; also the size of all files returned.
      idle_seconds: time in which no process of the program uses a core, as in a sleep or a deadlock.
    """

    cpu_seconds: float = 10.0
    memory_bytes: int = 1024 * MIB
    processes: int = 32
    file_bytes: int = 64 * MIB
    output_bytes: int = MIB
    idle_seconds: float = 10.0


def calibrated(limits: Limits, reference: Outcome, factor: float) -> Limits:
    """Limits by what the reference solution needs on this machine.

    Args:
      limits: what every program may use at least.
      reference: what came of the reference, which has passed.
      factor: how many times the CPU time of the reference a program may use.
    """
    return dataclasses.replace(limits, cpu_seconds=max(limits.cpu_seconds, factor * reference.cpu_seconds))


@dataclass(frozen=True)
class Program:
    """A program to run.

    Attributes:
      language: a name of ``languages.LANGUAGES``.
      source: the code.
      stdin: its standard input.
      files: files of the working directory before the program runs: relative path to content.
      limits: the sandbox's own if None.
      return_files: whether the outcome holds the files of the working directory afterwards.
      may_exit: whether a program that exits with status 0 before its last line has passed. Tests that follow the code
        under test need False: an early ``sys.exit(0)`` would skip them.
    """

    language: str
    source: str
    stdin: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    limits: Limits | None = None
    return_files: bool = False
    may_exit: bool = False


@dataclass(frozen=True)
class Outcome:
    """What came of a program.

    Attributes:
      status: ``passed``: it ran to its last line with exit status 0. ``failed``: it raised, or has another exit status,
        or exited early. ``cpu_time``, ``memory``, ``output``: it went beyond that limit. ``killed``: a signal ended it,
        or it waited for longer than ``idle_seconds``. ``not_run``: the sandbox failed, or the language is not
        installed; this says nothing about the program.
      exit_code: None where a signal ended it and where it did not run.
      stdout: what it wrote, cut at ``output_bytes``; bytes that are no UTF-8 become U+FFFD.
      stderr: the same.
      cpu_seconds: CPU time of all its processes.
      files: files of the working directory afterwards, if the program asked for them. A directory's path ends in ``/``
        and its content is empty. A symbolic link's path ends in ``@`` and its content is the target.
      reason: for messages; empty if it passed.
    """

    status: Status
    exit_code: int | None
    stdout: str
    stderr: str
    cpu_seconds: float
    files: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""
