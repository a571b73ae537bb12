"""Objectives: tokens per second that each makes and packs on one core, against those of the train step on all cores.

    python benchmarks/objectives.py --workdir runs/pretrained

Each side makes batches of one of config.data.tasks' objectives from a workdir's training code, with the workdir's rows,
in one thread held to one core; the peer is the train step of the reference shape (12 million parameters) on packed
pairs of that workdir. Only real source and target tokens count. If a workdir has no identifiers, two of five tokens are
marked at random, as many as in Python.
"""

from __future__ import annotations

import argparse
import itertools
import os
from dataclasses import replace
from typing import Any

import _rounds
import numpy as np
from _reference import shape, workdir_experiment, workdir_option, workdir_pairs
from train_step import step_task

from t2c_jax import console
from t2c_jax.config import TaskConfig
from t2c_jax.config.registry import objectives
from t2c_jax.data.pipeline import TASK_KEYS, Batches, Stream
from t2c_jax.data.tasks.identifiers import occurrence_codes
from t2c_jax.data.tasks.task import TaskSetup, build_task
from t2c_jax.data.tokens import Tokens
from t2c_jax.errors import UserError
from t2c_jax.tokenizers.loading import Tokenizers
from t2c_jax.workdir import Workdir


class _ToyTokenizer:
    """As much of a tokenizer as a toy run asks for."""

    start, before, after, target_before, target_after = 0, (), (1,), (), (1,)
    sentinels = tuple(range(240, 256))
    surfaces = (b"x", b" ") * 128

    def encode_batch(self, texts: list[str]) -> list[np.ndarray]:
        return [np.zeros(0, np.int32) for _ in texts]


def with_identifiers(tokens: Tokens) -> Tokens:
    """The tokens, with random identifiers where they have none."""
    try:
        tokens.identifiers(0)
        return tokens
    except UserError:
        pass
    draw = np.random.default_rng(0)
    kept = range(min(len(tokens), 20_000))
    names: Any = []
    for i in kept:
        is_name = draw.random(len(tokens.code(i))) < 0.4
        names.append(occurrence_codes(np.where(is_name, np.cumsum(is_name), 0), draw.integers(0, 20, is_name.sum())))
    ids = [str(i) for i in kept]
    texts, codes = ([side(i).tolist() for i in kept] for side in (tokens.text, tokens.code))
    return Tokens.of(texts, codes, ids, identifiers=names)


def makes(options: argparse.Namespace) -> tuple[dict[str, _rounds.Task], dict[str, Any]]:
    """A batch of each objective, on one core."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    experiment = workdir_experiment(options)
    tokens = with_identifiers(workdir_pairs(options))
    toy = _ToyTokenizer()
    tokenizers: Any = Tokenizers(toy, toy, "text_to_code")  # type: ignore[arg-type]
    if not options.tiny:
        tokenizers = Tokenizers.load(Workdir(options.workdir).tokenizer)
    tasks: dict[str, _rounds.Task] = {}
    for objective in objectives:
        task = build_task(TaskSetup(objective, TaskConfig(objective), experiment.data, tokenizers))
        batches = Batches([Stream(tokens, experiment.data, 0, task)], experiment.data, extra_keys=TASK_KEYS)
        steps = itertools.count()

        def step(batches: Batches = batches, steps: Any = steps) -> float:
            batch = batches.batch(next(steps))
            return float(sum((batch[f"{side}_segment_ids"] > 0).sum() for side in ("encoder", "decoder")))

        tasks[objective] = step
    return tasks, {}


def consumes(options: argparse.Namespace) -> tuple[dict[str, _rounds.Task], dict[str, Any]]:
    """The train step of the reference shape on packed batches that lie ready."""
    model, vocab_size = shape(tiny=options.tiny)
    experiment = replace(workdir_experiment(options), model=model)
    experiment = replace(experiment, data=replace(experiment.data, tasks={}))
    packed = Batches.of(workdir_pairs(options), experiment.data, experiment.seed)
    ready = itertools.cycle([packed.batch(step) for step in range(8)])
    return {"step": step_task(experiment, vocab_size, ready)}, {}


def main() -> None:
    parser = _rounds.parser(__doc__)
    workdir_option(parser)
    options = parser.parse_args()
    if options.worker:
        _rounds.serve({"makes": makes, "consumes": consumes}[options.worker], options)
        return
    about = _rounds.machine()
    step = _rounds.ours("train step", "consumes")
    sides = [_rounds.ours(objective, "makes", objective) for objective in objectives]
    turns, _ = _rounds.measure([*sides, step], options.rounds)
    slowest = min(sides, key=lambda side: _rounds.ratio(turns[side.name], turns[step.name]))
    others = [side for side in sides if side is not slowest]
    results: dict[str, Any] = {
        "sides": _rounds.compare("objectives", "real tokens", turns, options.steps, [step, *others], slowest),
        "least_ratio": _rounds.ratio(turns[slowest.name], turns[step.name]),
    }
    console.say(
        f"the slowest, {slowest.name}, makes {results['least_ratio']:.1f} times the tokens that the train step takes"
    )
    _rounds.report(options, about, results)


if __name__ == "__main__":
    main()
