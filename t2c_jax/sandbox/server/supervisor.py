"""Watches a program from outside: its output, CPU time, memory and whether it does anything."""

from __future__ import annotations

import os
import resource
import select
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

_INTERVAL_SECONDS = 0.02
_TICK = 1 / os.sysconf("SC_CLK_TCK")
_PAGE = resource.getpagesize()


@dataclass
class Usage:
    """What the processes of a program use at one moment."""

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
    streams: Mapping[int, int],
    report: int,
    limits: Mapping[str, Any],
    processes: Callable[[], Iterable[int]],
    kill: Callable[[], None],
) -> Watched:
    """Reads the program's output until all of its processes are gone; ends them at the first limit.

    Args:
      streams: the descriptor to read for standard output (1) and error (2).
      report: the descriptor that its first process reports on.
      limits: as in ``Limits``.
      processes: the ids of its processes.
      kill: ends all of them.
    """
    seen = Watched({number: bytearray() for number in streams})
    sinks = {descriptor: seen.output[number] for number, descriptor in streams.items()} | {report: seen.report}
    poll = select.poll()
    for descriptor in sinks:
        poll.register(descriptor, select.POLLIN)
    idle_since = next_look = time.monotonic() + _INTERVAL_SECONDS
    while sinks:
        for descriptor, _ in poll.poll(_INTERVAL_SECONDS * 1000):
            part = os.read(descriptor, 1 << 16)
            if not part:
                poll.unregister(descriptor)
                os.close(descriptor)
                del sinks[descriptor]
            elif descriptor == report or not seen.broken:
                sinks[descriptor] += part
        if not seen.broken and sum(map(len, seen.output.values())) > limits["output_bytes"]:
            seen.broken = ("output", f"wrote more than {limits['output_bytes']} bytes")
            kill()
        now = time.monotonic()
        if seen.broken or now < next_look:
            continue
        next_look = now + _INTERVAL_SECONDS
        usage = usage_of(processes())
        if usage.running or usage.cpu_seconds > seen.cpu_seconds:
            idle_since = now
        seen.cpu_seconds = max(seen.cpu_seconds, usage.cpu_seconds)
        if usage.cpu_seconds > limits["cpu_seconds"]:
            seen.broken = ("cpu_time", f"used more than {limits['cpu_seconds']:g} s of CPU time")
        elif usage.memory_bytes > limits["memory_bytes"]:
            seen.broken = ("memory", f"used more than {limits['memory_bytes']} bytes of memory")
        elif now - idle_since > limits["idle_seconds"]:
            seen.broken = ("killed", f"waited for more than {limits['idle_seconds']:g} s without using the CPU")
        if seen.broken:
            kill()
    return seen


def usage_of(processes: Iterable[int]) -> Usage:
    """Adds up what the processes use; one that ends meanwhile counts with its parent."""
    total = Usage()
    for process in processes:
        try:
            with open(f"/proc/{process}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            continue
        total.cpu_seconds += sum(map(int, fields[11:15])) * _TICK
        total.memory_bytes += int(fields[21]) * _PAGE
        total.running |= fields[0] in (b"R", b"D")
    return total
