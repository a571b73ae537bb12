"""Two processes on this machine, and four with a tensor axis, each with its rows of the batch, as on several hosts."""

import json
import shutil
import signal
import socket
import time

import pytest
import small_run
from small_run import environment, main, records

from t2c_jax import config as configs
from t2c_jax.train.setup import set_up
from t2c_jax.workdir import Workdir, digest

OVERRIDES = [
    f"--config.train.{key}={value}"
    for key, value in (("steps", 40), ("save_every", 8), ("log_every", 4), ("eval_every", 20))
]
PROMPTS = ("Return the first list of 3 values.", "Return the largest word of 7 values.", "Sort.")
STEPS = (0, 5, 33)
DEADLINE = 600  # seconds, on a machine with other work
# Runs several commands, since starting a process takes long; then prints digests of the global batches on the devices.
WORKER = f"""
import json, sys
from jax.experimental import multihost_utils
from t2c_jax import cli, config, runtime, mesh as meshes
from t2c_jax.train.setup import set_up
from t2c_jax.workdir import Workdir, digest

commands, workdir = json.loads(sys.argv[1])
for arguments in commands:
    if status := cli.main(arguments):
        sys.exit(status)
experiment, run = config.load(workdir + "/config.json"), Workdir(workdir)
setup = set_up(experiment, run)
data, mesh = setup.data, setup.compiled.mesh
found = []
for step in {STEPS}:
    batch = meshes.global_batch(data.train.batch(step), mesh)
    whole = [multihost_utils.process_allgather(batch[name], tiled=True) for name in sorted(batch)]
    found.append(digest(*(array.tobytes() for array in whole)))
print(json.dumps(found + runtime.from_primary(["first's own"] if runtime.is_primary() else [])))
"""


def start(count, commands, workdir):
    """Starts all processes of a run with these commands."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    shared = {**environment(), "JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": str(count)}
    work = json.dumps([[[str(part) for part in arguments] for arguments in commands], str(workdir)])
    return [
        small_run.processes().popen({"code": WORKER, "argv": [work]}, env={**shared, "JAX_PROCESS_ID": str(index)})
        for index in range(count)
    ]


def finish(processes, status=0):
    """Waits for all processes; returns what each wrote to standard output and to standard error."""
    try:
        said = [process.communicate(timeout=DEADLINE) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert {process.returncode for process in processes} == {status}, "\n".join(error for _, error in said)
    return said


def batch_digests(workdir):
    """Digests of the same global batches, made by one process that holds all of their rows."""
    experiment, run = configs.load(str(workdir / "config.json")), Workdir(workdir)
    data = set_up(experiment, run).data
    batches = [data.train.batch(step) for step in STEPS]
    return [digest(*(batch[name].tobytes() for name in sorted(batch))) for batch in batches]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A directory with a run that one process trained, and workdirs with its tokens."""
    directory = tmp_path_factory.mktemp("processes")
    _, prepared = small_run._prepared(tmp_path_factory.getbasetemp())
    for name in ("alone", "two", "stopped", "four"):
        shutil.copytree(prepared, directory / name)
    assert main("train", "--workdir", directory / "alone", *OVERRIDES) == 0
    shutil.copytree(directory / "alone", directory / "answered")
    return directory


@pytest.fixture(scope="module")
def two(base):
    """Two processes train, then answer with what one process trained."""
    commands = [
        ("train", "--workdir", base / "two", *OVERRIDES),
        ("evaluate", "--workdir", base / "answered"),
        ("generate", "--workdir", base / "answered", "--json", *PROMPTS),
    ]
    return finish(start(2, commands, base / "two"))


def assert_same_run(one, other):
    assert [(line["step"], line["kind"]) for line in one] == [(line["step"], line["kind"]) for line in other]
    for ours, theirs in zip(one, other, strict=True):
        # The same global batches and dropout. Sums over rows are split differently, and 40 steps of Adam increase the
        # difference in the last bits.
        assert ours["nll"] == pytest.approx(theirs["nll"], rel=1e-4)


def test_two_processes_train_as_one(base, two):
    (output, said), (silence, other) = two
    assert "dev loss" in said
    assert "dev loss" not in other  # only the first process logs
    assert_same_run(records(base / "alone"), records(base / "two"))
    expected = [*batch_digests(base / "alone"), "first's own"]
    assert json.loads(output.splitlines()[-1]) == json.loads(silence) == expected


def test_two_processes_answer_as_one(base, two, capsys):
    """The same parameters give the same answers, each once, whichever process decoded a prompt."""
    assert main("evaluate", "--workdir", base / "alone") == 0
    predictions = [
        [json.loads(line) for line in path.read_text().splitlines()]
        for run in ("alone", "answered")
        for path in (base / run).glob("evaluations/*/predictions.jsonl")
    ]
    assert len(predictions) == 2
    assert len(predictions[0]) == 12
    assert predictions[0] == predictions[1]
    capsys.readouterr()
    assert main("generate", "--workdir", base / "alone", "--json", *PROMPTS) == 0
    expected = json.loads(capsys.readouterr().out)
    found = json.loads(two[0][0].splitlines()[0])
    assert [answer["code"] for answer in found] == [answer["code"] for answer in expected]
    # Sums of float32 in another order.
    assert [answer["score"] for answer in found] == pytest.approx([a["score"] for a in expected], rel=1e-4)


def test_a_signal_to_one_of_two_processes_stops_both(base, two):
    """They agree on a step and save there; the same command then resumes like an uninterrupted run."""
    run = base / "stopped"
    commands = [("train", "--workdir", run, *OVERRIDES)]
    processes = start(2, commands, run)
    deadline = time.monotonic() + DEADLINE
    while not (run / "metrics.jsonl").exists():  # by then both load compiled programs
        assert time.monotonic() < deadline
        assert [process.poll() for process in processes] == [None, None]
        time.sleep(0.01)
    processes[1].send_signal(signal.SIGTERM)
    (_, said), _ = finish(processes, 128 + signal.SIGTERM)
    step = int(said.split("saved at step ")[1].split(";")[0])
    assert step < 40
    assert (run / "checkpoints" / str(step)).is_dir()
    (_, said), _ = finish(start(2, commands, run))
    assert f"resuming from the checkpoint of step {step}" in said
    assert records(run) == records(base / "two")


def test_four_processes_with_a_tensor_axis_train_as_one(base):
    mesh = ("--config.mesh.data=2", "--config.mesh.tensor=2")
    said = finish(start(4, [("train", "--workdir", base / "four", *OVERRIDES, *mesh)], base / "four"))
    assert_same_run(records(base / "alone"), records(base / "four"))
    assert [json.loads(output) for output, _ in said] == [[*batch_digests(base / "alone"), "first's own"]] * 4
