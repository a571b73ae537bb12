"""The compiled step: its golden numbers, and what must not change them."""

import json
import os
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import DATA, VOCABULARY, assert_close, assert_same, batch, drawn, experiment, on_device, one_device

from t2c_jax import mesh as meshes
from t2c_jax.train import step as steps
from t2c_jax.train.optimizer import make_optimizer
from t2c_jax.train.step import Compiled, make_train_step


def sgd(monkeypatch):
    """Plain gradient descent: Adam's first update is a sign, which blows a rounding error up to a whole step."""
    import optax

    monkeypatch.setattr(steps, "make_optimizer", lambda config, count: optax.named_chain(("sgd", optax.sgd(0.1))))


def take(config, count=1, values=None, mesh=None):
    """State and metrics after some steps on the same mesh, drawn and placed as a run does it."""
    mesh = mesh or meshes.make_mesh(config, None if config.mesh != experiment().mesh else jax.devices()[:1])
    compiled = Compiled(config, VOCABULARY, mesh)
    state, metrics = compiled.init(), {}
    for step in range(count):
        given = batch(config.data, step) if values is None else values
        state, metrics = compiled.train_step(state, meshes.global_batch(given, mesh))
    return state, metrics


@pytest.mark.parametrize("optimizer", ["adamw", "adafactor"])
@pytest.mark.parametrize("position", ["rope", "t5"])
def test_golden_step(position, optimizer, repository):
    config = experiment(
        model={"position": position}, optimizer={"name": optimizer}, train={"label_smoothing": 0.1, "z_loss": 1e-3}
    )
    _, metrics = take(config, count=2)
    names = ("loss", "nll", "correct", "weight", "gradient_norm", "update_norm", "learning_rate", "source_tokens")
    found = {name: float(metrics[name]) for name in names}
    path = repository / "tests" / "golden" / "train_step.json"
    golden = json.loads(path.read_text()) if path.exists() else {}
    if os.environ.get("T2C_REFRESH_GOLDENS") == "1":
        golden[f"{position} {optimizer}"] = found
        path.write_text(json.dumps(golden, indent=1) + "\n")
    # The supported releases of jax bring other versions of XLA, which sum float32 in another order.
    assert found == pytest.approx(golden[f"{position} {optimizer}"], rel=1e-4)


def test_metrics_are_sums_and_norms(monkeypatch):
    sgd(monkeypatch)
    config = experiment()
    values = batch()
    state, metrics = take(config, values=values)
    assert float(metrics["weight"]) == values["decoder_loss_weights"].sum()
    assert float(metrics["source_tokens"]) == (values["encoder_segment_ids"] > 0).sum()
    assert float(metrics["update_norm"]) == pytest.approx(0.1 * float(metrics["gradient_norm"]), rel=1e-5)
    assert float(metrics["learning_rate"]) == pytest.approx(config.optimizer.learning_rate / 2)
    assert int(state["step"]) == 1


@pytest.mark.parametrize("microbatches", [2, 4, 8])
def test_microbatches_are_one_batch(microbatches, monkeypatch):
    """Ragged ones: a mean of the parts' means would weigh their tokens differently."""
    sgd(monkeypatch)
    values = batch()
    for row in range(DATA.batch_size):
        values["decoder_loss_weights"][row, 1 + row :] = 0
    values["decoder_loss_weights"][3] = 0
    whole, parts = (take(experiment(train={"microbatches": n}), values=values) for n in (1, microbatches))
    assert_close(parts, whole, tolerance=2e-5)  # the same float32 terms, summed in another order


MESHES = [
    {"data": 8},
    {"fsdp": 8},
    {"tensor": 2, "data": 4},
    {"data": 2, "fsdp": 2, "tensor": 2},
]


@pytest.fixture(scope="module")
def alone():
    with pytest.MonkeyPatch.context() as patch:
        sgd(patch)
        return take(experiment(model={"dropout": 0.1}))


