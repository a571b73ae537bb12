"""Every benchmark, run as a person runs it, at a toy shape: what it measures means nothing, that it measures is all."""

import json
import os

import pytest
from small_run import processes

from t2c_jax import runtime

# The peer's second turn, in t2c's own environment, is taken once; elsewhere the user has that environment already.
COMMANDS = {
    "train_step.py": ("torch", "transformers"),
    "recurrent.py": ("torch",),
    "decode.py": ("torch", "transformers", "ctranslate2"),
    "lora.py": (),
    "objectives.py": (),
    "pipeline.py": (),
    "import_model.py": (),
    "checkpoint.py": (),
    "scaling.py": (),
    "compile.py": (),
}


def run(repository, script, *options):
    """A benchmark as a process of its own."""
    environment = {} if script == "train_step.py" else runtime.environment()
    program = {"script": str(repository / "benchmarks" / script), "argv": list(options)}
    program["forks"] = script != "import_model.py"  # which measures the memory of what it starts
    return processes().run(program, env={**os.environ, **environment, "PYTHONPATH": str(repository)})


@pytest.mark.parametrize("command", COMMANDS)
def test_benchmark(command, repository):
    for peer in COMMANDS[command]:  # the extra "bench"
        pytest.importorskip(peer)
    done = run(repository, command, "--tiny", "--rounds=1", "--steps=1", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["machine"]["versions"]["jax"]
    if command == "import_model.py":
        assert result["parameters"] > 0
        assert result["seconds"] > 0
        assert result["peak_bytes"] > result["peak_bytes_beyond_libraries"] > 0
        return
    if command == "checkpoint.py":
        assert 0 < result["stop_seconds"] < result["save_seconds"]
        assert min(result["restore_seconds"], result["step_seconds_while_saving"]) > 0
        assert result["written_bytes"] > 0.5 * result["state_bytes"] > 0
        return
    if command == "compile.py":
        assert all(row["together_seconds"] > 0 and row["ratio"] > 0 for row in result["depths"].values())
        assert result["kept_bytes"] > 0
        assert result["second_start_seconds"] > 0
        return
    tables = [result["sides"]] if "sides" in result else [result["beam"], result["greedy"]]
    for sides in tables:
        assert len(sides) >= 2
        assert all(side["per_second"] > 0 and side["best_seconds_per_step"] > 0 for side in sides.values())
        assert all(side["ratio"] > 0 for side in list(sides.values())[1:])


def test_tpu_compile(repository):
    pytest.importorskip("libtpu", reason="libtpu (extra tpu) is not installed")
    done = run(repository, "tpu_compile.py", "--tiny", "--json")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["rows"]
    assert row["fits"]
    assert row["roofline"]["seconds"] > 0
