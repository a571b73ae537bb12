"""Early stopping: by which score, after how many evaluations, and at the same step if the run was killed."""

import json
import math
import shutil
from types import SimpleNamespace

import pytest
from small_run import main, prepared, records  # noqa: F401
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny import experiment

from t2c_jax import config as configs
from t2c_jax.checkpoints.checkpoint import Checkpoints
from t2c_jax.checkpoints.saved_run import SavedRun
from t2c_jax.config import TaskConfig
from t2c_jax.decode.loading import load_generator
from t2c_jax.errors import UserError
from t2c_jax.evaluate.during_training import Decoded, DecodedDevPairs, dev_decoder
from t2c_jax.train.batches import Data
from t2c_jax.train.held_out_loss import measurable
from t2c_jax.train.loop import train
from t2c_jax.train.patience import Patience
from t2c_jax.workdir import Workdir

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def test_patience_counts_evaluations_since_the_best():
    patience = Patience(2, "bleu")
    assert patience.stored() == {}
    best, out = [], []
    for cost in (-3.0, -5.0, -5.0, -4.0):  # an equal one is no new best
        best.append(patience.add(cost))
        out.append(patience.out)
    assert best == [True, True, False, False]
    assert out == [False, False, False, True]
    assert patience.stored() == {"metric": "bleu", "best": -5.0, "since": 2}


def resumed(limit, metric, stored):
    patience = Patience(limit, metric)
    patience.restore(stored)
    return patience


def test_patience_is_restored_unless_the_metric_has_changed():
    stored = {"metric": "bleu", "best": -5.0, "since": 2}
    assert resumed(2, "bleu", stored).out
    assert not resumed(3, "bleu", stored).out
    never = resumed(0, "bleu", stored)
    never.add(0.0)
    assert not never.out
    assert resumed(2, "loss", stored).stored() == {}
    better = resumed(3, "bleu", stored)
    better.add(-6.0)
    assert better.stored() == {"metric": "bleu", "best": -6.0, "since": 0}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.stop_metric=blue", "stop_metric='blue' must be loss or one of .*did you mean 'bleu'"),
        ("train.stop_examples=0", "config.train.stop_examples must be at least 1"),
        ("train.patience=-1", "config.train.patience must be at least 0"),
    ],
)
def test_impossible_settings_are_refused(override, message, prepared):  # noqa: F811
    _, workdir = prepared
    with pytest.raises(UserError, match=message):
        configs.load(str(workdir / "config.json"), [override])
    with pytest.raises(UserError, match=r"patience counts measurements: set config.train.eval_every"):
        configs.load(str(workdir / "config.json"), ["train.patience=1", "train.eval_every=0"])


def with_tasks(train, **objectives):
    """The tiny experiment with tasks by objective; one called ``before`` replays another run's pairs."""
    tasks = {name: TaskConfig(what, workdir="w" if name == "before" else "") for name, what in objectives.items()}
    return experiment(train=train, data={"tasks": tasks}, model={"output_heads": ("tagging",)})


@pytest.mark.parametrize("train", [{"patience": 1}, {"stop_metric": "bleu"}], ids=str)
def test_patience_and_stop_metric_need_an_own_task_with_decoder_targets(train):
    with pytest.raises(UserError, match="no task of theirs writes: add one, or leave both out"):
        configs.check(with_tasks(train, tags="identifier_tagging", before="text_to_code"))
    configs.check(with_tasks(train, tags="identifier_tagging", mine="text_to_code"))
    configs.check(with_tasks({}, tags="identifier_tagging", before="text_to_code"))


def test_a_held_out_loss_needs_own_dev_pairs_with_decoder_targets():
    config = with_tasks({}, tags="identifier_tagging", mine="text_to_code", before="text_to_code")
    batches = {name: SimpleNamespace(per_pass=2) for name in config.data.tasks}
    data = Data(None, batches, {"tags": 0.5, "mine": 0.5, "before": 0.0})
    assert measurable(config.data, data)
    batches["mine"].per_pass = 0
    assert not measurable(config.data, data)
    alone = SimpleNamespace(per_pass=1)
    assert measurable(experiment().data, Data(None, {"": alone}, {"": 1.0}))


QUICK = ("optimizer.schedule=constant", "train.ema_decay=0", "train.steps=20", "train.log_every=5", "train.keep=20")
PERIODS = ("train.eval_every=2", "train.save_every=3", "train.stop_metric=exact_match", "train.patience=2")


def scored(scores):
    """A hook that replaces decoding: the k-th evaluation gives the k-th score."""
    left = iter(scores)
    return DecodedDevPairs(lambda _: Decoded((), next(left), examples=7), "exact_match", every=2)


