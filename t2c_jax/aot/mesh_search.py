"""Which mesh, batch and remat policy suit a topology: each compiled, what fits ranked by its roofline."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from t2c_jax import console
from t2c_jax import mesh as meshes
from t2c_jax.aot import program as programs
from t2c_jax.aot.ahead_of_time import REMAT, gib
from t2c_jax.aot.program import CompiledProgram, Training
from t2c_jax.aot.topology import Topology, topology
from t2c_jax.config import MeshConfig
from t2c_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Trial:
    """A way to run the same model, and the tokens a second a chip that its roofline allows; 0 where it does not fit."""

    mesh: dict[str, int]
    rows: int
    remat: str
    program: CompiledProgram
    rate: float


def search(training: Training, name: str) -> dict[str, Any]:
    """Compiles the train step on several meshes, with several batches and remat policies, and ranks what fits.

    For the meshes see ``meshes_to_try``. Batches are half the config's rows a chip, as many, twice and four times as
    many, each with the least remat that it fits with: what is computed again only costs where there is memory for it.

    Raises:
      UserError: no such topology, no libtpu, or nothing to try on so many devices.
    """
    target = topology(name)
    trials = list(_trials(training, target))
    if not trials:
        raise UserError(f"t2c compile --search: no mesh of {len(target.devices)} devices suits config.model")
    ranked = sorted((trial for trial in trials if trial.program.fits), key=lambda trial: -trial.rate)
    console.table(
        f"What fits {name}, the fastest first",
        ("data x fsdp x tensor", "rows a chip", "remat", "GiB", "utilisation", "tokens/s a chip"),
        [
            (
                "x".join(map(str, trial.mesh.values())),
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
        "ranked": [_reported(trial) for trial in ranked],
        "refused": [_reported(trial) for trial in trials if not trial.program.fits],
    }


def _reported(trial: Trial) -> dict[str, Any]:
    return {
        "mesh": trial.mesh,
        "rows_per_chip": trial.rows,
        "remat": trial.remat,
        "tokens_per_second_per_chip": trial.rate,
        **programs.json_of(trial.program),
    }


def meshes_to_try(
    own: MeshConfig, axes: Mapping[str, Collection[int]], microbatches: int, state: int, target: Topology
) -> list[MeshConfig]:
    """The config's own mesh, and others that hold the state.

    Those split it as little as ``mesh.choose`` does, four times as far, and, with two chips along
    ``tensor``, again as little as can be: each of these saves memory, and is paid for in collectives.

    Args:
      own: the config's mesh; it comes first, whether or not the state fits.
      axes: sizes of the parameters' axes (``Definition.axis_sizes``).
      microbatches: config.train.microbatches.
      state: bytes of parameters, gradients and optimizer state together.
      target: the chips.
    """
    chips, found = len(target.devices), list[MeshConfig]()
    workload = meshes.Workload(
        state, axes, chips * microbatches, microbatches
    )  # some batch fits: one of as many rows as chips

    def add(sizes: MeshConfig) -> MeshConfig | None:
        try:
            if 0 in (sizes.fsdp, sizes.tensor):
                sizes = meshes.choose(sizes, workload, target.chip.memory, chips, target.slices)
            checked = MeshConfig(**meshes.check(sizes, workload, chips, target.slices))
        except UserError:
            return None
        if checked not in found:
            found.append(checked)
        return checked

    add(own)
    if (least := add(MeshConfig(-1, 0, 1))) is not None:
        add(MeshConfig(-1, min(4 * least.fsdp, chips), 1))
    add(MeshConfig(-1, 0, 2))
    return found


def _trials(training: Training, target: Topology) -> Iterator[Trial]:
    data, microbatches, chips = training.data, training.train.microbatches, len(target.devices)
    own = max(1, data.batch_size // chips)
    rows_to_try = sorted({max(1, own // 2), own, 2 * own, 4 * own})
    axes = training.trainable.definition.axis_sizes()
    sizes_to_try = meshes_to_try(training.mesh, axes, microbatches, training.trainable.nbytes(), target)
    most = len(sizes_to_try) * (len(rows_to_try) + len(REMAT) - 1)
    hint = "" if training.model.scan else "; config.model.scan=True makes them smaller and compiles sooner"
    console.say(f"compiling at most {most} programs{hint}")
    for sizes in sizes_to_try:
        remats = list(REMAT)
        for rows in rows_to_try:
            batch = rows * chips
            if batch % (sizes.data * sizes.fsdp * microbatches):
                continue
            while remats:
                program = programs.train_step(training.resized(sizes, batch, remats[0]), target)
                tokens = rows * (data.encoder_length + data.decoder_length)
                rate = tokens / program.roofline.seconds if program.roofline and program.fits else 0.0
                fit = f"{rate:,.0f} tokens/s a chip" if program.fits else "does not fit"
                mesh = " x ".join(f"{axis}={size}" for axis, size in program.mesh.items())
                console.say(f"{mesh}, remat={remats[0]}, {rows} row(s) a chip: {gib(program.total)} GiB, {fit}")
                yield Trial(program.mesh, rows, remats[0], program, rate)
                if program.fits:
                    break
                del remats[0]  # nor would more rows fit with as little
