"""Schedules at their corners, what weight decay reaches, and both update rules on a problem they must solve."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny import MODEL, VOCABULARY, batch, drawn, experiment, flat, on_device, one_device

from t2c_jax.config import OptimizerConfig
from t2c_jax.models.functional import Definition
from t2c_jax.train.optimizer import decayed, learning_rate, make_optimizer
from t2c_jax.train.step import Compiled


@pytest.mark.parametrize(
    ("schedule", "warmup", "expected"),
    [
        ("constant", 0, {0: 1.0, 50: 1.0, 100: 1.0}),
        ("constant", 10, {0: 0.1, 4: 0.5, 9: 1.0, 10: 1.0, 100: 1.0}),
        ("cosine", 0, {0: 1.0, 50: 0.55, 100: 0.1, 1000: 0.1}),
        ("cosine", 20, {0: 0.05, 19: 1.0, 20: 1.0, 60: 0.55, 100: 0.1}),
        ("cosine", 100, {0: 0.01, 99: 1.0}),
        ("inverse_sqrt", 10, {0: 0.1, 9: 1.0, 10: 1.0, 40: 0.5, 90: 1 / 3}),
        ("inverse_sqrt", 0, {0: 1.0, 3: 0.5, 99: 0.1}),
        ("constant", 1, {0: 1.0, 1: 1.0}),
    ],
)
def test_schedules_at_their_corners(schedule, warmup, expected):
    config = OptimizerConfig(learning_rate=2e-3, schedule=schedule, warmup_steps=warmup, end_share=0.1)
    rate = learning_rate(config, 100)
    for step, share in expected.items():
        np.testing.assert_allclose(rate(jnp.asarray(step)), 2e-3 * share, rtol=1e-5, err_msg=f"step {step}")


@pytest.mark.parametrize("schedule", ["constant", "cosine", "inverse_sqrt"])
def test_the_rate_rises_to_its_peak_and_never_again(schedule):
    config = OptimizerConfig(learning_rate=1.0, schedule=schedule, warmup_steps=7)
    rates = np.asarray(jax.vmap(learning_rate(config, 50))(jnp.arange(51)))
    assert (rates > 0).all()
    assert (np.diff(rates[:7]) > 0).all()
    assert rates.max() == pytest.approx(1.0)
    assert (np.diff(rates[7:]) <= 1e-7).all()


@pytest.mark.parametrize("activation", ["gated_gelu", "relu"])
def test_weight_decay_reaches_all_matrices_and_nothing_else(activation):
    """Norm scales and the relative bias are no directions to shrink; every other parameter is."""
    definition = Definition(replace(MODEL, position="t5", tied_embeddings=False, activation=activation), VOCABULARY)
    mask = flat(decayed(definition.abstract_params(), OptimizerConfig().decay_mask))
    left_out = {path for path, hit in mask.items() if not hit}
    assert left_out == {path for path in mask if path.endswith((".scale", ".table"))}
    assert {path.rsplit(".", 1)[-1] for path in mask.keys() - left_out} >= {"embedding", "output", "down"}


def test_weight_decay_is_decoupled():
    """With no gradient, a decayed parameter shrinks by rate x decay and another stays."""
    config = OptimizerConfig(learning_rate=0.1, schedule="constant", warmup_steps=0, weight_decay=0.5)
    optimizer = make_optimizer(config, 10)
    params = {"up": jnp.full((2, 2), 3.0), "norm": {"scale": jnp.full((2,), 3.0)}}
    updates, _ = optimizer.update(jax.tree.map(jnp.zeros_like, params), optimizer.init(params), params)
    new = optax.apply_updates(params, updates)
    np.testing.assert_allclose(new["up"], 3.0 * (1 - 0.1 * 0.5), rtol=1e-6)
    np.testing.assert_array_equal(new["norm"]["scale"], 3.0)


@pytest.mark.parametrize("clip_norm", [0.0, 1.0])
def test_clipping_bounds_the_global_norm(clip_norm):
    """Adam's first update does not see the gradient's size, so look at its first moment."""
    optimizer = make_optimizer(OptimizerConfig(clip_norm=clip_norm, beta1=0.9, weight_decay=0.0), 10)
    params = {"up": jnp.zeros((3, 4)), "down": jnp.zeros((5,))}
    gradients = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 7.0), params)
    _, state = optimizer.update(gradients, optimizer.init(params), params)
    norm = float(optax.tree.norm(state["adam"].mu)) / (1 - 0.9)
    assert norm == pytest.approx(clip_norm or 7.0 * 17**0.5, rel=1e-5)


@pytest.mark.parametrize("name", ["adamw", "adafactor"])
def test_both_rules_fit_one_batch(name):
    config = experiment(
        optimizer={"name": name, "learning_rate": 1e-2, "schedule": "constant", "warmup_steps": 5, "weight_decay": 0.0}
    )
    compiled = Compiled(config, VOCABULARY, one_device(config))
    state, values = compiled.init(), on_device(batch())
    losses = []
    for _ in range(40):
        state, metrics = compiled.train_step(state, values)
        losses.append(float(metrics["loss"] / metrics["weight"]))
    assert losses[0] > 3.0
    assert losses[-1] < 0.6 * losses[0]


def test_drawn_parameters_are_what_the_state_starts_from():
    config = experiment()
    compiled = Compiled(config, VOCABULARY, one_device(config))
    assert flat(compiled.init()["params"]).keys() == flat(drawn()[1]).keys()
