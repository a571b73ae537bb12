"""Stacks of two kinds of blocks: scanned and unrolled they are the blocks one after the other."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiny import MODEL, assert_close

from t2c_jax.models.layers import dropout, fan_in
from t2c_jax.models.parameters import info_of, parameter
from t2c_jax.models.stack import run, stack, unstack

WIDTH = 6


class Linear(nnx.Module):
    def __init__(self, rngs):
        self.kernel = parameter(rngs, (WIDTH, WIDTH), ("embed", "mlp"), fan_in(WIDTH))

    def __call__(self, x_BD, key):
        return x_BD + dropout(jnp.tanh(x_BD @ self.kernel[...]), 0.5, key)


class Gate(nnx.Module):
    """Of another structure, so that its parameters could not share one array with the other kind's."""

    def __init__(self, rngs):
        self.scale = parameter(rngs, (WIDTH,), ("norm",), nnx.initializers.normal(1.0), "scale")
        self.bias = parameter(rngs, (WIDTH,), ("norm",), nnx.initializers.normal(1.0), "bias")

    def __call__(self, x_BD, key):
        return dropout(x_BD * jax.nn.sigmoid(self.scale[...][None] * x_BD + self.bias[...][None]), 0.5, key)


TWO, THREE = (Linear, Gate), (Linear, Linear, Gate)


def made(pattern, layers):
    return stack(pattern, layers, nnx.Rngs(0))


@pytest.mark.parametrize("dropping", [False, True], ids=["whole", "dropout"])
@pytest.mark.parametrize("remat", ["none", "full"])
@pytest.mark.parametrize(
    ("pattern", "layers"),  # whole periods, and one with a rest
    [(TWO, 4), (TWO, 7), (THREE, 6), (THREE, 7)],
    ids=["two twice", "two and a rest", "three twice", "three and a rest"],
)
def test_scanned_is_unrolled_is_one_block_after_the_other(pattern, layers, remat, dropping):
    graphdef, params = nnx.split(made(pattern, layers), nnx.Param)
    x = jax.random.normal(jax.random.key(1), (3, WIDTH))
    keys = jax.random.split(jax.random.key(2), layers) if dropping else None

    def loss(params, scan):
        model = replace(MODEL, scan=scan, remat=remat)
        y = run(nnx.merge(graphdef, params), x, keys, layers, model, lambda block, x, key: block(x, key))
        return jnp.sum(jnp.square(y)), y

    def by_hand(params):
        y = x
        for i, block in enumerate(unstack(nnx.merge(graphdef, params), layers)):
            assert isinstance(block, pattern[i % len(pattern)])
            y = block(y, None if keys is None else keys[i])
        return jnp.sum(jnp.square(y)), y

    expected = jax.jit(jax.value_and_grad(by_hand, has_aux=True))(params)
    for scan in (True, False):
        found = jax.jit(jax.value_and_grad(loss, has_aux=True), static_argnums=1)(params, scan)
        # Sums of a few float32 terms in another order.
        assert_close(nnx.to_pure_dict(found[1]), nnx.to_pure_dict(expected[1]), tolerance=1e-6)
        np.testing.assert_allclose(found[0][1], expected[0][1], rtol=1e-6)


def test_layers_are_counted_through_all_kinds():
    module = nnx.Dict(blocks=made((Linear, Linear, Gate), 7))
    flat = nnx.to_flat_state(nnx.split(module, nnx.Param)[1])
    info = {".".join(path): info_of(path, variable) for path, variable in flat}
    assert {path: one.layers for path, one in info.items()} == {
        "blocks.kind_0.kernel": (0, 3, 6),
        "blocks.kind_1.kernel": (1, 4),
        "blocks.kind_2.bias": (2, 5),
        "blocks.kind_2.scale": (2, 5),
    }
    assert {(one.stack, one.depth, one.extendable) for one in info.values()} == {("blocks", 7, 0)}
    assert info["blocks.kind_0.kernel"].axes == ("layers", "embed", "mlp")


def test_a_stack_of_one_kind_has_no_level_of_kinds():
    """Its parameters' paths are what they would be without patterns, which checkpoints hold."""
    paths = [path for path, _ in nnx.to_flat_state(nnx.split(made((Linear,), 3), nnx.Param)[1])]
    assert paths == [("kernel",)]


def test_fewer_layers_than_a_period_are_refused():
    with pytest.raises(ValueError, match="2 layers are less than one period of 3 kinds"):
        made((Linear, Linear, Gate), 2)
