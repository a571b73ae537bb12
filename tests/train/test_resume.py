"""A run that is killed, stopped and interrupted ends bit for bit where the undisturbed one does."""

import random
import subprocess
import sys
from pathlib import Path

from small_run import environment


def test_killed_stopped_and_interrupted_is_undisturbed(tmp_path):
    """A few of ``kills.py``'s; the seed is another at each run of the test, and printed where it fails."""
    command = [sys.executable, str(Path(__file__).with_name("kills.py")), "--kills", "3", "--directory", str(tmp_path)]
    command += ["--seed", str(random.SystemRandom().randrange(10**6))]
    here = environment()
    paths = f"{Path(__file__).parents[1]}:{here['PYTHONPATH']}"
    done = subprocess.run(
        command, env={**here, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 kills: 90 steps" in done.stdout
    assert "stopped by SIGTERM" in done.stdout
    assert "stopped by SIGINT" in done.stdout
