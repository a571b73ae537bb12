"""A run that is killed, stopped and interrupted ends bit for bit where the undisturbed one does."""

import random
from pathlib import Path

from small_run import environment, processes


def test_killed_stopped_and_interrupted_is_undisturbed(tmp_path):
    """A few of ``kills.py``'s; the seed is another at each run of the test, and printed where it fails."""
    options = ["--kills", "3", "--directory", str(tmp_path), "--seed", str(random.SystemRandom().randrange(10**6))]
    program = {"script": str(Path(__file__).with_name("kills.py")), "argv": options, "forks": False}
    here = environment()
    paths = f"{Path(__file__).parents[1]}:{here['PYTHONPATH']}"
    done = processes().run(program, env={**here, "PYTHONPATH": paths}, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 kills: 90 steps" in done.stdout
    assert "stopped by SIGTERM" in done.stdout
    assert "stopped by SIGINT" in done.stdout
