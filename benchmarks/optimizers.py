"""Held-out loss of several optimizers, at equal steps and at equal time, on a workdir's own training pairs.

    t2c prepare --config configs/pretrain.py:cpu --config.model.width=128 --workdir runs/smaller
    python benchmarks/optimizers.py --workdir runs/smaller --steps 800 --rounds 8

``--run`` names an optimizer and what else is set in config.optimizer, and may be repeated:

    --run adamw --run muon,learning_rate=4e-3 --run schedule_free,learning_rate=5e-3,schedule=constant

All runs have the same seeds, batches and initial parameters. They take turns: in each of ``--rounds`` rounds every run
trains an equal part of its steps, so that other load on the machine affects all of them, and measures its loss on dev
pairs. Time is the CPU time of the steps alone; making batches, measuring and compiling do not count.

At equal steps is the loss after the last step. At equal time is the loss, interpolated between two measurements, at the
CPU time at which the first run had done all its steps, or the last loss of a run that was done before.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import _rounds
import numpy as np
from _reference import workdir_experiment, workdir_option, workdir_pairs

from t2c_jax import config as configs
from t2c_jax import console, runtime
from t2c_jax.config import Experiment

RUNS = ("adamw", "muon", "schedule_free,schedule=constant")


@dataclass
class Run:
    """One optimizer with one seed, and its losses so far.

    Attributes:
      name: as ``--run`` has it.
      seed: of the parameters and the order of the data.
      trainer: its steps and measurements.
      cpu_seconds: of its steps.
      curve: (step, CPU seconds, dev loss) of each measurement.
    """

    name: str
    seed: int
    trainer: Trainer
    cpu_seconds: float = 0.0
    curve: list[tuple[int, float, float]] = field(default_factory=list)


def with_optimizer(experiment: Experiment, chosen: str, options: argparse.Namespace, seed: int) -> Experiment:
    """The workdir's config with another optimizer and seed, checked."""
    name, *settings = chosen.split(",")
    values = configs.to_dict(experiment)
    values["optimizer"]["name"], values["seed"] = name, seed
    for setting in settings:
        key, _, value = setting.partition("=")
        old = values["optimizer"].get(key, "")
        values["optimizer"][key] = value if isinstance(old, str) else type(old)(value)
    values["optimizer"]["warmup_steps"] = min(values["optimizer"]["warmup_steps"], options.steps)
    values["train"]["steps"] = options.steps
    changed = configs.from_stored(values, "--run")
    configs.check(changed)
    return changed


class Trainer:
    """Steps and measurements of a run."""

    def __init__(self, experiment: Experiment, options: argparse.Namespace) -> None:
        import jax

        from t2c_jax.train.setup import compiled_for

        self._compiled = compiled_for(experiment, vocabulary(options), devices=jax.devices()[:1])
        self._batches, self._dev = batches(experiment, options, self._compiled)
        self._state = self._compiled.init()
        self.train(1)  # compiles
        self._batches, self._dev = batches(experiment, options, self._compiled)
        self._state = self._compiled.init()

    def train(self, steps: int) -> float:
        """Some steps; their CPU seconds."""
        import jax

        from t2c_jax import mesh as meshes

        spent = 0.0
        for _ in range(steps):
            batch = jax.block_until_ready(meshes.global_batch(next(self._batches), self._compiled.mesh))
            started = time.process_time()
            self._state, metrics = self._compiled.train_step(self._state, batch)
            jax.block_until_ready((self._state, metrics))
            spent += time.process_time() - started
        return spent

    def loss(self) -> float:
        """Nats a token on dev pairs."""
        from t2c_jax import mesh as meshes

        params = self._compiled.evaluation_params(self._state)
        sums = [self._compiled.eval_step(params, meshes.global_batch(one, self._compiled.mesh)) for one in self._dev]
        return float(sum(one["nll"] for one in sums) / sum(one["weight"] for one in sums))


def vocabulary(options: argparse.Namespace) -> int:
    """Of the workdir's tokenizer, or of the toy."""
    if options.tiny:
        return 256
    return tokenizers(options).target.vocab_size


def tokenizers(options: argparse.Namespace) -> Any:
    """The workdir's."""
    from t2c_jax.tokenizers.loading import Tokenizers
    from t2c_jax.workdir import Workdir

    return Tokenizers.load(Workdir(options.workdir).tokenizer, workdir_experiment(options).data.direction)


