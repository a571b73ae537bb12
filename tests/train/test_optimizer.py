"""Schedules at their corners, what weight decay reaches, and both update rules on a problem they must solve."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny import (
    MODEL,
    T5,
    VOCABULARY,
    assert_close,
    assert_same,
    batch,
    both,
    compiled_on,
    drawn,
    encoder,
    experiment,
    flat,
    make_mesh,
    on_device,
    one_device,
    reshaped,
)

from t2c_jax.config import OptimizerConfig, check, parse_rates
from t2c_jax.errors import UserError
from t2c_jax.models.definition import Definition
from t2c_jax.models.parameters import ParameterInfo
from t2c_jax.train.batch_loss import loss_sums
from t2c_jax.train.optimizer import (
    Optimizer,
    decay_mask,
    learning_rate_multipliers,
    learning_rate_schedule,
    merge_frozen,
    scale_updates,
    trainable,
    update_rule,
)


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
    rate = learning_rate_schedule(config, 100)
    for step, share in expected.items():
        np.testing.assert_allclose(rate(jnp.asarray(step)), 2e-3 * share, rtol=1e-5, err_msg=f"step {step}")


@pytest.mark.parametrize(
    ("warmup", "expected"),
    [
        (0, {0: 1, 4: 1, 5: 1 / 2, 7: 1 / 2, 8: 1 / 4, 10: 1 / 4, 11: 1 / 8, 50: 2.0**-16}),
        (4, {0: 1 / 4, 3: 1, 4: 1, 5: 1 / 2, 8: 1 / 4}),  # steps count from the run's first, the warm-up's included
        (7, {6: 1, 7: 1 / 2, 8: 1 / 4}),
    ],
)
def test_step_decay_halves_at_its_start_and_every_so_often(warmup, expected):
    """Sutskever et al. (2014, section 3.4) halve every half epoch from epoch 5 on; here every 3 steps from step 5."""
    config = OptimizerConfig(
        learning_rate=0.7, schedule="step_decay", warmup_steps=warmup, decay_start=5, decay_every=3, decay_factor=0.5
    )
    rate = learning_rate_schedule(config, 100)
    for step, share in expected.items():
        np.testing.assert_allclose(rate(jnp.asarray(step)), 0.7 * share, rtol=1e-6, err_msg=f"step {step}")


@pytest.mark.parametrize("schedule", ["constant", "cosine", "inverse_sqrt"])
def test_the_rate_rises_to_its_peak_and_never_again(schedule):
    config = OptimizerConfig(learning_rate=1.0, schedule=schedule, warmup_steps=7)
    rates = np.asarray(jax.vmap(learning_rate_schedule(config, 50))(jnp.arange(51)))
    assert (rates > 0).all()
    assert (np.diff(rates[:7]) > 0).all()
    assert rates.max() == pytest.approx(1.0)
    assert (np.diff(rates[7:]) <= 1e-7).all()


@pytest.mark.parametrize("activation", ["gated_gelu_tanh", "relu"])
def test_weight_decay_reaches_all_matrices_and_nothing_else(activation):
    """Norm scales and the relative bias are no directions to shrink; every other parameter is."""
    definition = Definition(replace(reshaped(T5, activation=activation), tied_embeddings=False), VOCABULARY)
    mask = flat(decay_mask(definition.parameter_info(), ""))
    left_out = {path for path, hit in mask.items() if not hit}
    assert left_out == {path for path in mask if path.endswith((".scale", ".table"))}
    assert {path.rsplit(".", 1)[-1] for path in mask.keys() - left_out} >= {"embedding", "output", "down"}


@pytest.mark.parametrize(
    ("model", "names"),
    [
        (both("lstm"), {"bias", "bridge_bias"}),
        (
            {"encoder": encoder("bert", mix_layers=True), "copy": True, "output_heads": ("tagging", "embedding")},
            {"key_bias", "up_bias", "down_bias", "output_bias", "bias", "scale", "weights", "gate_bias"},
        ),
    ],
    ids=["recurrent", "pretrained, pointer and heads"],
)
def test_weight_decay_leaves_biases_and_the_mix_of_layers(model, names):
    """An LSTM's forget gate starts at 1; a bias, a norm's scale or a mix has no reason to go to zero."""
    mask = flat(decay_mask(Definition(replace(MODEL, **model), VOCABULARY).parameter_info(), ""))
    left_out = {path for path, hit in mask.items() if not hit}
    assert left_out == {path for path in mask if path.endswith(("bias", ".scale", ".weights"))}
    assert names <= {path.rsplit(".", 1)[-1] for path in left_out}


def test_decay_mask_selects_the_parameters_that_decay():
    info = Definition(MODEL, VOCABULARY).parameter_info()
    mask = flat(decay_mask(info, r"\.scale$"))
    assert {path for path, hit in mask.items() if hit} == {path for path in mask if path.endswith(".scale")}


def test_weight_decay_is_decoupled():
    """With no gradient, a decayed parameter shrinks by rate x decay and another stays."""
    config = OptimizerConfig(learning_rate=0.1, schedule="constant", warmup_steps=0, weight_decay=0.5)
    params = {"up": jnp.full((2, 2), 3.0), "norm": {"scale": jnp.full((2,), 3.0)}}
    new = updated(config, params, jax.tree.map(jnp.zeros_like, params), norm={"scale": ParameterInfo((None,), "scale")})
    np.testing.assert_allclose(new["up"], 3.0 * (1 - 0.1 * 0.5), rtol=1e-6)
    np.testing.assert_array_equal(new["norm"]["scale"], 3.0)


@pytest.mark.parametrize("clip_norm", [0.0, 1.0])
def test_clipping_bounds_the_global_norm(clip_norm):
    """Adam's first update does not see the gradient's size, so look at its first moment."""
    params = {"up": jnp.zeros((3, 4)), "down": jnp.zeros((5,))}
    optimizer = update_rule(OptimizerConfig(clip_norm=clip_norm, beta1=0.9, weight_decay=0.0), kernels(params))
    gradients = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 7.0), params)
    _, state = optimizer.update(gradients, optimizer.init(params), params)
    norm = float(optax.tree.norm(state["adam"].mu)) / (1 - 0.9)
    assert norm == pytest.approx(clip_norm or 7.0 * 17**0.5, rel=1e-5)


@pytest.mark.parametrize("name", ["adamw", "adafactor", "muon", "schedule_free"])
def test_every_rule_fits_one_batch(name):
    config = experiment(
        optimizer={"name": name, "learning_rate": 1e-2, "schedule": "constant", "warmup_steps": 5, "weight_decay": 0.0}
    )
    compiled = compiled_on(one_device(config), config)
    state, values = compiled.init(), on_device(batch())
    losses = []
    for _ in range(40):
        state, metrics = compiled.train_step(state, values)
        losses.append(float(metrics["loss"] / metrics["weight"]))
    assert losses[0] > 3.0
    assert losses[-1] < 0.6 * losses[0]


def test_the_state_starts_from_the_initial_parameters():
    config = experiment()
    compiled = compiled_on(one_device(config), config)
    assert flat(compiled.init()["params"]).keys() == flat(drawn()[1]).keys()


PLAIN = {"schedule": "constant", "warmup_steps": 0, "weight_decay": 0.0, "clip_norm": 0.0}


def kernels(params):
    """Each array as a kernel of no layer."""
    return jax.tree.map(lambda leaf: ParameterInfo((None,) * leaf.ndim, "kernel"), params)


def updated(config, params, gradients, **info):
    optimizer = Optimizer(config, {**kernels(params), **info})
    updates, _ = optimizer.updates(gradients, optimizer.init(params), params, config.learning_rate)
    return optax.apply_updates(params, updates)


def test_gradient_descent_by_its_formula():
    config = OptimizerConfig(name="sgd", learning_rate=0.1, **PLAIN)
    found = updated(config, {"x": jnp.array([1.0, 2.0])}, {"x": jnp.array([3.0, -4])})
    np.testing.assert_allclose(found["x"], [1 - 0.1 * 3, 2 + 0.1 * 4], rtol=1e-6)


def test_rmsprop_by_its_formula():
    """From a mean square of zero; epsilon large enough to show."""
    config = OptimizerConfig(name="rmsprop", learning_rate=0.1, beta2=0.75, epsilon=0.25, **PLAIN)
    found = updated(config, {"x": jnp.array([1.0, 2.0])}, {"x": jnp.array([3.0, -4.0])})
    # The mean squares are 9/4 and 16/4. Inside or outside of the root: optax.scale_by_rms adds epsilon inside.
    expected = [1 - 0.1 * 3 / (9 / 4 + 0.25) ** 0.5, 2 + 0.1 * 4 / (16 / 4 + 0.25) ** 0.5]
    np.testing.assert_allclose(found["x"], expected, rtol=1e-6)


def test_the_first_rate_that_finds_a_parameter_multiplies_its_update():
    config = OptimizerConfig(name="sgd", learning_rate=0.1, rates=("encoder.norm=3", "^encoder=.5", "norm=0"), **PLAIN)
    params = {
        "encoder": {"norm": jnp.ones(1), "up": jnp.ones(1), "decoder": jnp.ones(1)},
        "decoder": {"norm": jnp.ones(1), "encoder": jnp.ones(1)},
    }
    factors = {"encoder": {"norm": 3, "up": 0.5, "decoder": 0.5}, "decoder": {"norm": 0, "encoder": 1}}
    assert learning_rate_multipliers(kernels(params), config) == factors
    optimizer = Optimizer(config, kernels(params))
    ones = optimizer.trainable(jax.tree.map(jnp.ones_like, params))
    updates, _ = optimizer.updates(ones, optimizer.init(params), optimizer.trainable(params), 0.1)
    found = optimizer.merge_frozen(optax.apply_updates(optimizer.trainable(params), updates), params)
    expected = jax.tree.map(lambda factor: jnp.array([1 - 0.1 * factor], jnp.float32), factors)
    assert_close(found, expected, tolerance=1e-6)


@pytest.mark.parametrize("microbatches", [1, 2])
def test_a_frozen_parameter_stays_as_it_is(microbatches):
    """Not a bit of it moves, nothing is kept for it, and the gradient's norm is that of the others."""
    config = experiment(
        optimizer={"rates": ("^encoder=0",), "weight_decay": 0.1}, train={"microbatches": microbatches, "z_loss": 0.0}
    )
    mesh = one_device(config)
    compiled = compiled_on(mesh, config)
    state, values = compiled.init(), on_device(batch())
    start = jax.device_get(state["params"])
    frozen = {path for path in flat(start) if path.startswith("encoder.")}
    kept = flat(state["opt_state"])
    assert frozen
    assert any("mu.decoder." in path for path in kept)
    assert not [path for path in kept if ".encoder." in path]
    norms = []
    for _ in range(3):
        state, metrics = compiled.train_step(state, values)
        norms.append(float(metrics["gradient_norm"]))
    assert_same(state["params"]["encoder"], start["encoder"])
    for path, value in flat({name: state["params"][name] for name in ("decoder", "embedding")}).items():
        assert (value != flat(start)[path]).any(), path

    def mean_loss(params):
        bind = compiled.definition.bind
        sums = loss_sums(bind, params, values, None, config.train, config.data, training=True)[1]
        return sums["loss"] / sums["weight"]

    with jax.set_mesh(mesh):
        gradients = flat(jax.jit(jax.grad(mean_loss))(jax.device_put(start)))
    others = sum(
        float((value.astype(np.float64) ** 2).sum()) for path, value in gradients.items() if path not in frozen
    )
    assert any(gradients[path].any() for path in frozen), "they would have moved"
    assert norms[0] == pytest.approx(others**0.5, rel=1e-4)  # summed in another order, in halves


