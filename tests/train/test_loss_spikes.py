"""Losses and gradients that are not finite, and loss spikes: stopped, skipped or rolled back, and always logged."""

import gc
import json
import math
import shutil
import weakref
from dataclasses import replace

import jax
import numpy as np
import pytest
from small_run import main, prepared, records  # noqa: F401
from tiny import assert_close, assert_same, batch, compiled_on, experiment, make_mesh, on_device, one_device

from t2c_jax import config as configs
from t2c_jax.checkpoints.checkpoint import Checkpoints
from t2c_jax.checkpoints.metadata import metadata
from t2c_jax.config import TrainConfig
from t2c_jax.data.pipeline import Batches
from t2c_jax.errors import UserError
from t2c_jax.tokenizers.loading import Tokenizers
from t2c_jax.train.hooks import LoopState
from t2c_jax.train.resilience import loss_spikes
from t2c_jax.train.resilience.loss_spikes import (
    FILE,
    ROLLED_BACK,
    LossSpikeGuard,
    RollbackRequest,
    Skip,
    SkippedBatches,
    rollback_step,
)
from t2c_jax.train.setup import Setup
from t2c_jax.workdir import Workdir

# TensorStore's futures may outlive the event loop that Orbax ran them in.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


# --- which batch a step takes -----------------------------------------------------------------------------------------


def test_batches_after_two_rollbacks(tmp_path):
    """Two batches skipped after step 3, one more after step 5."""
    skips = SkippedBatches(tmp_path)
    skips.add(Skip(3, 2, 5, {"loss": None}))
    skips.add(Skip(5, 1, 6, {"loss": 9.0}))
    for known in (skips, SkippedBatches(tmp_path)):
        assert [known.batch(step) for step in range(1, 9)] == [0, 1, 2, 5, 6, 8, 9, 10]
        assert list(known.ranges(0, 8)) == [(0, 3), (5, 7), (8, 11)]
        assert list(known.ranges(4, 8)) == [(6, 7), (8, 11)]
        assert list(known.ranges(8, 8)) == []
    assert SkippedBatches(tmp_path).skips[0].record() == pytest.approx(
        {"at": 5, "batches": 2, "loss": math.nan}, nan_ok=True
    )


@pytest.mark.parametrize("text", ["", "{}x", '{"after": 1}', '[{"after": 1}]', "[3]", "null"])
def test_a_damaged_list_of_skipped_batches_is_refused(text, tmp_path):
    (tmp_path / FILE).write_text(text)
    with pytest.raises(
        UserError, match=r"skips.json' is damaged; without it the batches of the next steps are unknown"
    ):
        SkippedBatches(tmp_path)


@pytest.mark.parametrize(
    ("steps", "at", "distance", "expected"),
    [([100, 200, 300], 310, 100, 200), ([100, 200, 300], 300, 100, 200), ([250, 300], 310, 100, 250), ([], 5, 1, 0)],
)
def test_the_step_that_a_rollback_returns_to(steps, at, distance, expected):
    assert rollback_step(steps, at, distance) == expected


# --- what a spike is --------------------------------------------------------------------------------------------------


def values(loss, **changes):
    return {"loss": 2 * loss, "denominator": 2.0, "gradient_norm": 1.0, "update_norm": 1.0, **changes}


def ignored(*_):
    return "there"


def counted(guard):
    """How many losses the guard compares with, and how many steps were skipped."""
    return len(guard.stored().get("losses", ())), len(guard.stored().get("skipped", ()))


@pytest.fixture
def quiet(tmp_path, monkeypatch):
    monkeypatch.setattr(loss_spikes, "WINDOW", 4)

    def make(stored=(), **train):
        config = TrainConfig(**{"on_spike": "skip", "spike_deviations": 2.0, **train})
        guard = LossSpikeGuard(config, SkippedBatches(tmp_path))
        guard.restore(dict(stored))
        return guard

    return make


