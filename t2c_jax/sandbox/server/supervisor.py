"""Watches a program from outside: its output, CPU time, memory and whether it does anything."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from t2c_jax.sandbox.server.isolation import Isolation

_INTERVAL_SECONDS = 0.02
_TICK = 1 / os.sysconf("SC_CLK_TCK")
_PAGE = resource.getpagesize()
_CHUNK = 1 << 16


class ParentGone(Exception):
    """The process that asked for the program has ended, so nobody waits for the outcome."""


@dataclass
class Usage:
    """What the processes of a program use at one moment."""

    processes: list[int]  # those that are alive
    cpu_seconds: float = 0.0
    memory_bytes: int = 0
    running: bool = False


@dataclass
class Watched:
    """What was seen of a program.

    Attributes:
      output: what it wrote, by descriptor.
      status: its wait status.
      broken: which limit it went beyond, and a sentence about it.
      cpu_seconds: CPU time of all its processes.
    """

    output: dict[int, bytearray]
    status: int = 0
    broken: tuple[str, str] | None = None
    cpu_seconds: float = 0.0


class Supervisor:
    """Watches one program, from its start until the last of its processes is gone.

    Args:
      isolation: knows the program's processes.
      limits: as in ``Limits``.
      parent: a descriptor that is closed if the parent ends.
    """

    def __init__(self, isolation: Isolation, limits: Mapping[str, Any], parent: int) -> None:
        self._isolation, self._limits, self._parent = isolation, limits, parent
        self._collected_before = collected_seconds()
        self._child = 0
        self._status: int | None = None

    def watch(self, child: int, streams: Mapping[int, int]) -> Watched:
        """Reads the program's output; ends all of its processes at the first limit, or after its first process.

        Args:
          child: the first process.
          streams: the descriptors to read for standard output (1) and error (2).

        Raises:
          ParentGone: the program's processes have been ended.
        """
        self._child = child
        seen = Watched({number: bytearray() for number in streams})
        sinks = {descriptor: seen.output[number] for number, descriptor in streams.items()}
        ended = False
        exit_event = os.pidfd_open(child)
        poll = select.poll()
        for descriptor in (*sinks, exit_event):
            poll.register(descriptor, select.POLLIN)
        poll.register(self._parent, 0)  # reports only that the other side was closed
        idle_since = next_look = time.monotonic() + _INTERVAL_SECONDS
        while sinks or not ended:
            for descriptor, _ in poll.poll(_INTERVAL_SECONDS * 1000):
                if descriptor == self._parent:
                    self._isolation.end()
                    raise ParentGone
                if descriptor == exit_event:
                    poll.unregister(exit_event)
                    ended = True
                    self._isolation.end()
                elif part := os.read(descriptor, _CHUNK):
                    if not seen.broken:
                        sinks[descriptor] += part
                else:
                    poll.unregister(descriptor)
                    os.close(descriptor)
                    del sinks[descriptor]
            if seen.broken:
                continue
            if sum(map(len, seen.output.values())) > self._limits["output_bytes"]:
                seen.broken = ("output", f"wrote more than {self._limits['output_bytes']} bytes")
            elif not ended and (now := time.monotonic()) >= next_look:
                next_look = now + _INTERVAL_SECONDS
                self._collect(os.WNOHANG)
                usage = usage_of(self._isolation.processes())
                usage.cpu_seconds += collected_seconds() - self._collected_before
                if usage.running or usage.cpu_seconds > seen.cpu_seconds:
                    idle_since = now
                seen.cpu_seconds = max(seen.cpu_seconds, usage.cpu_seconds)
                seen.broken = broken_limit(usage, now - idle_since, self._limits, self._isolation)
            if seen.broken and not ended:
                self._isolation.end()
        os.close(exit_event)
        self._collect()
        assert self._status is not None
        seen.status = self._status
        seen.cpu_seconds = collected_seconds() - self._collected_before
        return seen

    def _collect(self, flags: int = 0) -> None:
        """Collects dead processes; without flags, until there are none left."""
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitpid(-1, flags))[0]:
                if found[0] == self._child:
                    self._status = found[1]


def collected_seconds() -> float:
    """CPU time of all processes that this one has collected."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def broken_limit(
    usage: Usage, idle_seconds: float, limits: Mapping[str, Any], isolation: Isolation
) -> tuple[str, str] | None:
    """The status and a sentence, if a limit is broken. The kernel enforces others, in the program's own processes."""
    if usage.cpu_seconds > limits["cpu_seconds"]:
        return "cpu_time", f"used more than {limits['cpu_seconds']:g} s of CPU time"
    allowed = limits["memory_bytes"] + _interpreter_bytes()
    if usage.memory_bytes > allowed and proportional_bytes(usage.processes) > allowed:
        return "memory", f"used more than {limits['memory_bytes']} bytes of memory"
    if len(usage.processes) > limits["processes"]:
        return "killed", f"started more than {limits['processes']} processes"
    if isolation.disk_bytes() > limits["file_bytes"]:
        return "killed", f"wrote files of more than {limits['file_bytes']} bytes"
    if idle_seconds > limits["idle_seconds"]:
        return "killed", f"waited for more than {limits['idle_seconds']:g} s without using the CPU"
    return None


def usage_of(processes: Iterable[int]) -> Usage:
    """Adds up what the processes use; one that ends meanwhile counts with its parent."""
    total = Usage([])
    for process in processes:
        try:
            with open(f"/proc/{process}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            continue
        if fields[0] == b"Z":  # dead, and not collected yet
            continue
        total.processes.append(process)
        total.cpu_seconds += sum(map(int, fields[11:15])) * _TICK
        total.memory_bytes += int(fields[21]) * _PAGE
        total.running |= fields[0] in (b"R", b"D")
    return total


def proportional_bytes(processes: Iterable[int]) -> int:
    """Memory of the processes together, a shared page counted once; all of it where the kernel does not tell."""
    total = 0
    for process in processes:
        try:
            with open(f"/proc/{process}/smaps_rollup", "rb") as file:
                total += next(int(line.split()[1]) * 1024 for line in file if line.startswith(b"Pss:"))
        except (OSError, StopIteration):
            total += usage_of([process]).memory_bytes
    return total


def _interpreter_bytes() -> int:
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * _PAGE
