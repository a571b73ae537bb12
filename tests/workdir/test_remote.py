"""Workdirs behind URLs: what machines see of each other, and runs that go on elsewhere."""

import contextlib
import errno
import functools
import gc
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from small_run import command, environment, main, prepared, processes, records, trained  # noqa: F401
from train.test_faults import assert_same, latest, opened, state

from t2c_jax.checkpoints.checkpoint import DAMAGED
from t2c_jax.config import CorpusConfig
from t2c_jax.corpus.sources import resolve
from t2c_jax.errors import UserError
from t2c_jax.workdir import Workdir, retries
from t2c_jax.workdir.remote import as_os_errors, file_system

URL = "memory://bucket/run"
# fsspec's and TensorStore's clients leave sockets to the garbage collector, which warns of them whenever it comes by.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def empty(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No files behind memory://, and a cache of one's own."""
    fsspec.filesystem("memory").store.clear()
    monkeypatch.setenv("T2C_CACHE_DIR", str(tmp_path / "cache"))


def machine(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str = URL) -> Workdir:
    """The workdir as another machine sees it, with a disk of its own."""
    monkeypatch.setenv("T2C_CACHE_DIR", str(tmp_path / name))
    return Workdir(url)


def build(text: str, directory: Path) -> dict[str, int]:
    (directory / "deep").mkdir()
    (directory / "deep" / "data.txt").write_text(text)
    (directory / f"{text}.txt").write_text(text)
    return {"characters": len(text)}


def stage(workdir: Workdir, text: str, config: int = 1) -> bool:
    return workdir.stage("corpus", {"a": config}, {}, functools.partial(build, text)).ran


def test_a_stage_of_one_machine_is_finished_on_the_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    here, there = (machine(name, monkeypatch, tmp_path) for name in "ab")
    assert stage(here, "one")
    assert not stage(there, "two")
    assert sorted(path.name for path in there.corpus.rglob("*.txt")) == ["data.txt", "one.txt"]
    assert there.manifest("corpus") == here.manifest("corpus")
    # Another one of the same name: whoever asks gets that, and nothing of the old.
    assert stage(there, "three", config=2)
    assert sorted(path.name for path in here.corpus.rglob("*.txt")) == ["data.txt", "three.txt"]
    assert (here.corpus / "deep" / "data.txt").read_text() == "three"
    found = fsspec.filesystem("memory").find("/bucket/run/corpus")
    assert [Path(path).name for path in found] == ["data.txt", "manifest.json", "three.txt"]


def test_half_an_upload_is_no_stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    here, there = (machine(name, monkeypatch, tmp_path) for name in "ab")
    stage(here, "one")
    store = fsspec.filesystem("memory")
    store.rm_file("/bucket/run/corpus/manifest.json")
    with pytest.raises(UserError, match=rf"'{URL}' holds no finished corpus"):
        there.manifest("corpus")
    assert not stage(here, "two")  # it has it still, and now it is there again
    assert not stage(there, "two")
    store.rm_file("/bucket/run/corpus/manifest.json")
    assert stage(machine("c", monkeypatch, tmp_path), "three")
    assert (here.corpus / "deep" / "data.txt").read_text() == "three"  # what others read


def test_the_last_one_to_come_takes_it_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    here, there = (machine(name, monkeypatch, tmp_path) for name in "ab")
    with here.locked():
        here.check_held()
        here.metrics.write_text("of the first\n")
        with there.locked():
            there.check_held()
            with pytest.raises(UserError, match=rf"'{URL}' has been taken by another run \(process {os.getpid()} on"):
                here.check_held()
            there.metrics.write_text("of the second\n")
    assert here.text("metrics.jsonl") == there.text("metrics.jsonl") == "of the second\n"


def test_metrics_follow_the_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    here, there = (machine(name, monkeypatch, tmp_path) for name in "ab")
    with here.locked():
        here.metrics.write_text("1\n")
        here.push()
        here.metrics.write_text("1\n2\n")
        here.wait_for_push()
    here.metrics.write_text("1\n2\n3 lost with its machine\n")
    with there.locked():
        assert there.metrics.read_text() == "1\n2\n"
        there.metrics.write_text("1\n2\n3\n")
    with there.locked():  # a copy that has gone on stays
        there.metrics.write_text("1\n2\n3\n4\n")
    with here.locked():
        assert here.metrics.read_text() == "1\n2\n3\n4\n"


