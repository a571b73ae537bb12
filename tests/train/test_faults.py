"""What may befall a run, and what becomes of it: a table, and the faults that no other file tests."""

import ast
import contextlib
import errno
import fcntl
import os
import shutil
import subprocess
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import orbax.checkpoint as ocp
import pytest
from tiny import assert_same

from t2c_jax.checkpoints.checkpoint import DAMAGED, Checkpoints
from t2c_jax.checkpoints.pytrees import changed, checksums, host_checksums
from t2c_jax.errors import UserError
from t2c_jax.workdir import Workdir, retries

# What TensorStore fails to read or write calls back into an event loop that Orbax has closed by then.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

TABLE = (
    # fault, outcome, the test that shows it
    (
        "kill -9 at any moment",
        "the resumed run ends bit for bit where an uninterrupted run does",
        "train/test_resume.py",
    ),
    ("SIGTERM, Ctrl-C", "saved after the step; exit status 128 + signal", "train/test_resume.py"),
    (
        "a preemption signal to one of several hosts",
        "all save after the same step and exit with 143",
        "train/test_processes.py::test_a_signal_to_one_of_two_processes_stops_both",
    ),
    ("a host that is gone", "the others' watchdog exits with 75", "train/test_watchdog.py"),
    (
        "other devices or another mesh",
        "same data, losses within rounding",
        "train/test_elastic.py::test_a_run_resumes_on_other_devices",
    ),
    (
        "a truncated checkpoint, one without arrays, metadata or files",
        "quarantined with a warning; the one before is restored",
        "checkpoints/test_checkpoint.py::test_a_damaged_checkpoint_is_quarantined_and_the_one_before_restored",
    ),
    ("a shard is missing", "quarantined with a warning; the one before is restored", "::test_a_missing_shard"),
    (
        "a flipped byte in a checkpoint",
        "quarantined with a warning; the one before is restored",
        "::test_a_flipped_byte",
    ),
    (
        "all checkpoints are damaged",
        "refused: no run starts from scratch by itself",
        "checkpoints/test_checkpoint.py::test_training_does_not_start_again_where_all_checkpoints_are_damaged",
    ),
    (
        "a flipped byte in the tokens",
        "refused with the file's name",
        "data/test_prepare.py::test_a_flipped_byte_is_found",
    ),
    ("a damaged manifest", "the stage runs again", "workdir/test_workdir.py::test_a_damaged_manifest_is_built_again"),
    ("a full disk", "one line of error; the last complete checkpoint is kept", "::test_a_disk_that_fills_and_is_freed"),
    ("a read-only workdir", "refused in one line before any work", "::test_a_read_only_workdir"),
    ("transient errors of a file system, reading", "retried, five attempts", "::test_transient_errors_while_reading"),
    ("transient errors of a file system, writing", "retried, five attempts", "::test_transient_errors_while_writing"),
    (
        "a write that breaks off in the background",
        "a warning; the next save takes its place",
        "::test_a_write_that_breaks_off",
    ),
    (
        "transient errors of a file system, in a stage",
        "retried, five attempts",
        "::test_transient_errors_while_publishing",
    ),
    (
        "a file system that does not come back",
        "one line of error; nothing is quarantined",
        "::test_transient_errors_without_end",
    ),
    ("clocks that jump", "nothing depends on them", "::test_clocks_that_jump"),
    (
        "two runs on one workdir",
        "the second is refused",
        "workdir/test_workdir.py::test_two_processes_cannot_hold_one_workdir",
    ),
    ("two runs, and locks that do not hold", "the first stops at its next save", "::test_locks_that_do_not_hold"),
    ("a file system without locks", "a warning, and the run continues", "::test_no_locks"),
    (
        "kill -9, and the disk gone too, with the workdir in a bucket",
        "on another machine the run ends bit for bit where an uninterrupted run does",
        "workdir/test_remote.py::test_a_killed_run_resumes_on_another_machine",
    ),
    (
        "a damaged or half written checkpoint in a bucket",
        "quarantined with a warning, or deleted; the one before is restored",
        "workdir/test_remote.py::test_checkpoints_on_a_store",
    ),
    (
        "half a stage in a bucket",
        "the stage is written or made again",
        "workdir/test_remote.py::test_half_an_upload_is_no_stage",
    ),
    (
        "a bucket with transient errors",
        "retried, five attempts",
        "workdir/test_remote.py::test_transient_errors_are_retried",
    ),
    (
        "two runs on one bucket",
        "the first stops at its next save",
        "workdir/test_remote.py::test_the_last_one_to_come_takes_it_over",
    ),
    (
        "gradients that are not finite",
        "by choice: stopped, skipped, or rolled back",
        "train/test_loss_spikes.py::test_a_run_skips_steps_and_continues",
    ),
    (
        "a loss spike",
        "by choice: ignored, stopped, skipped, or rolled back",
        "train/test_loss_spikes.py::test_a_run_skips_a_spike",
    ),
)


