"""Measures two sides in turn: each has its own process, one works at a time, round after round.

A side is a worker process: the script of the benchmark, started with ``--worker NAME`` in the environment that a user
of that side would have. It builds and warms up, then answers ``TASK`` lines on its standard input with timings on its
standard output. A round asks every side once, A B C A B C ..., so that other load on the machine affects all of them. A
ratio is the median of the ratios of the rounds. Steps are timed in their steady state: a turn begins with one that is
not timed, unless a step takes seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from t2c_jax import console, runtime

Task = Callable[[], float]
PAUSE = 0.3  # seconds between turns, for the threads of the side before to go to sleep
PACKAGES = ("jax", "jaxlib", "flax", "tensorflow-cpu", "torch", "transformers", "ctranslate2", "numpy")


@dataclass(frozen=True)
class Side:
    """What takes a turn: a worker's task, under a name that the tables show."""

    name: str
    worker: str
    task: str
    environment: tuple[tuple[str, str], ...] = ()  # variables in addition to the user's
    python: str = sys.executable
    script: str = ""  # of another checkout, which has the same workers; this one by default


def ours(name: str, worker: str = "ours", task: str = "step") -> Side:
    """Our side, in the environment that ``t2c`` gives itself."""
    return Side(name, worker, task, tuple(runtime.environment().items()))


def other_commit(checkout: Path, worker: str = "ours", task: str = "step") -> Side:
    """Our side as another commit has it: its script, in a clone with an environment in ``.venv``."""
    here = checkout.resolve()
    script = here / "benchmarks" / Path(sys.argv[0]).name
    environment = (*runtime.environment().items(), ("PYTHONPATH", str(here)))
    return Side("other commit", worker, task, environment, str(here / ".venv" / "bin" / "python"), str(script))


def other_option(parser: argparse.ArgumentParser) -> None:
    """Which commit ``other_commit`` is of."""
    parser.add_argument("--other", type=Path, help="a clone of another commit, with its environment in .venv")


def peers(name: str, worker: str, task: str = "step") -> list[Side]:
    """A peer as it comes and, where that is another thing, in the environment that ``t2c`` gives itself."""
    same = tuple(runtime.environment().items())
    return [Side(name, worker, task)] + ([Side(f"{name}, same allocator", worker, task, same)] if same else [])


class Named(Protocol):
    """A side of a table."""

    @property
    def name(self) -> str:
        """As the table shows it."""


@dataclass(frozen=True)
class Turn:
    """A turn's time, the CPU time of all its threads and of other processes, and its work in the benchmark's unit."""

    seconds: float
    cpu_seconds: float
    other_cpu_seconds: float
    work: float

    @property
    def rate(self) -> float:
        """Work a second."""
        return self.work / self.seconds


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    result = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    result.add_argument("--rounds", type=int, default=7, help="turns of each side (default: %(default)s)")
    result.add_argument("--steps", type=int, default=5, help="steps in a turn (default: %(default)s)")
    result.add_argument("--threads", type=int, default=cores(), help="cores for each side (default: all, %(default)s)")
    result.add_argument("--json", action="store_true", help="print one JSON document to standard output")
    result.add_argument("--tiny", action="store_true", help="a toy shape, to see that it runs; no figure means a thing")
    result.add_argument("--worker", help=argparse.SUPPRESS)
    return result


def cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def serve(
    build: Callable[[argparse.Namespace], tuple[dict[str, Task], dict[str, Any]]], options: Any, *, long: bool = False
) -> None:
    """The worker's end: builds tasks and answers turns until its standard input ends.

    Args:
      build: returns the tasks by name, each one step that returns the work it did, and facts for the report. Called
        in a process that is held to ``options.threads`` cores.
      options: the benchmark's options.
      long: a step takes seconds. Then it runs once before the first turn, and a turn is its timed steps alone.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # libraries may print; that is no answer
    if options.threads < cores() and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    runtime.quiet()
    tasks, facts = build(options)
    for task in tasks.values():
        for _ in range(1 if long else 2):
            task()
    print(json.dumps(facts), file=answers)
    for line in sys.stdin:
        task = tasks[line.strip()]
        if not long:
            task()  # not timed: it faults in what the system took back while the other sides worked
        all_started, cpu_started, started = busy_seconds(), time.process_time(), time.perf_counter()
        work = sum(task() for _ in range(options.steps))
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
        others = max(0.0, busy_seconds() - all_started - cpu_seconds)
        print(json.dumps([seconds, cpu_seconds, others, work]), file=answers)


def busy_seconds() -> float:
    """CPU time of all processes since boot, and what a hypervisor took; 0 where the system does not say."""
    try:
        user, nice, system, _, _, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    except (OSError, ValueError):
        return 0.0
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def _worker(side: Side, extra: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    script, *given = sys.argv
    if side.script:  # which may not know the option
        others = [i for i, one in enumerate(given) if one == "--other"]
        given = [one for i, one in enumerate(given) if not one.startswith("--other") and i - 1 not in others]
    command = [side.python, side.script or script, *given, *extra, "--worker", side.worker]
    environment = {**os.environ, **dict(side.environment)}
    process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def _answer(process: subprocess.Popen[str]) -> Any:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"the worker {process.args!r} ended with status {process.wait()}; its output is above")
    return json.loads(line)


def measure(
    sides: Sequence[Side], rounds: int, extra: Sequence[str] = ()
) -> tuple[dict[str, list[Turn]], dict[str, Any]]:
    """The turns of each side by name, and the facts that each worker reported; ``extra`` are options of the workers."""
    with contextlib.ExitStack() as stack:
        workers: dict[tuple[str, str, Any], subprocess.Popen[str]] = {}
        facts: dict[str, Any] = {}
        for side in sides:
            key = (side.worker, side.script, side.environment)
            if key not in workers:
                console.say(f"starting {side.name}")
                workers[key] = stack.enter_context(_worker(side, extra))
                facts.setdefault(side.worker, _answer(workers[key]))  # and so warmed up, one after the other
        turns: dict[str, list[Turn]] = {side.name: [] for side in sides}
        with console.progress("rounds", rounds) as bar:
            for _ in range(rounds):
                for side in sides:
                    time.sleep(PAUSE)
                    process = workers[side.worker, side.script, side.environment]
                    assert process.stdin is not None
                    process.stdin.write(f"{side.task}\n")
                    process.stdin.flush()
                    turns[side.name].append(Turn(*_answer(process)))
                bar.advance()
    return turns, facts


def summary(turns: Sequence[Turn], steps: int) -> dict[str, float]:
    """Median and best of a side's turns."""
    return {
        "seconds_per_step": statistics.median(turn.seconds for turn in turns) / steps,
        "best_seconds_per_step": min(turn.seconds for turn in turns) / steps,
        "other_processes_cores": statistics.median(turn.other_cpu_seconds / turn.seconds for turn in turns),
        "cpu_seconds_per_step": statistics.median(turn.cpu_seconds for turn in turns) / steps,
        "per_second": statistics.median(turn.rate for turn in turns),
        "best_per_second": max(turn.rate for turn in turns),
    }


def ratio(ours: Sequence[Turn], peer: Sequence[Turn]) -> float:
    """How many times the peer's rate ours is: the median over rounds."""
    return statistics.median(a.rate / b.rate for a, b in zip(ours, peer, strict=True))


def compare(
    title: str, unit: str, turns: Mapping[str, Sequence[Turn]], steps: int, against: Sequence[Named], own: Named
) -> dict[str, Any]:
    """Prints a table of our side and its peers; returns it as plain values.

    Times are medians but for the best. "others" are the cores that other processes took meanwhile: where it is not
    near 0, the machine was not ours to measure.
    """
    result: dict[str, Any] = {own.name: summary(turns[own.name], steps)}
    for side in against:
        result[side.name] = summary(turns[side.name], steps)
        result[side.name]["ratio"] = ratio(turns[own.name], turns[side.name])
    console.table(
        title,
        ("", "s/step", "best", "CPU s", "others", f"{unit}/s", "ours is"),
        [
            (
                name,
                f"{side['seconds_per_step']:.3f}",
                f"{side['best_seconds_per_step']:.3f}",
                f"{side['cpu_seconds_per_step']:.3f}",
                f"{side['other_processes_cores']:.2f}",
                f"{side['per_second']:,.0f}",
                f"{side['ratio']:.2f} x" if "ratio" in side else "",
            )
            for name, side in result.items()
        ],
    )
    return result


def machine() -> dict[str, Any]:
    """CPU, cores, load and versions, for the record."""
    info = Path("/proc/cpuinfo")
    names = [
        line.partition(":")[2].strip()
        for line in (info.read_text() if info.exists() else "").splitlines()
        if line.startswith("model name")
    ]
    versions = {}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {
        "cpu": names[0] if names else platform.processor() or platform.machine(),
        "cores": cores(),
        "gpu": _gpu(),
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
        "versions": versions,
        "environment_of_t2c": runtime.environment(),
    }


def _gpu() -> str:
    """The first GPU's name, or nothing. Asked of the driver: this process is not to take its memory."""
    try:
        asked = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.partition("\n")[0].strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def report(options: argparse.Namespace, about: Mapping[str, Any], results: Mapping[str, Any]) -> None:
    """Ends a benchmark: the machine in a line, and with ``--json`` the whole as one document."""
    versions = "  ".join(f"{name} {version}" for name, version in about["versions"].items())
    gpu = f"{about['gpu']}, " if about["gpu"] else ""
    console.say(
        f"{gpu}{about['cpu']}, {options.threads} of {about['cores']} cores, load {about['load_before']:.1f} before;"
        f" {options.rounds} rounds of {options.steps} steps; {versions}"
    )
    if options.json:
        settings = {name: value for name, value in vars(options).items() if name not in ("json", "worker")}
        print(json.dumps({"machine": about, "options": settings, **results}, indent=1, default=str))
