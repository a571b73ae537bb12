"""The Transformer against itself: packed and alone, scanned and unrolled, remembered and computed again."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import (
    CAPPED,
    DATA,
    MERGED,
    MODEL,
    T5,
    VOCABULARY,
    assert_close,
    batch,
    both,
    drawn,
    on_device,
    pairs,
    reshaped,
)

from t2c_jax.config import Experiment, TrainConfig
from t2c_jax.data.pipeline import Batches
from t2c_jax.models.definition import Definition
from t2c_jax.train.batch_loss import loss_sums
from t2c_jax.train.telemetry.flops import forward_flops

# Sums of a few hundred float32 terms in another order: 1e-6 apart at most, and one digit of room.
ROUNDING = 1e-5
SIDE = MODEL.encoder
TRAIN = Experiment(train=TrainConfig(loss_chunk_tokens=32, z_loss=1e-3, label_smoothing=0.1))


def loss_and_gradient(config, params, values, key=None):
    gradient, sums = compiled(config)(params, on_device(values), key)
    return sums, gradient


@functools.cache
def compiled(config):
    definition = Definition(config, VOCABULARY)

    def objective(params, values, key):
        sums = loss_sums(definition.bind, params, values, key, TRAIN.train, TRAIN.data, training=True)[1]
        return sums["loss"], sums

    return jax.jit(jax.grad(objective, has_aux=True))


@pytest.mark.parametrize("architecture", ["transformer", "t5"])
def test_packed_rows_are_the_same_as_single_ones(architecture):
    """Loss and gradients of a batch of several segments a row are those of its pairs, each alone in a row."""
    config = replace(MODEL, **both(architecture))
    _, params = drawn(config)
    tokens = pairs(24)
    packed = Batches.of(tokens, replace(DATA, encoder_length=24, decoder_length=40, batch_size=8), 0, repeat=False)
    alone = Batches.of(tokens, replace(DATA, pack=False, batch_size=24), 0, repeat=False)
    assert packed.per_pass == 1, "all pairs must be in the first batch"
    assert packed.batch(0)["decoder_segment_ids"].max() >= 3, "rows must hold several pairs"
    one, other = (loss_and_gradient(config, params, batches.batch(0)) for batches in (packed, alone))
    assert one[0]["weight"] == other[0]["weight"] > 0
    assert_close(one, other, tolerance=ROUNDING)


@pytest.mark.parametrize("architecture", ["transformer", "t5"])
def test_a_segment_sees_nothing_of_its_neighbours(architecture):
    """Changing one segment's tokens changes no state of another, to the bit."""
    definition, params = drawn(replace(MODEL, **both(architecture)))
    values = batch(replace(DATA, encoder_length=24, decoder_length=40, batch_size=2))
    other = {name: value.copy() for name, value in values.items()}
    for side, key in (("encoder", "encoder_input_tokens"), ("decoder", "decoder_input_tokens")):
        other[key][values[f"{side}_segment_ids"] == 2] = 17
    states = jax.jit(lambda batch: definition.bind(params).predict(batch).states_BTD)
    before, after = np.asarray(states(on_device(values))), np.asarray(states(on_device(other)))
    second = values["decoder_segment_ids"] == 2
    third = values["decoder_segment_ids"] == 3
    assert second.any()
    assert third.any()
    assert (before[second] != after[second]).any()
    np.testing.assert_array_equal(
        before[~second & (values["decoder_segment_ids"] > 0)], after[~second & (values["decoder_segment_ids"] > 0)]
    )


def test_a_target_position_sees_nothing_after_it():
    definition, params = drawn()
    values = batch(replace(DATA, pack=False))
    other = {name: value.copy() for name, value in values.items()}
    other["decoder_input_tokens"][:, 2:] = 9
    states = jax.jit(lambda batch: definition.bind(params).predict(batch).states_BTD)
    before, after = np.asarray(states(on_device(values))), np.asarray(states(on_device(other)))
    np.testing.assert_array_equal(before[:, :2], after[:, :2])
    assert (before[:, 2] != after[:, 2]).any()


@pytest.mark.parametrize(
    ("scan", "remat", "model"),
    [
        (False, "none", MODEL),
        (False, "none", T5),
        (True, "full", MODEL),
        (False, "full", T5),
        (True, "dots", T5),
        (False, "none", MERGED),
        (True, "full", MERGED),
        (False, "dots", CAPPED),
    ],
)
def test_every_way_to_run_the_blocks_gives_the_same_numbers(scan, remat, model):
    """Losses and gradients, scanned or unrolled, kept or computed again; dropout's draws are the same too."""
    config = replace(model, dropout=0.2)
    values, key = batch(), jax.random.key(1)
    _, params = drawn(config)
    expected = loss_and_gradient(config, params, values, key)
    assert_close(
        loss_and_gradient(replace(config, scan=scan, remat=remat), params, values, key), expected, tolerance=ROUNDING
    )