@pytest.mark.parametrize(("fault", "outcome", "shown_by"), TABLE, ids=[fault for fault, *_ in TABLE])
def test_the_table_names_tests_that_exist(fault, outcome, shown_by):
    name, _, test = shown_by.partition("::")
    path = Path(__file__).parents[1] / name if name else Path(__file__)
    functions = [node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]
    assert test in functions if test else any(function.startswith("test_") for function in functions)
    assert len({fault, outcome, ""}) == 3


# --- checkpoints ------------------------------------------------------------------------------------------------------

ABSTRACT = {"step": (), "params": {"kernel": (64, 48), "scale": (48,)}}


def state(step):
    """Weights as they are: they hardly compress, so that a flipped bit of them is a bit of a weight."""
    draw = np.random.default_rng(step)
    arrays = jax.tree.map(lambda shape: draw.normal(size=shape).astype(np.float32), ABSTRACT, is_leaf=_is_shape)
    return jax.device_put({**arrays, "step": np.int32(step)}, jax.devices()[0])


def _is_shape(value):
    return isinstance(value, tuple)


def abstract():
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), state(0))


def opened(directory, **options):
    return Checkpoints(directory / "checkpoints", {}, keep=2, **options)


@pytest.fixture
def two(tmp_path):
    """The directory of checkpoints 1 and 2, and nobody there."""
    checkpoints = opened(tmp_path)
    for step in (1, 2):
        checkpoints.save(step, state(step), None)
    checkpoints.close()
    return tmp_path


def latest(directory):
    checkpoints = opened(directory)
    found = checkpoints.restore_latest(abstract())
    checkpoints.close()
    return found


