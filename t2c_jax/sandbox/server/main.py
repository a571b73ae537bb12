"""The server's loop: it receives a program, forks, watches and replies."""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
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
        os.environ.update(setup["environment"])
        for name in _COMMON_MODULES:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
        sys.modules.pop("t2c_jax", None)
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="utf-8") as file:
            file.write("1000")  # if the machine runs out of memory, programs end before anything else
        with open("/proc/self/statm", encoding="utf-8") as file:
            base_bytes = int(file.read().split()[0]) * resource.getpagesize()
        gc.collect()
        gc.freeze()  # a collection in a child would copy all pages
        frames.send(replies, {"ready": True})
        while True:
            frames.send(replies, _run(frames.receive(requests), requests, replies, isolation, base_bytes))


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


def _run(request: dict[str, Any], requests: int, replies: int, isolation: Isolation, base_bytes: int) -> dict[str, Any]:
    out, out_in = os.pipe()
    err, err_in = os.pipe()
    report, report_in = os.pipe()
    isolation.before_fork()
    first = os.fork()
    if not first:
        try:
            for descriptor in (out, err, report, requests, replies):
                os.close(descriptor)
            case.be_first_process(request, {1: out_in, 2: err_in}, report_in, isolation, base_bytes)
        finally:
            os._exit(1)
    isolation.after_fork()
    for descriptor in (out_in, err_in, report_in):
        os.close(descriptor)
    seen = supervisor.watch({1: out, 2: err}, report, requests, request["limits"], isolation, first)
    _, _, usage = os.wait4(first, 0)
    isolation.clean()
    limit = request["limits"]["output_bytes"]
    return {
        "stdout": seen.output[1][:limit].decode("utf-8", "replace"),
        "stderr": seen.output[2][:limit].decode("utf-8", "replace"),
        "broken": seen.broken,
        "report": json.loads(seen.report[frames.LENGTH_BYTES :]) if seen.report else None,
        "cpu_seconds": max(seen.cpu_seconds, usage.ru_utime + usage.ru_stime),
    }
