"""The corpus stage: pairs and megabytes a second, and memory, of this checkout and of another commit's.

    python benchmarks/mine.py --other ../other --sources python:stdlib package:jax
    python benchmarks/mine.py --grow 100000 1000000

Every run is a process of its own that builds a corpus in an empty directory, as ``t2c mine`` does: start, imports,
listing, mining, cleaning and writing. In each round every side runs once, on the same cores. ``--other`` is the clone
of a commit with its environment in ``.venv``. ``ours`` and ``other`` read Python and Markdown, with the same limits and
no other rules; the next side has this checkout's rules on files, texts, secrets and personal data, and ``ours,
defaults`` its default config, with near-duplicates and all formats. ``ast alone`` parses the Python files on one core
and looks at every node.

Memory is the largest sum of the resident memory of a side's processes, read every 0.1 s; shared pages count in each of
them.

``--grow`` makes files of so many different functions and mines them: memory at each size, and what is left in it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from _rounds import Turn, busy_seconds, compare, cores, machine, parser, report

from t2c_jax import console
from t2c_jax.config import CorpusConfig
from t2c_jax.corpus.sources import FileTree, resolve_all

REPOSITORY = Path(__file__).resolve().parents[1]
FORMATS = {"extractors": ["python", "markdown"], "kinds": ["function", "method", "class", "markdown"]}
SAME_RULES = FORMATS | {
    "stubs": True,
    "skip_files": [],
    "prose": [],
    "secrets": "keep",
    "personal_data": "keep",
    "near_duplicates": 0.0,
}
ALL_BUT_NEAR_DUPLICATES = FORMATS | {"near_duplicates": 0.0}
_STAGE = """
import dataclasses, json, sys
from pathlib import Path
from t2c_jax.config import CorpusConfig
from t2c_jax.corpus.build import build_corpus
from t2c_jax.workdir import Workdir
workdir, values = sys.argv[1], json.loads(sys.argv[2])
known = {spec.name for spec in dataclasses.fields(CorpusConfig)}
values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items() if name in known}
if __name__ == "__main__":
    print(json.dumps(build_corpus(CorpusConfig(**values), Workdir(Path(workdir))).manifest["counts"]))
"""
_AST = """
import ast, json, sys, warnings
from pathlib import Path
warnings.simplefilter("ignore")
names = 0
for path in json.load(open(sys.argv[1])):
    try:
        tree = ast.parse(Path(path).read_bytes())
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        continue
    for node in ast.walk(tree):
        names += isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
