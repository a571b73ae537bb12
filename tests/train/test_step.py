"""The compiled step: its golden numbers, and what must not change them."""

import inspect
import json
import os
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import (
    DATA,
    assert_close,
    assert_same,
    batch,
    both,
    compiled_on,
    experiment,
    make_mesh,
    on_device,
    one_device,
)

from t2c_jax import mesh as meshes
from t2c_jax.train import cross_entropy
from t2c_jax.train import step as steps
from t2c_jax.train.cross_entropy import token_sums
from t2c_jax.train.optimizer import learning_rate_schedule
from t2c_jax.train.state import named_key

# Plain gradient descent: Adam's first update is a sign, which turns a rounding error into a whole step.
SGD = {
    "name": "sgd",
    "learning_rate": 0.1,
    "schedule": "constant",
    "warmup_steps": 0,
    "weight_decay": 0.0,
    "clip_norm": 0.0,
}


def take(config, count=1, values=None, mesh=None):
    """State and metrics after some steps on the same mesh, drawn and placed as a run does it."""
    mesh = mesh or make_mesh(config, None if config.mesh != experiment().mesh else jax.devices()[:1])
    compiled = compiled_on(mesh, config)
    state, metrics = compiled.init(), {}
    for step in range(count):
        given = batch(config.data, step) if values is None else values
        state, metrics = compiled.train_step(state, meshes.global_batch(given, mesh))
    return state, metrics


@pytest.mark.parametrize("optimizer", ["adamw", "adafactor"])
@pytest.mark.parametrize("architecture", ["transformer", "t5"])
def test_golden_step(architecture, optimizer, repository):
    config = experiment(
        model=both(architecture), optimizer={"name": optimizer}, train={"label_smoothing": 0.1, "z_loss": 1e-3}
    )
    _, metrics = take(config, count=2)
    names = ("loss", "nll", "correct", "weight", "gradient_norm", "update_norm", "learning_rate", "source_tokens")
    found = {name: float(metrics[name]) for name in names}
    path = repository / "tests" / "golden" / "train_step.json"
    golden = json.loads(path.read_text()) if path.exists() else {}
    if os.environ.get("T2C_REFRESH_GOLDENS") == "1":
        golden[f"{architecture} {optimizer}"] = found
        path.write_text(json.dumps(golden, indent=1) + "\n")
    # The supported releases of jax bring other versions of XLA, which sum float32 in another order.
    assert found == pytest.approx(golden[f"{architecture} {optimizer}"], rel=1e-4)


def test_metrics_are_sums_and_norms():
    config = experiment(optimizer=SGD)
    values = batch()
    state, metrics = take(config, values=values)
    assert float(metrics["weight"]) == values["decoder_loss_weights"].sum()
    assert float(metrics["source_tokens"]) == (values["encoder_segment_ids"] > 0).sum()
    assert float(metrics["update_norm"]) == pytest.approx(0.1 * float(metrics["gradient_norm"]), rel=1e-5)
    assert float(metrics["learning_rate"]) == pytest.approx(0.1)
    assert int(state["step"]) == 1


@pytest.mark.parametrize("microbatches", [2, 8])
def test_microbatches_are_one_batch(microbatches):
    """Ragged ones: a mean of the parts' means would weigh their tokens differently."""
    values = batch()
    for row in range(DATA.batch_size):
        values["decoder_loss_weights"][row, 1 + row :] = 0
    values["decoder_loss_weights"][3] = 0
    whole, parts = (
        take(experiment(optimizer=SGD, train={"microbatches": n}), values=values) for n in (1, microbatches)
    )
    assert_close(parts, whole, tolerance=2e-5)  # the same float32 terms, summed in another order


MESHES = [
    {"data": 8},
    {"fsdp": 8},
    {"tensor": 2, "data": 4},
    {"data": 2, "fsdp": 2, "tensor": 2},
]


@pytest.fixture(scope="module")
def alone():
    return take(experiment(optimizer=SGD, model={"dropout": 0.1}))


@pytest.mark.parametrize("sizes", MESHES, ids=str)
def test_eight_devices_are_one(sizes, alone):
    """Loss, norms and all parameters after a step, dropout's draws included."""
    mesh = {"data": 1, "fsdp": 1, "tensor": 1, **sizes}
    split = take(experiment(optimizer=SGD, model={"dropout": 0.1}, mesh=mesh))
    assert_close(split, alone, tolerance=2e-5)  # float32 sums over devices, in another order


def test_four_devices_with_microbatches_are_one():
    config = experiment(optimizer=SGD, mesh={"data": 2, "fsdp": 2}, train={"microbatches": 2})
    split = take(config, mesh=make_mesh(config, jax.devices()[:4]))
    assert_close(split, take(experiment(optimizer=SGD)), tolerance=2e-5)  # as above


def keys_of(config, *numbers):
    """The dropout keys that each train step hands out, in order."""
    seen = []

    def loss_sums(bind, params, batch, key, **_):
        model = bind(params)
        jax.debug.callback(lambda data: seen.append(tuple(np.asarray(data).tolist())), jax.random.key_data(key))
        sums = {"loss": jnp.sum(model.output_table()), "denominator": jnp.ones(())}
        return sums["loss"], sums

    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "loss_sums", loss_sums)
        compiled = compiled_on(one_device(), config)
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), compiled.abstract_state)
        train_step = jax.jit(compiled.step_function)
        for number in numbers:
            train_step({**zeros, "step": jnp.asarray(number)}, on_device(batch()))
            jax.effects_barrier()
            found.append(seen[:])
            seen.clear()
    return found


