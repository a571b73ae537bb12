"""Checkpoints: how long a save blocks training, how long saving and restoring take, and how much is written.

    python benchmarks/checkpoint.py
    python benchmarks/checkpoint.py --layers 24 --rounds 3

The state is that of training the reference shape with AdamW: parameters and two moments in float32. A round takes
steps, saves while further steps run until the save is on disk, and restores. The blocked time is that of ``save``, plus
what the next step takes longer than the following ones: each array gets a checksum and is copied, because the next step
overwrites the state. Steps during the write are slower, because on a CPU the writer shares their cores.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import _rounds
from _reference import shape, with_layers
from train_step import full_batch, unpacked

from t2c_jax import console, runtime
from t2c_jax.config import DataConfig, Experiment, OptimizerConfig, TrainConfig


def experiment_of(options: argparse.Namespace) -> tuple[Experiment, int]:
    """The reference shape with as many layers as asked for on either side, or a toy; the batch is small."""
    model, vocab_size = shape(tiny=options.tiny)
    if options.layers and not options.tiny:
        model = replace(with_layers(model, options.layers), scan=True)
    data = DataConfig(encoder_length=16, decoder_length=16, batch_size=4, pack=False)
    return Experiment(
        data=data, model=model, optimizer=OptimizerConfig(warmup_steps=1), train=TrainConfig(steps=10**6)
    ), vocab_size


def rounds(options: argparse.Namespace, directory: Path) -> tuple[list[dict[str, float]], int]:
    """What each round measured, in seconds and bytes; and the bytes of the state."""
    import jax

    from t2c_jax import mesh as meshes
    from t2c_jax.checkpoints.checkpoint import Checkpoints
    from t2c_jax.train.setup import compiled_for

    experiment, vocab_size = experiment_of(options)
    compiled = compiled_for(experiment, vocab_size, devices=jax.devices()[:1])
    state = compiled.init()
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    batch = meshes.global_batch(unpacked(*full_batch(experiment.data, vocab_size)), compiled.mesh)
    checkpoints = Checkpoints(directory / "checkpoints", {}, keep=1)

    def steps(count: int) -> float:
        nonlocal state
        started = time.perf_counter()
        for _ in range(count):
            state, metrics = compiled.train_step(state, batch)
        jax.block_until_ready(metrics)
        return (time.perf_counter() - started) / count

    found = []
    steps(2)
    checkpoints.save(0, state, None)  # compiles the checksums, starts Orbax's threads
    checkpoints.wait()
    with console.progress("rounds", options.rounds) as bar:
        for number in range(1, options.rounds + 1):
            alone = steps(options.steps)
            started = time.perf_counter()
            checkpoints.save(number, state, None)
            returned, first, beside = time.perf_counter() - started, steps(1), list[float]()
            while checkpoints.writing or not beside:
                beside.append(steps(1))
            checkpoints.wait()
            written = time.perf_counter() - started
            started = time.perf_counter()
            jax.block_until_ready(checkpoints.restore(number, compiled.abstract_state_on_mesh()))
            files = [file for file in (directory / "checkpoints" / str(number)).rglob("*") if file.is_file()]
            found.append(
                {
                    "step": alone,
                    "stop": returned + max(first - statistics.median(beside), 0.0),
                    "save": written,
                    "step_beside": statistics.median(beside),
                    "restore": time.perf_counter() - started,
                    "bytes": float(sum(file.stat().st_size for file in files)),
                }
            )
            bar.advance()
    checkpoints.close()
    return found, size


def main() -> None:
    parser = _rounds.parser(__doc__)
    parser.add_argument("--layers", type=int, default=0, help="on either side (default: 4)")
    parser.add_argument("--directory", type=Path, help="on the disk to measure (default: the temporary directory's)")
    options = parser.parse_args()
    runtime.restart_with_environment()
    runtime.quiet()
    about = _rounds.machine()
    base = Path(tempfile.mkdtemp(dir=options.directory))
    try:
        found, size = rounds(options, base)
    finally:
        shutil.rmtree(base, ignore_errors=True)
    median = {name: statistics.median(one[name] for one in found) for name in found[0]}
    share = statistics.median(one["stop"] / one["save"] for one in found)
    results: dict[str, Any] = {
        "state_bytes": size,
        "written_bytes": median["bytes"],
        "stop_seconds": median["stop"],
        "save_seconds": median["save"],
        "stop_share": share,
        "step_seconds": median["step"],
        "step_seconds_while_saving": median["step_beside"],
        "restore_seconds": median["restore"],
    }
    console.table(
        "checkpoint",
        ("", "value"),
        [
            ("state", f"{size / 1e6:,.0f} MB"),
            ("written", f"{median['bytes'] / 1e6:,.0f} MB"),
            ("a save stops training for", f"{median['stop'] * 1000:,.0f} ms"),
            ("until it is on disk", f"{median['save']:.2f} s"),
            ("the stop's share of that", f"{share:.1%}"),
            ("a step, alone", f"{median['step'] * 1000:,.0f} ms"),
            ("a step, while a save is written", f"{median['step_beside'] * 1000:,.0f} ms"),
            ("restore", f"{median['restore']:.2f} s"),
        ],
    )
    _rounds.report(options, about, results)


if __name__ == "__main__":
    main()
