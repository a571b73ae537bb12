"""The server's loop: it receives a program, forks, watches and replies."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import resource
import sys
from typing import Any

from t2c_jax.sandbox.server import case, frames, supervisor
from t2c_jax.sandbox.server.isolation import Isolation
from t2c_jax.sandbox.server.namespaces import Namespaces
from t2c_jax.sandbox.server.shared import SharedNamespaces

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
    os.close(null)
    with contextlib.suppress(EOFError, BrokenPipeError, supervisor.ParentGone):
        setup = frames.receive(requests)
        try:
            isolation = _isolation(setup)
        except OSError as error:
            frames.send(replies, {"error": error.strerror or str(error)})
            return
        os.environ.clear()
        directories = {"HOME": isolation.work, "TMPDIR": isolation.temporary, "PWD": isolation.work}
        os.environ.update(setup["environment"] | directories)
        for name in _COMMON_MODULES:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
        sys.modules.pop("t2c_jax", None)
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="utf-8") as file:
            file.write("1000")  # if the machine runs out of memory, programs end before anything else
        with open("/proc/self/statm", encoding="utf-8") as file:
            base_bytes = int(file.read().split()[0]) * resource.getpagesize()
        case.set_common_limits()
        gc.collect()
        gc.freeze()  # a collection in a child would copy all pages
        frames.send(replies, {"ready": True})
        while True:
            frames.send(replies, _run(frames.receive(requests), requests, isolation, base_bytes))


def _isolation(setup: dict[str, Any]) -> Isolation:
    if setup["rung"] == "namespaces":
        return Namespaces(setup["visible"])
    return SharedNamespaces(
        setup["box"],
        setup["visible"],
        outside=setup["rung"] != "bubblewrap",
        servers=setup["servers"],
        unprotected=setup["rung"] == "none",
    )


def _run(request: dict[str, Any], requests: int, isolation: Isolation, base_bytes: int) -> dict[str, Any]:
    limits = request["limits"]
    isolation.begin(limits)
    try:
        case.write_files(request["files"], isolation)
    except (OSError, UnicodeError) as error:
        isolation.clean()
        return {"failure": f"its files cannot be written: {error}"}
    channel = case.Channel()
    out, out_in = os.pipe()
    err, err_in = os.pipe()
    watching = supervisor.Supervisor(isolation, limits, requests)
    child = os.fork()
    if not child:
        case.run_program(request, {1: out_in, 2: err_in}, channel, isolation, base_bytes)
    os.close(out_in)
    os.close(err_in)
    channel.after_fork()
    seen = watching.watch(child, {1: out, 2: err})
    completed, failure = channel.read()
    reply = {
        "failure": failure,
        "stdout": seen.output[1][: limits["output_bytes"]].decode("utf-8", "replace"),
        "stderr": seen.output[2][: limits["output_bytes"]].decode("utf-8", "replace"),
        "broken": seen.broken,
        "exit": os.waitstatus_to_exitcode(seen.status),
        "completed": completed,
        "cpu_seconds": seen.cpu_seconds,
        "files": case.returned_files(request, isolation.work),
    }
    isolation.clean()
    return reply
