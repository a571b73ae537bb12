"""What runs on a GPU is what runs on the CPU; and cuDNN's attention is the plain formula.

T2C_TEST_PLATFORM=cuda,cpu python -m pytest tests/train/test_gpu.py
"""

import functools
import os
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import MODEL, T5, batch, both, compiled_on, drawn, experiment, make_mesh, on_device

from t2c_jax import mesh as meshes
from t2c_jax.decode import search as decode
from t2c_jax.kernels.attention_mask import AttentionMask
from t2c_jax.models.attention import attend

pytestmark = pytest.mark.skipif(
    "cuda" not in os.environ.get("T2C_TEST_PLATFORM", ""), reason="wants a GPU, and T2C_TEST_PLATFORM=cuda,cpu"
)
# Rounding to bfloat16 is by 2**-9 at most: of inputs' products, weights, their gradients and results.
HALF = 2**-6
COPYING = replace(MODEL, copy=True)
MODELS = {
    "transformer": MODEL,
    "t5, scanned": replace(T5, scan=True),
    "transformer, copying": COPYING,
    "lstm, copying": replace(COPYING, **both("lstm")),
}
each_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)


def normal(*shape, seed):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.bfloat16)


def segments(rows, length, seed):
    """Rows of segments 1, 2, 3 of random lengths, and padding behind them."""
    ids = np.sort(np.random.default_rng(seed).integers(1, 5, (rows, length)))
    return jnp.asarray(np.where(ids == 4, 0, ids), jnp.int32)


def attended(kernel, arrays, mask, d):
    """The output and the gradients of queries, keys, values and, if there is one, the bias."""

    def run(arrays, d):
        given = (*arrays, None)[:4]
        o, pull = jax.vjp(lambda q, k, v, bias: attend(q, k, v, mask, bias=bias, kernel=kernel), *given)
        return o, [gradient for gradient in pull(d) if gradient is not None]

    return jax.jit(run)(arrays, d)


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize(
    ("queries", "keys", "causal"), [(256, 256, True), (512, 512, False), (7, 130, False), (41, 41, True)]
)
def test_cudnn_attention_is_the_plain_formula(queries, keys, causal, biased):
    arrays = [normal(4, length, 8, 64, seed=seed) for seed, length in enumerate((queries, keys, keys))]
    if biased:
        arrays.append(normal(1, 8, queries, keys, seed=3).astype(jnp.float32))
    query_segments = segments(4, queries, 4)
    key_segments = query_segments if queries == keys else segments(4, keys, 5)
    mask = AttentionMask(query_segments, key_segments, causal)
    # No loss reads what padding writes, or what a segment writes that has no keys.
    seen = (query_segments[:, :, None] == key_segments[:, None]).any(-1) & (query_segments > 0)
    d = normal(4, queries, 8, 64, seed=6) * seen[:, :, None, None]

    found = attended("cudnn", tuple(arrays), mask, d)
    whole = tuple(x.astype(jnp.float32) for x in arrays)
    expected = attended("xla", whole, mask, d.astype(jnp.float32))

    found, expected = ((o * seen[:, :, None, None], gradients) for o, gradients in (found, expected))
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one.astype(jnp.float32), other, rtol=0, atol=HALF * float(jnp.abs(other).max()))


def losses(config, platform, steps=5):
    """Nats a token over some steps on one device of a platform."""
    mesh = make_mesh(config, jax.devices(platform)[:1])
    compiled = compiled_on(mesh, config)
    state, found = compiled.init(), []
    for step in range(steps):
        state, metrics = compiled.train_step(state, meshes.global_batch(batch(config.data, step), mesh))
        found.append(float(metrics["nll"] / metrics["weight"]))
    return found


@each_model
def test_training_on_a_gpu_has_the_losses_of_the_cpu(model):
    """In float32; sums come in another order, and five steps of Adam carry the last bits on."""
    config = replace(experiment(), model=model)

    assert losses(config, "gpu") == pytest.approx(losses(config, "cpu"), rel=1e-4)


@pytest.mark.parametrize("architecture", ["transformer", "t5"])
def test_training_in_half_precision_through_cudnn(architecture):
    """The step holds cuDNN's kernels, and its losses are the plain formula's as near as bfloat16 tells."""
    config = experiment(model={**both(architecture), "dtype": "bfloat16"})
    plain = experiment(model={**both(architecture), "dtype": "bfloat16", "attention": "xla"})
    mesh = make_mesh(config, jax.devices("gpu")[:1])
    compiled = compiled_on(mesh, config)
    with jax.set_mesh(mesh):
        step = jax.jit(compiled.step_function)
        text = step.lower(compiled.init(), meshes.global_batch(batch(config.data), mesh)).compile().as_text()
    assert "fmha" in text

    assert losses(config, "gpu") == pytest.approx(losses(plain, "gpu"), rel=2e-2)


@each_model
def test_search_on_a_gpu_finds_the_answers_of_the_cpu(model):
    definition, params = drawn(model)
    values = batch(replace(experiment().data, pack=False))
    source = {name: value for name, value in values.items() if name.startswith("encoder_")}

    def found(platform, beams):
        @functools.partial(jax.jit, static_argnums=2)
        def search(params, source, beams):
            rows = source["encoder_input_tokens"].shape[0]
            step, cache = definition.bind(params).start(source, beams=beams, steps=12)
            return decode.search(step, cache, rows, 12, beams=beams, length_penalty=0.6)

        with jax.default_device(jax.devices(platform)[0]):
            placed = jax.device_put((params, on_device(source)), jax.devices(platform)[0])
            return jax.device_get(search(*placed, beams))

    for beams in (1, 3):
        ours, theirs = found("gpu", beams), found("cpu", beams)
        np.testing.assert_array_equal(ours.tokens, theirs.tokens)
        np.testing.assert_allclose(ours.scores, theirs.scores, rtol=1e-4, atol=1e-4)
