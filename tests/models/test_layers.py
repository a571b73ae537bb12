"""Dropout's rate and expectation, RMSNorm's formula, RoPE's and the relative bias's invariances."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from tiny import MODEL, drawn, experiment, make_mesh

from t2c_jax.mesh import partition_spec
from t2c_jax.models.layers import dropout, look_up
from t2c_jax.models.positions import relative_bucket, rotate, rotation


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_dropout_meets_its_rate_and_keeps_the_expectation(rate):
    x = jnp.full((1000, 100), 3.0)
    y = np.asarray(dropout(x, rate, jax.random.key(0)))
    kept = y != 0
    # The share of 1e5 draws has a standard error below 1.6e-3; five of them.
    assert abs(kept.mean() - (1 - rate)) < 8e-3
    assert abs(y.mean() - 3.0) < 3.0 * 8e-3 / (1 - rate)
    np.testing.assert_allclose(y[kept], 3.0 / (1 - rate), rtol=1e-4)  # the rate itself is met to 2^-17


def test_dropout_is_nothing_without_a_key_or_a_rate():
    x = jnp.ones((3, 4))
    assert dropout(x, 0.5, None) is x
    assert dropout(x, 0.0, jax.random.key(0)) is x


def test_rms_norm_is_its_formula():
    definition, params = drawn()
    scale = np.linspace(0.5, 2.0, MODEL.width)
    params["encoder"]["norm"]["scale"] = jnp.asarray(scale, jnp.float32)
    norm = definition.bind(params).encoder.norm
    x = jax.random.normal(jax.random.key(0), (2, 3, MODEL.width)) * 7
    x_64 = np.asarray(x, np.float64)
    expected = x_64 / np.sqrt(np.mean(np.square(x_64), -1, keepdims=True) + 1e-6) * scale[None, None]
    np.testing.assert_allclose(norm(x), expected, rtol=1e-5)  # rsqrt's and the division's roundings
    assert norm(x.astype(jnp.bfloat16)).dtype == jnp.bfloat16


def test_rope_keeps_lengths_and_sees_distances_only():
    q, k = jax.random.normal(jax.random.key(0), (2, 1, 6, 2, 8))

    def scores(offset):
        rotary = rotation(jnp.arange(6)[None] + offset, 8, 10_000.0)
        return jnp.einsum("bthk,bshk->bhts", rotate(q, rotary), rotate(k, rotary)), rotate(q, rotary)

    (near, turned), (far, _) = scores(0), scores(100)
    np.testing.assert_allclose(near, far, atol=2e-4)  # cos and sin of angles near 100 are good to 1e-5 in float32
    np.testing.assert_allclose(jnp.linalg.norm(turned, axis=-1), jnp.linalg.norm(q, axis=-1), rtol=1e-5)
    np.testing.assert_array_equal(turned[:, 0], q[:, 0])
    assert bool((turned[:, 1:] != q[:, 1:]).any())


def test_rope_is_rounded_once_in_half_precision():
    """Far from the row's start a rounded sine is off by 2**-9; products in float32 leave the result's own rounding."""
    x = jax.random.normal(jax.random.key(0), (1, 64, 2, 8)).astype(jnp.bfloat16)
    rotary = rotation(4000 + jnp.arange(64)[None], 8, 10_000.0)
    exact = rotate(x.astype(jnp.float32), rotary)
    np.testing.assert_array_equal(rotate(x, rotary), exact.astype(jnp.bfloat16))


@pytest.mark.parametrize("bidirectional", [True, False])
def test_relative_buckets(bidirectional):
    distance = jnp.arange(-200, 201)
    bucket = np.asarray(relative_bucket(distance, bidirectional=bidirectional, buckets=32, max_distance=128))
    assert bucket.min() == 0
    assert bucket.max() == 31
    behind = bucket[:201][::-1]  # distances 0, -1, -2 ...
    assert (np.diff(behind) >= 0).all()
    exact = 8 if bidirectional else 16
    assert behind[:exact].tolist() == list(range(exact))
    assert len(set(behind[128:])) == 1
    ahead = bucket[201:]
    assert (ahead >= 16).all() if bidirectional else not ahead.any()


def test_no_device_looks_up_for_the_whole_batch():
    """Neither the vectors of all rows, nor their cotangents, come to one device, whole or with a part of the width."""
    rows, length, vocabulary, width = 16, 10, 32, 48
    mesh = make_mesh(experiment(mesh={"data": 2, "fsdp": 4}, data={"batch_size": rows}))
    specs = (("vocab", "embed"), ("batch",), ("batch",))
    shapes = (
        ((vocabulary, width), jnp.float32),
        ((rows, length), jnp.int32),
        ((rows, length, width), jnp.float32),
    )
    arguments = [
        jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(mesh, partition_spec(names)))
        for names, (shape, dtype) in zip(specs, shapes, strict=True)
    ]

    def forth_and_back(table, ids, cotangent):
        y, back = jax.vjp(lambda table: look_up(table, ids, axis="vocab"), table)
        return y, back(cotangent)

    with jax.set_mesh(mesh):
        text = jax.jit(forth_and_back).lower(*arguments).compile().as_text()
    assert "all-gather" in text, "the table is gathered"
    assert f"[{rows},{length}," not in text
    assert f"[{rows * length}," not in text
