"""What cannot be run here, read: the Dockerfile, SkyPilot's task, and the versions that both install."""

import importlib.metadata
import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from stand_ins import executable, run


def instructions(repository: Path) -> list[tuple[str, str]]:
    """The Dockerfile's, each as its name and what it says, lines joined."""
    text = (repository / "launch" / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


def project(repository: Path) -> dict:
    return tomllib.loads((repository / "pyproject.toml").read_text())["project"]


def copied(repository: Path) -> list[str]:
    return [source for name, rest in instructions(repository) if name == "COPY" for source in rest.split()[:-1]]


def test_what_the_image_copies_is_there_and_reaches_the_builder(repository: Path):
    ignored, *rest = [
        line for line in (repository / ".dockerignore").read_text().splitlines() if not line.startswith("#")
    ]
    assert ignored == "*"
    allowed = [line.removeprefix("!") for line in rest if line.startswith("!")]
    assert sorted(copied(repository)) == sorted(allowed)
    for source in allowed:
        assert (repository / source).exists(), source
    # What hatchling reads to build the package.
    assert {project(repository)["readme"], *project(repository)["license-files"], "t2c_jax"} <= set(allowed)


def test_dependencies_come_before_the_source(repository: Path):
    """A change of the source must not install gigabytes anew."""
    found = instructions(repository)
    install = next(i for i, (name, rest) in enumerate(found) if name == "RUN" and "--requirement" in rest)
    before = [rest for name, rest in found[:install] if name == "COPY"]
    assert before == ["pyproject.toml constraints.txt ./", "launch/_requirements.py launch/"]
    assert "--constraint constraints.txt" in found[install][1]
    own = [rest for name, rest in found[install + 1 :] if name == "RUN"]
    assert own[0].startswith("pip install --no-deps --editable .")


def test_the_image_runs_t2c_as_a_user(repository: Path):
    found = instructions(repository)
    assert [json.loads(rest) for name, rest in found if name in ("ENTRYPOINT", "CMD")] == [["t2c"], ["--help"]]
    assert "t2c" in project(repository)["scripts"]
    user = found.index(("USER", "t2c"))
    assert all(name not in ("RUN", "COPY") for name, _ in found[user:])
    assert any("useradd --uid 1000" in rest for name, rest in found[:user])


def test_the_images_python_is_one_that_the_package_supports(repository: Path):
    (base,) = (rest for name, rest in instructions(repository) if name == "FROM")
    minor = base.removeprefix("python:").partition("-")[0]
    assert f"Programming Language :: Python :: {minor}" in project(repository)["classifiers"]


def test_the_image_installs_an_extra(repository: Path):
    (default,) = (rest for name, rest in instructions(repository) if name == "ARG")
    extras = project(repository)["optional-dependencies"]
    for extra in (default.removeprefix("EXTRA="), "tpu", "tpu,gs", "serve", "serve,cuda"):
        printed = subprocess.run(
            [sys.executable, "launch/_requirements.py", extra],
            cwd=repository,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        wanted = [item for name in extra.split(",") for item in extras[name]]
        assert printed.splitlines() == [*project(repository)["dependencies"], *wanted]
        for name in {"cuda", "tpu"} & set(extra.split(",")):
            assert f"jax[{name}" in printed
    wrong = subprocess.run(
        [sys.executable, "launch/_requirements.py", "gpu"], cwd=repository, capture_output=True, text=True
    )
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("error: pyproject.toml has no extra 'gpu'; it has tpu, cuda,")


def pins(repository: Path) -> dict[tuple[str, str], str]:
    """The pinned versions by name and marker."""
    found = {}
    for line in (repository / "constraints.txt").read_text().splitlines():
        if not line.startswith("#"):
            pin, _, marker = line.partition(" ; ")
            name, version = pin.split("==")
            found[name, marker] = version
    return found


def test_accelerators_are_pinned_to_the_same_jax(repository: Path):
    found = pins(repository)
    markers = {marker for name, marker in found if name == "jax"}
    assert markers == {"python_version < '3.12'", "python_version >= '3.12'"}
    for marker in markers:
        for name in ("jaxlib", "jax-cuda13-plugin", "jax-cuda13-pjrt"):
            assert found[name, marker] == found["jax", marker], name
        assert ("libtpu", marker) in found


def test_the_pinned_libtpu_is_the_one_that_the_installed_jax_wants(repository: Path):
    marker = f"python_version {'<' if sys.version_info < (3, 12) else '>='} '3.12'"
    found = pins(repository)
    if importlib.metadata.version("jax") != found["jax", marker]:
        pytest.skip("another jax than the pinned one is installed")
    (wanted,) = (line for line in importlib.metadata.requires("jax") or [] if line.startswith("libtpu"))
    prefix = re.fullmatch(r'libtpu==(.*)\.\*; extra == "tpu"', wanted)
    assert prefix is not None, wanted
    assert f"{found['libtpu', marker]}.".startswith(f"{prefix[1]}.")


@pytest.fixture(scope="module")
def task(repository: Path) -> dict:
    """SkyPilot's task."""
    return yaml.safe_load((repository / "launch" / "sky.yaml").read_text())


def test_skypilot_restarts_a_job_that_requests_it(task: dict):
    assert task["resources"]["job_recovery"]["recover_on_exit_codes"] == [75, 143]
    assert task["envs"]["BUCKET"] is None, "SkyPilot asks for what is null"


def test_skypilot_sets_a_machine_up(task: dict, repository: Path, checkout: Path, commands: Path, tmp_path: Path):
    assert task["envs"]["EXTRA"] in project(repository)["optional-dependencies"]
    executable(checkout / "launch" / "_worker.sh", f'echo "$*" >"{tmp_path}/worker.log"')
    done = run("bash", "-c", task["setup"], cwd=checkout, commands=commands, EXTRA="cuda", BUCKET="s3://mine")
    assert done.returncode == 0
    assert (tmp_path / "worker.log").read_text() == "install cuda,s3\n"


@pytest.mark.parametrize(
    ("extra", "nodes", "expected"),
    [("cuda", 1, "<><><>"), ("cuda", 2, "<10.0.0.1:8476><2><1>"), ("tpu", 2, "<><><>")],
)
def test_skypilot_runs_it(task: dict, checkout: Path, commands: Path, extra: str, nodes: int, expected: str):
    group = '"$JAX_COORDINATOR_ADDRESS" "$JAX_NUM_PROCESSES" "$JAX_PROCESS_ID"'
    executable(checkout / ".venv/bin/t2c", f'printf "<%s>" "$@"; printf "|"; printf "<%s>" {group}; exit 75')
    environment = {
        **{name: value or "" for name, value in task["envs"].items()},
        "EXTRA": extra,
        "BUCKET": "gs://mine",
        "ARGUMENTS": shlex.join(["--config.data.prefix=it's $HOME", "--config.train.steps=2"]),
        "SKYPILOT_NUM_NODES": str(nodes),
        "SKYPILOT_NODE_RANK": str(nodes - 1),
        "SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2\n",
    }
    done = run("bash", "-c", task["run"], cwd=checkout, commands=commands, **environment)
    assert done.returncode == 75, done.stderr
    arguments, _, found = done.stdout.partition("|")
    assert arguments == (
        "<run><--config><configs/quickstart.py><--workdir><gs://mine/runs/quickstart>"
        "<--config.data.prefix=it's $HOME><--config.train.steps=2>"
    )
    assert found == expected
