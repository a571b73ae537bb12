"""What a run reports while it trains: goodput, a profile, a follower's scores, Weights & Biases."""

import json
import sys
import time
import types

import jax
import pytest
from small_run import all_records, main, prepared, trained  # noqa: F401
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from t2c_jax.checkpoints.saved_run import SavedRun
from t2c_jax.config import load
from t2c_jax.errors import UserError
from t2c_jax.evaluate import checkpoints as evaluations
from t2c_jax.train import loop
from t2c_jax.train.step import Compiled
from t2c_jax.train.telemetry.goodput import PARTS, GoodputTimer
from t2c_jax.train.telemetry.writers import MetricsWriter, has_ended
from t2c_jax.workdir import Workdir

# TensorStore's futures may outlive the event loop that Orbax ran them in.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def of_kind(workdir, kind):
    return [line for line in all_records(workdir) if line["kind"] == kind]


def parts(line):
    return sum(line[part] for part in PARTS)


def test_all_of_a_runs_time_is_itemised(trained):  # noqa: F811
    times = of_kind(trained, "time")
    assert [line["step"] for line in times] == [4, 8, 12, 12]
    for line in times:
        assert all(line[part] >= 0 for part in PARTS)
        assert line["goodput"] == pytest.approx(line["steps"] / parts(line))
    last = times[-1]
    assert min(last[part] for part in ("start", "compile", "checkpoint", "evaluation")) > 0
    assert last["lost"] == 0
    assert all_records(trained)[-1] == {"step": 12, "kind": "end", "out_of_patience": 0.0}
    assert [line["step_seconds"] > 0 for line in of_kind(trained, "train")] == [True] * 3


def test_compiling_is_no_wait_for_data(prepared, monkeypatch):  # noqa: F811
    """Fast devices have done the first step by the time the second one's batch is there."""
    _, workdir = prepared
    compiling = 1000  # seconds by this clock, beside which those that a busy machine takes are nothing
    train_step, taken = Compiled.train_step, []

    def done_at_once(self, *given):
        taken.append(jax.block_until_ready(train_step(self, *given)))
        return taken[-1]

    def now():
        return time.monotonic() + (compiling if taken else 0)

    monkeypatch.setattr(loop, "GoodputTimer", lambda: GoodputTimer(now))
    monkeypatch.setattr(Compiled, "train_step", done_at_once)
    assert main("train", "--workdir", workdir) == 0
    last = of_kind(workdir, "time")[-1]
    assert last["compile"] > compiling
    assert last["data"] < compiling
    assert of_kind(workdir, "train")[0]["step_seconds"] < compiling


def test_what_a_killed_run_did_past_its_checkpoint_is_lost(trained, capsys):  # noqa: F811
    times = of_kind(trained, "time")
    (trained / "checkpoints" / "12").rename(trained / "never_saved")
    capsys.readouterr()
    assert main("train", "--workdir", trained) == 0
    kept, last = of_kind(trained, "time")[1], of_kind(trained, "time")[-1]
    assert kept == times[1]  # of step 8; the checkpoint is of step 9
    assert last["lost"] == pytest.approx(parts(times[-1]) - parts(kept))
    assert last["restore"] > 0
    assert has_ended((trained / "metrics.jsonl").read_text())
    assert f"goodput {last['goodput']:.1%} of" in capsys.readouterr().err


def test_the_last_line_of_the_metrics_says_whether_a_run_has_ended(trained):  # noqa: F811
    path = trained / "metrics.jsonl"
    assert has_ended(path.read_text())
    ended = path.read_bytes()
    assert main("train", "--workdir", trained) == 0
    assert path.read_bytes() == ended
    with MetricsWriter(path, trained / "tb", 12):
        assert not has_ended(path.read_text())  # it continues after its end
    assert not has_ended("")


def test_tensorboard_shows_each_step_once_after_a_resume(trained):  # noqa: F811
    """The run was killed after its last line, and resumes from the checkpoint of step 9."""
    (trained / "checkpoints" / "12").rename(trained / "never_saved")
    assert main("train", "--workdir", trained, "--config.train.steps=16") == 0
    events = EventAccumulator(str(trained / "tb"))
    events.Reload()
    lines = {line["step"]: line["loss"] for line in of_kind(trained, "train")}
    assert [event.step for event in events.Scalars("train/loss")] == [4, 8, 12, 16]
    assert [event.value for event in events.Scalars("train/loss")] == pytest.approx(list(lines.values()))
    for tag in events.Tags()["scalars"]:
        steps = [event.step for event in events.Scalars(tag)]
        assert steps == sorted(set(steps)), tag


def test_a_profile_of_some_steps(prepared, capsys):  # noqa: F811
    _, workdir = prepared
    assert main("train", "--workdir", workdir, "--profile", "3:5") == 0
    (trace,) = (workdir / "tb" / "plugins" / "profile").rglob("*.xplane.pb")
    assert b"step_num" in trace.read_bytes()
    assert str(trace.parents[1]) in capsys.readouterr().err


@pytest.mark.parametrize("span", ["3", "5:5", "0:2", "a:b", "3:", "-1:4"])
def test_a_profile_of_no_steps_is_refused(prepared, span, capsys):  # noqa: F811
    _, workdir = prepared
    assert main("train", "--workdir", workdir, f"--profile={span}") == 2
    assert f"t2c: --profile {span}: write START:STOP" in capsys.readouterr().err


