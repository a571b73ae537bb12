"""A run that is killed, stopped and interrupted ends bit for bit where the undisturbed one does."""

import json
import random
import shutil
import signal
import subprocess
import time
from dataclasses import replace

import jax
from small_run import command, environment, prepared, records, t2c  # noqa: F401
from tiny import assert_same

from t2c_jax import config as configs
from t2c_jax import mesh as meshes
from t2c_jax.data.tokenizer import Tokenizers
from t2c_jax.train.checkpoint import Checkpoints
from t2c_jax.train.loop import about
from t2c_jax.train.step import Compiled
from t2c_jax.workdir import Workdir

STEPS = 120
# Saves, lines and measurements that do not fall together: what a checkpoint leaves unlogged must not be lost.
OVERRIDES = [
    f"--config.train.{key}={value}"
    for key, value in (("steps", STEPS), ("save_every", 15), ("log_every", 4), ("eval_every", 50))
]


def state_of(path):
    """The last state of a run, on one device."""
    workdir = Workdir(path)
    experiment = replace(configs.load(str(workdir.config)), mesh=configs.MeshConfig(1, 1, 1))
    tokenizers = Tokenizers.load(workdir.tokenizer)
    compiled = Compiled(experiment, tokenizers.target.vocab_size, meshes.make_mesh(experiment, jax.devices()[:1]))
    checkpoints = Checkpoints(workdir.checkpoints, about(experiment, tokenizers), read_only=True)
    assert checkpoints.steps()[-1] == STEPS
    state = checkpoints.restore(STEPS, compiled.abstract_state_on_mesh())
    losses = {step: checkpoints.loss(step) for step in checkpoints.steps()}
    checkpoints.close()
    return state, losses[STEPS]


def logged(path):
    """The last step in ``metrics.jsonl``; 0 where there is none."""
    metrics = path / "metrics.jsonl"
    lines = metrics.read_text().splitlines() if metrics.exists() else []
    return json.loads(lines[-1])["step"] if lines and lines[-1].endswith("}") else 0


def disturb(path, number, after):
    """Starts or goes on, and sends a signal once the line of a step is there; returns status and what was said."""
    process = subprocess.Popen(
        command("train", "--workdir", path, *OVERRIDES), env=environment(), stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 200
        while logged(path) < after and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        assert process.poll() is None, process.communicate()[1]
        process.send_signal(number)
        said = process.communicate(timeout=100)[1]
    finally:
        process.kill()
        process.communicate()
    return process.returncode, said


def test_killed_stopped_and_interrupted_is_undisturbed(prepared, tmp_path):  # noqa: F811
    _, disturbed = prepared
    undisturbed = shutil.copytree(disturbed, tmp_path / "undisturbed")
    done = t2c("train", "--workdir", undisturbed, "--json", *OVERRIDES)
    assert done.returncode == 0, done.stderr

    draw = random.Random()  # another moment at each run of the test
    killed_at, stopped_at, interrupted_at = (first + draw.randrange(20) for first in (16, 48, 80))
    status, _ = disturb(disturbed, signal.SIGKILL, killed_at)
    assert status == -signal.SIGKILL
    status, said = disturb(disturbed, signal.SIGTERM, stopped_at)
    assert status == 128 + signal.SIGTERM, said
    assert "SIGTERM: saving after this step" in said
    assert f"t2c train --workdir {disturbed}" in said
    assert "Traceback" not in said
    stopped = int(said.split("saved at step ")[1].split(";")[0])
    assert (disturbed / "checkpoints" / str(stopped)).is_dir()
    status, said = disturb(disturbed, signal.SIGINT, interrupted_at)
    assert status == 128 + signal.SIGINT, said
    assert f"going on from the checkpoint of step {stopped}" in said
    assert "saved at step" in said
    assert "Traceback" not in said
    ended = t2c("train", "--workdir", disturbed, "--json", *OVERRIDES)
    assert ended.returncode == 0, ended.stderr

    moments = f"killed at {killed_at}, stopped at {stopped_at}, interrupted at {interrupted_at}"
    assert records(disturbed) == records(undisturbed), moments
    (one, one_loss), (other, other_loss) = state_of(disturbed), state_of(undisturbed)
    assert_same(one, other)
    assert one_loss == other_loss == json.loads(ended.stdout)["dev_loss"] == json.loads(done.stdout)["dev_loss"]
