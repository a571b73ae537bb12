"""``t2c reproduce``."""

from __future__ import annotations

import shlex
from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from pathlib import Path
from typing import Any

from t2c_jax.commands import options as shared
from t2c_jax.commands.output import print_result
from t2c_jax.errors import UserError

SUMMARY = "train and score a published system with several seeds, beside the published figures"


def add_arguments(parser: ArgumentParser) -> None:
    """Adds the command's options."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="the system; --list shows them")
    parser.add_argument("--list", action="store_true", help="list systems, what they need, and the published figures")
    parser.add_argument("--data", metavar="DIR", help="train.jsonl and others, or the published files; else downloaded")
    parser.add_argument("--seeds", default="0,1,2", metavar="N,N,…", help="the seeds to train with; 0,1,2 by default")
    parser.add_argument("--output", default="reproduce", metavar="DIR", help="gets NAME.md, NAME.json and the workdirs")
    parser.add_argument("--configs", default="configs", metavar="DIR", help="the directory of the config files")
    parser.add_argument("--docs", metavar="FILE", help="a Markdown page whose table gets the system's row")
    parser.add_argument(
        "--quick", action="store_true", help="a smoke test: few pairs, few steps, scores without meaning"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document to standard output")


def run(options: Namespace) -> int:
    """Runs the command and returns its exit status."""
    from t2c_jax.library.published_systems import SYSTEMS, system_named

    if options.list:
        return _list(options)
    if not options.name:
        raise UserError(f"name a system: {', '.join(SYSTEMS)}; t2c reproduce --list describes them")
    system = system_named(options.name)
    shared.check_local("--output", options.output)
    seeds = _seeds(options.seeds)
    if options.quick and options.docs:
        raise UserError("--quick gives no results for --docs; leave out one of them")

    from t2c_jax import console
    from t2c_jax.library import reproduction, reproduction_page
    from t2c_jax.library.reproduction_data import few_pairs, find_data, with_set_opened
    from t2c_jax.version import __version__
    from t2c_jax.workdir import digest, disk_errors
    from t2c_jax.workdir.io import write_bytes, write_json

    if options.docs:
        shared.check_writable("--docs", Path(options.docs))
        reproduction_page.check_docs(Path(options.docs))
    output = Path(options.output)
    directory = output / (f"{system.name}-quick" if options.quick else system.name)
    data = find_data(system, Path(options.data) if options.data else None)
    accepts_counts = _accepts_counts(options.overrides)
    path = directory.with_name(f"{directory.name}.md")
    with disk_errors(output, "--output"):
        output.mkdir(parents=True, exist_ok=True)
        if options.quick:
            data = few_pairs(data, directory / "pairs", accepts_counts)
        arguments = reproduction.command_of(system, data, Path(options.configs), options.overrides, options.quick)
        data = with_set_opened(data, accepts_counts)
        config = Path(options.configs) / system.config.partition(":")[0]
        key = digest(__version__, data.key, config, *arguments)
        results = []
        for seed in seeds:
            console.rule(f"{system.name}, seed {seed}")
            workdir = directory / f"seed-{seed}"
            results.append(reproduction.run_seed(arguments, system, workdir, seed, key, reproduction.start_process))
        summary = reproduction.SeedSummary.of(results)
        page = reproduction_page.page(system, data, results, _command(options), options.quick)
        write_bytes(path, page.encode())
        document = _document(options, data, results, summary)
        write_json(path.with_suffix(".json"), document)
    _show(system, data, results, summary)
    if options.docs:
        with disk_errors(Path(options.docs), "--docs"):
            reproduction_page.update_docs(Path(options.docs), system, data, results)
    console.say(f"table: {path}" + (f"; row in {options.docs}" if options.docs else ""))
    print_result(options, document)
    return 0


def _list(options: Namespace) -> int:
    from t2c_jax import console
    from t2c_jax.library.published_systems import SYSTEMS

    for system in SYSTEMS.values():
        needed = " or ".join(f"tfds:{name}" for name in system.sets) or "python:stdlib"
        console.say(f"{system.name}: configs/{system.config}, {system.metric} on {needed}")
        console.say(f"    published on test: {'; '.join(map(str, system.published))}")
        if system.note:
            console.say(f"    note: {system.note}")
    print_result(options, [asdict(system) for system in SYSTEMS.values()])
    return 0


def _seeds(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdecimal() for part in parts) or len(set(parts)) < len(parts):
        raise UserError(f"--seeds {text}: write different non-negative integers, such as 0,1,2")
    return [int(part) for part in parts]


def _accepts_counts(overrides: list[str]) -> bool:
    return any(item.lower() in ("corpus.accept_counts=true", "corpus.accept_counts=1") for item in overrides)


def _command(options: Namespace) -> str:
    words = ["t2c", "reproduce", options.name, "--seeds", options.seeds]
    words += ["--data", options.data] if options.data else []
    words += ["--configs", options.configs] if options.configs != "configs" else []
    words += ["--quick"] if options.quick else []
    return shlex.join([*words, *(f"--config.{item}" for item in options.overrides)])


def _document(options: Namespace, data: Any, results: Any, summary: Any) -> dict[str, Any]:
    from t2c_jax.library.published_systems import system_named

    return {
        "system": asdict(system_named(options.name)),
        "data": {"described": data.described, "split": data.split},
        "seeds": [asdict(result) for result in results],
        "reached": asdict(summary),
    }


def _show(system: Any, data: Any, results: Any, summary: Any) -> None:
    from t2c_jax import console
    from t2c_jax.library.reproduction_page import compared, duration

    low, high = summary.interval
    split = data.split or "test"
    rows = [
        (
            f"reached on {split}, {len(results)} seed{'s' * (len(results) > 1)}",
            f"{summary.mean:.1f} ({low:.1f} to {high:.1f})",
            "",
        )
    ]
    rows += [(f"{each.system}, {each.source}", f"{each.score:g}", compared(summary, each)) for each in system.published]
    if summary.retrieval is not None:
        rows.append(("nearest training pair copied", f"{summary.retrieval:.1f}", ""))
    console.table(f"{system.name}: {system.metric}", ("", "score", "reached is"), rows)
    cost = f"{duration(summary.seconds)} and {summary.memory / 1e9:.1f} GB"
    console.say(f"a seed took {cost}; the model has {results[0].parameters:,} parameters")