def test_the_bound_is_of_the_losses_up_to_the_step_before_the_last(quiet):
    """A window of 4, half of it enough: 1 and 3 have the mean 2 and the deviation 1."""
    watch = quiet()
    bounds = []
    for step, loss in enumerate((1.0, 3.0, 5.0, 7.0, 9.0, 11.0), 1):
        bounds.append(watch.bound(step))
        watch.check(step, values(loss), ignored, ignored)
    assert bounds[:3] == [math.inf] * 3
    assert bounds[3:] == pytest.approx([4.0, 3 + 2 * math.sqrt(8 / 3), 4 + 2 * math.sqrt(5)])
    assert watch.bound(7) == pytest.approx(6 + 2 * math.sqrt(5))  # of 3, 5, 7, 9
    again = quiet(json.loads(json.dumps(watch.stored())))
    assert [again.bound(step) for step in (7, 8)] == [watch.bound(step) for step in (7, 8)]
    assert quiet(on_spike="ignore").limit(1) is None
    assert quiet(on_spike="stop").limit(1) is None
    assert again.limit(7).dtype == np.float32


def test_steps_skipped_by_the_compiled_step_are_counted_and_bounded(quiet):
    watch, told = quiet(max_skips=2), []

    def tell(*record):
        told.append(record)

    watch.check(1, values(1.0, skipped=0.0), tell, ignored)
    watch.check(2, values(9.0, skipped=1.0), tell, ignored)
    watch.check(3, values(9.0, skipped=1.0), tell, ignored)
    assert counted(watch) == (1, 2)
    assert told == [("spike", {"loss": 9.0, "gradient_norm": 1.0, "update_norm": 1.0})] * 2
    again = quiet(watch.stored(), max_skips=2)
    with pytest.raises(UserError, match=r"step 1001 is 9, .*after config.train.max_skips=2 others in 1,000 steps"):
        again.check(1001, values(9.0, skipped=1.0), tell, ignored)
    assert len(told) == 3
    later = quiet(watch.stored(), max_skips=2)
    later.check(1002, values(9.0, skipped=1.0), tell, ignored)
    assert counted(later) == (1, 2)  # step 2 is too long ago


@pytest.mark.parametrize(("choice", "outcome"), [("stop", UserError), ("rollback", RollbackRequest)])
def test_a_spike_that_the_compiled_step_does_not_judge(choice, outcome, quiet):
    """1 and 3 have the mean 2 and the deviation 1: step 4 may have a loss of 4, and of no more."""
    watch, told = quiet(on_spike=choice), []

    def tell(kind, shown):
        told.append((kind, shown["loss"], shown["limit"]))

    for step, loss in ((1, 1.0), (2, 3.0), (3, 2.0)):
        watch.check(step, values(loss), tell, ignored)
    with pytest.raises(outcome, match=r"the loss of step 4 is 4.5, above 4; its batch is in 'there'"):
        watch.check(4, values(4.5), tell, ignored)
    assert told == ([("spike", 4.5, 4.0)] if choice == "stop" else [])  # a rollback is logged when the run resumes
    watch.check(4, values(4.0), tell, ignored)
    assert counted(watch) == (4, 0)


def test_a_non_finite_update_that_was_applied_stops_the_run(quiet):
    with pytest.raises(UserError, match="its update norm inf"):
        quiet(on_nonfinite="skip").check(1, values(1.0, update_norm=math.inf, skipped=0.0), ignored, ignored)
    with pytest.raises(RollbackRequest):
        quiet(on_nonfinite="rollback").check(1, values(1.0, update_norm=math.inf), ignored, ignored)


# --- the compiled step ------------------------------------------------------------------------------------------------


def test_a_skipped_step_changes_the_number_of_the_step_alone():
    """A gradient that is not finite, and a loss above the limit; below both, the step is the plain one.

    To rounding, where it is: the two are different programs, which the compiler fuses each in its own way.
    """
    plain, careful = (
        compiled_on(one_device(), experiment(train={"ema_decay": 0.5, "on_nonfinite": choice}))
        for choice in ("stop", "skip")
    )
    good, bad = on_device(batch()), on_device(batch())
    bad["decoder_loss_weights"] = bad["decoder_loss_weights"].at[0, 0].set(np.nan)
    before, _ = plain.train_step(plain.init(), good)
    before = jax.device_get(before)
    expected, metrics = plain.train_step(jax.device_put(before), good)
    loss = np.float32(metrics["loss"] / metrics["denominator"])
    for limit in (loss * np.float32(1 + 1e-5), np.float32(np.inf)):
        taken, metrics = careful.train_step(jax.device_put(before), good, limit)
        assert metrics["skipped"] == 0
        assert_close(taken, expected, tolerance=2e-6)
    for given, limit in ((bad, np.float32(np.inf)), (bad, loss), (good, loss * np.float32(1 - 1e-5))):
        after, metrics = careful.train_step(jax.device_put(before), given, limit)
        assert metrics["skipped"] == 1
        assert_same(after, {**before, "step": np.int32(2)})


