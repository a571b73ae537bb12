"""Parts of installed packages, by the entry-point group ``t2c_jax.parts``."""

import subprocess
import sys

import pytest
from small_run import environment

PARTS = """
from t2c_jax.config import metrics
from t2c_jax.config.registry import lazy

metrics.register("length_ratio")(lazy("my_project.length_ratio:LengthRatio"))
"""
PROGRAM = """
import sys
import t2c_jax
from t2c_jax import cli
try:
    print("length_ratio" in t2c_jax.default_config().evaluate.metrics, "length_ratio" in t2c_jax.config.metrics)
except t2c_jax.UserError as error:
    print(error)
sys.exit(cli.main(["train", "--workdir", "nowhere"]))
"""


def run(directory, parts):
    """The program beside an installed package whose module of parts is this; its outputs as lines."""
    installed = directory / "my_project-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: my-project\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text("[t2c_jax.parts]\nmine = my_parts\n")
    (directory / "my_parts.py").write_text(parts)
    variables = environment()
    variables["PYTHONPATH"] += f":{directory}"
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=variables, cwd=directory, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    return done.stdout.splitlines(), done.stderr.splitlines()


def test_an_installed_package_registers_parts(tmp_path):
    output, errors = run(tmp_path, PARTS)
    assert output == ["False True"]
    assert errors == ["t2c: 'nowhere' holds no run yet; add --config FILE (see configs/)"]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (PARTS.replace("length_ratio", "bleu"), "ValueError: the metric 'bleu' is registered twice"),
        ("import nothing_of_that_name", "ModuleNotFoundError: No module named 'nothing_of_that_name'"),
    ],
)
def test_parts_that_fail_are_reported_in_one_line(parts, message, tmp_path):
    output, errors = run(tmp_path, parts)
    said = "the module 'my_parts' of the installed package 'my-project', which registers parts, failed: " + message
    assert output == [f"{said}; repair that package, or uninstall it"]
    assert errors == [f"t2c: {output[0]}"]