def batches(
    experiment: Experiment, options: argparse.Namespace, compiled: Any
) -> tuple[Iterator[dict[str, np.ndarray]], list[dict[str, np.ndarray]]]:
    """Training batches by step, and a few of each task's dev batches."""
    from t2c_jax.data import pipeline
    from t2c_jax.train.batches import open_data
    from t2c_jax.workdir import Workdir

    if options.tiny:
        made = pipeline.Batches.of(workdir_pairs(options), experiment.data, seed=experiment.seed)
        return (made.batch(step) for step in range(options.steps)), [made.batch(0)]
    data = open_data(
        Workdir(options.workdir),
        tokenizers(options),
        experiment.data,
        experiment.model,
        compiled.mesh,
        seed=experiment.seed,
    )
    each = max(1, options.dev_batches // len(data.dev))
    dev = [batch for one in data.dev.values() for batch in one.dataset(0, min(each, one.per_pass)).as_numpy_iterator()]
    return iter(data.train.dataset(0, options.steps).as_numpy_iterator()), dev


def at_time(run: Run, seconds: float) -> float:
    """The loss at this CPU time, between two measurements; the last one where the run was done before."""
    times, losses = [point[1] for point in run.curve], [point[2] for point in run.curve]
    return float(np.interp(seconds, times, losses))


def summary(runs: list[Run], seeds: int) -> list[dict[str, Any]]:
    """One row for each optimizer: means over seeds, with their standard error where there are several."""
    names = list(dict.fromkeys(run.name for run in runs))
    budget = {run.seed: run.cpu_seconds for run in runs if run.name == names[0]}
    rows = []
    for name in names:
        own = [run for run in runs if run.name == name]
        last, timed = np.array([[run.curve[-1][2], at_time(run, budget[run.seed])] for run in own]).T
        rows.append(
            {
                "optimizer": name,
                "cpu_seconds_per_step": float(np.mean([run.cpu_seconds / run.curve[-1][0] for run in own])),
                "loss": float(last.mean()),
                "loss_at_equal_time": float(timed.mean()),
                "losses": last.tolist(),
                "losses_at_equal_time": timed.tolist(),
                "standard_error": float(last.std(ddof=1) / seeds**0.5) if seeds > 1 else None,
                "curves": [run.curve for run in own],
            }
        )
    return rows


def main() -> None:
    parser = _rounds.parser(__doc__)
    parser.add_argument("--run", action="append", help="an optimizer and its settings (default: see above)")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each (default: %(default)s)")
    parser.add_argument("--dev-batches", type=int, default=16, help="of all tasks (default: %(default)s)")
    workdir_option(parser)
    parser.set_defaults(steps=800, rounds=8)
    options = parser.parse_args()
    about = _rounds.machine()
    runtime.quiet()
    experiment = workdir_experiment(options)
    if options.tiny:
        experiment = replace(experiment, data=replace(experiment.data, pack=False))
    runs = [
        Run(name, seed, Trainer(with_optimizer(experiment, name, options, seed), options))
        for seed in range(options.seeds)
        for name in options.run or RUNS
    ]
    marks = np.linspace(0, options.steps, options.rounds + 1).astype(int).tolist()
    for start, stop in itertools.pairwise(marks):
        for run in runs:
            run.cpu_seconds += run.trainer.train(stop - start)
            run.curve.append((stop, run.cpu_seconds, run.trainer.loss()))
            console.say(
                f"{run.name}, seed {run.seed}, step {stop}: {run.curve[-1][2]:.4f} after {run.cpu_seconds:.0f} s"
            )
    rows = summary(runs, options.seeds)
    console.table(
        f"dev loss after {options.steps} steps",
        ("", "CPU s/step", "at equal steps", "at equal time"),
        [
            (
                row["optimizer"],
                f"{row['cpu_seconds_per_step']:.3f}",
                f"{row['loss']:.4f}" + (f" ± {row['standard_error']:.4f}" if row["standard_error"] else ""),
                f"{row['loss_at_equal_time']:.4f}",
            )
            for row in rows
        ],
    )
    _rounds.report(options, about, {"runs": rows})


if __name__ == "__main__":
    main()
