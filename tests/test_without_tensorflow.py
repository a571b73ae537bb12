"""TensorFlow takes seconds and hundreds of megabytes: only mining and the training pipeline import it."""

import subprocess
import sys
from pathlib import Path

from small_run import environment, trained  # noqa: F401

PROGRAM = """
import shutil, sys
sys.modules["tensorflow"] = None  # whoever imports it fails
from t2c_jax import cli
for command in (["tokenizer"], ["prepare"], ["generate", "Return the first list."], ["evaluate"]):
    assert cli.main([command[0], "--workdir", sys.argv[1], *command[1:]]) == 0, command
"""


def test_tokenizing_answering_and_scoring_need_no_tensorflow(trained: Path) -> None:  # noqa: F811
    (trained / "tokens" / "manifest.json").unlink()  # so that the stage runs again
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(trained)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_importing_the_package_is_light() -> None:
    """Commands start fast, and ``t2c --help`` needs none of these."""
    program = "import sys, t2c_jax; print([n for n in ('jax', 'flax', 'tensorflow', 'sacrebleu') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], check=True, timeout=60, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
