"""Two processes on this machine, each with its rows of the batch, stand in for two hosts."""

import shutil
import signal
import socket
import subprocess
import time

import pytest
from small_run import command, environment, prepared, records, t2c  # noqa: F401

OVERRIDES = [
    f"--config.train.{key}={value}"
    for key, value in (("steps", 60), ("save_every", 15), ("log_every", 4), ("eval_every", 30))
]


def start(workdir):
    """Both processes of a run."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    shared = {**environment(), "JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": "2"}
    return [
        subprocess.Popen(
            command("train", "--workdir", workdir, *OVERRIDES),
            env={**shared, "JAX_PROCESS_ID": str(index)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]


def finish(processes, status=0):
    """What each said, once all have ended."""
    try:
        said = [process.communicate(timeout=200)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [status, status], "\n".join(said)
    return said


def test_two_processes_train_as_one_and_a_notice_to_one_of_them_stops_both(prepared, tmp_path):  # noqa: F811
    _, disturbed = prepared
    alone, together = (shutil.copytree(disturbed, tmp_path / name) for name in ("alone", "together"))
    done = t2c("train", "--workdir", alone, *OVERRIDES)
    assert done.returncode == 0, done.stderr
    first, second = finish(start(together))
    assert "dev loss" in first
    assert "dev loss" not in second  # one of them speaks for both

    one, two = records(alone), records(together)
    assert [(line["step"], line["kind"]) for line in one] == [(line["step"], line["kind"]) for line in two]
    for ours, theirs in zip(one, two, strict=True):
        # The same global batches, dropout included; but sums over rows are split in two, and 60 steps of Adam carry
        # the difference of the last bits on.
        assert ours["nll"] == pytest.approx(theirs["nll"], rel=1e-4)

    preempted = start(disturbed)
    deadline = time.monotonic() + 200
    while not (disturbed / "metrics.jsonl").exists():  # then both compile, while the notice goes round
        assert time.monotonic() < deadline
        assert [process.poll() for process in preempted] == [None, None]
        time.sleep(0.01)
    preempted[1].send_signal(signal.SIGTERM)
    first, _ = finish(preempted, 128 + signal.SIGTERM)
    stopped = int(first.split("saved at step ")[1].split(";")[0])
    assert stopped < 60
    assert (disturbed / "checkpoints" / str(stopped)).is_dir()
    first, _ = finish(start(disturbed))
    assert f"going on from the checkpoint of step {stopped}" in first
    assert records(disturbed) == two
