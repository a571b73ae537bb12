"""Which mesh, batch and remat policy suit a topology: each compiled, what fits ranked by its roofline."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from t2c_jax import console
from t2c_jax.aot import program as programs
from t2c_jax.aot.program import Program
from t2c_jax.aot.report import REMAT, gib
from t2c_jax.aot.topology import Topology, topology
from t2c_jax.config import Experiment
from t2c_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Trial:
    """A way to run the same model, and the tokens a second a chip that its roofline allows; 0 where it does not fit."""

    mesh: dict[str, int]
    rows: int
    remat: str
    program: Program
    rate: float


def search(experiment: Experiment, vocab_size: int, name: str) -> dict[str, Any]:
    """Compiles the train step on several meshes, with several batches and remat policies, and ranks what fits.

    Meshes split the state over all chips or over half of them, with and without a tensor axis; batches are the
    config's rows a chip, half, twice and four times as many, as long as they fit.

    Raises:
      UserError: no such topology, no libtpu, or nothing to try on so many devices.
    """
    target = topology(name)
    trials = list(_trials(experiment, vocab_size, target))
    if not trials:
        raise UserError(f"t2c compile --search: no mesh of {len(target.devices)} devices suits config.model")
    ranked = sorted((trial for trial in trials if trial.program.fits), key=lambda trial: -trial.rate)
    console.table(
        f"What fits {name}, the fastest first",
        ("mesh", "rows a chip", "remat", "GiB", "utilisation", "tokens/s a chip"),
        [
            (
                " x ".join(f"{axis}={size}" for axis, size in trial.mesh.items()),
                trial.rows,
                trial.remat,
                gib(trial.program.total),
                f"{trial.program.roofline.utilisation:.0%}" if trial.program.roofline else "",
                f"{trial.rate:,.0f}",
            )
            for trial in ranked
        ],
    )
    if not ranked:
        console.say(f"none of the {len(trials)} ways that were tried fits {name}")
    return {
        "topology": name,
        "chips": len(target.devices),
        "ranked": [_told(trial) for trial in ranked],
        "refused": [_told(trial) for trial in trials if not trial.program.fits],
    }


def _told(trial: Trial) -> dict[str, Any]:
    return {
        "mesh": trial.mesh,
        "rows_per_chip": trial.rows,
        "remat": trial.remat,
        "tokens_per_second_per_chip": trial.rate,
        **programs.json_of(trial.program),
    }


def meshes_to_try(experiment: Experiment, vocab_size: int, chips: int) -> list[dict[str, int]]:
    """Axis sizes that the model's widths allow on so many chips."""
    model, found = experiment.model, []
    for tensor in (1, 2, 4):
        divides = all(size % tensor == 0 for size in (model.heads, model.feed_forward, vocab_size, chips))
        for data in (1, 2):
            fsdp = chips // tensor // data
            if divides and fsdp * data * tensor == chips and model.width % fsdp == 0:
                found.append({"data": data, "fsdp": fsdp, "tensor": tensor})
    return found


def _trials(experiment: Experiment, vocab_size: int, target: Topology) -> Iterator[Trial]:
    data, chips = experiment.data, len(target.devices)
    own = max(1, data.batch_size // chips)
    rows_to_try = sorted({max(1, own // 2), own, 2 * own, 4 * own})
    for sizes in meshes_to_try(experiment, vocab_size, chips):
        for remat in REMAT:
            for rows in rows_to_try:
                batch = rows * chips
                if batch % (sizes["data"] * sizes["fsdp"] * experiment.train.microbatches):
                    continue
                changed = dataclasses.replace(
                    experiment,
                    mesh=dataclasses.replace(experiment.mesh, **sizes),
                    model=dataclasses.replace(experiment.model, remat=remat),  # type: ignore[arg-type]
                    data=dataclasses.replace(data, batch_size=batch),
                )
                program = programs.train_step(changed, vocab_size, target)
                tokens = rows * (data.encoder_length + data.decoder_length)
                rate = tokens / program.roofline.seconds if program.roofline and program.fits else 0.0
                fit = f"{rate:,.0f} tokens/s a chip" if program.fits else "does not fit"
                console.say(f"{sizes} remat={remat} {rows} row(s) a chip: {gib(program.total)} GiB, {fit}")
                yield Trial(sizes, rows, remat, program, rate)
                if not program.fits:
                    break  # nor would more rows
