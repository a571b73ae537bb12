"""Runs programs in the sandbox, several at a time."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import select
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from t2c_jax.errors import UserError
from t2c_jax.sandbox.languages import LANGUAGES
from t2c_jax.sandbox.outcomes import Limits, Outcome, Program
from t2c_jax.sandbox.server import boot, frames
from t2c_jax.workers import cores

_AHEAD = 64  # outcomes per server that may wait for an earlier program


def visible_paths() -> list[str]:
    """What programs may read: the system's libraries and tools, this interpreter and its packages."""
    wanted = ["/usr", "/etc/ld.so.cache", "/etc/alternatives", str(Path(__file__).parent)]
    for prefix in {sys.base_prefix, sys.exec_prefix, sys.prefix}:
        wanted += [f"{prefix}/{part}" for part in ("bin", "lib", "lib64", "pyvenv.cfg")]
    real = sorted(
        {os.path.realpath(path) for path in wanted if os.path.exists(path)} | {p for p in wanted if os.path.isfile(p)}
    )
    return [path for path in real if not any(path.startswith(f"{other}/") for other in real if other != path)]


class Sandbox:
    """Servers inside the sandbox. Use ``open``, in a ``with`` statement."""

    def __init__(self, rung: str, workers: int, limits: Limits) -> None:
        self.rung = rung
        self.limits = limits
        self._servers = [_Server() for _ in range(workers)]

    @classmethod
    def open(cls, *, risk_accepted: bool = False, workers: int | None = None, limits: Limits | None = None) -> Sandbox:
        """Opens the strongest sandbox that this machine offers.

        Args:
          risk_accepted: run programs without isolation where the machine offers none.
          workers: programs to run at a time; one per core if None.
          limits: for programs that have none of their own.

        Raises:
          UserError: the machine offers no isolation.
        """
        return cls("namespaces", workers or cores(), limits or Limits())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends all servers, and with them whatever still runs."""
        for server in self._servers:
            server.stop()

    def run(self, programs: Iterable[Program]) -> Iterator[Outcome]:
        """Runs programs and yields their outcomes in the same order.

        Args:
          programs: read as they are needed.
        """
        queue = enumerate(programs)
        waiting: dict[int, Outcome] = {}
        emitted = 0
        while True:
            for server in self._servers:
                if server.index is None and len(waiting) < _AHEAD * len(self._servers):
                    numbered = next(queue, None)
                    if numbered is not None:
                        server.send(numbered[0], numbered[1], self.limits)
            busy = {server.replies: server for server in self._servers if server.index is not None}
            if not busy:
                return
            ready, _, _ = select.select(list(busy), [], [])
            for descriptor in ready:
                index, outcome = busy[descriptor].receive()
                waiting[index] = outcome
            while emitted in waiting:
                yield waiting.pop(emitted)
                emitted += 1


class _Server:
    """A server process and the program that it runs."""

    def __init__(self) -> None:
        self.index: int | None = None
        self._program: Program | None = None
        self._start()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            boot.command(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"PATH": os.defpath, "LANG": "C.UTF-8", "PYTHONHASHSEED": "0"},
            process_group=0,
        )
        assert self._process.stdin
        assert self._process.stdout
        self._requests, self.replies = self._process.stdin.fileno(), self._process.stdout.fileno()
        environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/box/work", "TMPDIR": "/tmp", "LANG": "C.UTF-8"}
        frames.send(self._requests, {"visible": visible_paths(), "environment": environment})
        answer = frames.receive(self.replies)
        if "error" in answer:
            raise UserError(answer["error"])

    def send(self, index: int, program: Program, limits: Limits) -> None:
        self.index, self._program = index, program
        request = dataclasses.asdict(program) | {"limits": dataclasses.asdict(program.limits or limits)}
        with contextlib.suppress(OSError):  # a dead server is found by receive()
            frames.send(self._requests, request)

    def receive(self) -> tuple[int, Outcome]:
        assert self.index is not None
        assert self._program is not None
        index, program, self.index = self.index, self._program, None
        return index, outcome_of(program, frames.receive(self.replies))

    def stop(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()


def outcome_of(program: Program, reply: dict[str, Any]) -> Outcome:
    """What the server's reply says about the program."""
    report = reply["report"] or {}
    stdout, stderr = reply["stdout"], reply["stderr"]
    seconds = (
        max(reply["cpu_seconds"], report.get("cpu_seconds", 0.0)) if reply["broken"] else report.get("cpu_seconds", 0.0)
    )

    def outcome(status: Any, reason: str, code: int | None = None) -> Outcome:
        return Outcome(status, code, stdout, stderr, seconds, report.get("files", {}), reason)

    if reply["broken"]:
        return outcome(*reply["broken"])
    if not report:
        return outcome("not_run", "the sandbox lost the program's first process")
    code = report["exit"]
    if code < 0:
        return outcome("killed", f"signal {-code}")
    if code and LANGUAGES[program.language].ran_out_of_memory(stderr):
        return outcome("memory", "got no memory", code)
    if code:
        return outcome("failed", f"exit status {code}", code)
    if not report["completed"] and not program.may_exit:
        return outcome("failed", "exited with status 0 before its last line", code)
    return outcome("passed", "", code)
