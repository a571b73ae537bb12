import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from t2c_jax import version
from t2c_jax.errors import UserError
from t2c_jax.workdir import StageResult, Workdir, at_step, digest, disk_errors, write_json


def writes(text: str, calls: list[str]) -> Callable[[Path], Mapping[str, int]]:
    def build(directory: Path) -> Mapping[str, int]:
        calls.append(text)
        (directory / "data.txt").write_text(text)
        return {"characters": len(text)}

    return build


def hidden(workdir: Workdir) -> list[str]:
    return [
        str(path.relative_to(workdir.path)) for path in workdir.path.rglob(".*") if not path.name.startswith(".lock")
    ]


def test_the_digest_depends_on_how_parts_are_split(tmp_path: Path):
    file = tmp_path / "a"
    file.write_bytes(b"ab")
    digests = {digest("ab"), digest("a", "b"), digest("ab", ""), digest(file), digest(file, file), digest()}
    assert len(digests) == 6
    assert digest("é") == digest("é".encode())
    assert all(len(value) == 16 for value in digests)


def test_write_json_replaces_whole_and_leaves_nothing_else(tmp_path: Path):
    path = tmp_path / "a.json"
    write_json(path, {"é": 1})
    with pytest.raises(TypeError):
        write_json(path, {"x": object()})
    assert json.loads(path.read_text("utf-8")) == {"é": 1}
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_stage_runs_once(tmp_path: Path):
    workdir, calls = Workdir(tmp_path / "run"), []
    first = workdir.stage("corpus", {"a": (1, 2)}, {"source": "d1"}, writes("one", calls))
    again = workdir.stage("corpus", {"a": [1, 2]}, {"source": "d1"}, writes("two", calls))
    assert calls == ["one"]
    assert (first.ran, again.ran) == (True, False)
    assert first.path == again.path == workdir.corpus
    assert again.manifest == first.manifest == workdir.manifest("corpus")
    assert first.manifest["counts"] == {"characters": 3}
    assert first.manifest["version"] == version.__version__
    assert not hidden(workdir)


@pytest.mark.parametrize(
    ("config", "inputs"),
    [({"a": 2}, {"source": "d1"}), ({"a": 1, "b": 0}, {"source": "d1"}), ({"a": 1}, {"source": "d2"}), ({"a": 1}, {})],
)
def test_a_stage_runs_again_when_its_inputs_have_changed(tmp_path: Path, config: dict, inputs: dict):
    workdir, calls = Workdir(tmp_path), []
    workdir.stage("corpus", {"a": 1}, {"source": "d1"}, writes("one", calls))
    (workdir.corpus / "stale.txt").write_text("of the old result")
    assert workdir.stage("corpus", config, inputs, writes("two", calls)).ran
    assert calls == ["one", "two"]
    assert sorted(os.listdir(workdir.corpus)) == ["data.txt", "manifest.json"]
    assert (workdir.corpus / "data.txt").read_text() == "two"
    assert not hidden(workdir)


def test_a_stage_runs_again_under_another_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    workdir, calls = Workdir(tmp_path), []
    workdir.stage("corpus", {}, {}, writes("one", calls))
    monkeypatch.setattr(version, "__version__", "99.0")
    assert workdir.stage("corpus", {}, {}, writes("two", calls)).ran
    assert workdir.stage("corpus", {}, {}, writes("three", calls), {"rules": "1"}).ran
    assert not workdir.stage("corpus", {}, {}, writes("four", calls), {"rules": "1"}).ran
    assert workdir.stage("corpus", {}, {}, writes("five", calls), {"rules": "2"}).ran


