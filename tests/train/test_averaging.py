"""The schedule-free method against optax's, and against its formulas where optax has another warm-up."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny import assert_close, assert_same, batch, compiled_on, experiment, flat, on_device, one_device

from t2c_jax.config import LoraConfig, OptimizerConfig, OriginConfig, check
from t2c_jax.errors import UserError
from t2c_jax.models import lora
from t2c_jax.models.parameters import ParameterInfo
from t2c_jax.train.averaging import gradient_point, schedule_free_share, share_of_newest
from t2c_jax.train.optimizer import Optimizer, learning_rate_schedule

FREE = {"name": "schedule_free", "schedule": "constant", "learning_rate": 1e-2, "warmup_steps": 0}


def problem():
    draw = np.random.default_rng(0)
    start, target = ({"x": draw.normal(size=(4, 3)).astype(np.float32)} for _ in range(2))

    def gradient(params):
        return jax.tree.map(lambda x, t: jnp.tanh(x - t), params, target)

    return start, gradient


def ours(config, start, gradient, steps):
    """Averages and the points of their gradients."""
    info = {"x": ParameterInfo((None, None), "kernel")}
    optimizer, rate = Optimizer(config, info), learning_rate_schedule(config, steps)
    z = x = start
    state, found = optimizer.init(z), []
    for step in range(steps):
        y = gradient_point(config, z, x)
        updates, state = optimizer.updates(gradient(y), state, y, rate(jnp.asarray(step)))
        z = optax.apply_updates(z, updates)
        x = optax.incremental_update(z, x, share_of_newest(None, config, jnp.asarray(step)))
        found.append((x, gradient_point(config, z, x)))
    return found


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_as_optax_without_a_warm_up(decay):
    config = OptimizerConfig(**{**FREE, "learning_rate": 0.05}, beta1=0.9, beta2=0.95, weight_decay=decay, clip_norm=0)
    start, gradient = problem()
    theirs = optax.contrib.schedule_free_adamw(0.05, b1=0.9, b2=0.95, weight_decay=decay)
    params, state = start, theirs.init(start)
    for x, y in ours(config, start, gradient, 12):
        updates, state = theirs.update(gradient(params), state, params)
        params = optax.apply_updates(params, updates)
        # Optax computes x from y and z, which loses a bit each step.
        assert_close(y, params, tolerance=2e-6)
        assert_close(x, optax.contrib.schedule_free_eval_params(state, params), tolerance=2e-6)


def test_by_its_formulas_with_a_warm_up():
    """Algorithm 1 of Defazio et al. (2024) in float64. (Optax warms its weights up one step ahead of its rates.)"""
    config = OptimizerConfig(
        **{**FREE, "learning_rate": 0.05, "warmup_steps": 4}, beta1=0.8, beta2=0.95, weight_decay=0.1, clip_norm=0
    )
    start, gradient = problem()
    z = x = start["x"].astype(np.float64)
    squared = weights = 0.0
    for step, (found, _) in enumerate(ours(config, start, gradient, 10), 1):
        rate = 0.05 * min(step / 4, 1)
        y = 0.2 * z + 0.8 * x
        slope = np.asarray(gradient({"x": y.astype(np.float32)})["x"], np.float64)
        squared = 0.95 * squared + 0.05 * slope**2
        z = z - rate * (slope / (np.sqrt(squared / (1 - 0.95**step)) + 1e-8) + 0.1 * y)
        weights += rate**2
        x = (1 - rate**2 / weights) * x + rate**2 / weights * z
        np.testing.assert_allclose(found["x"], x, rtol=0, atol=1e-6)


@pytest.mark.parametrize("warmup", [0, 1, 7, 2000])
def test_weights_are_squared_rates(warmup):
    config = OptimizerConfig(schedule="constant", warmup_steps=warmup)
    steps = jnp.arange(5000)
    rates = np.asarray(jax.vmap(learning_rate_schedule(config, 5000))(steps), np.float64)
    expected = rates**2 / np.cumsum(rates**2)
    found = jax.vmap(lambda step: schedule_free_share(warmup, step))(steps)
    # Optax's ramp is the peak less a rounded difference: some 1e-5 of its smallest values.
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert found[0] == 1.0


def test_what_is_evaluated_is_the_average():
    """The state keeps as much as AdamW's: one second moment, no first one."""
    config = experiment(optimizer=FREE)
    compiled = compiled_on(one_device(config), config)
    state, values = compiled.init(), on_device(batch())
    assert_same(state["ema"], state["params"])
    state, _ = compiled.train_step(state, values)
    assert_close(state["ema"], state["params"], tolerance=1e-7)  # the first iterate is the whole average
    first = jax.device_get(state["params"])
    state, _ = compiled.train_step(state, values)
    mean = jax.tree.map(lambda one, other: (one + other) / 2, first, jax.device_get(state["params"]))
    assert_close(compiled.evaluation_params(state), mean, tolerance=1e-6)
    assert {path.split(".")[1] for path in flat(state["opt_state"])} == {"nu", "count"}


def test_adapters_and_layers_that_train_are_averaged_alone():
    """Adapters of the last layer, in two microbatches; a merged model has the averages of A and of B."""
    lora_config = LoraConfig(rank=2, alpha=4.0)
    rates = {"rates": (r"^encoder\.blocks[:-1]=0",)}
    config = experiment(optimizer={**FREE, **rates}, train={"microbatches": 2})
    config = replace(config, lora=lora_config, origin=OriginConfig("somewhere"))
    compiled = compiled_on(one_device(config), config)
    state, values = compiled.init(), on_device(batch())
    start = jax.device_get(state)
    for _ in range(3):
        state, _ = compiled.train_step(state, values)
    for key in ("adapters", "ema"):
        for path, leaf in flat(state[key]["encoder"]).items():
            before = flat(start[key]["encoder"])[path]
            np.testing.assert_array_equal(leaf[0], before[0], err_msg=path)
            assert (leaf[1] != before[1]).any(), path
    info = compiled.definition.parameter_info()
    expected = lora.merged(state["params"], state["ema"], info, lora_config)
    assert_close(compiled.evaluation_params(state), expected, tolerance=1e-6)


def test_a_decaying_schedule_and_another_average_are_refused():
    with pytest.raises(UserError, match=r"set config\.optimizer\.schedule=constant"):
        check(experiment(optimizer={"name": "schedule_free", "schedule": "cosine"}))
    with pytest.raises(UserError, match=r"set config\.train\.ema_decay=0"):
        check(experiment(optimizer=FREE, train={"ema_decay": 0.9}))
    check(experiment(optimizer=FREE))


def test_gradients_are_taken_between_the_iterate_and_its_average():
    config = OptimizerConfig(**FREE, beta1=0.75)
    assert gradient_point(config, {"x": 4.0}, {"x": 8.0}) == {"x": 7.0}
    assert gradient_point(replace(config, name="adamw"), {"x": 4.0}, None) == {"x": 4.0}
