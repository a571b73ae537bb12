"""Data pipeline: tokens per second that it delivers, against those of the train step.

    python benchmarks/pipeline.py --workdir runs/quickstart

Both sides are a workdir's own: its training pairs, packed as its config says and read through tf.data as training reads
them, and the train step of its config on this machine. Only real source and target tokens count. The share of real
tokens in the packed batches is reported as well.
"""

from __future__ import annotations

import argparse
import itertools
from typing import Any

import _rounds
from _reference import shape, workdir_experiment, workdir_option, workdir_pairs
from train_step import step_task

from t2c_jax import console
from t2c_jax.data.pipeline import Batches

READ_AT_ONCE = 20  # batches in a step of the pipeline's side, far more than tf.data keeps ready


def delivers(options: argparse.Namespace) -> tuple[dict[str, _rounds.Task], dict[str, Any]]:
    """Packed batches through tf.data."""
    experiment = workdir_experiment(options)
    packed = Batches.of(workdir_pairs(options), experiment.data, experiment.seed)
    batches = packed.dataset(0, 1_000_000).as_numpy_iterator()

    def step() -> float:
        read = itertools.islice(batches, READ_AT_ONCE)
        return float(sum((batch[f"{side}_segment_ids"] > 0).sum() for batch in read for side in ("encoder", "decoder")))

    return {"step": step}, {"real_token_share": packed.plan.real_token_share, "dropped": packed.plan.dropped}


def consumes(options: argparse.Namespace) -> tuple[dict[str, _rounds.Task], dict[str, Any]]:
    """The train step on packed batches that lie ready."""
    experiment = workdir_experiment(options)
    packed = Batches.of(workdir_pairs(options), experiment.data, experiment.seed)
    ready = itertools.cycle([packed.batch(step) for step in range(8)])
    vocab_size = shape(tiny=True)[1] if options.tiny else experiment.tokenizer.vocab_size
    return {"step": step_task(experiment, vocab_size, ready)}, {}


def main() -> None:
    parser = _rounds.parser(__doc__)
    workdir_option(parser)
    options = parser.parse_args()
    if options.worker:
        _rounds.serve({"delivers": delivers, "consumes": consumes}[options.worker], options)
        return
    about = _rounds.machine()
    pipeline, step = _rounds.ours("pipeline", "delivers"), _rounds.ours("train step", "consumes")
    turns, facts = _rounds.measure([pipeline, step], options.rounds)
    results = {"sides": _rounds.compare("data pipeline", "real tokens", turns, options.steps, [step], pipeline)}
    results |= facts["delivers"]
    console.say(
        f"{results['real_token_share']:.2%} of the positions in packed rows hold a token;"
        f" a step of the pipeline is {READ_AT_ONCE} batches"
    )
    _rounds.report(options, about, results)


if __name__ == "__main__":
    main()