def test_everything_frozen_is_a_mistake():
    config = experiment(optimizer={"rates": ("coder=0", "embedding=0")})
    with pytest.raises(UserError, match=r"config\.optimizer\.rates freezes every parameter; leave one to train"):
        compiled_on(one_device(config), config)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("encoder", "'encoder' must be PATTERN=FACTOR"),
        ("encoder=", "must be PATTERN=FACTOR"),
        ("encoder=-1", "must be PATTERN=FACTOR"),
        ("encoder=nan", "must be PATTERN=FACTOR"),
        ("a=1e", "config.optimizer.rates: 'a=1e' must be PATTERN=FACTOR"),
        ("a=1e999", "config.optimizer.rates: 'a=1e999' must be PATTERN=FACTOR"),
        ("(=1", "config.optimizer.rates='(' is no regular expression"),
    ],
)
def test_rates_that_cannot_be(item, message):
    with pytest.raises(UserError) as caught:
        check(experiment(optimizer={"rates": (item,)}))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_pattern_may_hold_an_equals_sign():
    check(experiment(optimizer={"rates": ("(?=encoder)=0.5", "^embedding=2.", "x=.5")}))


def test_a_factor_is_a_number_as_one_writes_it():
    items = ("a=1e-2", "b=1.5E+1", "c[:-1]=.5e0", "1e-3=2", "d=10")
    assert [(rate.pattern, rate.factor) for rate in parse_rates(items)] == [
        ("a", 0.01),
        ("b", 15.0),
        ("c", 0.5),
        ("1e-3", 2.0),
        ("d", 10.0),
    ]


