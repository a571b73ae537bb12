"""Adapters by their formula, for kernels of every shape and either direction, and where they are refused."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from tiny import CAPPED, MODEL, T5, VOCABULARY, assert_same, decoder, encoder, flat

from t2c_jax.config import LoraConfig
from t2c_jax.errors import UserError
from t2c_jax.kernels.projections import down_projection, up_projection
from t2c_jax.models import lora
from t2c_jax.models.definition import Definition
from t2c_jax.models.parameters import ParameterInfo

LORA = LoraConfig(rank=3, alpha=6.0, targets=".")
TRANSFORMER = Definition(replace(T5, tied_embeddings=False, copy=True), VOCABULARY)
RECURRENT = Definition(replace(MODEL, encoder=encoder("lstm", bidirectional=False), decoder=decoder("gru")), VOCABULARY)
BERT = encoder("bert", width=24, num_heads=3, feed_forward=32, positions=20)
BART = Definition(replace(MODEL, encoder=encoder("bart"), decoder=decoder("bart", feed_forward=20)), VOCABULARY)
SHARED_HEADS = Definition(CAPPED, VOCABULARY)
PRETRAINED = Definition(replace(MODEL, encoder=BERT, decoder=decoder("lstm")), VOCABULARY)


def values(shapes, seed=0):
    """Random parameters of the given shapes, without compiling what draws them."""
    draw = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: draw.normal(size=leaf.shape).astype(np.float32), shapes)


def adapted(definition, config=LORA):
    """A model's parameters, and adapters of which neither half is zero."""
    params, info = definition.abstract_params(), definition.parameter_info()
    adapters = jax.eval_shape(lambda: lora.init(jax.random.key(0), params, info, config))
    return values(params), values(adapters, 1)


@pytest.mark.parametrize("definition", [TRANSFORMER, RECURRENT, PRETRAINED], ids=["transformer", "lstm", "bert"])
def test_fresh_adapters_change_nothing(definition):
    params = values(definition.abstract_params())
    config = replace(LORA, targets=r"blocks|layer_|forward_|embedding$")
    adapters = lora.init(jax.random.key(0), params, definition.parameter_info(), config)
    for path, leaf in flat(adapters).items():
        assert leaf.any() == path.endswith(".a"), path
    for key in (None, jax.random.key(1)):
        merged = lora.merged(params, adapters, definition.parameter_info(), replace(config, dropout=0.5), key)
        assert_same(merged, params)


@pytest.mark.parametrize(
    ("definition", "path", "sides", "output_first"),
    [
        (TRANSFORMER, "encoder.blocks.attention.query", (16, 16), False),
        (TRANSFORMER, "decoder.blocks.cross_attention.output", (16, 16), True),
        (TRANSFORMER, "decoder.blocks.feed_forward.gate", (16, 32), False),
        (TRANSFORMER, "decoder.blocks.feed_forward.down", (32, 16), True),
        (TRANSFORMER, "embedding.embedding", (32, 16), False),
        (TRANSFORMER, "output", (16, 32), True),
        (TRANSFORMER, "pointer.key", (16, 16), False),
        (BART, "decoder.blocks.cross_attention.key", (16, 16), False),
        (BART, "decoder.blocks.feed_forward.down", (20, 16), True),
        (SHARED_HEADS, "encoder.blocks.attention.key", (24, 6), False),
        (SHARED_HEADS, "encoder.embedding.embedding", (32, 24), False),
        (SHARED_HEADS, "decoder.blocks.cross_attention.value", (24, 12), False),
        (RECURRENT, "encoder.forward_1.state", (12, 48), False),
        (RECURRENT, "decoder.layer_0.input", (16, 36), False),
        (RECURRENT, "decoder.attention.from_state", (12, 16), False),
        (PRETRAINED, "encoder.blocks.attention.output", (24, 24), True),
        (PRETRAINED, "encoder.positions", (20, 24), False),
    ],
)
def test_a_merged_kernel_is_the_base_and_the_product(definition, path, sides, output_first):
    """W + (6 / 3) A B, layer by layer, as a matrix of the first axis against the others."""
    config = replace(LORA, targets=f"^{path}$")
    params, adapters = adapted(definition, config)
    assert flat(adapters).keys() == {f"{path}.a", f"{path}.b"}
    a, b, base = flat(adapters)[f"{path}.a"], flat(adapters)[f"{path}.b"], flat(params)[path]
    assert (a.shape[-2:], b.shape[-2:]) == ((sides[0], 3), (3, sides[1]))
    merged = flat(lora.merged(params, adapters, definition.parameter_info(), config))
    layers = base.shape[0] if ".blocks." in path else None
    pieces = [(base, a, b, merged[path])]
    if layers is not None:
        pieces = [tuple(array[layer] for array in pieces[0]) for layer in range(layers)]
    for old, a_IR, b_RO, new in pieces:
        product = a_IR.astype(np.float64) @ b_RO
        expected = old + 2.0 * (product.T if output_first else product).reshape(old.shape)
        np.testing.assert_allclose(new, expected, rtol=0, atol=1e-5 * np.abs(expected).max())  # float32 sums of 3
    for other, leaf in flat(params).items():
        if other != path:
            np.testing.assert_array_equal(merged[other], leaf, err_msg=other)


