"""What neighbours behind a source add: one model without any, and with the nearest 1, 2 and 4 training pairs.

    python benchmarks/retrieval.py --config configs/django.py --output runs/retrieval train.steps=3000

Each run is trained from the same config, seed and steps, and is scored on the dev split. Rows are not packed, so that
each step has as many pairs whatever their number of neighbours. The encoder's rows are longer by the budget of
neighbours, so that no source loses room. Each run prints a JSON line: scores beside those of copying the nearest pair's
code, their paired differences from the first run with standard errors, the mean shares of where answers come from, and
seconds. A run that is there already is not trained again.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

import t2c_jax
from t2c_jax.checkpoints.saved_run import SavedRun
from t2c_jax.corpus.pairs import Pair
from t2c_jax.evaluate.checkpoints import evaluate_checkpoint
from t2c_jax.evaluate.comparison import compare
from t2c_jax.evaluate.metrics.metric import metrics_named
from t2c_jax.workdir import Workdir

TOKENS_PER_NEIGHBOUR = 48


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="a config of the set; its encoder_length is that of k = 0")
    parser.add_argument("--output", required=True, type=Path, help="gets a workdir for each k")
    parser.add_argument("--neighbours", nargs="+", type=int, default=[0, 1, 2, 4])
    parser.add_argument("--tokens", type=int, default=TOKENS_PER_NEIGHBOUR, help="of a neighbour, on average")
    parser.add_argument("overrides", nargs="*", help="changes to the config, such as train.steps=150")
    options = parser.parse_args()
    length = t2c_jax.load_config(options.config, options.overrides).data.encoder_length
    first: dict[str, np.ndarray] = {}
    for count in options.neighbours:
        row, statistics = measure(options.output / f"neighbours{count}", count, length, options, first)
        first = first or statistics
        print(json.dumps(row), flush=True)


def measure(
    workdir: Path, count: int, length: int, options: argparse.Namespace, first: dict[str, np.ndarray]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The scores of one run, beside the statistics of the first one, and its own statistics."""
    budget = count * options.tokens
    changes = [f"data.retrieve.neighbours={count}", f"data.encoder_length={length + budget}"]
    changes += ["data.pack=False", "evaluate.split=dev"]
    if count:
        changes.append(f"data.retrieve.tokens={budget}")
    experiment = t2c_jax.load_config(options.config, [*options.overrides, *changes])
    started = time.perf_counter()
    trained = t2c_jax.train_run(experiment, workdir)
    seconds = time.perf_counter() - started
    run = SavedRun.of(experiment, Workdir(workdir))
    evaluated = experiment.evaluate
    scores = evaluate_checkpoint(run, evaluated, experiment.decode, experiment.mesh, seed=experiment.seed)
    predictions = (workdir / "evaluations" / scores["name"] / "predictions.jsonl").read_text("utf-8")
    examples = [json.loads(line) for line in predictions.split("\n") if line]
    names = Pair.__dataclass_fields__
    pairs = [Pair.from_dict({name: example[name] for name in names}) for example in examples]
    answers = [example.get("candidates", [example["prediction"]]) for example in examples]
    metrics = metrics_named(evaluated.metrics)
    statistics = {metric.name: metric.statistics(pairs, answers) for metric in metrics}
    row = {
        "neighbours": count,
        "dev_loss": trained.dev_loss,
        "step": scores["step"],
        "model": scores["model"],
        "copied": scores["retrieval"],
        "provenance": scores["provenance"],
        "unfinished": scores["unfinished"],
        "examples": scores["examples"],
        "train_seconds": round(seconds, 1),
    }
    if first:
        compared = compare(metrics, statistics, first, evaluated.bootstrap_samples, experiment.seed)
        row["from_first"] = compared["difference"]
    return row, statistics


if __name__ == "__main__":
    main()
