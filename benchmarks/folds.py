"""Cross-validation: a config on each fold of a file of pairs, with several seeds, scored over all folds together.

    python benchmarks/folds.py data/jobs/train.jsonl --config configs/semantic_parsing.py:jobs_typed \\
      --workdir runs/jobs_folds --folds 6 --seeds 0 1 2

Fold F holds out the pairs whose number, counted from 0, leaves F when it is divided by the number of folds; the others
are trained on. Each fold and seed is a ``t2c run`` with the workdir ``WORKDIR/fold-F/seed-S``. A run that was stopped
goes on from there when the command is given again. With several seeds, their models also answer together (``t2c
evaluate --with``). Other options go to ``t2c run``.

± is one standard error over the examples, by the bootstrap over all held-out pairs, each of which is scored once.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from t2c_jax import console
from t2c_jax.evaluate.comparison import bootstrap_sums
from t2c_jax.evaluate.metrics.metric import Metric, metric_named

_RESAMPLES = 1_000


def write_folds(pairs: Path, directory: Path, folds: int) -> list[Path]:
    """Writes ``fold-F/train.jsonl`` and ``fold-F/dev.jsonl``; returns the folds' directories."""
    lines = json_lines(pairs)
    directories = [directory / f"fold-{fold}" for fold in range(folds)]
    for fold, each in enumerate(directories):
        each.mkdir(parents=True, exist_ok=True)
        splits = {"train": [line for at, line in enumerate(lines) if at % folds != fold], "dev": lines[fold::folds]}
        for split, kept in splits.items():
            (each / f"{split}.jsonl").write_text("".join(f"{line}\n" for line in kept), "utf-8")
    return directories


def json_lines(path: Path) -> list[str]:
    """The lines that are not blank; a line separator of Unicode within a string ends none."""
    return [line for line in path.read_text("utf-8").split("\n") if line.strip()]


def t2c(*arguments: str) -> Any:
    """What a command prints with ``--json``."""
    program = "import sys; from t2c_jax.cli import console_script; sys.exit(console_script())"
    done = subprocess.run([sys.executable, "-c", program, *arguments, "--json"], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(done.returncode)  # it has said why
    return json.loads(done.stdout)


def trained(fold: Path, seed: int, options: Sequence[str]) -> tuple[Path, str]:
    """The workdir of a finished run, and the name of its evaluation."""
    workdir = fold / f"seed-{seed}"
    results = t2c(
        "run",
        f"--workdir={workdir}",
        f"--config.corpus.sources={fold / 'train.jsonl'},{fold / 'dev.jsonl'}",
        *("--config.corpus.dev_share=0", "--config.corpus.test_share=0", f"--config.seed={seed}"),
        *("--config.evaluate.split=dev", "--config.evaluate.max_examples=0"),
        *options,
    )
    return workdir, results["evaluate"]["name"]


def together(workdirs: Sequence[Path]) -> tuple[Path, str]:
    """The first of them, and the name of the evaluation of all models as one."""
    first, *others = workdirs
    return first, t2c("evaluate", f"--workdir={first}", *(f"--with={other}" for other in others))["name"]


def statistics_of(workdir: Path, evaluation: str) -> list[dict[str, Any]]:
    """Of each held-out pair, its statistics by metric."""
    predictions = workdir / "evaluations" / evaluation / "predictions.jsonl"
    return [json.loads(line)["statistics"] for line in json_lines(predictions)]


def pooled(metric: Metric, rows: Sequence[Sequence[float]]) -> tuple[float, float]:
    """The score of all rows and its standard error."""
    table = np.array(rows, float)
    resampled = [metric.score(sums) for sums in bootstrap_sums(table, _RESAMPLES, seed=0)]
    return metric.score(table.sum(0)), float(np.std(resampled, ddof=1))


def report(title: str, found: Sequence[dict[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """Prints and returns the scores over all folds."""
    scores = {name: pooled(metric_named(name), [each[name] for each in found]) for name in names}
    cells = [f"{metric_named(name).title} {value:.1f} ± {error:.1f}" for name, (value, error) in scores.items()]
    console.say(f"{title}, {len(found)} pairs: {', '.join(cells)}")
    return {name: {"value": value, "standard_error": error} for name, (value, error) in scores.items()}


def main() -> None:
    """Runs what is not finished, and prints the scores."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("pairs", type=Path, help="a file of JSON lines with text and code")
    parser.add_argument("--config", required=True, help="as for t2c run")
    parser.add_argument("--workdir", type=Path, required=True, help="of all runs")
    parser.add_argument("--folds", type=int, default=6, help="default: %(default)s")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="default: 0")
    parser.add_argument("--json", action="store_true", help="print one JSON document to standard output")
    arguments, options = parser.parse_known_args()
    folds = write_folds(arguments.pairs, arguments.workdir, arguments.folds)
    runs = [
        [trained(fold, seed, [f"--config={arguments.config}", *options]) for fold in folds] for seed in arguments.seeds
    ]
    sides = {f"seed {seed}": of_seed for seed, of_seed in zip(arguments.seeds, runs, strict=True)}
    if len(runs) > 1:
        sides["together"] = [together([workdir for workdir, _ in of_fold]) for of_fold in zip(*runs, strict=True)]
    results = {}
    for title, evaluations in sides.items():
        found = [each for evaluation in evaluations for each in statistics_of(*evaluation)]
        results[title] = report(title, found, list(found[0]))
    if arguments.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