def test_a_is_on_the_side_of_the_input():
    """What a layer computes with the merged kernel is what it computed, plus its input through A and B."""
    params, adapters = adapted(TRANSFORMER)
    merged = lora.merged(params, adapters, TRANSFORMER.parameter_info(), LORA)
    x = np.random.default_rng(2).normal(size=(1, 5, 32)).astype(np.float32)
    for product, name, width in ((up_projection, "gate", 16), (down_projection, "down", 32)):
        old, new, half = (tree["encoder"]["blocks"]["feed_forward"][name] for tree in (params, merged, adapters))
        x_BLI = x[..., :width]
        expected = product(x_BLI, old[1]) + 2.0 * x_BLI @ half["a"][1] @ half["b"][1]
        np.testing.assert_allclose(product(x_BLI, new[1]), expected, rtol=0, atol=1e-3)  # values near 100, float32


def test_scales_and_biases_have_no_adapters():
    for definition in (TRANSFORMER, SHARED_HEADS, RECURRENT, PRETRAINED):
        found = {path.rpartition(".")[0] for path in flat(adapted(definition)[1])}
        last = {path.rpartition(".")[2] for path in found}
        assert not {name for name in last if "bias" in name or "gate_" in name} | (last & {"scale", "table", "weights"})
        assert last & {"query", "state"}


def test_the_default_targets_are_attention_and_recurrence():
    config = LoraConfig(rank=1)
    last = {
        path.split(".")[-2] for definition in (TRANSFORMER, RECURRENT) for path in flat(adapted(definition, config)[1])
    }
    assert last == {"query", "key", "value", "output", "input", "state"}
    assert "output.a" not in flat(adapted(TRANSFORMER, config)[1]), "the logits' own kernel is no projection"


def test_a_is_initialised_by_the_width_of_its_input():
    wide = {"attention": {"query": np.zeros((4, 400, 10, 20))}}
    query = ParameterInfo(("layers", "embed", "heads", "head_width"), "kernel", adapted=True)
    info = {"attention": {"query": query}}
    a_IR = lora.init(jax.random.key(0), wide, info, LORA)["attention"]["query"]["a"]
    assert a_IR.shape == (4, 400, 3)
    assert float(a_IR.std()) == pytest.approx(400**-0.5, rel=0.05)  # of 4,800 draws: five standard errors


@pytest.mark.parametrize("path", ["encoder.blocks.attention.query", "encoder.blocks.feed_forward.down"])
def test_dropout_takes_whole_inputs_of_each_layer_and_scales_the_rest(path):
    config = replace(LORA, targets=f"^{path}$", dropout=0.5)
    params, adapters = adapted(TRANSFORMER, config)
    info = TRANSFORMER.parameter_info()
    zero = jax.tree.map(np.zeros_like, params)
    whole = flat(lora.merged(zero, adapters, info, config))[path]
    found = flat(lora.merged(zero, adapters, info, config, jax.random.key(3)))[path]
    sides = [array.reshape(2, 16, -1) for array in (whole, found)]
    whole, found = [np.swapaxes(side, 1, 2) for side in sides] if path.endswith("down") else sides
    kept = found.any(axis=-1)
    assert 0.2 < kept.mean() < 0.8
    assert (kept[0] != kept[1]).any(), "each layer has its own"
    np.testing.assert_allclose(found, whole * kept[..., None] * 2, rtol=1e-6)


def test_adapters_lie_as_their_kernels_do():
    named = lora.axis_names(TRANSFORMER.parameter_info(), LoraConfig(rank=2, targets=r"encoder.*(query|down)$"))
    assert named["encoder"]["blocks"] == {
        "attention": {"query": {"a": ("layers", "embed", None), "b": ("layers", None, "heads")}},
        "feed_forward": {"down": {"a": ("layers", "mlp", None), "b": ("layers", None, "embed")}},
    }


def test_parameters_that_the_base_lacks_are_modules_to_save():
    """Whatever the targets: its arrays as they are, the axes that they have, and adapters of the others alone."""
    params, info = values(TRANSFORMER.abstract_params()), TRANSFORMER.parameter_info()
    beside = {path for path in flat(params) if path.startswith("pointer.") or path == "encoder.norm.scale"}
    base, full = lora.divided(params, beside)
    assert set(flat(full)) == beside == set(flat(params)) - set(flat(base))
    key = jax.random.key(0)
    adapters = lora.init(key, params, info, LORA, beside)
    halves = lora.init(key, base, lora.divided(info, beside)[0], LORA)
    assert_same(lora.divided(adapters, beside)[0], halves)
    assert_same(lora.divided(adapters, beside)[1], full)
    assert_same(lora.merged(base, adapters, info, LORA, jax.random.key(1)), params)
    named = lora.axis_names(info, LORA, beside)
    assert named["pointer"] == jax.tree.map(lambda one: one.axes, info["pointer"])
    assert named["encoder"]["norm"] == {"scale": ("norm",)}
    with pytest.raises(UserError, match=r"config.lora.targets='\^pointer' finds no matrix"):
        lora.init(key, params, info, replace(LORA, targets="^pointer"), beside)


def test_targets_that_find_no_matrix():
    with pytest.raises(UserError, match=r"config.lora.targets='kwery' finds no matrix in this model; it has .*\.query"):
        lora.axis_names(TRANSFORMER.parameter_info(), LoraConfig(rank=2, targets="kwery"))
    with pytest.raises(UserError, match="finds no matrix"):
        lora.axis_names(TRANSFORMER.parameter_info(), LoraConfig(rank=2, targets="scale$"))
