"""The tables of ``t2c reproduce``: a page for each system, and a row in the docs."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path

from t2c_jax.errors import UserError
from t2c_jax.library.published_systems import Published, System
from t2c_jax.library.reproduction import SeedResult, SeedSummary
from t2c_jax.library.reproduction_data import TrainingData
from t2c_jax.version import __version__
from t2c_jax.workdir.io import write_bytes


def compared(summary: SeedSummary, published: Published) -> str:
    """The published score beside the interval, in words."""
    low, high = summary.interval
    if published.score < low:
        return "above"
    return "below" if published.score > high else "within the interval"


def duration(seconds: float) -> str:
    """``1 h 02 min``, ``3 min 04 s`` or ``5 s``."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 60} min {whole % 60:02} s" if whole >= 60 else f"{whole} s"


def page(system: System, data: TrainingData, results: Sequence[SeedResult], command: str, quick: bool) -> str:
    """The Markdown of one system."""
    summary, split = SeedSummary.of(results), data.split or "test"
    low, high = summary.interval
    lines = [
        f"# {system.name}",
        "",
        *(("This is a smoke test on few pairs and steps. Its scores mean nothing.", "") if quick else ()),
        "| | |",
        "|---|---|",
        f"| config | `{system.config}` |",
        f"| data | {data.described}, scored on {split}: {results[0].examples:,} pairs |",
        f"| metric | `{system.metric}` |",
        f"| version | {__version__}{_commit()} |",
        f"| machine | {machine()} |",
        "",
        "```",
        command,
        "```",
        "",
        "| seed | score | retrieval | step | parameters | time | peak memory |",
        "|---|---|---|---|---|---|---|",
    ]
    for each in results:
        error = "" if each.standard_error is None else f" ± {each.standard_error:.1f}"
        retrieval = "-" if each.retrieval is None else f"{each.retrieval:.1f}"
        lines.append(
            f"| {each.seed} | {each.score:.1f}{error} | {retrieval} | {each.step:,} | {each.parameters:,} |"
            f" {duration(each.seconds)} | {each.memory / 1e9:.1f} GB |"
        )
    spread = "" if summary.spread is None else f", standard deviation over {len(results)} seeds {summary.spread:.1f}"
    lines += [
        "",
        f"Reached: **{summary.mean:.1f}**, 95 % interval {low:.1f} to {high:.1f}{spread}. ± is one standard error over"
        " the pairs.",
        "",
        "| published, on test | score | reached is |",
        "|---|---|---|",
        *(
            f"| {each.system}, {each.source} | {each.score:g} | {compared(summary, each)} |"
            for each in system.published
        ),
    ]
    if notes := _notes(system, data):
        lines += ["", f"Not comparable in all respects: {notes}."]
    return "\n".join(lines) + "\n"


def _notes(system: System, data: TrainingData) -> str:
    on_dev = "the score is on dev, since the data has no test split" if data.split == "dev" else ""
    return "; ".join(filter(None, (on_dev, system.note)))


_HEAD = """# Reproduced systems

<!-- The rows of the table are written by `t2c reproduce NAME --docs FILE`. -->

Each row is the mean of several seeds with its 95 % interval, over the pairs and the seeds. Time is that of one seed,
from the files to the score.

| system | reached | seeds | scored on | published on test | retrieval | time, peak memory | machine, version |
|---|---|---|---|---|---|---|---|
"""


def check_docs(path: Path) -> tuple[str, str, str]:
    """The page's text before the table's first line, that line, and the rest; of a new page if there is none.

    Raises:
      UserError: the page has no such table.
    """
    text = path.read_text("utf-8", "surrogateescape") if path.is_file() else _HEAD
    table = _HEAD.rstrip("\n").rpartition("\n")[0].rpartition("\n")[2]
    head, found, rest = text.partition(table + "\n")
    if not found:
        raise UserError(f"--docs '{path}' has no table that starts with '{table}'; delete the file or name another one")
    return head, table, rest


def update_docs(path: Path, system: System, data: TrainingData, results: Sequence[SeedResult]) -> None:
    """Writes the system's row into the table of a page, which is made if it does not exist; other rows stay.

    Raises:
      UserError: the page has no such table.
    """
    head, table, rest = check_docs(path)
    rule, *rows = rest.split("\n")
    count = next((index for index, row in enumerate(rows) if not row.startswith("|")), len(rows))
    known = {row.split("|")[1].strip(): row for row in rows[:count]}
    known[f"`{system.name}`"] = _row(system, data, results)
    after = "\n".join(rows[count:])
    write_bytes(
        path,
        "\n".join([head + table, rule, *(known[name] for name in sorted(known)), after]).encode(
            "utf-8", "surrogateescape"
        ),
    )


def _row(system: System, data: TrainingData, results: Sequence[SeedResult]) -> str:
    summary = SeedSummary.of(results)
    low, high = summary.interval
    retrieval = "-" if summary.retrieval is None else f"{summary.retrieval:.1f}"
    first = system.published[0]
    cells = (
        f"`{system.name}`",
        f"{summary.mean:.1f} ({low:.1f} to {high:.1f}) `{system.metric}`",
        ", ".join(str(each.seed) for each in results),
        f"{data.split or 'test'}, {results[0].examples:,} pairs of {data.described}",
        f"{first.score:g} ({first.system}, {first.source})" + (f"; {system.note}" if system.note else ""),
        retrieval,
        f"{duration(summary.seconds)}, {summary.memory / 1e9:.1f} GB",
        f"{machine()}, {__version__}{_commit()}",
    )
    return f"| {' | '.join(cells)} |"


def machine() -> str:
    """The processor and the number of cores that this process may use."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{model or platform.machine()}, {cores} cores"


def _commit() -> str:
    """The commit of the checkout that this package runs from, if it does."""
    asked = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return f" ({done.stdout.strip()})" if done.returncode == 0 else ""