def test_a_follower_scores_each_checkpoint_until_the_run_ends(trained, capsys, monkeypatch):  # noqa: F811
    """The run's second checkpoint and its end appear while the follower waits."""
    later, whole = trained / "later", (trained / "metrics.jsonl").read_text()
    (trained / "checkpoints" / "12").rename(later)
    (trained / "metrics.jsonl").write_text("".join(whole.splitlines(keepends=True)[:-1]))
    waits = iter(["nothing new", "a checkpoint", "the end"])

    def sleep(seconds):
        assert seconds == 10
        happens = next(waits)
        if happens == "a checkpoint":
            later.rename(trained / "checkpoints" / "12")
        elif happens == "the end":
            (trained / "metrics.jsonl").write_text(whole)

    monkeypatch.setattr(evaluations.time, "sleep", sleep)
    steps = [*sorted(int(path.name) for path in (trained / "checkpoints").iterdir()), 12]
    assert main("evaluate", "--workdir", trained, "--follow", "--json", "--config.evaluate.max_examples=4") == 0
    scores = json.loads(capsys.readouterr().out)
    assert [one["step"] for one in scores] == steps
    events = EventAccumulator(str(trained / "tb"))
    events.Reload()
    assert [event.step for event in events.Scalars("test/chrf")] == steps
    assert events.Scalars("test/chrf")[0].value == pytest.approx(scores[0]["model"]["chrf"]["value"])


def sections(workdir):
    config = load(str(workdir / "config.json"))
    return SavedRun.of(config, Workdir(workdir)), config.evaluate, config.decode, config.mesh


def test_a_checkpoint_that_is_deleted_before_it_is_scored_is_skipped(trained, capsys, monkeypatch):  # noqa: F811
    evaluated = []

    def evaluate(*sections, seed, step, **_):
        evaluated.append(step)
        if step == 9:
            (trained / "checkpoints" / "9").rename(trained / "deleted")
            raise UserError("checkpoint 9 cannot be read")
        return {"model": {}}

    monkeypatch.setattr(evaluations, "evaluate_checkpoint", evaluate)
    evaluations.follow_run(*sections(trained), seed=0)
    assert evaluated[-2:] == [9, 12]
    assert "checkpoint 9 was deleted before it could be read" in capsys.readouterr().err


def test_a_checkpoint_that_cannot_be_read_stops_the_follower(trained, monkeypatch):  # noqa: F811
    def evaluate(*sections, seed, step, **_):
        raise UserError("damaged")

    monkeypatch.setattr(evaluations, "evaluate_checkpoint", evaluate)
    with pytest.raises(UserError, match="damaged"):
        evaluations.follow_run(*sections(trained), seed=0)


def test_follow_takes_no_step(trained, capsys):  # noqa: F811
    assert main("evaluate", "--workdir", trained, "--follow", "--step", "9") == 2
    assert "--follow scores each checkpoint alone" in capsys.readouterr().err


def test_evaluation_does_not_wait_for_a_run_that_trains(trained):  # noqa: F811
    with Workdir(trained).locked():
        assert main("evaluate", "--workdir", trained, "--config.evaluate.max_examples=4") == 0
        with Workdir(trained).locked("evaluations"), pytest.raises(UserError, match="evaluations' is in use"):
            evaluations.evaluate_checkpoint(*sections(trained), seed=0, step=9)


class FakeWandb(types.ModuleType):
    """What of wandb is called, recorded; the package is optional and its server is not here."""

    def __init__(self):
        super().__init__("wandb")
        self.opened, self.lines, self.finished = [], [], 0
        self.__spec__ = types.SimpleNamespace(name="wandb")

    def init(self, **options):
        self.opened.append(options)
        return self

    def define_metric(self, name, step_metric):
        assert (name, step_metric) == ("*", "step")

    def log(self, values):
        self.lines.append(values)

    def finish(self):
        self.finished += 1


def test_weights_and_biases_get_the_records_of_tensorboard(prepared, monkeypatch):  # noqa: F811
    _, workdir = prepared
    wandb = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    options = ["--workdir", workdir, "--config.train.wandb=code"]
    assert main("train", *options) == 0
    assert main("train", *options) == 0
    first, second = wandb.opened
    assert first["id"] == second["id"]  # the same run there, gone on with
    assert (first["project"], first["name"], first["resume"]) == ("code", "run", "allow")
    assert first["config"]["train"]["wandb"] == "code"
    assert wandb.finished == 2
    losses = {line["step"]: line["train/loss"] for line in wandb.lines if "train/loss" in line}
    assert losses == {line["step"]: line["loss"] for line in of_kind(workdir, "train")}


def test_without_the_package_a_run_ends_before_it_begins(prepared, monkeypatch, capsys):  # noqa: F811
    _, workdir = prepared
    monkeypatch.setitem(sys.modules, "wandb", None)  # as if it were not there, even where it is
    assert main("run", "--workdir", workdir, "--config.train.wandb=code") == 2
    assert "pip install 't2c-jax[wandb]'" in capsys.readouterr().err


@pytest.mark.parametrize("method", ["add_event", "close"])
def test_a_full_disk_below_tensorboard_is_one_line(tmp_path, monkeypatch, method):
    """TensorBoard's thread keeps TensorFlow's error, and raises it in the next call."""
    import tensorflow as tf

    def fails(*_):
        raise tf.errors.ResourceExhaustedError(None, None, f"{tmp_path}/tb/events; No space left on device")

    def write():
        with MetricsWriter(tmp_path / "metrics.jsonl", tmp_path / "tb", 0) as writer:
            monkeypatch.setattr(writer._events, method, fails)
            writer.write(1, "train", {"loss": 1.0})

    with pytest.raises(UserError, match=r"cannot write '.*tb': the disk is full"):
        write()
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 1