@pytest.mark.usefixtures("own_programs")
def test_every_microbatch_and_step_draws_its_own_dropout():
    config = experiment(train={"microbatches": 4})
    first, second, again = keys_of(config, 0, 1, 0)
    assert len(set(first)) == 4
    assert len(set(first + second)) == 8
    assert sorted(again) == sorted(first)
    assert not set(first) & set(*keys_of(replace(config, seed=1), 0))


@pytest.mark.usefixtures("own_programs")
def test_neighbouring_seeds_share_no_key():
    """Neither the base key of one seed nor a key derived from it is one of the next seeds' keys."""
    names = ("dropout", "adapters")
    keys = [jax.random.key(seed) for seed in range(4)] + [named_key(seed, name) for seed in range(4) for name in names]
    assert len({tuple(np.asarray(jax.random.key_data(key)).tolist()) for key in keys}) == len(keys)
    first, second = keys_of(experiment(), 0, 1)
    assert not set(first) & set(second + keys_of(replace(experiment(), seed=1), 0)[0])


@pytest.mark.usefixtures("own_programs")
def test_initial_parameters_use_the_base_key_of_the_seed():
    compiled = compiled_on(one_device(), replace(experiment(), seed=3))
    assert_same(compiled.init()["params"], jax.jit(compiled.definition.init)(jax.random.key(3)))


def test_the_learning_rate_after_skipped_steps_is_the_one_that_is_logged():
    """In warm-up, three steps are skipped; the schedule goes on as if they had not been."""
    config = experiment(optimizer={**SGD, "warmup_steps": 8})
    compiled = compiled_on(one_device(), config)
    state, values = compiled.init(), on_device(batch())
    for _ in range(3):
        state, metrics = compiled.train_step(state, values, np.float32(0.0))
        assert float(metrics["skipped"]) == 1
    state, metrics = compiled.train_step(state, values, np.float32(np.inf))
    assert float(metrics["skipped"]) == 0
    expected = float(learning_rate_schedule(config.optimizer, config.train.steps)(3))
    assert expected == pytest.approx(0.1 * 4 / 8)
    assert float(metrics["learning_rate"]) == pytest.approx(expected)
    assert float(metrics["update_norm"]) == pytest.approx(expected * float(metrics["gradient_norm"]), rel=1e-5)


@pytest.mark.usefixtures("own_programs")
@pytest.mark.parametrize("microbatches", [1, 2])
def test_from_batch_to_loss_are_six_calls(microbatches, monkeypatch):
    """Functions on the stack, closures included, where the cross-entropy of a chunk is computed."""
    stacks = []
    package = Path(steps.__file__).parents[1]

    def watched(*arguments, **options):
        frames = [frame for frame in inspect.stack() if Path(frame.filename).is_relative_to(package)]
        stacks.append([frame.function for frame in reversed(frames)])
        return token_sums(*arguments, **options)

    monkeypatch.setattr(cross_entropy, "token_sums", watched)
    compiled = compiled_on(one_device(), experiment(train={"microbatches": microbatches}))
    jax.eval_shape(compiled.step_function, compiled.abstract_state, on_device(batch()))
    assert stacks
    for stack in stacks:
        assert stack[0] == "train_step"
        assert len(stack) <= 6, stack  # the sixth calls token_sums


def test_dropout_changes_with_the_step_and_not_otherwise():
    config = experiment(model={"dropout": 0.3}, optimizer={"learning_rate": 1e-30})  # parameters stay
    compiled = compiled_on(one_device(), config)
    values = on_device(batch())
    losses = []
    for _ in range(2):
        state = compiled.init()
        for _ in range(2):
            state, metrics = compiled.train_step(state, values)
            losses.append(float(metrics["loss"]))
    assert losses[0] != losses[1]
    assert losses[:2] == losses[2:]


def test_evaluation_has_no_dropout_no_smoothing_and_no_z_loss():
    config = experiment(model={"dropout": 0.3}, train={"label_smoothing": 0.2, "z_loss": 1.0})
    compiled = compiled_on(one_device(), config)
    params = compiled.init()["params"]
    one, again = (compiled.eval_step(params, on_device(batch())) for _ in range(2))
    assert_same(one, again)
    assert float(one["loss"]) == pytest.approx(float(one["nll"]))


AVERAGED = experiment(train={"ema_decay": 0.175}, optimizer={"weight_decay": 0.0})


def test_the_average_follows_its_formula():
    compiled = compiled_on(one_device(), AVERAGED)
    state, values = compiled.init(), on_device(batch())
    assert_same(state["ema"], state["params"])
    expected = jax.device_get(state["params"])
    for decay in (1 / 10, 0.175, 0.175):  # the second step's could be 2/11, the third's 3/12
        state, _ = compiled.train_step(state, values)
        params = jax.device_get(state["params"])
        expected = jax.tree.map(lambda mean, new, decay=decay: decay * mean + (1 - decay) * new, expected, params)
    assert_close(state["ema"], expected, tolerance=1e-6)
    assert "ema" not in compiled_on(one_device(), experiment()).abstract_state


def test_a_batch_without_weight_changes_parameters_by_decay_only():
    compiled = compiled_on(one_device(), AVERAGED)
    values = batch()
    values["decoder_loss_weights"][:] = 0
    state, metrics = compiled.train_step(compiled.init(), on_device(values))
    assert_same(state["params"], compiled.init()["params"])
    assert float(metrics["loss"]) == 0


def test_the_state_is_donated():
    compiled = compiled_on(one_device(), AVERAGED)
    state = compiled.init()
    new, _ = compiled.train_step(state, on_device(batch()))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state["params"]))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(new))