# --- whole runs -------------------------------------------------------------------------------------------------------


def poisoned(monkeypatch, *numbers, tokens=False):
    """Training batches of these numbers have a weight that is not a number, or are targets never seen."""
    batch_of = Batches.batch

    def poison(self, step):
        made = batch_of(self, step)
        if self._repeat and step in numbers:
            if tokens:
                made["decoder_target_tokens"] = np.full_like(made["decoder_target_tokens"], 2)
            else:
                made["decoder_loss_weights"] = np.full_like(made["decoder_loss_weights"], np.nan)
        return made

    monkeypatch.setattr(Batches, "batch", poison)


def without(monkeypatch, first, behind):
    """Training batches from the first on are taken that many later."""
    batch_of = Batches.batch
    monkeypatch.setattr(
        Batches,
        "batch",
        lambda self, step: batch_of(self, step + behind * (self._repeat and step >= first)),
    )


def last_state(path):
    workdir = Workdir(path)
    experiment = configs.load(str(workdir.config))
    experiment = replace(experiment, train=replace(experiment.train, on_nonfinite="stop", on_spike="ignore"))
    tokenizers = Tokenizers.load(workdir.tokenizer)
    compiled = compiled_on(make_mesh(experiment), experiment, tokenizers.target.vocab_size)
    checkpoints = Checkpoints(workdir.checkpoints, metadata(experiment.model, tokenizers.digest), read_only=True)
    state = checkpoints.restore(checkpoints.steps()[-1], compiled.abstract_state_on_mesh())
    checkpoints.close()
    return jax.device_get(state)


def kinds(workdir, *wanted):
    return [line for line in records(workdir) if line["kind"] in wanted]


def test_a_run_skips_steps_and_continues(prepared, monkeypatch, capsys):  # noqa: F811
    _, workdir = prepared
    poisoned(monkeypatch, 4, 8)
    assert main("train", "--workdir", workdir, "--config.train.on_nonfinite=skip") == 0
    assert [(line["step"], line["loss"]) for line in kinds(workdir, "nonfinite")] == [(5, None), (9, None)]
    assert [line["step"] for line in kinds(workdir, "train")] == [4, 8, 12]
    assert all(line["loss"] > 0 for line in kinds(workdir, "train"))
    assert (workdir / "nonfinite_step_5.npz").is_file()
    assert "the step is skipped" in capsys.readouterr().err
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(last_state(workdir)))
    # 12 steps, of which 10 moved the parameters.
    assert int(last_state(workdir)["opt_state"]["adam"].count) == 10


def test_too_many_skips_stop_the_run(prepared, monkeypatch, capsys):  # noqa: F811
    _, workdir = prepared
    poisoned(monkeypatch, *range(4, 12))
    options = ("--config.train.on_nonfinite=skip", "--config.train.max_skips=3")
    assert main("train", "--workdir", workdir, *options) == 2
    assert "the loss of step 8 is nan" in (said := capsys.readouterr().err)
    assert "after config.train.max_skips=3 others" in said
    assert [line["step"] for line in kinds(workdir, "nonfinite")] == [5, 6, 7, 8]