def stacked(stack, depth, kind="kernel", own=2):
    return ParameterInfo(("layers",) + (None,) * own, kind, stack=stack, layers=tuple(range(depth)), depth=depth)


TABLE, SCALE = ParameterInfo((None, None), "embedding"), ParameterInfo((None,), "scale")
STACKS = {
    "embedding": {"embedding": TABLE},
    "encoder": {"tokens": TABLE, "blocks": {"up": stacked("encoder.blocks", 3)}, "norm": {"scale": SCALE}},
    "decoder": {
        "blocks": {
            "up": stacked("decoder.blocks", 2),
            "norm": {"scale": stacked("decoder.blocks", 2, "scale", own=1)},
        }
    },
}


def test_rates_fall_with_the_depth_by_hand():
    """Three encoder layers, two decoder layers; a table below a stack is one layer deeper than its deepest."""
    config = OptimizerConfig(layer_decay=0.5, rates=("^decoder=10",))
    expected = {
        "embedding.embedding": 0.125,
        "encoder.tokens": 0.125,
        "encoder.blocks.up": [0.25, 0.5, 1.0],
        "encoder.norm.scale": 1.0,
        "decoder.blocks.up": [5.0, 10.0],
        "decoder.blocks.norm.scale": [5.0, 10.0],
    }
    found = flat(learning_rate_multipliers(STACKS, config))
    assert {path: value.tolist() for path, value in found.items()} == expected


