"""``t2c compare``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t2c_jax.commands import options as shared
from t2c_jax.commands.output import print_result
from t2c_jax.errors import UserError

if TYPE_CHECKING:
    from t2c_jax.evaluate.run_comparison import RunComparison

SUMMARY = "runs against the first of them: paired tests, wins and losses, and a page with both answers"
_IN_TABLE = 4  # metrics of a table of groups, which is 80 columns wide


def add_arguments(parser: ArgumentParser) -> None:
    """Adds the command's options."""
    shared.add_evaluations(parser)
    parser.add_argument(
        "--output", metavar="FILE.html", default="compare.html", help="where to write the page (default: compare.html)"
    )
    parser.add_argument(
        "--resamples", type=int, default=5000, metavar="N", help="bootstrap resamples of the pairs (default: 5000)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the resamples")


def run(options: Namespace) -> int:
    """Runs the command and returns its exit status."""
    shared.check_local("--output", options.output)
    if options.resamples < 100:
        raise UserError(f"--resamples {options.resamples} is too few for an interval; take 100 or more")
    if options.seed < 0:
        raise UserError(f"--seed {options.seed} is negative; take 0 or more")
    if options.overrides:
        raise UserError(f"t2c compare reads evaluations that exist; leave out --config.{options.overrides[0]}")
    from t2c_jax import console
    from t2c_jax.evaluate.comparison_page import write_comparison
    from t2c_jax.evaluate.run_comparison import compare_runs
    from t2c_jax.evaluate.saved_evaluation import open_evaluations
    from t2c_jax.workdir import disk_errors

    output = Path(options.output)
    shared.check_writable("--output", output)
    evaluations = open_evaluations(options.runs, options.split)
    comparison = compare_runs(evaluations, resamples=options.resamples, seed=options.seed)
    _show(comparison)
    with disk_errors(output, "--output"):
        write_comparison(output, comparison)
    console.say(f"every answer, side by side: {output}")
    print_result(options, comparison.result | {"page": str(output)})
    return 0


def _show(comparison: RunComparison) -> None:
    from t2c_jax import console
    from t2c_jax.evaluate.run_comparison import by_reason, show_number, show_p

    result, baseline = comparison.result, comparison.baseline
    several = len(result["against_baseline"]) > 1
    unit = ", %" if all(metric.percent for metric in comparison.metrics) else ""
    for label, found in result["against_baseline"].items():
        rows = []
        for metric in comparison.metrics:
            each = found["metrics"][metric.name]
            theirs, ours = (result["scores"][run][metric.name]["value"] for run in (baseline, label))
            rows.append(
                (
                    metric.title,
                    show_number(theirs),
                    show_number(ours),
                    show_number(each["difference"], each["standard_error"], signed=True),
                    show_p(each["corrected"]),
                    f"{each['wins']:,} : {each['losses']:,}",
                )
            )
        columns = (f"score{unit}", baseline, label, "difference", "p, Holm" if several else "p", "won : lost")
        title = f"{label} against {baseline} on {result['pairs']:,} {result['split']} pairs"
        console.table(title, columns, rows)
        _show_groups(comparison, label, found)
        console.say(found["summary"])
    for run in result["runs"]:
        if run["pairs_left_out"]:
            console.say(f"pairs left out, not in all runs: {run['pairs_left_out']:,} of {run['label']}")
    for reason, names in by_reason(result["metrics_left_out"]).items():
        console.say(f"metrics left out, {reason}: {', '.join(names)}")


def _show_groups(comparison: RunComparison, label: str, found: dict[str, Any]) -> None:
    """Differences by length, kind and language, where there is more than one."""
    from t2c_jax import console
    from t2c_jax.evaluate.run_comparison import show_number

    metrics = comparison.metrics[:_IN_TABLE]
    rows = []
    for axis, key, word in (
        ("by_length", "code_tokens", "tokens"),
        ("by_kind", "kind", ""),
        ("by_language", "language", ""),
    ):
        groups = found[axis]
        if len(groups) < 2:
            continue
        for group in groups:
            name = "{}-{}".format(*group[key]) if key == "code_tokens" else group[key] or "unknown"
            cells = [
                show_number(each["difference"], each["standard_error"], signed=True)
                for each in (group["metrics"][metric.name] for metric in metrics)
            ]
            rows.append((f"{name} {word}".strip(), f"{group['pairs']:,}", *cells))
    if rows:
        columns = ("group", "pairs", *(metric.title for metric in metrics))
        console.table(f"{label} minus {comparison.baseline}", columns, rows)
        if len(comparison.metrics) > _IN_TABLE:
            others = ", ".join(metric.title for metric in comparison.metrics[_IN_TABLE:])
            console.say(f"by group on the page and in --json only: {others}")