def test_checksums_made_on_the_host_are_the_same():
    draw = np.random.default_rng(0)
    arrays = {
        "blocks": {"kernel": draw.standard_normal((3, 150, 200)).astype(np.float32)},  # of several parts
        "half": draw.standard_normal((5, 7)).astype(ml_dtypes.bfloat16),
        "step": np.int32(-3),
        "bytes": draw.integers(0, 255, 9).astype(np.uint8),
    }
    mesh = jax.make_mesh((2,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
    everywhere = jax.device_put(arrays, jax.NamedSharding(mesh, jax.P()))
    assert host_checksums(arrays) == checksums(everywhere) == checksums({**everywhere, "half": arrays["half"]})


def test_a_checksum_is_of_each_word_at_its_place_whatever_the_mesh():
    """By hand: words 5, 0 and 7 with the odd numbers 1, 3 and 5; halves of a word count as words."""
    assert checksums({"a": jnp.array([5, 0, 7], jnp.int32)}) == {"a": 5 + 7 * 5}
    assert checksums({"a": jnp.array([[1, 2], [3, 4]], jnp.int32)}) == {"a": 1 + 2 * 3 + 3 * 5 + 4 * 7}
    assert checksums({"b": jnp.ones((2,), jnp.bfloat16)}) == {"b": 0x3F80 * 4}
    assert checksums({"c": jnp.float32(1.0)}) == {"c": 0x3F800000}
    mesh = jax.make_mesh((4, 2), ("x", "y"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    whole = state(3)["params"]["kernel"]
    for words, expected in (([5, 0, 7], 5 + 7 * 5), ([[1, 2], [3, 4]], 1 + 2 * 3 + 3 * 5 + 4 * 7)):
        everywhere = jax.device_put(jnp.array(words, jnp.int32), jax.NamedSharding(mesh, jax.P()))
        assert checksums({"a": everywhere}) == {"a": expected}
    split = jax.device_put(whole, jax.NamedSharding(mesh, jax.P("x", "y")))
    assert checksums({"a": split}) == (expected := checksums({"a": whole}))
    assert changed({"a": whole.at[63, 47].multiply(1 + 2**-20)}, expected) == ["a"]
    assert changed({"a": whole[::-1]}, expected) == ["a"]
    assert changed({"a": whole, "of an older release": whole}, expected) == []


def test_a_flipped_byte(two, capsys):
    """Wherever it is, what comes back is what was saved: the damaged one's own, or the one before."""
    path = two / "checkpoints" / "2"
    data = max((file for file in (path / "state").rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)
    assert data.stat().st_size > 64 * 48 * 4 * 0.8  # the weights themselves
    places = [(data, data.stat().st_size // 2)]
    places += [(file, file.stat().st_size // 2) for file in path.rglob("*") if file.is_file() and file.stat().st_size]
    for number, (file, place) in enumerate(places):
        kept = two / "kept"
        shutil.copytree(two / "checkpoints", kept / "checkpoints")
        copy = kept / file.relative_to(two)
        content = bytearray(copy.read_bytes())
        content[place] ^= 0x10
        copy.write_bytes(content)
        step, found = latest(kept)
        if number == 0:
            assert step == 1
            assert "checksum" in capsys.readouterr().err
        assert_same(found, state(step))
        shutil.rmtree(kept)


def test_a_missing_shard(two, capsys):
    data = max((two / "checkpoints" / "2" / "state").rglob("d/*"), key=lambda file: file.stat().st_size)
    data.unlink()
    step, found = latest(two)
    assert step == 1
    assert_same(found, state(1))
    assert "warning: checkpoint 2 cannot be read" in capsys.readouterr().err
    assert (two / "checkpoints" / DAMAGED / "2").is_dir()


# --- file systems -----------------------------------------------------------------------------------------------------


@pytest.fixture
def waits(monkeypatch):
    """No waiting, and the waits that there would have been."""
    asked = []
    monkeypatch.setattr(retries.time, "sleep", asked.append)
    return asked


def failing(monkeypatch, owner, name, times, number=errno.ESTALE, when=lambda *_: True):
    """The function fails as the kernel would, that often; what is counted down is in the list that it returns."""
    real, left = getattr(owner, name), [times]

    def fails(*arguments, **options):
        if left[0] and when(*arguments):
            left[0] -= 1
            raise OSError(number, os.strerror(number))
        return real(*arguments, **options)

    monkeypatch.setattr(owner, name, fails)
    return left


def test_transient_errors_while_reading(two, monkeypatch, waits, capsys):
    left = failing(monkeypatch, ocp.CheckpointManager, "restore", 2, errno.EIO)
    step, found = latest(two)
    assert (step, left, waits) == (2, [0], [1.0, 4.0])
    assert_same(found, state(2))
    assert "cannot read checkpoint 2: Input/output error; trying again in 1 s" in capsys.readouterr().err


def test_transient_errors_without_end(two, monkeypatch, waits):
    """The checkpoint is not to blame, so it stays where it is."""
    with monkeypatch.context() as patch:
        failing(patch, ocp.CheckpointManager, "restore", 99, errno.ETIMEDOUT)
        with pytest.raises(UserError, match="timed out; run the same command again when the file system works"):
            latest(two)
    assert waits == [1.0, 4.0, 16.0, 64.0]
    assert latest(two)[0] == 2


def test_transient_errors_while_writing(tmp_path, monkeypatch, waits):
    """The last save of all, whose write breaks off twice in the background: its state is still there to be written."""
    checkpoints = opened(tmp_path)
    left = failing(monkeypatch, os, "rename", 2, when=lambda source, *_: "checkpoint-tmp" in str(source))
    checkpoints.save(1, state(1), None)
    checkpoints.wait()
    checkpoints.close()
    assert (left, waits) == ([0], [1.0, 4.0])
    assert_same(latest(tmp_path)[1], state(1))


def test_a_write_that_breaks_off(tmp_path, monkeypatch, waits, capsys):
    """Amid a run: the state of that write is gone, the next one's is not; three in a row are borne."""
    checkpoints = opened(tmp_path)
    checkpoints.save(1, state(1), None)
    checkpoints.wait()
    left = failing(monkeypatch, os, "rename", 3, when=lambda source, *_: "checkpoint-tmp" in str(source))
    for step in (2, 3, 4, 5):
        checkpoints.save(step, state(step), None)
    checkpoints.wait()
    assert (left, waits, checkpoints.steps()) == ([0], [], [1, 5])
    assert capsys.readouterr().err.count("a checkpoint was not written") == 3
    failing(monkeypatch, os, "rename", 4, when=lambda source, *_: "checkpoint-tmp" in str(source))
    for step in (6, 7, 8, 9):
        checkpoints.save(step, state(step), None)
    with pytest.raises(UserError, match="run the same command again when the file system works"):
        checkpoints.save(10, state(10), None)
    with contextlib.suppress(Exception):
        checkpoints.close()
    assert latest(tmp_path)[0] == 5


def test_transient_errors_while_publishing(tmp_path, monkeypatch, waits):
    """Between the old result and the new one, and after the new one though the answer was lost."""
    workdir = Workdir(tmp_path)

    def build(text):
        return lambda directory: {"characters": (directory / "data.txt").write_text(text)}

    workdir.stage("corpus", {}, {"source": "1"}, build("old"))
    left = failing(monkeypatch, Path, "rename", 1, when=lambda path, *_: path.name == ".corpus.new.partial")
    assert workdir.stage("corpus", {}, {"source": "2"}, build("new")).ran
    real = Path.rename

    def lost(path, target):
        real(path, target)
        raise OSError(errno.ETIMEDOUT, "timed out")

    monkeypatch.setattr(Path, "rename", lost)
    workdir.stage("tokens", {}, {}, build("tokens"))
    assert (left, waits) == ([0], [1.0, 1.0])
    assert [(tmp_path / name / "data.txt").read_text() for name in ("corpus", "tokens")] == ["new", "tokens"]
    assert sorted(os.listdir(tmp_path)) == ["corpus", "tokens"]


@pytest.fixture
def small(tmp_path):
    """A file system of 1 MiB of its own."""
    path = tmp_path / "small"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(path)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a small file system here")
    yield path
    subprocess.run(["umount", str(path)], check=True)


def test_a_disk_that_fills_and_is_freed(small):
    checkpoints = opened(small)
    checkpoints.save(1, state(1), None)
    checkpoints.wait()
    (small / "filler").write_bytes(b"\0" * (shutil.disk_usage(small).free - 8_000))
    checkpoints.save(2, state(2), None)
    with pytest.raises(UserError, match="disk is full; free some space and run the same command again"):
        checkpoints.wait()
    with contextlib.suppress(Exception):
        checkpoints.close()
    (small / "filler").unlink()
    step, found = latest(small)
    assert step == 1
    assert_same(found, state(1))


def test_a_read_only_workdir(small):
    subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
    message = "the file system is read-only; choose another --workdir"
    with pytest.raises(UserError, match=message), Workdir(small / "run").locked():
        pass


# --- clocks and locks -------------------------------------------------------------------------------------------------


def test_clocks_that_jump(tmp_path, monkeypatch):
    """A day back at each save: the latest, the best and what is kept go by steps."""
    now = [time.time()]

    def back():
        now[0] -= 86_400
        return now[0]

    checkpoints = opened(tmp_path)
    monkeypatch.setattr(time, "time", back)
    for step, loss in ((1, 1.0), (2, None), (3, 3.0), (4, None)):
        checkpoints.save(step, state(step), loss)
        checkpoints.wait()
    checkpoints.close()
    checkpoints = opened(tmp_path)
    assert (checkpoints.steps(), checkpoints.best()) == ([1, 3, 4], 1)
    assert checkpoints.restore_latest(abstract())[0] == 4
    checkpoints.close()


def test_no_locks(tmp_path, monkeypatch, capsys):
    failing(monkeypatch, fcntl, "flock", 1, errno.ENOLCK)
    with Workdir(tmp_path).locked():
        assert f"the file system of '{tmp_path}' has no locks" in capsys.readouterr().err


def test_locks_that_do_not_hold(tmp_path, monkeypatch):
    """As where a lock is known to one host alone: the run that came first finds the other's name, and stops."""
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    first, second = Workdir(tmp_path), Workdir(tmp_path)
    first.check_held()  # not locked, nothing to check
    with first.locked():
        first.check_held()
        with second.locked():
            second.check_held()
            with pytest.raises(
                UserError, match=rf"taken by another run \(process {os.getpid()} on .*\).*this one stops"
            ):
                first.check_held()