def test_recurrent_layers_have_a_depth_by_their_number():
    config = OptimizerConfig(layer_decay=0.5, rates=("encoder[:1]=0",))
    model = replace(MODEL, encoder=encoder("lstm", layers=3, bidirectional=False))
    found = flat(learning_rate_multipliers(Definition(model, VOCABULARY).parameter_info(), config))
    assert [float(found[f"encoder.forward_{i}.state"]) for i in range(3)] == [0, 0.5, 1]


@pytest.mark.parametrize(
    ("rates", "factors"),
    [
        (("^encoder[:-1]=0",), [0, 0, 1]),
        (("^encoder[1:2]=0", "^encoder=.5"), [0.5, 0, 0.5]),
        (("up[-1:]=2", "^encoder[1:]=0"), [1, 0, 2]),
        (("up[:]=3",), 3),
    ],
)
def test_a_slice_reaches_layers_of_a_stack_alone(rates, factors):
    config = OptimizerConfig(name="sgd", learning_rate=1.0, rates=rates, **PLAIN)
    multipliers = learning_rate_multipliers(STACKS, config)
    found = flat(multipliers)
    assert found["encoder.blocks.up"].tolist() == factors
    assert found["encoder.norm.scale"] == (0.5 if "^encoder=.5" in rates else 1)
    params = jax.tree.map(lambda one: jnp.ones((one.depth or 2, *(2,) * (len(one.axes) - 1))), STACKS)
    moving = trainable(params, multipliers)
    ones = jax.tree.map(jnp.ones_like, moving)
    updates = scale_updates(ones, -1.0, multipliers)
    back = merge_frozen(optax.apply_updates(moving, updates), params, multipliers)
    expected = np.broadcast_to(1 + np.reshape(np.array(factors, np.float32), (-1, 1, 1)), (3, 2, 2))
    np.testing.assert_array_equal(back["encoder"]["blocks"]["up"], expected)


