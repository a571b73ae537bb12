"""Adafactor against the paper's formulas written out in numpy, and the size of its state."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from t2c_jax import config as configs
from t2c_jax.config import OptimizerConfig
from t2c_jax.models.definition import Definition, count
from t2c_jax.models.parameters import ParameterInfo
from t2c_jax.train.optimizer import update_rule

MATRIX = ParameterInfo(("embed", "mlp"), "kernel")
ATTENTION = ParameterInfo(("layers", "embed", "heads", "head_width"), "kernel", stack="blocks", layers=(0, 1), depth=2)
VECTOR = ParameterInfo(("norm",), "scale")
CONFIG = {"name": "adafactor", "weight_decay": 0.0, "clip_norm": 0.0}
STEPS = 4


def reference(parameter, gradients, *, factored, by_scale):
    """The directions of algorithms 4 and 5 of Shazeer & Stern (2018) with section 7.2's decay, section 6's clipping
    at 1 and section 8's scale, without momentum: T5X's Adafactor at its defaults, where its learning rate is 1."""
    rows = columns = whole = 0.0
    for t, gradient in enumerate(gradients, 1):
        gradient = gradient.astype(np.float64)
        decay = 1 - t**-0.8
        squared = gradient**2 + 1e-30
        if factored:
            rows = decay * rows + (1 - decay) * squared.mean(axis=1)
            columns = decay * columns + (1 - decay) * squared.mean(axis=0)
            moments = np.outer(rows, columns) / rows.mean()
        else:
            moments = whole = decay * whole + (1 - decay) * squared
        direction = gradient / np.sqrt(moments)
        direction /= max(1.0, np.sqrt((direction**2).mean()))
        if by_scale:
            direction *= max(1e-3, np.sqrt((parameter.astype(np.float64) ** 2).mean()))
        parameter = parameter - 0.1 * direction
    return parameter


def ours(parameter, gradients, info, by_scale):
    rule = update_rule(OptimizerConfig(**CONFIG, multiply_by_parameter_scale=by_scale), {"x": info})
    params = {"x": jnp.asarray(parameter)}
    state = rule.init(params)
    for gradient in gradients:
        directions, state = jax.jit(rule.update)({"x": jnp.asarray(gradient)}, state, params)
        params = optax.apply_updates(params, jax.tree.map(lambda leaf: -0.1 * leaf, directions))
    return np.asarray(params["x"]), state


def samples(shape, seed=0):
    draw = np.random.default_rng(seed)
    parameter = draw.normal(size=shape).astype(np.float32) * 0.3
    # Rows of different sizes, so that factoring shows; the third is large, so that clipping does.
    scale = np.exp(draw.normal(size=(shape[0],) + (1,) * (len(shape) - 1)))
    sizes = (1.0, 0.5, 30.0, 0.01)
    return parameter, [(draw.normal(size=shape) * scale * size).astype(np.float32) for size in sizes]


@pytest.mark.parametrize("by_scale", [False, True], ids=["plain", "by parameter scale"])
@pytest.mark.parametrize(
    ("shape", "info", "factored"),
    [((160, 130), MATRIX, True), ((160, 100), MATRIX, False), ((300,), VECTOR, False)],
    ids=["matrix", "narrow matrix", "vector"],
)
def test_updates_by_the_papers_formulas(shape, info, factored, by_scale):
    parameter, gradients = samples(shape)
    found, state = ours(parameter, gradients, info, by_scale)
    # Float32 against float64: some 1e-7 a step of updates of size 0.1.
    np.testing.assert_allclose(
        found, reference(parameter, gradients, factored=factored, by_scale=by_scale), rtol=0, atol=1e-6
    )
    assert (state["adafactor"].whole["x"].size == 1) == factored


@pytest.mark.parametrize("by_scale", [False, True], ids=["plain", "by parameter scale"])
def test_each_attention_kernel_of_a_stack_is_factored_as_a_matrix(by_scale):
    """Heads and their width are one side; what a layer's gradients are changes nothing of another's update."""
    layers = [samples((136, 8, 17), seed) for seed in (1, 2)]
    parameter = np.stack([parameter for parameter, _ in layers])
    gradients = [np.stack(pair) for pair in zip(*(gradients for _, gradients in layers), strict=True)]
    found, state = ours(parameter, gradients, ATTENTION, by_scale)
    for layer, (one, own) in enumerate(layers):
        flat = [gradient.reshape(136, 136) for gradient in own]
        expected = reference(one.reshape(136, 136), flat, factored=True, by_scale=by_scale)
        np.testing.assert_allclose(found[layer], expected.reshape(136, 8, 17), rtol=0, atol=1e-6)
    assert state["adafactor"].rows["x"].shape == state["adafactor"].columns["x"].shape == (2, 136)


def test_frozen_parameters_have_no_state():
    rule = update_rule(OptimizerConfig(**CONFIG), {"x": VECTOR, "y": {"z": MATRIX}})
    params = {"x": jnp.ones(3), "y": {"z": None}}
    state = rule.init(params)
    directions, _ = rule.update({"x": jnp.ones(3), "y": {"z": None}}, state, params)
    assert directions["y"]["z"] is None
    assert "y" not in state["adafactor"].rows


def test_the_state_of_the_xl_preset_is_small(repository: Path):
    """Whole second moments of attention alone were 1.21 G numbers of 2.78 G parameters."""
    experiment = configs.load(f"{repository}/configs/pretrain.py:xl")
    definition = Definition(experiment.model, experiment.tokenizer.vocab_size)
    rule = update_rule(OptimizerConfig(**CONFIG), definition.parameter_info())
    state = jax.eval_shape(rule.init, definition.abstract_params())
    assert count(state) <= 1.21e9 / 50
