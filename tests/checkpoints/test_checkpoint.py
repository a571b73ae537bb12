"""Checkpoints: exactly the state of their step, and never one that is damaged, foreign or half there."""

import copy
import shutil
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from tiny import assert_same, batch, compiled_on, experiment, flat, make_mesh, on_device, one_device

from t2c_jax.checkpoints.checkpoint import DAMAGED, Checkpoints, Ranking
from t2c_jax.checkpoints.pytrees import from_nested, to_nested
from t2c_jax.config import to_dict
from t2c_jax.errors import UserError

# What TensorStore fails to read or write calls back into an event loop that Orbax has closed by then.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

ABOUT = {"model": to_dict(experiment().model), "tokenizer": "0123456789abcdef"}


@pytest.fixture(scope="module")
def compiled():
    return compiled_on(one_device(), experiment(train={"ema_decay": 0.5}))


@pytest.fixture
def checkpoints(tmp_path):
    made = Checkpoints(tmp_path / "checkpoints", ABOUT, keep=2)
    yield made
    made.close()


def reopened(checkpoints, **changes):
    checkpoints.wait()
    return Checkpoints(checkpoints.directory, {**ABOUT, **changes}, keep=2)


def trained(compiled, checkpoints, steps, losses=()):
    """Saves after each step while the next ones run; returns a copy of each state."""
    state, values = compiled.init(), on_device(batch())
    states = {}
    for step in range(1, steps + 1):
        state, _ = compiled.train_step(state, values)
        states[step] = jax.tree.map(lambda leaf: np.array(leaf, copy=True), jax.device_get(state))
        checkpoints.save(step, state, dict(losses).get(step))
    checkpoints.wait()
    return states


def test_a_state_comes_back_bit_for_bit(compiled, checkpoints):
    states = trained(compiled, checkpoints, 2)
    step, state = reopened(checkpoints).restore_latest(compiled.abstract_state_on_mesh())
    assert step == 2
    assert_same(state, states[2])
    assert jax.tree.structure(state) == jax.tree.structure(compiled.init())


def test_a_checkpoint_holds_its_own_step_though_the_state_is_donated(tmp_path):
    """Each state is consumed by the next update as soon as ``save`` returns, long before it is on disk."""
    step = jax.jit(lambda state: jax.tree.map(lambda leaf: leaf + 1, state), donate_argnums=0)
    state = {"step": jnp.zeros(()), "params": {name: jnp.zeros((1 << 20,)) for name in "abcdef"}}
    abstract = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), state)
    checkpoints = Checkpoints(tmp_path / "checkpoints", ABOUT, keep=4)
    for number in range(1, 13):
        state = step(state)
        if number % 3 == 0:
            checkpoints.save(number, state, None)
    jax.block_until_ready(state)
    checkpoints.wait()
    for number in (3, 6, 9, 12):
        found = checkpoints.restore(number, abstract)
        assert {float(value) for leaf in flat(found).values() for value in np.unique(leaf)} == {number}
    checkpoints.close()


def test_the_best_and_the_latest_are_kept(compiled, checkpoints):
    trained(compiled, checkpoints, 6, {1: 3.0, 2: 1.0, 3: 2.0})
    for manager in (checkpoints, reopened(checkpoints)):
        assert manager.steps() == [2, 5, 6]
        assert manager.best() == 2
    assert (checkpoints.loss(2), checkpoints.loss(5)) == (1.0, None)


def test_the_best_checkpoint_has_the_best_ranking(compiled, tmp_path):
    """Costs against the losses; one ranked by something else is never the best; of equals it is the latest."""
    checkpoints = Checkpoints(tmp_path / "checkpoints", ABOUT, keep=1, ranked_by="bleu")
    state = compiled.init()
    checkpoints.save(1, state, 0.1)
    for step, loss, cost in ((2, 1.0, -7.0), (3, 2.0, -9.0), (4, 3.0, -9.0), (5, 0.5, -8.0), (6, 4.0, -1.0)):
        checkpoints.save(step, state, loss, ranking=Ranking("bleu", cost), notes={"waited": {"since": step}})
    checkpoints.wait()
    for manager in (checkpoints, Checkpoints(tmp_path / "checkpoints", ABOUT, read_only=True)):
        assert manager.steps() == [4, 6]
        assert manager.best() == 4
        assert (manager.loss(4), manager.notes(6)) == (3.0, {"waited": {"since": 6}})
    checkpoints.close()


def test_without_a_measurement_the_latest_is_the_best(compiled, checkpoints):
    assert checkpoints.best() is None
    trained(compiled, checkpoints, 3)
    assert checkpoints.best() == 3


