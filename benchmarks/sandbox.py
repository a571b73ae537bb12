"""The sandbox's cost: HumanEval's own solutions with their tests, run three ways in turn.

    python benchmarks/sandbox.py --problems HumanEval.jsonl.gz

- ``fresh``: ``python -c`` for each program.
- ``warm``: a fork of an interpreter that has started already, without any isolation, output or limits.
- ``sandbox``: ``t2c_jax.sandbox``.

In each round, each way runs every program once, and as many at a time. All of them must pass. Times are wall-clock
times of the whole round.
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from _rounds import machine

from t2c_jax import console
from t2c_jax.sandbox import ladder
from t2c_jax.sandbox.outcomes import Program
from t2c_jax.sandbox.pool import Sandbox

_WARM = """
import json, os, sys
import bisect, collections, copy, datetime, decimal, fractions, functools, hashlib, heapq, itertools
import math, operator, random, re, statistics, string, typing
for line in sys.stdin:
    source = json.loads(line)
    child = os.fork()
    if not child:
        try:
            exec(compile(source, "program.py", "exec"), {"__name__": "__main__"})
            os._exit(0)
        finally:
            os._exit(1)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Warm:
    """An interpreter that forks for each program."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _WARM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, source: str) -> int:
        """The exit status of a program."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(source) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """Ends the interpreter."""
        self._process.communicate()


def programs_of(path: Path) -> list[str]:
    """The canonical solutions, each with its tests."""
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
        problems = [json.loads(line) for line in file]
    return [
        f"{each['prompt']}{each['canonical_solution']}\n{each['test']}\ncheck({each['entry_point']})\n"
        for each in problems
    ]


def seconds(work: Callable[[], object]) -> float:
    """How long the work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def fresh(source: str) -> None:
    """A new interpreter."""
    subprocess.run([sys.executable, "-c", source], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def measured(sources: Sequence[str], rounds: int, workers: int, rung: ladder.Rung) -> dict[str, list[float]]:
    """Seconds of each round, by way."""
    found: dict[str, list[float]] = {"fresh": [], "warm": [], "sandbox": []}
    programs = [Program("python", source) for source in sources]
    warm = [Warm() for _ in range(workers)]

    def run_warm(worker: int) -> None:
        for source in sources[worker::workers]:
            assert warm[worker].run(source) == 0, source

    def run_sandbox() -> None:
        for program, outcome in zip(programs, sandbox.run(programs), strict=True):
            assert outcome.status == "passed", (program.source, outcome)

    with Sandbox.open(workers=workers, rungs=[rung]) as sandbox, ThreadPoolExecutor(workers) as threads:
        ways: dict[str, Callable[[], object]] = {
            "fresh": lambda: list(threads.map(fresh, sources)),
            "warm": lambda: list(threads.map(run_warm, range(workers))),
            "sandbox": run_sandbox,
        }
        for number in range(rounds + 1):
            for name, way in ways.items():
                taken = seconds(way)
                if number:  # the first round reads files and starts threads
                    found[name].append(taken)
    for interpreter in warm:
        interpreter.close()
    return found


def main() -> None:
    """Measures, and prints a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=Path, required=True, help="HumanEval.jsonl or HumanEval.jsonl.gz")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--workers", type=int, default=1, help="programs at a time")
    parser.add_argument("--rung", choices=[rung.name for rung in ladder.RUNGS], default=ladder.NAMESPACES.name)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rung = next(rung for rung in ladder.RUNGS if rung.name == options.rung)
    sources = programs_of(options.problems)
    found = measured(sources, options.rounds, options.workers, rung)
    per_program = {name: 1000 * statistics.median(values) / len(sources) for name, values in found.items()}
    pairs = zip(found["sandbox"], found["warm"], strict=True)
    result = {
        "machine": machine(),
        "rung": rung.name,
        "programs": len(sources) * options.rounds,
        "workers": options.workers,
        "seconds": {name: sum(values) for name, values in found.items()},
        "milliseconds_per_program": per_program,
        "added_milliseconds": 1000 * statistics.median(ours - theirs for ours, theirs in pairs) / len(sources),
        "ratio_to_fresh": sum(found["sandbox"]) / sum(found["fresh"]),
    }
    if options.json:
        sys.stdout.write(json.dumps(result, indent=2) + "\n")
        return
    rows = [(name, f"{sum(found[name]):.2f}", f"{per_program[name]:.2f}") for name in found]
    console.table(f"{result['programs']} programs, {rung.name}", ("way", "seconds", "ms a program (median)"), rows)
    console.say(
        f"isolation adds {result['added_milliseconds']:.2f} ms a program; {result['ratio_to_fresh']:.3f} x the time of"
        " a fresh interpreter each"
    )


if __name__ == "__main__":
    main()
