"""``t2c compile``: memory and costs of the compiled programs, an estimate of their time, and advice on memory."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

from t2c_jax import console
from t2c_jax.aot import program as programs
from t2c_jax.aot.costs import Costs
from t2c_jax.aot.program import CompiledProgram, Training
from t2c_jax.aot.topology import Topology, topology
from t2c_jax.config import DecodeConfig
from t2c_jax.mesh import GIB

REMAT = ("none", "dots", "full")  # config.model.remat, from the most memory to the most work


def compile_for(training: Training, decode: DecodeConfig, name: str) -> dict[str, Any]:
    """Compiles the train step and the search for a topology, and shows what the compiler made of them.

    Args:
      training: the run to train.
      decode: the search.
      name: of the topology (``topology.topology``).

    Returns:
      ``topology``, ``chips``, ``train`` and ``decode`` (``program.json_of``), ``advice`` and ``compile_seconds``.

    Raises:
      UserError: no such topology, no libtpu, or the config does not fit the number of devices.
    """
    target = topology(name)
    found: dict[str, CompiledProgram] = {}
    seconds: dict[str, float] = {}
    builds: dict[str, Callable[[], CompiledProgram]] = {
        "train": lambda: programs.train_step(training, target),
        "decode": lambda: programs.search(training.trainable.definition, training.data, decode, training.mesh, target),
    }
    for part, build in builds.items():
        console.say(f"compiling {_PARTS[part]} for {name}, {len(target.devices)} chips")
        started = time.monotonic()
        found[part] = build()
        seconds[part] = round(time.monotonic() - started, 1)
        show(found[part], target, _PARTS[part])
    advice = [] if found["train"].fits else advise(found["train"], training.model.remat, training.train.microbatches)
    console.say(verdict(found["train"], advice))
    if not found["decode"].fits:
        console.say("the search does not fit: lower config.decode.batch_size, beam_size or max_tokens")
    return {
        "topology": name,
        "chips": len(target.devices),
        "chip": dataclasses.asdict(target.chip),
        "train": programs.json_of(found["train"]),
        "decode": programs.json_of(found["decode"]),
        "advice": advice,
        "compile_seconds": seconds,
    }


_PARTS = {"train": "the train step", "decode": "the search"}


def show(program: CompiledProgram, target: Topology, title: str) -> None:
    """The tables of one program."""
    mesh = " x ".join(f"{axis}={size}" for axis, size in program.mesh.items())
    rows: list[tuple[str, ...]] = [
        (kind, gib(size), f"{size / program.available:.1%}") for kind, size in program.memory.items()
    ]
    rows.append(("total", gib(program.total), f"{program.total / program.available:.1%}"))
    rows.append(("the chip has", gib(program.available), ""))
    heading = f"{title}, {mesh}, {program.rows} row(s) a chip: memory of a chip"
    console.table(heading, ("", "GiB", "share"), rows)
    counted, estimate = program.costs, program.roofline
    if counted is None or estimate is None:
        return
    console.table(
        f"{title}: collectives of a chip",
        ("", "chips", "times", "GB", "GB sent", "overlapped"),
        [
            (kind, chips, f"{times:,.0f}", gb(payload), gb(sent), "yes" if overlapped else "no, exposed")
            for (kind, chips, overlapped), (times, payload, sent) in by_kind(counted).items()
        ],
    )
    chip = target.chip
    link = f"{chip.link_bandwidth / 1e9:.0f} GB/s"
    console.table(
        f"{title}: at the chip's peaks ({chip.source})",
        ("", "work", "peak", "ms"),
        [
            ("compute", f"{counted.flops / 1e12:.4g} TFLOP", f"{chip.flops / 1e12:.0f} TFLOP/s", ms(estimate.compute)),
            ("HBM", f"{counted.memory / 1e9:.4g} GB", f"{chip.memory_bandwidth / 1e9:.0f} GB/s", ms(estimate.memory)),
            ("overlapped collectives", "", link, ms(estimate.overlapped)),
            ("exposed collectives", "", link, ms(estimate.exposed)),
            ("estimate: the longest of these, plus exposed collectives", "", "", ms(estimate.seconds)),
        ],
    )
    if program.model_flops:
        share = program.model_flops / counted.flops if counted.flops else 0.0
        console.say(
            f"the model's own operations: {program.model_flops / 1e12:.4g} TFLOP a chip, {share:.0%} of what is"
            f" computed; utilisation {estimate.utilisation:.0%}, bound by {estimate.bound}"
        )
    if counted.unknown_loops:
        console.warn(f"{counted.unknown_loops} loop(s) have an unknown trip count and count once")
    if counted.kernels:
        console.say(f"{counted.kernels:,.0f} runs of hand-written kernels are counted with the costs that they declare")


def by_kind(counted: Costs) -> dict[tuple[str, int, bool], tuple[float, float, float]]:
    """Runs, bytes and bytes sent by (kind, chips that take part, overlapped), the most sent first."""
    found: dict[tuple[str, int, bool], tuple[float, float, float]] = {}
    for item in counted.collectives.values():
        key = (item.kind, len(item.group), item.overlapped)
        old = found.get(key, (0.0, 0.0, 0.0))
        found[key] = (old[0] + item.count, old[1] + item.payload, old[2] + item.sent)
    return dict(sorted(found.items(), key=lambda pair: -pair[1][2]))


def gb(size: float) -> str:
    """Bytes in units of 10^9."""
    return f"{size / 1e9:.3g}"


def gib(size: float) -> str:
    """Bytes in GiB."""
    return f"{size / GIB:.3f}"


def ms(seconds: float) -> str:
    """Seconds in milliseconds."""
    return f"{seconds * 1e3:.3g}" if seconds < 1 else f"{seconds * 1e3:,.0f}"


def verdict(program: CompiledProgram, advice: list[str]) -> str:
    """One line: it fits, or by how much it does not and what would help."""
    spare = program.available - program.total
    if program.fits:
        return f"the train step fits, with {gib(spare)} GiB of {gib(program.available)} to spare"
    return (
        f"the train step does not fit: it needs {gib(-spare)} GiB more than the {gib(program.available)} there are"
        + ("; " + "; or ".join(advice) if advice else "")
    )


def advise(program: CompiledProgram, remat: str, microbatches: int) -> list[str]:
    """Which values of the config would lower what the train step needs, the most promising first."""
    advice: list[str] = []
    state = sum(program.memory.get(kind, 0) for kind in ("parameters", "optimizer state", "moving average"))
    copies = program.mesh["data"]
    if copies > 1 and state > program.available / 4:
        fsdp = program.mesh["fsdp"] * copies
        advice.append(f"config.mesh.fsdp={fsdp} with data=1 splits {gib(state)} GiB of state over {copies}x the chips")
    rest = REMAT[REMAT.index(remat) + 1 :]
    if rest:
        advice.append(f"config.model.remat={rest[0]} keeps fewer activations" + _else(rest))
    if program.rows % microbatches == 0 and program.rows // microbatches > 1:
        advice.append(f"config.train.microbatches={2 * microbatches} halves the activations")
    if not advice:
        advice.append("use more chips, a larger config.mesh.tensor, or shorter rows")
    return advice


def _else(rest: tuple[str, ...]) -> str:
    return f" ({rest[1]} the fewest)" if len(rest) > 1 else ""