def test_transient_errors_are_retried(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    waits: list[float] = []
    monkeypatch.setattr(retries.time, "sleep", waits.append)
    store, left = file_system(URL), [2]
    real = store.pipe_file

    def fails(*arguments, **options):
        if left[0]:
            left[0] -= 1
            raise ConnectionResetError(errno.ECONNRESET, "reset")
        return real(*arguments, **options)

    monkeypatch.setattr(store, "pipe_file", fails)
    assert stage(Workdir(URL), "one")
    assert waits == [1.0, 4.0]
    assert f"cannot write '{URL}/corpus'" in capsys.readouterr().err
    left[0] = 99
    with pytest.raises(UserError, match="run the same command again when the store answers"):
        stage(Workdir(URL), "two", config=2)


def test_errors_of_clients_are_told_apart_by_kind():
    class RefreshError(Exception):
        pass

    class HttpError(Exception):
        def __init__(self, code: int) -> None:
            super().__init__("of a store")
            self.code = code

    class ClientConnectorError(OSError):
        """With the operating system's number, or a name server's."""

    class ClientResponseError(Exception):
        status = 403

        @property
        def code(self) -> int:
            raise AssertionError("deprecated")

    cases = [
        (RefreshError("no token"), errno.ENOKEY),
        (HttpError(403), errno.EACCES),
        (HttpError(503), errno.ECONNRESET),
        (HttpError(429), errno.EAGAIN),
        (ClientResponseError(), errno.EACCES),
        (ClientConnectorError(errno.ECONNREFUSED, "refused"), errno.ECONNRESET),
        (ClientConnectorError(-2, "Name or service not known"), errno.ECONNRESET),
        (PermissionError("Access Denied"), errno.EACCES),
        (OSError("Forbidden: https://..."), errno.EACCES),
        (ValueError("PERMISSION_DENIED: Error writing"), errno.EACCES),
        (ValueError("UNAVAILABLE: Error writing"), errno.ECONNRESET),
    ]
    for error, number in cases:
        with pytest.raises(OSError) as found, as_os_errors():  # noqa: PT011
            raise error
        assert found.value.errno == number, error
    with pytest.raises(ValueError, match="of our own"), as_os_errors():
        raise ValueError("of our own")
    with pytest.raises(IsADirectoryError), as_os_errors():
        raise IsADirectoryError(errno.EISDIR, "of a file system")


def test_a_source_whose_server_is_not_there_gets_a_line():
    pytest.importorskip("aiohttp")
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(UserError, match=f"'{url}': Cannot connect to host .*; run the same command again when"):
            resolve(f"{url}/x.jsonl", CorpusConfig(), Path("nowhere"))


def test_mistakes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(UserError, match="checkpoints can be on gs:// and s3://"):
        Workdir(URL).checkpoints  # noqa: B018
    with pytest.raises(UserError, match="gs:// and s3:// are known"):
        Workdir("nowhere://bucket/run").manifest("corpus")
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    assert main("inspect", "--workdir", "s3://bucket/run") == 2
    assert capsys.readouterr().err == (
        "t2c: 's3://bucket/run' needs a library that is not installed: pip install 't2c-jax[s3]'\n"
    )


def test_a_remote_file_of_pairs():
    store, name = fsspec.filesystem("memory"), "memory://bucket/data/pairs.jsonl"
    with pytest.raises(UserError, match=f"'{name}' does not exist"):
        resolve(name, CorpusConfig(), Path("nowhere"))
    store.pipe_file("/bucket/data/pairs.jsonl", b'{"text": "a", "code": "b"}\n')
    first = resolve(name, CorpusConfig(), Path("nowhere"))
    assert (first.name, first.path.parent.name, first.path.name) == (name, "data", "pairs.jsonl")
    assert resolve(name, CorpusConfig(), Path("nowhere")) == first
    store.pipe_file("/bucket/data/pairs.jsonl", b'{"text": "a", "code": "c"}\n')
    assert resolve(name, CorpusConfig(), Path("nowhere")).digest != first.digest


# --- stores behind HTTP -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["gs", "s3"])
def store(request: pytest.FixtureRequest) -> Iterator[str]:
    """A store of its own, which the environment names, and the protocol that it speaks."""
    for library in {"gs": ("gcsfs", "gcp_storage_emulator"), "s3": ("s3fs", "moto", "flask_cors")}[request.param]:
        pytest.importorskip(library, reason="the test extra is not installed")
    script = Path(__file__).parents[1] / "object_stores.py"
    with (
        subprocess.Popen(
            [sys.executable, str(script), request.param],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process,
        pytest.MonkeyPatch.context() as patch,
    ):
        assert process.stdout is not None
        url = f"http://127.0.0.1:{int(process.stdout.readline())}"
        for name in ("STORAGE_EMULATOR_HOST", "TENSORSTORE_GCS_HTTP_URL", "AWS_ENDPOINT_URL"):
            patch.setenv(name, url)
        patch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # asks a service that no emulator has
        for name, value in {"ACCESS_KEY_ID": "x", "SECRET_ACCESS_KEY": "y", "DEFAULT_REGION": "us-east-1"}.items():
            patch.setenv(f"AWS_{name}", value)
        yield request.param
        process.kill()
    gc.collect()  # while what it warns of is passed over


def test_checkpoints_on_a_store(store: str, capsys: pytest.CaptureFixture[str]):
    """A write that was broken off is none and is cleared; a damaged checkpoint is quarantined."""
    workdir = Workdir(f"{store}://bucket/checked")
    checkpoints = opened(workdir.checkpoints.parent)
    for step in (1, 2, 3):
        checkpoints.save(step, state(step), float(step))  # the first is the best, and kept
        checkpoints.wait()
    checkpoints.close()
    files = workdir.checkpoints
    (files / "3" / "commit_success.txt").unlink()
    data = max(files.glob("2/state/d/*"), key=lambda path: len(path.read_bytes()))
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 0x10
    data.write_bytes(bytes(content))
    step, found = latest(workdir.checkpoints.parent)
    assert step == 1
    assert_same(found, state(1))
    assert "checkpoint 2 cannot be read" in capsys.readouterr().err
    assert latest(workdir.checkpoints.parent)[0] == 1  # opened once more, which clears leftovers
    names = {path.name for path in files.iterdir()}
    assert {"1", DAMAGED} <= names
    assert not {"2", "3"} & names
    assert (files / DAMAGED / "2" / "state").is_dir()


def test_a_bucket_that_is_not_there(store: str, prepared, capsys):  # noqa: F811
    for bucket in ("run", "."):
        assert main("mine", "--config", prepared[0], "--workdir", f"{store}://no-such-bucket/{bucket}") == 2
        assert "there is no such bucket; make it, or choose another\n" in capsys.readouterr().err


@pytest.mark.parametrize("store", ["gs"], indirect=True)  # what differs between them is tested above
def test_a_killed_run_resumes_on_another_machine(store: str, prepared, trained, tmp_path, monkeypatch, capsys):  # noqa: F811
    """Killed once its first checkpoint is whole, its disk gone; then answers from a third machine."""
    url = f"{store}://bucket/runs/a"
    there = functools.partial(machine, monkeypatch=monkeypatch, tmp_path=tmp_path, url=url)
    run = ("run", "--config", prepared[0], "--workdir", url)
    shutil.rmtree(tmp_path / "run")  # of the fixture
    here = {**environment(), "XLA_FLAGS": os.environ["XLA_FLAGS"]}
    with processes().popen(command(*run), env=here, stderr=subprocess.DEVNULL) as process:
        first = there("cache").checkpoints / "3" / "commit_success.txt"
        deadline = time.monotonic() + 300
        while not first.exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
    shutil.rmtree(tmp_path / "cache")
    second = there("second")
    assert main(*run) == 0
    said = capsys.readouterr().err
    assert "resuming from the checkpoint of step" in said
    assert "tokenizer: training" not in said
    assert records(second.path) == records(trained)
    assert [json.loads(line) for line in second.text("metrics.jsonl").splitlines()][-1]["kind"] == "end"
    for part in ("corpus", "tokenizer", "tokens"):
        assert second.digest(part) == Workdir(trained).digest(part)
    with contextlib.ExitStack() as stack:
        found, expected = (
            stack.enter_context(fsspec.open(str(place / "12" / "loop" / "metadata"))).read()
            for place in (second.checkpoints, trained / "checkpoints")
        )
    assert json.loads(found)["checksums"] == json.loads(expected)["checksums"]
    answers = []
    for workdir in (url, trained):
        there("third")
        assert main("generate", "--json", "--workdir", workdir, "Return the first list of 3 values.") == 0
        answers.append(json.loads(capsys.readouterr().out))
    assert answers[0] == answers[1]
    copies = tmp_path / "third" / "workdirs"
    assert sorted(path.name for path in next(copies.iterdir()).iterdir() if not path.name.startswith(".")) == [
        "config.json",
        "tokenizer",
    ]


@pytest.mark.parametrize("store", ["gs"], indirect=True)
def test_a_run_there_is_read_as_one_on_this_disk(store: str, prepared, trained, tmp_path, monkeypatch, capsys):  # noqa: F811
    """Inspected, scored, and what another run starts from; scores are written beside it."""
    url = f"{store}://bucket/runs/read"
    fsspec.filesystem(store).put(str(trained), url, recursive=True)
    there = machine("cache", monkeypatch, tmp_path, url)
    said = []
    for place in (trained, url):
        assert main("inspect", "--workdir", place, "--json") == 0
        model = json.loads(capsys.readouterr().out)
        assert main("evaluate", "--workdir", place, "--json") == 0
        scores = json.loads(capsys.readouterr().out)
        initial = shutil.copytree(prepared[1], tmp_path / Path(place).name / "initial")
        overrides = (f"--config.origin.run={place}", "--config.train.steps=2")
        assert main("train", "--workdir", initial, *overrides) == 0
        assert "(checkpoint 12)" in " ".join(capsys.readouterr().err.split())
        said.append((model, {name: scores[name] for name in scores if name != "directory"}, records(initial)))
    assert said[0] == said[1]
    answers = [
        path.read_text() for run in (there.path, trained) for path in run.glob("evaluations/*/predictions.jsonl")
    ]
    assert len(answers) == 2
    assert answers[0] == answers[1]