def outcome(workdir, scores, *more):
    """The result of a run with these scores; without scores, of a run that decodes nothing."""
    config = configs.load(str(workdir / "config.json"), (*QUICK, *PERIODS, *more))
    return train(config, Workdir(workdir), [scored(scores)] if scores else [])


def kept(workdir):
    """Steps of the checkpoints, and the best of them."""
    checkpoints = Checkpoints(workdir / "checkpoints", {}, read_only=True)
    return checkpoints.steps(), checkpoints.best()


def test_a_killed_run_runs_out_of_patience_at_the_same_step(prepared, tmp_path):  # noqa: F811
    """With scores of 20, 90, 50 and 40 at steps 2, 4, 6 and 8, it stops at step 8, and step 4 is the best."""
    _, uninterrupted = prepared
    killed = shutil.copytree(uninterrupted, tmp_path / "killed")
    found = outcome(uninterrupted, [20.0, 90.0, 50.0, 40.0])
    assert (found.steps, found.out_of_patience, found.stopped_by) == (8, True, None)
    # Saved every three steps, after the last one and at each new best. Killed after step 7, it resumes from step 6,
    # with one evaluation since the best.
    assert outcome(killed, [20.0, 90.0, 50.0, 0.0], "train.steps=7", "train.patience=9").steps == 7
    shutil.rmtree(killed / "checkpoints" / "7")
    again = outcome(killed, [40.0])
    assert (again.steps, again.out_of_patience) == (8, True)
    assert records(killed) == records(uninterrupted)
    decoded = [(line["step"], line["exact_match"]) for line in records(uninterrupted) if line["kind"] == "dev_decoded"]
    assert decoded == [(2, 20.0), (4, 90.0), (6, 50.0), (8, 40.0)]
    assert kept(uninterrupted) == kept(killed) == ([2, 3, 4, 6, 8], 4)
    assert outcome(uninterrupted, []).steps == 8, "starting it again does not continue it"


def test_a_new_best_between_two_regular_saves_is_saved(prepared, tmp_path):  # noqa: F811
    """The latest checkpoint and the best one are kept; a killed run resumes from the latest and ends with the same."""
    _, uninterrupted = prepared
    killed = shutil.copytree(uninterrupted, tmp_path / "killed")
    outcome(uninterrupted, [20.0, 90.0, 50.0, 40.0], "train.keep=1")
    outcome(killed, [20.0, 90.0, 0.0], "train.keep=1", "train.steps=5")
    shutil.rmtree(killed / "checkpoints" / "5")
    outcome(killed, [50.0, 40.0], "train.keep=1")
    assert kept(uninterrupted) == kept(killed) == ([4, 8], 4)
    assert records(killed) == records(uninterrupted)


def test_without_patience_and_stop_metric_only_save_every_decides(prepared):  # noqa: F811
    """The loss falls at each evaluation, at steps 2 and 4."""
    _, workdir = prepared
    outcome(workdir, [], "train.stop_metric=loss", "train.patience=0", "train.steps=5")
    assert kept(workdir)[0] == [3, 5]


def test_the_score_of_decoded_pairs_ranks_checkpoints(prepared, capsys):  # noqa: F811
    """The score of greedy answers is logged and ranks the checkpoints, so that t2c evaluate uses the best by it."""
    _, workdir = prepared
    options = ("train.steps=4", "train.eval_every=2", "train.save_every=2", "train.stop_metric=chrf")
    options += ("train.stop_examples=5", "train.samples=1", "decode.max_tokens=8", "train.log_every=2")
    assert main("train", "--workdir", workdir, "--json", *(f"--config.{option}" for option in options)) == 0
    assert json.loads(capsys.readouterr().out)["out_of_patience"] is False
    lines = {line["step"]: line for line in records(workdir) if line["kind"] == "dev_decoded"}
    assert lines.keys() == {2, 4}
    assert all(line["examples"] == 5 and 0 <= line["chrf"] <= 100 for line in lines.values())
    events = EventAccumulator(str(workdir / "tb"))
    events.Reload()
    assert "dev_decoded/chrf" in events.Tags()["scalars"]
    assert "samples/0" in events.Tags()["tensors"]
    best = max(lines, key=lambda step: (lines[step]["chrf"], step))
    config = configs.load(str(workdir / "config.json"))
    members, generator = load_generator(SavedRun.of(config, Workdir(workdir)), config.decode, config.mesh)
    assert members == [str(best)]
    decoded = dev_decoder(Workdir(workdir), config.model, config.data, config.decode, config.train)(generator.params[0])
    assert math.isclose(decoded.score, lines[best]["chrf"], rel_tol=1e-12)  # the logged score has all its digits
