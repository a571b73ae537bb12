"""Watches a program from outside: its output, CPU time, memory and whether it does anything."""

from __future__ import annotations

import os
import resource
import select
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from t2c_jax.sandbox.server.isolation import Isolation

_INTERVAL_SECONDS = 0.02
_TICK = 1 / os.sysconf("SC_CLK_TCK")
_PAGE = resource.getpagesize()


class ParentGone(Exception):
    """The process that asked for the program has ended, so nobody waits for the outcome."""


@dataclass
class Usage:
    """What the processes of a program use at one moment."""

    processes: list[int]
    cpu_seconds: float = 0.0
    memory_bytes: int = 0
    running: bool = False


@dataclass
class Watched:
    """What was seen of a program.

    Attributes:
      output: what it wrote, by descriptor.
      report: what its first process says in the end; empty if that was killed.
      broken: which limit it went beyond, and a sentence about it.
      cpu_seconds: CPU time as last seen from outside.
    """

    output: dict[int, bytearray] = field(default_factory=dict)
    report: bytearray = field(default_factory=bytearray)
    broken: tuple[str, str] | None = None
    cpu_seconds: float = 0.0


def watch(
    streams: Mapping[int, int], report: int, parent: int, limits: Mapping[str, Any], isolation: Isolation, first: int
) -> Watched:
    """Reads the program's output until all of its processes are gone; ends them at the first limit.

    Args:
      streams: the descriptors to read for standard output (1) and error (2).
      report: the descriptor that its first process reports on.
      parent: a descriptor that is closed if the parent ends.
      limits: as in ``Limits``.
      isolation: knows the program's processes.
      first: the program's first process.

    Raises:
      ParentGone: the program's processes have been ended.
    """
    seen = Watched({number: bytearray() for number in streams})
    sinks = {descriptor: seen.output[number] for number, descriptor in streams.items()} | {report: seen.report}
    poll = select.poll()
    for descriptor in sinks:
        poll.register(descriptor, select.POLLIN)
    poll.register(parent, 0)  # reports only that the other side was closed
    idle_since = next_look = time.monotonic() + _INTERVAL_SECONDS
    while sinks:
        for descriptor, _ in poll.poll(_INTERVAL_SECONDS * 1000):
            if descriptor == parent:
                isolation.end(first)
                raise ParentGone
            part = os.read(descriptor, 1 << 16)
            if not part:
                poll.unregister(descriptor)
                os.close(descriptor)
                del sinks[descriptor]
            elif descriptor == report or not seen.broken:
                sinks[descriptor] += part
        if seen.broken:
            continue
        if sum(map(len, seen.output.values())) > limits["output_bytes"]:
            seen.broken = ("output", f"wrote more than {limits['output_bytes']} bytes")
        elif (now := time.monotonic()) >= next_look:
            next_look = now + _INTERVAL_SECONDS
            usage = usage_of(isolation.processes(first))
            if usage.running or usage.cpu_seconds > seen.cpu_seconds:
                idle_since = now
            seen.cpu_seconds = max(seen.cpu_seconds, usage.cpu_seconds)
            seen.broken = broken_limit(usage, now - idle_since, limits, isolation)
        if seen.broken:
            isolation.end(first)
    return seen


def broken_limit(
    usage: Usage, idle_seconds: float, limits: Mapping[str, Any], isolation: Isolation
) -> tuple[str, str] | None:
    """The status and a sentence, if a limit is broken. The kernel enforces others, in the program's own processes."""
    if usage.cpu_seconds > limits["cpu_seconds"]:
        return "cpu_time", f"used more than {limits['cpu_seconds']:g} s of CPU time"
    allowed = limits["memory_bytes"] + _interpreter_bytes()
    if usage.memory_bytes > allowed and proportional_bytes(usage.processes) > allowed:
        return "memory", f"used more than {limits['memory_bytes']} bytes of memory"
    if len(usage.processes) > limits["processes"] + 1:  # its first process is ours
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
