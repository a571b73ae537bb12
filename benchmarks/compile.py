"""Time to trace and to compile the train step, by depth, and what a second start saves.

    python benchmarks/compile.py

The blocks are scanned, so a deeper model is the same program with a larger leading axis. From 6 layers per side to 48
the time should grow by a factor of 1.3 at most. On a busy machine compare the CPU times. Depths take turns, round after
round, in one process that clears its traces in between. Then two processes start one after the other with an empty
cache of compiled programs: the first compiles, the second reads.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import _rounds
from _reference import shape, with_layers
from train_step import full_batch, unpacked

from t2c_jax import console
from t2c_jax.config import DataConfig, Experiment

DEPTHS = (6, 12, 24, 48)
STARTED = 24  # layers of the model that is started twice


def experiment(options: argparse.Namespace, depth: int) -> tuple[Experiment, int]:
    """The reference shape, or a toy, of so many layers on each side; and its vocabulary."""
    model, vocab_size = shape(tiny=options.tiny)
    model = replace(with_layers(model, depth), scan=True)
    batch, length = (4, 16) if options.tiny else (32, 128)
    data = DataConfig(encoder_length=length, decoder_length=length, batch_size=batch)
    return Experiment(data=data, model=model), vocab_size


def timed(options: argparse.Namespace, depth: int) -> dict[str, float]:
    """Seconds to trace, to lower and to compile the train step, nothing of it known before, and CPU time of it all."""
    import jax

    from t2c_jax import mesh as meshes
    from t2c_jax.train.setup import compiled_for

    jax.clear_caches()
    settings, vocab_size = experiment(options, depth)
    compiled = compiled_for(settings, vocab_size, devices=jax.devices()[:1])
    batch = meshes.global_batch(unpacked(*full_batch(settings.data, vocab_size)), compiled.mesh)
    with jax.set_mesh(compiled.mesh):
        step = jax.jit(compiled.step_function, donate_argnums=0)
        cpu_began, began = time.process_time(), time.perf_counter()
        traced = step.trace(compiled.abstract_state_on_mesh(), batch)
        after_trace = time.perf_counter()
        lowered = traced.lower()
        after_lowering = time.perf_counter()
        lowered.compile()
        ended = time.perf_counter()
    parts = {"trace": after_trace - began, "lower": after_lowering - after_trace, "compile": ended - after_lowering}
    return {**parts, "together": ended - began, "cpu": time.process_time() - cpu_began}


def starts(options: argparse.Namespace) -> dict[str, float]:
    """Seconds from traced to ready in a first process, and in a second one that finds what the first compiled."""
    found = {}
    with tempfile.TemporaryDirectory() as directory:
        environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": directory}
        if options.tiny:
            environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        for name in ("first", "second"):
            done = subprocess.run(
                [sys.executable, *sys.argv, "--worker", "start"],
                env=environment,
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            found[f"{name}_start_seconds"] = float(done.stdout.split()[-1])
        found["kept_bytes"] = float(sum(path.stat().st_size for path in Path(directory).rglob("*-cache")))
    return found


def main() -> None:
    parser = _rounds.parser(__doc__)
    parser.set_defaults(rounds=3, steps=1)
    options = parser.parse_args()
    if options.worker:
        print(timed(options, 2 if options.tiny else STARTED)["compile"])
        return
    os.environ["JAX_COMPILATION_CACHE_DIR"] = ""  # what is timed is compiled
    about = _rounds.machine()
    depths = (1, 2) if options.tiny else DEPTHS
    timed(argparse.Namespace(tiny=True), 1)  # the compiler's own start
    rounds: dict[int, list[dict[str, float]]] = {depth: [] for depth in depths}
    with console.progress("rounds", options.rounds) as bar:
        for _ in range(options.rounds):
            for depth in depths:
                rounds[depth].append(timed(options, depth))
            bar.advance()
    results: dict[str, Any] = {
        "depths": {
            depth: {
                **{f"{part}_seconds": statistics.median(turn[part] for turn in turns) for part in turns[0]},
                **{
                    name: statistics.median(a[part] / b[part] for a, b in zip(turns, rounds[depths[0]], strict=True))
                    for name, part in (("ratio", "together"), ("cpu_ratio", "cpu"))
                },
            }
            for depth, turns in rounds.items()
        },
        **starts(options),
    }
    console.table(
        "train step, scanned",
        ("layers on each side", "trace s", "lower s", "compile s", "together", "ratio", "CPU s", "ratio"),
        [
            (
                f"{depth}",
                *(f"{row[f'{part}_seconds']:.2f}" for part in ("trace", "lower", "compile", "together")),
                f"{row['ratio']:.2f} x",
                f"{row['cpu_seconds']:.2f}",
                f"{row['cpu_ratio']:.2f} x",
            )
            for depth, row in results["depths"].items()
        ],
    )
    console.say(
        f"compiled in {results['first_start_seconds']:.2f} s by a first start, read in"
        f" {results['second_start_seconds']:.2f} s by a second; {results['kept_bytes'] / 2**20:.1f} MiB kept"
    )
    _rounds.report(options, about, results)


if __name__ == "__main__":
    main()