def test_each_remat_policy_recomputes_its_operations():
    """Matrix products of the gradient: what leaves the residual stream is kept by "dots", the way back is not."""
    values, flops = on_device(batch()), {}
    for remat in ("none", "dots", "full"):
        definition = Definition(replace(MODEL, remat=remat), VOCABULARY)
        params = definition.abstract_params()

        def loss(params, definition=definition):
            return jnp.sum(definition.bind(params).predict(values).states_BTD)

        flops[remat] = forward_flops(jax.grad(loss), params)
    (B, S), T = values["encoder_input_tokens"].shape, values["decoder_input_tokens"].shape[1]
    d, hk, f, layers = MODEL.width, SIDE.num_heads * SIDE.head_width, SIDE.feed_forward, SIDE.layers
    attention = 4 * B * hk * (S * S + T * T + T * S)
    back = 2 * B * d * hk * (S + 2 * T)  # the output projection of each attention
    assert flops["dots"] - flops["none"] == layers * (attention + back)
    leaving = 2 * B * d * (S * (3 * hk + 2 * f) + T * (4 * hk + 2 * f) + S * 2 * hk)
    assert flops["full"] - flops["dots"] == layers * leaving


@pytest.mark.parametrize("activation", ["gated_gelu_tanh", "gated_gelu", "gated_silu", "relu", "gelu_tanh", "gelu"])
def test_every_activation_has_the_parameters_it_needs(activation):
    config = reshaped(MODEL, activation=activation)
    definition, params = drawn(config)
    feed_forward = params["encoder"]["blocks"]["feed_forward"]
    assert set(feed_forward) == ({"gate", "up", "down"} if activation.startswith("gated") else {"gate", "down"})
    states = jax.jit(lambda values: definition.bind(params).predict(values).states_BTD)(on_device(batch()))
    assert states.shape == (DATA.batch_size, DATA.decoder_length, MODEL.width)
    assert bool(jnp.isfinite(states).all())


def test_tied_and_untied_tables():
    definition, params = drawn()
    model = definition.bind(params)
    assert "output" not in params
    np.testing.assert_array_equal(model.output_table(), params["embedding"]["embedding"])
    untied, params = drawn(replace(MODEL, tied_embeddings=False))
    assert params["output"].shape == (VOCABULARY, MODEL.width)
    np.testing.assert_array_equal(untied.bind(params).output_table(), params["output"])
    _, gradient = loss_and_gradient(replace(MODEL, tied_embeddings=False), params, batch())
    assert float(jnp.abs(gradient["output"]).max()) > 0
    assert float(jnp.abs(gradient["embedding"]["embedding"]).max()) > 0


@pytest.mark.parametrize(("tied", "scaled"), [(True, True), (True, False), (False, True)])
def test_fresh_logits_have_about_unit_variance(tied, scaled):
    """A fresh model knows nothing, and its loss says so: close to log V."""
    config = replace(
        MODEL, **both(num_heads=4, head_width=16), width=64, tied_embeddings=tied, scale_tied_output=scaled
    )
    definition, params = drawn(config)
    model = definition.bind(params)
    logits = model.logits(model.predict(on_device(batch())).states_BTD)
    assert 0.5 < float(jnp.std(logits)) < 2.0


def test_bfloat16_computes_in_half_precision_with_float32_parameters():
    config = replace(MODEL, dtype="bfloat16")
    definition, params = drawn(config)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(jnp.float32)}
    model = definition.bind(params)
    states = model.predict(on_device(batch())).states_BTD
    assert states.dtype == jnp.bfloat16
    assert model.logits(states).dtype == jnp.float32
    exact, _ = drawn()
    # bfloat16 keeps 8 bits: 0.4 % a rounding, some ten of them on the way.
    assert_close(states.astype(jnp.float32), exact.bind(params).predict(on_device(batch())).states_BTD, tolerance=0.05)


def test_dropout_draws_by_key_and_layer():
    """The same key gives the same states, another key others, and no two layers drop the same elements."""
    config = replace(MODEL, dropout=0.5)
    definition, params = drawn(config)
    values = on_device(batch())
    model = definition.bind(params)
    one, again, other = (model.predict(values, jax.random.key(seed)).states_BTD for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert bool((one != other).any())
    np.testing.assert_array_equal(model.predict(values).states_BTD, drawn()[0].bind(params).predict(values).states_BTD)


@pytest.mark.parametrize("scan", [True, False])
def test_each_layer_drops_other_elements(scan):
    """Zero the blocks' first layer or the second: were the keys the same, so would be what is dropped."""
    config = replace(MODEL, dropout=0.5, scan=scan)
    definition, params = drawn(config)
    blocks = params["encoder"]["blocks"]
    same = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[:1], leaf.shape), blocks)
    values = on_device(batch(replace(DATA, pack=False)))

    def only(layer):
        """The encoder's output with both layers alike, but one of them writing nothing to the residual stream."""
        kept = jax.tree.map(lambda leaf: leaf, same)
        for part, kernel in (("attention", "output"), ("feed_forward", "down")):
            shape = (2, *(1,) * (same[part][kernel].ndim - 1))
            kept[part] = {**same[part], kernel: same[part][kernel] * (jnp.arange(2) == layer).reshape(shape)}
        encoder = {**params["encoder"], "blocks": kept}
        model = definition.bind({**params, "encoder": encoder})
        return model.encode(values, jax.random.key(3)).states_BSE

    assert bool((only(0) != only(1)).any())