def test_what_no_line_was_logged_for_comes_back(compiled, checkpoints):
    pending = [{"loss": 0.1, "weight": 3.0}, {"loss": 1 / 3, "weight": 5.0}]
    checkpoints.save(1, compiled.init(), None, notes={"metrics": {"pending": pending}})
    expected = copy.deepcopy(pending)
    pending.clear()  # as the next logged line does, while the checkpoint is written
    assert reopened(checkpoints).notes(1) == {"metrics": {"pending": expected}}


def damage(path, how):
    """What a crash, a full disk or a careless hand leaves of a checkpoint."""
    files = sorted(file for file in path.rglob("*") if file.is_file())
    if how == "truncated":
        for file in files:
            with file.open("r+b") as opened:
                opened.truncate(file.stat().st_size // 2)
    elif how == "arrays gone":
        for data in path.rglob("d"):
            shutil.rmtree(data)
    elif how == "metadata gone":
        for file in files:
            if "METADATA" in file.name.upper():
                file.unlink()
    else:
        for file in files:
            file.unlink()


@pytest.mark.parametrize("how", ["truncated", "arrays gone", "metadata gone", "emptied"])
def test_a_damaged_checkpoint_is_quarantined_and_the_one_before_restored(how, compiled, checkpoints, capsys):
    states = trained(compiled, checkpoints, 3, {3: 1.0})
    damage(checkpoints.directory / "3", how)
    again = reopened(checkpoints)
    step, state = again.restore_latest(compiled.abstract_state_on_mesh())
    assert step == 2
    assert_same(state, states[2])
    assert again.steps() == [2]
    said = capsys.readouterr().err
    assert "warning: checkpoint 3 cannot be read" in said
    assert "is moved to" in said
    assert (checkpoints.directory / DAMAGED / "3").is_dir()
    again.save(3, state, None)  # its place is free again
    again.wait()
    assert again.steps() == [2, 3]


def test_training_does_not_start_again_where_all_checkpoints_are_damaged(compiled, checkpoints):
    trained(compiled, checkpoints, 2)
    for step in checkpoints.steps():
        damage(checkpoints.directory / str(step), "truncated")
    with pytest.raises(UserError, match=r"no checkpoint in .* can be read; they are in .*damaged"):
        reopened(checkpoints).restore_latest(compiled.abstract_state_on_mesh())


def test_parameters_of_a_damaged_checkpoint_are_refused_in_one_line(compiled, checkpoints):
    trained(compiled, checkpoints, 1)
    damage(checkpoints.directory / "1", "arrays gone")
    with pytest.raises(UserError, match=r"checkpoint 1 in .* cannot be read \(.*\); choose another with --step"):
        reopened(checkpoints).restore_params(1, compiled.abstract_state_on_mesh()["params"])


def test_a_reader_quarantines_nothing(compiled, checkpoints):
    trained(compiled, checkpoints, 1, {1: 1.0})
    damage(checkpoints.directory / "1", "truncated")
    with pytest.raises(UserError, match=r"metrics' is damaged; t2c train quarantines such a checkpoint"):
        Checkpoints(checkpoints.directory, ABOUT, read_only=True)
    assert (checkpoints.directory / "1").is_dir()


@pytest.mark.parametrize("error", [FileNotFoundError, NotADirectoryError])
def test_a_reader_opens_while_the_run_deletes(compiled, checkpoints, monkeypatch, error):
    trained(compiled, checkpoints, 2, {1: 1.0, 2: 2.0})
    opened, manager = [], ocp.CheckpointManager

    def deleting(*arguments, **options):
        opened.append(1)
        if len(opened) == 1:
            shutil.rmtree(checkpoints.directory / "1")
            raise error
        return manager(*arguments, **options)

    monkeypatch.setattr(ocp, "CheckpointManager", deleting)
    assert Checkpoints(checkpoints.directory, ABOUT, read_only=True).steps() == [2]
    monkeypatch.setattr(ocp, "CheckpointManager", mock.Mock(side_effect=error))
    with pytest.raises(error):
        Checkpoints(checkpoints.directory, ABOUT, read_only=True)


def test_no_checkpoint_is_no_state(compiled, checkpoints):
    assert checkpoints.restore_latest(compiled.abstract_state_on_mesh()) is None


def test_another_model_or_tokenizer_is_refused_and_nothing_quarantined(compiled, checkpoints):
    trained(compiled, checkpoints, 1)
    wider = {**ABOUT["model"], "width": 32}
    with pytest.raises(UserError, match=r"config\.model\.width is 32 here and 16 in the checkpoint; restore the"):
        reopened(checkpoints, model=wider).restore_latest(compiled.abstract_state_on_mesh())
    with pytest.raises(UserError, match="it has another tokenizer"):
        reopened(checkpoints, tokenizer="f" * 16).restore_latest(compiled.abstract_state_on_mesh())
    with pytest.raises(UserError, match="it has another tokenizer"):
        reopened(checkpoints, tokenizer="f" * 16).restore_params(1, compiled.abstract_state_on_mesh()["params"])
    assert checkpoints.steps() == [1]


@pytest.mark.parametrize("train", [{"ema_decay": 0.0}, {"ema_decay": 0.5}])
def test_a_missing_or_extra_array_is_an_error(train, checkpoints):
    """A parameter without a source must never start from its initialisation."""
    saved = compiled_on(one_device(), experiment(train={"ema_decay": 0.5 - train["ema_decay"]}))
    checkpoints.save(1, saved.init(), None)
    wanted = compiled_on(one_device(), experiment(train=train))
    with pytest.raises(UserError, match=r"ema\..* is (missing there|\[.*\] there and missing here)"):
        reopened(checkpoints).restore_latest(wanted.abstract_state_on_mesh())


def test_another_optimizer_is_an_error(checkpoints):
    checkpoints.save(1, compiled_on(one_device(), experiment()).init(), None)
    other = compiled_on(one_device(), experiment(optimizer={"name": "adafactor"}))
    with pytest.raises(UserError, match=r"opt_state\.ada.* does not|opt_state\.ada"):
        reopened(checkpoints).restore_latest(other.abstract_state_on_mesh())


def test_parameters_alone_are_the_average_where_there_is_one(compiled, checkpoints):
    states = trained(compiled, checkpoints, 2)
    abstract = compiled.abstract_state_on_mesh()["params"]
    assert_same(reopened(checkpoints).restore_params(2, abstract), states[2]["ema"])
    plain = compiled_on(one_device(), experiment())
    state = plain.init()
    checkpoints.save(9, state, None)
    assert_same(reopened(checkpoints).restore_params(9, abstract), state["params"])


def test_a_checkpoint_is_restored_onto_another_mesh(checkpoints):
    one = experiment(mesh={"data": 2, "fsdp": 2, "tensor": 2})
    saved = compiled_on(make_mesh(one), one).init()
    checkpoints.save(1, saved, None)
    other = experiment(mesh={"data": 1, "fsdp": 8, "tensor": 1})
    compiled = compiled_on(make_mesh(other), other)
    _, state = reopened(checkpoints).restore_latest(compiled.abstract_state_on_mesh())
    assert_same(state, saved)
    for leaf, sharding in zip(jax.tree.leaves(state), jax.tree.leaves(compiled.shardings), strict=True):
        assert leaf.sharding == sharding


@pytest.mark.parametrize(
    "optimizer",
    [{"name": "muon"}, {"name": "schedule_free", "schedule": "constant"}],
    ids=["muon", "schedule_free"],
)
def test_the_state_of_every_optimizer_comes_back_onto_another_mesh(optimizer, checkpoints):
    """Every array holds numbers of its own; what is answered with is the average where there is one."""
    one = experiment(optimizer=optimizer, mesh={"data": 2, "fsdp": 2, "tensor": 2})
    compiled = compiled_on(make_mesh(one), one)
    draw = np.random.default_rng(0)
    saved = jax.tree.map(lambda leaf: jnp.asarray(draw.random(leaf.shape) * 9, leaf.dtype), compiled.init())
    saved = jax.device_put(saved, compiled.shardings)
    checkpoints.save(1, saved, None)
    other = experiment(optimizer=optimizer, mesh={"data": 1, "fsdp": 8, "tensor": 1})
    target = compiled_on(make_mesh(other), other).abstract_state_on_mesh()
    _, state = reopened(checkpoints).restore_latest(target)
    assert_same(state, saved)
    assert jax.tree.structure(state) == jax.tree.structure(saved)
    answers = reopened(checkpoints).restore_params(1, target["params"])
    assert_same(answers, saved["ema" if "ema" in saved else "params"])


def test_trees_go_to_nested_dicts_and_back(compiled):
    state = compiled.init()
    nested = to_nested(state)
    assert all(isinstance(key, str) for key in flat(nested))
    assert flat(nested).keys() == flat(state).keys()
    assert "opt_state.adam.mu.embedding.embedding" in flat(nested)
    assert jax.tree.structure(from_nested(state, nested)) == jax.tree.structure(state)