print(json.dumps({"found": names}))
"""


@dataclass(frozen=True)
class Program:
    """What is measured: a program, and the interpreter and checkout that run it."""

    name: str
    program: str
    arguments: tuple[str, ...]
    python: str = sys.executable
    checkout: Path = REPOSITORY

    def run(self, workdir: str) -> tuple[Turn, int, int]:
        """Runs the program once: its times, the pairs that it found, and its peak memory in bytes."""
        command = [self.python, "-c", self.program, workdir, *self.arguments]
        environment = {**os.environ, "PYTHONPATH": str(self.checkout)}
        busy, waited, started = busy_seconds(), os.times(), time.perf_counter()
        process = subprocess.Popen(
            command, cwd=self.checkout, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        with sampled_memory(process.pid) as peak:
            output, errors = process.communicate()
        seconds, after = time.perf_counter() - started, os.times()
        if process.returncode:
            raise SystemExit(errors.decode("utf-8", "replace"))
        cpu = after.children_user + after.children_system - waited.children_user - waited.children_system
        others = max(0.0, busy_seconds() - busy - cpu)
        found = json.loads(output.splitlines()[-1])["found"]
        return Turn(seconds, cpu, others, found), found, peak[0]


AST = Program("ast alone, one core", _AST, ())


@contextlib.contextmanager
def sampled_memory(process: int) -> Iterator[list[int]]:
    """The largest sum of the resident memory of a process and those that it started, in bytes, as it grows."""
    peak, done = [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            peak[0] = max(peak[0], sum(map(_resident, _family(process))))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def _family(process: int) -> list[int]:
    found, waiting = [], [process]
    while waiting:
        found.append(waiting.pop())
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{found[-1]}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
    return found


def _resident(process: int) -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def compared(options: argparse.Namespace) -> dict[str, Any]:
    """Every side in turn, round after round."""
    config = CorpusConfig(sources=tuple(options.sources))
    trees = [tree for tree in resolve_all(config, Path("/nonexistent")) if isinstance(tree, FileTree)]
    paths = [tree.root / path for tree in trees for path in tree.files if path.endswith((".py", ".md", ".markdown"))]
    megabytes = sum(path.stat().st_size for path in paths) / 1e6
    same, rules, defaults = (
        json.dumps({"sources": options.sources, **values}) for values in (SAME_RULES, ALL_BUT_NEAR_DUPLICATES, {})
    )
    sides = [Program("ours", _STAGE, (same,))]
    if options.other:
        python = str(options.other / ".venv" / "bin" / "python")
        sides.append(Program("other", _STAGE, (same,), python, options.other.resolve()))
    sides.append(Program("ours, all rules but near-duplicates", _STAGE, (rules,)))
    sides.append(Program("ours, defaults", _STAGE, (defaults,)))
    turns: dict[str, list[Turn]] = {side.name: [] for side in (*sides, AST)}
    peaks, found = dict.fromkeys(turns, 0), dict.fromkeys(turns, 0)
    with tempfile.TemporaryDirectory() as scratch:
        listing = Path(scratch) / "files.json"
        listing.write_text(json.dumps([str(path) for path in paths if path.suffix == ".py"]))
        with console.progress("rounds", options.rounds) as bar:
            for number in range(options.rounds):
                for side in sides:
                    turn, found[side.name], peak = side.run(f"{scratch}/{number} {side.name}")
                    turns[side.name].append(turn)
                    peaks[side.name] = max(peaks[side.name], peak)
                turn, found[AST.name], peaks[AST.name] = AST.run(str(listing))
                turns[AST.name].append(turn)
                bar.advance()
    table = compare(f"{len(paths):,} files, {megabytes:,.1f} MB", "pairs", turns, 1, [*sides[1:], AST], sides[0])
    console.table(
        "",
        ("", "pairs found", "MB/s", "peak MB"),
        [
            (name, f"{found[name]:,}", f"{megabytes / row['seconds_per_step']:.2f}", f"{peaks[name] / 1e6:,.0f}")
            for name, row in table.items()
        ],
    )
    for name, row in table.items():
        row |= {
            "found": found[name],
            "peak_bytes": peaks[name],
            "megabytes_per_second": megabytes / row["seconds_per_step"],
        }
    return {"files": len(paths), "megabytes": megabytes, "sides": table}


def grown(sizes: Sequence[int]) -> dict[str, Any]:
    """Memory and time of a corpus of so many functions."""
    rows = {}
    for size in sizes:
        with tempfile.TemporaryDirectory() as scratch:
            source = Path(scratch) / "source"
            write_functions(source, size)
            values = json.dumps({"sources": [str(source)]})
            turn, found, peak = Program("ours", _STAGE, (values,)).run(f"{scratch}/run")
            kept = json.loads((Path(scratch) / "run" / "corpus" / "manifest.json").read_text())["counts"]["pairs"]
        rows[str(size)] = asdict(turn) | {"found": found, "kept": kept, "peak_bytes": peak}
    console.table(
        "Functions made by variation",
        ("functions", "found", "kept", "s", "pairs/s", "peak MB"),
        [
            (
                size,
                *(f"{row[name]:,}" for name in ("found", "kept")),
                *(
                    f"{value:,.0f}"
                    for value in (row["seconds"], row["found"] / row["seconds"], row["peak_bytes"] / 1e6)
                ),
            )
            for size, row in rows.items()
        ],
    )
    return rows


def write_functions(directory: Path, count: int) -> None:
    """Files of 20 documented functions each, in directories of 50 files; no two functions are alike."""
    draw = random.Random(0)
    words = [stem + end for stem in _STEMS for end in ("", "s", "er", "ing", "ed", "able")]
    for first in range(0, count, 20):
        path = directory / f"package_{first // 1000:04d}" / f"module_{first // 20:06d}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n\n".join(_function(draw, words, number) for number in range(first, min(first + 20, count))))


_STEMS = ("scan", "pack", "join", "list", "read", "load", "mark", "fold", "rank", "map", "link", "send", "sort", "walk")


def _function(draw: random.Random, words: Sequence[str], number: int) -> str:
    name, *parts = draw.sample(words, 9)
    lines = [f"def {name}_{number}({', '.join(parts[:3])}):", f'    """{" ".join(draw.sample(words, 12))}."""']
    for part in parts[3:]:
        left, right = draw.sample(parts, 2)
        lines.append(f"    {part} = {left}.{draw.choice(words)}({right}, {draw.randrange(10**6)})")
    return "\n".join([*lines, f"    return {parts[-1]}", ""])


def main() -> None:
    """Runs the benchmark."""
    options = parser(__doc__)
    options.add_argument("--sources", nargs="+", default=["python:stdlib"], help="see config.corpus.sources")
    options.add_argument("--other", type=Path, help="a clone of another commit, with its environment in .venv")
    options.add_argument("--grow", nargs="+", type=int, default=[], help="numbers of functions to make and mine")
    chosen = options.parse_args()
    chosen.steps = 1
    if chosen.threads < cores():
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: chosen.threads])
    about = machine()
    report(chosen, about, {"grown": grown(chosen.grow)} if chosen.grow else compared(chosen))


if __name__ == "__main__":
    main()