def test_a_rollback_is_the_run_that_never_saw_those_batches(prepared, tmp_path, monkeypatch, capsys):  # noqa: F811
    """Batch 7 is step 8's; the run returns to the checkpoint of step 6, and skips batches 6 and 7."""
    _, workdir = prepared
    clean = shutil.copytree(workdir, tmp_path / "clean")
    options = ("--config.train.on_nonfinite=rollback", "--config.train.rollback_steps=1")
    with monkeypatch.context() as patch:
        without(patch, 6, 2)
        assert main("train", "--workdir", clean, *options) == 0
    poisoned(monkeypatch, 7)
    # Killed before the list of skipped batches was written: the run meets the same step again.
    with monkeypatch.context() as patch:
        patch.setattr(SkippedBatches, "add", lambda self, skip: (_ for _ in ()).throw(MemoryError))
        with pytest.raises(MemoryError):
            main("train", "--workdir", workdir, *options)
    # Killed before it resumed.
    with monkeypatch.context() as patch:
        patch.setattr(loss_spikes.console, "warn", lambda text: (_ for _ in ()).throw(MemoryError))
        with pytest.raises(MemoryError):
            main("train", "--workdir", workdir, *options)
    capsys.readouterr()
    assert main("train", "--workdir", workdir, *options) == 0
    assert "resuming from the checkpoint of step 6" in capsys.readouterr().err
    assert_same(last_state(workdir), last_state(clean))
    told = kinds(workdir, ROLLED_BACK)
    assert [(line["step"], line["at"], line["batches"], line["loss"]) for line in told] == [(6, 8, 2, None)]
    kept = [line for line in records(workdir) if line["kind"] == "dev"]
    assert kept == kinds(clean, "dev")


def test_a_rollback_in_one_go_and_from_the_very_start(prepared, monkeypatch, capsys):  # noqa: F811
    """Before any checkpoint, the run returns to the initial parameters; later a checkpoint is moved aside.

    The former state is freed before another one is restored, since a device may not hold both.
    """
    _, workdir = prepared
    runs, alive, initialise, restore = [], [], LoopState.__post_init__, Setup.restore

    def remembered(self):
        initialise(self)
        runs.append(weakref.ref(self))

    def watched(self, *arguments):
        gc.collect()
        alive.extend(run() for run in runs)
        return restore(self, *arguments)

    monkeypatch.setattr(LoopState, "__post_init__", remembered)
    monkeypatch.setattr(Setup, "restore", watched)
    poisoned(monkeypatch, 1, 10)
    options = ("--config.train.on_nonfinite=rollback", "--config.train.rollback_steps=4")
    assert main("train", "--workdir", workdir, *options) == 0
    said = capsys.readouterr().err
    assert "rolling back to step 0 and skipping 2 batches" in said
    assert "rolling back to step 3 and skipping 6 batches" in said  # step 9 takes batch 10, step 6's is too near
    assert alive == [None] * 3  # one run before the second start, two before the third
    logged = kinds(workdir, ROLLED_BACK)
    assert [(line["step"], line["at"], line["batches"]) for line in logged] == [(0, 2, 2), (3, 9, 6)]
    assert [path.name for path in (workdir / "checkpoints" / ROLLED_BACK).iterdir()] == ["6"]


def test_a_run_skips_a_spike(prepared, monkeypatch, capsys):  # noqa: F811
    _, workdir = prepared
    monkeypatch.setattr(loss_spikes, "WINDOW", 4)
    poisoned(monkeypatch, 10, tokens=True)
    options = ("train.on_spike=skip", "optimizer.learning_rate=0.03", "train.spike_deviations=4.0")
    assert main("train", "--workdir", workdir, *(f"--config.{option}" for option in options)) == 0
    said = capsys.readouterr().err
    assert "the loss of step 11 is" in said
    assert "the step is skipped" in said
    (found,) = kinds(workdir, "spike")
    assert found["loss"] > found["limit"]
    assert (workdir / "spike_step_11.npz").is_file()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.on_spike=retry", "on_spike"),
        ("train.spike_deviations=0", "config.train.spike_deviations must be above 0"),
        ("train.max_skips=0", "config.train.max_skips must be at least 1"),
        ("train.rollback_steps=-1", "config.train.rollback_steps must be at least 0"),
    ],
)
def test_impossible_settings_are_refused(override, message, prepared):  # noqa: F811
    with pytest.raises(UserError, match=message):
        configs.load(str(prepared[1] / "config.json"), [override])