@pytest.mark.parametrize("name", ["corpus", "tokenizer", "tokens"])
def test_what_checkpoints_were_trained_on_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    workdir, calls = Workdir(tmp_path), []
    workdir.stage(name, {"dev_share": 0.1}, {"source": "d1"}, writes("one", calls))
    (tmp_path / "checkpoints" / "4").mkdir(parents=True)
    for config, inputs, changed in (
        ({"dev_share": 0.2}, {"source": "d1"}, "config.dev_share"),
        ({"dev_share": 0.1}, {"source": "d2"}, "source"),
    ):
        with pytest.raises(UserError, match=rf"which would change \({changed}\): use another --workdir"):
            workdir.stage(name, config, inputs, writes("two", calls))
    monkeypatch.setattr(version, "__version__", "99.0")
    kept = workdir.stage(name, {"dev_share": 0.1}, {"source": "d1"}, writes("two", calls), {"rules": "2"})
    assert (kept.ran, calls) == (False, ["one"])
    assert workdir.stage("evaluations/4", {}, {}, writes("scores", calls)).ran  # no checkpoint is trained on that
    shutil.rmtree(tmp_path / name)
    assert workdir.stage(name, {"dev_share": 0.1}, {"source": "d1"}, writes("anew", calls)).ran  # it was gone


def test_a_nested_stage(tmp_path: Path):
    workdir, calls = Workdir(tmp_path), []
    result = workdir.stage("evaluations/100", {}, {}, writes("one", calls))
    assert result.path == workdir.path / "evaluations" / "100"
    assert not workdir.stage("evaluations/100", {}, {}, writes("two", calls)).ran
    assert workdir.stage("evaluations/200", {}, {}, writes("three", calls)).ran
    assert not hidden(workdir)


@pytest.mark.parametrize("error", [RuntimeError("boom"), KeyboardInterrupt(), UserError("wrong")])
def test_an_interrupted_stage_leaves_the_former_result(tmp_path: Path, error: BaseException):
    workdir, calls = Workdir(tmp_path), []
    workdir.stage("corpus", {"a": 1}, {}, writes("one", calls))

    def build(directory: Path) -> Mapping[str, int]:
        (directory / "half.txt").write_text("half")
        raise error

    with pytest.raises(type(error)):
        workdir.stage("corpus", {"a": 2}, {}, build)
    with pytest.raises(type(error)):
        workdir.stage("tokenizer", {}, {}, build)
    assert (workdir.corpus / "data.txt").read_text() == "one"
    assert workdir.manifest("corpus")["config"] == {"a": 1}
    assert os.listdir(tmp_path) == ["corpus"]


def test_what_a_killed_run_left_is_cleared_by_the_next(tmp_path: Path):
    workdir = Workdir(tmp_path)
    for name in (".corpus.new.partial", "evaluations/.100.new.partial"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "half.txt").write_text("half")
    with workdir.locked():
        assert hidden(workdir) == ["evaluations/.100.new.partial"]  # perhaps of an evaluation beside this run
    with workdir.locked("evaluations"):
        assert not hidden(workdir)


def test_a_run_killed_between_the_old_result_and_the_new_one_starts_over(tmp_path: Path):
    workdir, calls = Workdir(tmp_path), []
    workdir.stage("corpus", {}, {}, writes("one", calls))
    workdir.corpus.rename(tmp_path / ".corpus.old.partial")
    with workdir.locked():
        assert workdir.stage("corpus", {}, {}, writes("two", calls)).ran
    assert not hidden(workdir)


@pytest.mark.parametrize("text", ["", "{", "[]", '"text"', "\x00", '{"stage": "corpus"}'])
def test_a_damaged_manifest_is_built_again(tmp_path: Path, text: str):
    workdir, calls = Workdir(tmp_path), []
    workdir.stage("corpus", {}, {}, writes("one", calls))
    (workdir.corpus / "manifest.json").write_text(text)
    assert workdir.stage("corpus", {}, {}, writes("two", calls)).ran
    assert workdir.manifest("corpus")["counts"] == {"characters": 3}


def test_reading_a_manifest(tmp_path: Path):
    workdir = Workdir(tmp_path)
    with pytest.raises(UserError, match="holds no finished corpus; run the stage before, or t2c run"):
        workdir.manifest("corpus")
    workdir.stage("corpus", {}, {}, writes("one", []))
    (workdir.corpus / "manifest.json").write_text("[]")
    with pytest.raises(UserError, match=r"manifest\.json' is damaged; delete '.*corpus' and run again"):
        workdir.manifest("corpus")


