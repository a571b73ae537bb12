"""Overhead of a mesh: the same train step on 1, 2, 4 and 8 devices of one process, and on one device each of 2.

    python benchmarks/scaling.py

The devices are parts of this machine's CPU, so more of them compute no faster: the batch and the model are the same,
and the additional time of a side is the cost of partitioning, collectives and dispatch. ``--axis`` says which axis of
the mesh the devices form. The two processes communicate over the loopback interface, as hosts do over a network; the
time of the second process is reported as "others".
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import _rounds
from _reference import both, shape
from train_step import full_batch, unpacked

from t2c_jax import runtime
from t2c_jax.config import DataConfig, Experiment, MeshConfig

DEVICES = (1, 2, 4, 8)
# Devices that wait for each other keep a thread each, at several places at once; there must be some left over. As
# many on one device, so that the sides differ in nothing else.
THREADS = (("NPROC", "32"),)
TWO = "two"  # the worker that has a second process
_SECOND = "second"


def experiment(options: argparse.Namespace, devices: int) -> tuple[Experiment, int]:
    """The reference shape, or a toy, on a mesh of so many devices; and its vocabulary."""
    model, vocab_size = shape(tiny=options.tiny)
    batch, length = (8, 16) if options.tiny else (32, 128)
    if options.tiny:
        model = replace(model, **both({"layers": 1, "num_heads": 8, "head_width": 4, "feed_forward": 64}))
    sizes = {"data": 1, "fsdp": 1, "tensor": 1, options.axis: devices}
    data = DataConfig(encoder_length=length, decoder_length=length, batch_size=batch)
    return Experiment(data=data, model=model, mesh=MeshConfig(**sizes)), vocab_size


def on_all_devices(options: argparse.Namespace) -> tuple[dict[str, _rounds.Task], dict[str, Any]]:
    """The train step on all devices there are; its work is rows."""
    import jax

    from t2c_jax import mesh as meshes
    from t2c_jax.train.setup import compiled_for

    settings, vocab_size = experiment(options, jax.device_count())
    compiled = compiled_for(settings, vocab_size)
    mine = meshes.local_rows(compiled.mesh, settings.data.batch_size)
    rows = {name: values[mine] for name, values in unpacked(*full_batch(settings.data, vocab_size)).items()}
    batch, state = meshes.global_batch(rows, compiled.mesh), compiled.init()

    def step() -> float:
        nonlocal state
        state, metrics = compiled.train_step(state, batch)
        float(metrics["loss"])
        return float(settings.data.batch_size)

    return {"step": step}, {}


@contextlib.contextmanager
def second_process() -> Iterator[subprocess.Popen[str]]:
    """Another process of this run, which steps once for each line that it is given."""
    import jax

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    os.environ |= {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "0"}
    arguments = sys.argv[: sys.argv.index("--worker")]
    process = subprocess.Popen(
        [sys.executable, *arguments, "--worker", _SECOND],
        env={**os.environ, "JAX_PROCESS_ID": "1"},
        stdin=subprocess.PIPE,
        stdout=sys.stderr,
        text=True,
    )
    with process:
        try:
            yield process
            assert process.stdin is not None
            process.stdin.close()
            jax.distributed.shutdown()  # each waits for the other there
        except BaseException:
            process.kill()
            raise


def first_of_two(process: subprocess.Popen[str]) -> Any:
    """Builds the tasks of the first process: it sends each step to the second, and both run it."""

    def build(options: argparse.Namespace) -> tuple[dict[str, _rounds.Task], dict[str, Any]]:
        runtime.connect()
        tasks, facts = on_all_devices(options)
        together = tasks["step"]

        def step() -> float:
            assert process.stdin is not None
            process.stdin.write("step\n")
            process.stdin.flush()
            return together()

        return {"step": step}, facts

    return build


def second_of_two(options: argparse.Namespace) -> None:
    """Steps along until its standard input ends."""
    runtime.quiet()
    runtime.connect()
    step = on_all_devices(options)[0]["step"]
    for _ in sys.stdin:
        step()


def main() -> None:
    parser = _rounds.parser(__doc__)
    parser.add_argument("--axis", choices=("data", "fsdp", "tensor"), default="data", help="default: %(default)s")
    options = parser.parse_args()
    if options.worker == TWO:
        with second_process() as process:
            _rounds.serve(first_of_two(process), options)
        return
    if options.worker == _SECOND:
        second_of_two(options)
        return
    if options.worker:
        _rounds.serve(on_all_devices, options)
        return
    about = _rounds.machine()
    sides = []
    for devices in DEVICES[:2] if options.tiny else DEVICES:
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}".strip()
        side = _rounds.ours(f"{devices} device{'s' * (devices > 1)}", "devices")
        sides.append(
            replace(side, environment=(*side.environment, ("XLA_FLAGS", flags), ("JAX_PLATFORMS", "cpu"), *THREADS))
        )
    sides.append(replace(sides[0], name="2 processes", worker=TWO))
    turns, _ = _rounds.measure(sides, options.rounds)
    one, *others = sides
    title = f"one train step, devices along {options.axis}: one device is"
    results = {"sides": _rounds.compare(title, "rows", turns, options.steps, others, one)}
    _rounds.report(options, about, results)


if __name__ == "__main__":
    main()
