"""Kills one small run again and again, and compares where it ends with where the same run ends undisturbed.

    PYTHONPATH=tests python tests/train/kills.py --kills 50

Every start is ``mine``, ``tokenizer``, ``prepare`` and ``train`` in a process forked from one that has imported
everything and touched no device. A kill falls on a file operation of the run, drawn anew for each start: just before it
(between a rename and the clean-up behind it, amid a corpus half written), or up to 50 ms later (in a step, while a
checkpoint is written in the background), by a timer of the kernel's, for this process may be late. One start is stopped
by SIGTERM and one by Ctrl-C, which save first. In the end corpus, tokenizer, tokens, logged lines and the last state
must be equal bit for bit.
"""

from __future__ import annotations

import argparse
import collections
import itertools
import json
import os
import random
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true")

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import jax
import numpy as np
import orbax.checkpoint as ocp
import tensorflow  # noqa: F401
import tensorflow_datasets  # noqa: F401
from small_run import records, write_config

import t2c_jax.corpus.build
import t2c_jax.corpus.dataset
import t2c_jax.data.packing_report
import t2c_jax.decode.loading
import t2c_jax.evaluate.evaluator
import t2c_jax.train.loop  # noqa: F401
from t2c_jax import cli

COMMANDS = ("mine", "tokenizer", "prepare", "train")
OPERATIONS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir")
SAVE_EVERY = 5
STEPS_A_KILL = 10  # more than a start gets on by before it is killed
OPERATIONS_OF_A_START, OPERATIONS_OF_A_SAVE = 22, 28
MOST_SECONDS = 600


def overrides(kills: int) -> list[str]:
    """Saves, lines and measurements that do not fall together: what a checkpoint leaves unlogged must not be lost."""
    values = {"steps": STEPS_A_KILL * kills + 60, "save_every": SAVE_EVERY, "log_every": 3, "eval_every": 50}
    return [f"--config.train.{key}={value}" for key, value in values.items()]


class Start:
    """A forked process that runs the commands, and tells of its file operations through a pipe."""

    def __init__(
        self, directory: Path, workdir: Path, options: Sequence[str], die_at: int = 0, delay: float = 0.0
    ) -> None:
        """``die_at`` is the file operation before which it is killed, 0 for none; ``delay`` so many seconds later."""
        self.said = directory / "said.txt"
        self._pipe, theirs = os.pipe()
        self.process = os.fork()
        if self.process:
            os.close(theirs)
            return
        try:
            self._child(directory, workdir, options, die_at, delay, theirs)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(70)  # not reached but by an error, which is in what it said

    def _child(
        self, directory: Path, workdir: Path, options: Sequence[str], die_at: int, delay: float, pipe: int
    ) -> None:
        output = os.open(self.said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        numbers = itertools.count(1)  # threads write too, and each operation has a number of its own

        def hook(event: str, arguments: tuple) -> None:
            if event not in OPERATIONS or not str(arguments[0]).startswith(str(workdir)):
                return
            if event == "open" and not (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR):
                return
            number = next(numbers)
            os.write(pipe, f"{event} {Path(str(arguments[0])).relative_to(workdir)}\n".encode())
            if number == die_at and delay:
                signal.setitimer(signal.ITIMER_REAL, delay)  # SIGALRM, which nobody handles, ends a process at once
            elif number == die_at:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        jax.config.update(
            "jax_compilation_cache_dir", os.environ.get("JAX_COMPILATION_CACHE_DIR") or str(directory / "programs")
        )
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        status = 0
        for command in COMMANDS:
            arguments = [command, "--workdir", str(workdir), "--config", str(directory / "config.py"), *options]
            status = status or cli.main(arguments)
        sys.stderr.flush()
        os._exit(status)

    def operations(self) -> list[str]:
        """The operations, to its end."""
        found, deadline = b"", time.monotonic() + MOST_SECONDS
        while True:
            assert time.monotonic() < deadline, "a start hangs"
            if select.select([self._pipe], [], [], 1.0)[0]:
                chunk = os.read(self._pipe, 1 << 16)
                if not chunk:
                    break
                found += chunk
        return found.decode().splitlines()

    def end(self) -> int:
        """Waits for its end; the exit status, or minus the signal that killed it."""
        while os.read(self._pipe, 1 << 16):
            pass
        os.close(self._pipe)
        return os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])


def logged(workdir: Path) -> int:
    """The last step in ``metrics.jsonl``; 0 where there is none."""
    metrics = workdir / "metrics.jsonl"
    lines = metrics.read_text().splitlines() if metrics.exists() else []
    return json.loads(lines[-1])["step"] if lines and lines[-1].endswith("}") else 0


def stop(start: Start, workdir: Path, number: int) -> str:
    """Sends the signal once a line more is logged; what was said of it must be right."""
    before, deadline = logged(workdir), time.monotonic() + MOST_SECONDS
    while logged(workdir) <= before:
        assert time.monotonic() < deadline, start.said.read_text()
        time.sleep(0.02)
    os.kill(start.process, number)
    status, said = start.end(), start.said.read_text()
    name = signal.Signals(number).name
    assert status == 128 + number, f"{name}: status {status}\n{said}"
    assert f"{name}: saving a checkpoint after this step" in said, said
    assert f"t2c train --workdir {workdir}" in said, said
    assert "Traceback" not in said, said
    step = int(said.split("saved at step ")[1].split(";")[0])
    assert (workdir / "checkpoints" / str(step)).is_dir(), said
    return f"stopped by {name}, saved at step {step}"