@pytest.mark.parametrize("sizes", MESHES, ids=str)
def test_eight_devices_are_one(sizes, alone, monkeypatch):
    """Loss, norms and all parameters after a step, dropout's draws included."""
    sgd(monkeypatch)
    split = take(experiment(model={"dropout": 0.1}, mesh={"data": 1, "fsdp": 1, "tensor": 1, **sizes}))
    assert_close(split, alone, tolerance=2e-5)  # float32 sums over devices, in another order


def test_eight_devices_with_microbatches_are_one(monkeypatch):
    sgd(monkeypatch)
    data = {"batch_size": 16}
    split = take(experiment(data=data, mesh={"data": 4, "fsdp": 2}, train={"microbatches": 2}))
    assert_close(split, take(experiment(data=data)), tolerance=2e-5)  # as above


def keys_of(config, step=0):
    """The dropout keys that one train step hands out, in order."""
    seen = []
    definition, params = drawn(config.model)
    optimizer = make_optimizer(config.optimizer, 10)

    def loss_sums(definition, params, batch, key, config, **_):
        jax.debug.callback(lambda data: seen.append(tuple(np.asarray(data).tolist())), jax.random.key_data(key))
        total = sum(jnp.sum(leaf) for leaf in jax.tree.leaves(params))
        return {"loss": total, "denominator": jnp.ones(())}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "loss_sums", loss_sums)
        state = {"step": jnp.asarray(step), "params": params, "opt_state": optimizer.init(params)}
        jax.jit(make_train_step(definition, optimizer, config))(state, on_device(batch()))
        jax.effects_barrier()
    return seen


def test_every_microbatch_and_step_draws_its_own_dropout():
    config = experiment(train={"microbatches": 4})
    first, second = keys_of(config), keys_of(config, step=1)
    assert len(set(first)) == 4
    assert len(set(first + second)) == 8
    assert sorted(keys_of(config)) == sorted(first)
    assert not set(first) & set(keys_of(replace(config, seed=1)))


def test_dropout_changes_with_the_step_and_not_otherwise():
    config = experiment(model={"dropout": 0.3}, optimizer={"learning_rate": 1e-30})  # parameters stay
    compiled = Compiled(config, VOCABULARY, one_device())
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
    compiled = Compiled(config, VOCABULARY, one_device())
    params = compiled.init()["params"]
    one, again = (compiled.eval_step(params, on_device(batch())) for _ in range(2))
    assert_same(one, again)
    assert float(one["loss"]) == pytest.approx(float(one["nll"]))


def test_the_average_follows_its_formula():
    config = experiment(train={"ema_decay": 0.175})
    compiled = Compiled(config, VOCABULARY, one_device())
    state, values = compiled.init(), on_device(batch())
    assert_same(state["ema"], state["params"])
    expected = jax.device_get(state["params"])
    for decay in (1 / 10, 0.175, 0.175):  # the second step's could be 2/11, the third's 3/12
        state, _ = compiled.train_step(state, values)
        params = jax.device_get(state["params"])
        expected = jax.tree.map(lambda mean, new, decay=decay: decay * mean + (1 - decay) * new, expected, params)
    assert_close(state["ema"], expected, tolerance=1e-6)
    assert "ema" not in Compiled(experiment(), VOCABULARY, one_device()).abstract_state


def test_a_batch_without_weight_moves_nothing_but_by_decay():
    config = experiment(optimizer={"weight_decay": 0.0})
    compiled = Compiled(config, VOCABULARY, one_device())
    values = batch()
    values["decoder_loss_weights"][:] = 0
    state, metrics = compiled.train_step(compiled.init(), on_device(values))
    assert_same(state["params"], compiled.init()["params"])
    assert float(metrics["loss"]) == 0


def test_the_state_is_donated():
    config = experiment()
    compiled = Compiled(config, VOCABULARY, one_device())
    state = compiled.init()
    new, _ = compiled.train_step(state, on_device(batch()))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state["params"]))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(new))