@pytest.mark.parametrize("item", ["^encodr=0", "up[5:]=3", "tokens[:1]=0"])
def test_an_item_that_reaches_no_parameter_is_a_mistake(item):
    with pytest.raises(UserError) as caught:
        learning_rate_multipliers(STACKS, OptimizerConfig(rates=("^decoder=0.5", item)))
    assert f"config.optimizer.rates: {item!r} reaches no parameter; those of this model are in" in str(caught.value)
    assert "encoder.blocks" in str(caught.value)


def test_frozen_layers_of_a_stack_stay_as_they_are():
    """Not a bit of them moves, decayed or averaged; the optimizer holds the last layer's moments alone."""
    config = experiment(
        optimizer={"rates": (r"^encoder\.blocks[:-1]=0", "^embedding=0"), "weight_decay": 0.5},
        train={"ema_decay": 0.9},
    )
    compiled = compiled_on(one_device(config), config)
    state, values = compiled.init(), on_device(batch())
    start = jax.device_get(state["params"])
    for path, leaf in flat(state["opt_state"]["adam"].mu["encoder"]["blocks"]).items():
        assert leaf.shape[0] == 1, path
    for _ in range(2):
        state, _ = compiled.train_step(state, values)
    trees = (state["params"], state["ema"], start)
    blocks, averages, before = (flat(tree["encoder"]["blocks"]) for tree in trees)
    for path, leaf in blocks.items():
        for tree in (blocks, averages):
            np.testing.assert_array_equal(tree[path][0], before[path][0], err_msg=path)
        assert (leaf[1] != before[path][1]).any(), path
    assert (np.asarray(state["params"]["decoder"]["norm"]["scale"]) != start["decoder"]["norm"]["scale"]).any()
    frozen = start["embedding"]["embedding"].size + sum(leaf[0].size for leaf in before.values())
    assert compiled.trained == compiled.parameters - frozen


def test_moments_of_some_layers_lie_as_their_parameters_do():
    config = experiment(optimizer={"rates": ("^encoder[:-1]=0",)}, mesh={"data": 2, "fsdp": 2, "tensor": 2})
    compiled = compiled_on(make_mesh(config), config)
    query = compiled.shardings["params"]["encoder"]["blocks"]["attention"]["query"]
    assert query.spec[1] == "fsdp"
    assert compiled.shardings["opt_state"]["adam"].mu["encoder"]["blocks"]["attention"]["query"] == query


@pytest.mark.parametrize(
    ("layer_decay", "message"),
    [(0.0, "=0.0 must lie in (0, 1]"), (1.5, "=1.5 must lie in (0, 1]")],
)
def test_a_layer_decay_that_cannot_be(layer_decay, message):
    with pytest.raises(UserError) as caught:
        check(experiment(optimizer={"layer_decay": layer_decay}))
    assert message in str(caught.value)
