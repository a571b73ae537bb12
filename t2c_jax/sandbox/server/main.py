"""The server's loop: it receives a program, forks, watches and replies."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import sys
from typing import Any

from t2c_jax.sandbox.server import case, frames, namespaces, supervisor

# Modules that tests of small functions import; loaded once, they cost a program nothing.
_COMMON_MODULES = (
    *(
        "bisect",
        "collections",
        "copy",
        "datetime",
        "decimal",
        "fractions",
        "functools",
        "hashlib",
        "heapq",
        "itertools",
    ),
    *("json", "math", "operator", "random", "re", "sqlite3", "statistics", "string", "typing"),
)


def main() -> None:
    """Serves programs from standard input until it is closed."""
    requests, replies = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    with contextlib.suppress(EOFError, BrokenPipeError):
        Server(requests, replies).serve()


class Server:
    """Runs one program at a time."""

    def __init__(self, requests: int, replies: int) -> None:
        self._requests, self._replies = requests, replies

    def serve(self) -> None:
        """Enters the sandbox, says so, and serves."""
        setup = frames.receive(self._requests)
        try:
            self._user = namespaces.enter(setup["visible"])
            self._namespaces = namespaces.CaseNamespaces()
        except OSError as error:
            frames.send(self._replies, {"error": str(error)})
            return
        os.environ.clear()
        os.environ.update(setup["environment"])
        for name in _COMMON_MODULES:
            with contextlib.suppress(ImportError):
                __import__(name)
        sys.modules.pop("t2c_jax", None)
        gc.collect()
        gc.freeze()
        frames.send(self._replies, {"ready": True})
        while True:
            frames.send(self._replies, self._run(frames.receive(self._requests)))

    def _run(self, request: dict[str, Any]) -> dict[str, Any]:
        out, out_in = os.pipe()
        err, err_in = os.pipe()
        report, report_in = os.pipe()
        self._namespaces.before_fork()
        first = os.fork()
        if not first:
            try:
                for descriptor in (out, err, report, self._requests, self._replies):
                    os.close(descriptor)
                self._namespaces.in_child(request["limits"]["file_bytes"], self._user)
                case.be_first_process(request, {1: out_in, 2: err_in}, report_in, self._user)
            finally:
                os._exit(126)
        self._namespaces.after_fork()
        for descriptor in (out_in, err_in, report_in):
            os.close(descriptor)
        seen = supervisor.watch(
            {1: out, 2: err}, report, request["limits"], self._processes, lambda: os.kill(first, signal.SIGKILL)
        )
        _, _, usage = os.wait4(first, 0)
        return {
            "stdout": seen.output[1].decode("utf-8", "replace")[: request["limits"]["output_bytes"]],
            "stderr": seen.output[2].decode("utf-8", "replace")[: request["limits"]["output_bytes"]],
            "broken": seen.broken,
            "report": json.loads(seen.report[8:]) if seen.report else None,
            "cpu_seconds": max(seen.cpu_seconds, usage.ru_utime + usage.ru_stime),
        }

    @staticmethod
    def _processes() -> list[int]:
        """All processes of this namespace but the server are the program's."""
        return [int(name) for name in os.listdir("/proc") if name.isdigit() and name != "1"]
