"""How often the size of a batch changes an answer, because logits of other shapes are rounded otherwise.

    python benchmarks/batch_rounding.py --workdir runs/quickstart

The first prompts of a split are answered in batches of each size, by greedy search, beam search and sampling. Nothing
is timed. The answers of the first size are what those of the others are compared with.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import _rounds
from _prompts import prompt_options, prompts_of

from t2c_jax import console, open_run, runtime

SEARCHES: dict[str, dict[str, Any]] = {
    "greedy": {"beam_size": 1, "temperature": 0.0},
    "beam 4": {"beam_size": 4, "temperature": 0.0},
    "sampling at 0.8": {"beam_size": 1, "temperature": 0.8},
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    prompt_options(parser, 128)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 4, 16, 32], help="of batches")
    parser.add_argument("--json", action="store_true", help="print one JSON document to standard output")
    options = parser.parse_args()
    runtime.restart_with_environment()

    prompts = prompts_of(options)
    run = open_run(options.workdir)
    results: dict[str, dict[str, Any]] = {}
    rows = []
    for name, settings in SEARCHES.items():
        results[name] = {}
        expected: list[Any] = []
        for size in options.sizes:
            answers = run.generate(prompts, **settings, batch_size=size)
            expected = expected or answers
            both = list(zip(answers, expected, strict=True))
            changed = sum(one.best != other.best for one, other in both)
            apart = [abs(one.score - other.score) for one, other in both if one.best == other.best]
            results[name][size] = {"answers": len(both), "changed": changed, "scores_apart": max(apart, default=0.0)}
            rows.append((name, str(size), f"{changed} of {len(both)}", f"{max(apart, default=0.0):.1e}"))
            console.say(f"{name}, batches of {size}: {changed} of {len(both)} answers are others")
    title = f"against a batch of {options.sizes[0]}"
    console.table(title, ("", "batch", "other answers", "scores of equal ones apart, at most"), rows)
    if options.json:
        print(json.dumps({"machine": _rounds.machine(), "searches": results}, indent=1))


if __name__ == "__main__":
    main()