def kill(directory: Path, workdir: Path, options: Sequence[str], most: int, draw: random.Random) -> tuple[str, bool]:
    """One start and its end by a signal: on which operation, and whether it came to that."""
    number, delay = draw.randint(1, most), draw.choice([0.0, draw.uniform(0.0, 0.05)])
    start = Start(directory, workdir, options, number, delay)
    operations, status = start.operations(), start.end()
    if status not in (-signal.SIGKILL, -signal.SIGALRM):
        assert status == 0, f"status {status}\n{start.said.read_text()}"
        return "", False
    # A thread with an earlier number may be killed before it reports its operation.
    operation = operations[min(number, len(operations)) - 1]
    return f"{delay * 1000:.0f} ms after {operation}" if delay else f"before {operation}", True


def contents(workdir: Path) -> dict[str, bytes]:
    """Every file of the stages by path, without times: how long a stage took, and when files changed."""
    found = {}
    for stage in ("corpus", "tokenizer", "tokens"):
        for path in sorted((workdir / stage).rglob("*")):
            if path.is_file() and path.name != "stamps.json":
                content = path.read_bytes()
                if path.name == "manifest.json":
                    content = json.dumps({**json.loads(content), "seconds": 0}).encode()
                found[str(path.relative_to(workdir))] = content
    return found


def last_state(workdir: Path) -> dict[str, np.ndarray]:
    """Every array of the last checkpoint by path."""
    steps = [int(path.name) for path in (workdir / "checkpoints").iterdir() if path.name.isdecimal()]
    with ocp.StandardCheckpointer() as reader:
        tree = reader.restore(workdir / "checkpoints" / str(max(steps)) / "state")
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def compare(disturbed: Path, undisturbed: Path) -> int:
    """Fails where anything differs or lies about; returns how many arrays were compared."""
    assert contents(disturbed) == contents(undisturbed)
    assert records(disturbed) == records(undisturbed)
    ours, theirs = last_state(disturbed), last_state(undisturbed)
    assert ours.keys() == theirs.keys()
    for path, value in theirs.items():
        assert value.dtype == ours[path].dtype, path
        np.testing.assert_array_equal(ours[path], value, err_msg=path)
    left = [path for path in disturbed.rglob("*") if path.name.startswith(".") or "checkpoint-tmp" in path.name]
    assert left == [disturbed / ".lock"], left
    return len(ours)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=None, help="of the moments; drawn where it is not given")
    parser.add_argument("--directory", type=Path, default=None, help="empty; by default a temporary one")
    parsed = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if parsed.seed is None else parsed.seed
    directory = (parsed.directory or Path(tempfile.mkdtemp(prefix="kills-"))).absolute()
    print(f"seed {seed}, in {directory}", flush=True)
    write_config(directory)
    options, draw = overrides(parsed.kills), random.Random(seed)
    disturbed, undisturbed = directory / "disturbed", directory / "undisturbed"

    alone = Start(directory, undisturbed, options)
    operations = alone.operations()
    assert alone.end() == 0, alone.said.read_text()
    in_stages = next(i for i, operation in enumerate(operations) if operation.endswith("metrics.jsonl"))

    stops = {2 * parsed.kills // 3: signal.SIGTERM, parsed.kills: signal.SIGINT}
    found: collections.Counter[str] = collections.Counter()
    for number in range(1, parsed.kills + 1):
        most = OPERATIONS_OF_A_START + 3 * OPERATIONS_OF_A_SAVE
        if not (disturbed / "tokens" / "manifest.json").is_file():
            most = in_stages if number <= parsed.kills // 4 else in_stages + most
        where, killed = kill(directory, disturbed, options, most, draw)
        assert killed, f"the run ended before kill {number}"
        print(f"kill {number}: {where}; logged to step {logged(disturbed)}", flush=True)
        found[("at once, " if where.startswith("before") else "later, ") + _place(where)] += 1
        if number in stops:
            print(stop(Start(directory, disturbed, options), disturbed, stops[number]), flush=True)

    last = Start(directory, disturbed, options)
    assert last.end() == 0, last.said.read_text()
    reader = os.fork()  # reading a state takes a device, and no start may be forked from a process that has one
    if not reader:
        status = 1
        try:
            arrays = compare(disturbed, undisturbed)
            steps = records(disturbed)[-1]["step"]
            print(f"{parsed.kills} kills: {steps} steps, {arrays} arrays and all files equal, bit for bit", flush=True)
            status = 0
        finally:
            if status:
                sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(reader, 0)[1]) == 0, f"not equal; seed {seed}"
    for place, count in sorted(found.items()):
        print(f"{count:4d}  {place}")


def _place(where: str) -> str:
    operation, path = where.split(" ")[-2:]
    parts = Path(path).parts  # none of the workdir itself
    return f"{operation} in {parts[0].strip('.').split('.')[0] if parts else 'the workdir'}"


if __name__ == "__main__":
    main()
