"""What neighbours behind a source add: one model without any, and with the nearest 1, 2 and 4 training pairs.

    python benchmarks/retrieval.py --config configs/django.py --output runs/retrieval train.steps=3000

Each run is trained from the same config, seed and steps, and is scored on the dev split. The encoder's rows are longer
by the budget of neighbours, so that no source loses room. Each run prints a JSON line: scores beside those of copying
the nearest pair's code, the mean shares of where answers come from, and seconds. A run that is there already is not
trained again.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import t2c_jax
from t2c_jax.checkpoints.saved_run import SavedRun
from t2c_jax.evaluate.checkpoints import evaluate_checkpoint
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
    for count in options.neighbours:
        print(json.dumps(measure(options.output / f"neighbours{count}", count, length, options)), flush=True)


def measure(workdir: Path, count: int, length: int, options: argparse.Namespace) -> dict[str, Any]:
    """The scores of one run."""
    budget = count * options.tokens
    changes = [f"data.retrieve.neighbours={count}", f"data.encoder_length={length + budget}", "evaluate.split=dev"]
    if count:
        changes.append(f"data.retrieve.tokens={budget}")
    experiment = t2c_jax.load_config(options.config, [*options.overrides, *changes])
    started = time.perf_counter()
    trained = t2c_jax.train_run(experiment, workdir)
    seconds = time.perf_counter() - started
    run = SavedRun.of(experiment, Workdir(workdir))
    scores = evaluate_checkpoint(run, experiment.evaluate, experiment.decode, experiment.mesh, seed=experiment.seed)
    return {
        "neighbours": count,
        "dev_loss": trained.dev_loss,
        "model": {name: score["value"] for name, score in scores["model"].items()},
        "copied": {name: score["value"] for name, score in scores["retrieval"].items()},
        "provenance": scores["provenance"],
        "examples": scores["examples"],
        "train_seconds": round(seconds, 1),
    }


if __name__ == "__main__":
    main()