def test_the_digest_of_a_stage_forgets_the_time_it_took(tmp_path: Path):
    def stage(directory: Path, text: str) -> str:
        workdir = Workdir(directory)
        result: StageResult = workdir.stage("corpus", {}, {}, writes(text, []))
        write_json(result.path / "manifest.json", {**result.manifest, "seconds": len(text) * 1000})
        return workdir.digest("corpus")

    assert stage(tmp_path / "a", "one") == stage(tmp_path / "b", "two") != stage(tmp_path / "c", "three")


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "the disk is full; free some space and run the same command again"),
        (errno.EDQUOT, "the disk quota is used up"),
        (errno.EROFS, "the file system is read-only; choose another --workdir"),
        (errno.EACCES, "permission denied; choose another --workdir"),
    ],
)
def test_a_disk_that_fails_is_one_line_and_nothing_is_left(tmp_path: Path, number: int, message: str):
    workdir = Workdir(tmp_path)

    def build(directory: Path) -> Mapping[str, int]:
        (directory / "half.txt").write_text("half")
        raise OSError(number, os.strerror(number), str(directory / "data.txt"))

    with pytest.raises(UserError, match=f"cannot write '.*data.txt': {message}"):
        workdir.stage("corpus", {}, {}, build)
    assert os.listdir(tmp_path) == []


def test_a_full_disk(tmp_path: Path):
    """The kernel's own: every write to /dev/full fails with ENOSPC."""
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")

    def build(directory: Path) -> Mapping[str, int]:
        with open("/dev/full", "w") as file:
            file.write("x")
        return {}

    with pytest.raises(UserError, match="the disk is full"):
        Workdir(tmp_path).stage("corpus", {}, {}, build)


def test_a_source_that_cannot_be_read_is_not_blamed_on_the_workdir(tmp_path: Path):
    with pytest.raises(PermissionError), disk_errors(tmp_path / "run"):
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "sources" / "a.py"))
    with pytest.raises(FileNotFoundError), disk_errors(tmp_path):
        (tmp_path / "no such").read_text()


def test_a_workdir_that_cannot_be(tmp_path: Path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(UserError, match="choose another --workdir"), Workdir(path).locked():
            pass


# --- the lock ---------------------------------------------------------------------------------------------------------

HOLDER = textwrap.dedent(
    """
    import sys
    from t2c_jax.workdir import Workdir
    with Workdir(sys.argv[1]).locked():
        print("held", flush=True)
        sys.stdin.readline()
    """
)


def holder(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_two_processes_cannot_hold_one_workdir(tmp_path: Path):
    with holder(tmp_path) as process:
        pattern = rf"workdir '.*' is in use by another run \(process {process.pid} on .*\); wait for it"
        with pytest.raises(UserError, match=pattern), Workdir(tmp_path).locked():
            pass
        process.communicate("\n")
    assert process.returncode == 0
    with Workdir(tmp_path).locked():
        assert (tmp_path / ".lock").read_text().split()[0] == str(os.getpid())


def test_a_killed_run_holds_nothing(tmp_path: Path):
    with holder(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    with Workdir(tmp_path).locked():
        pass


def test_the_lock_is_released_by_an_error(tmp_path: Path):
    with pytest.raises(RuntimeError), Workdir(tmp_path).locked():
        raise RuntimeError
    with Workdir(tmp_path).locked():
        pass


def test_an_at_is_a_steps_or_the_names_own():
    assert at_step("runs/a@5") == ("runs/a", 5)
    assert at_step("@5") == ("", 5)
    assert at_step("runs/me@home/") == ("runs/me@home/", None)
    assert at_step("runs/me@home@5") == ("runs/me@home", 5)
    with pytest.raises(UserError, match=r"'home' is no step; .* DIR/ if its name has an @"):
        at_step("runs/me@home")
