"""R-Drop's loss against its formula, and what a batch given twice is."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import MODEL, assert_close, batch, drawn, experiment, make_mesh, on_device

from t2c_jax import config as configs
from t2c_jax import mesh as meshes
from t2c_jax.errors import UserError
from t2c_jax.models.attention import MASKED
from t2c_jax.models.pointer import Copying
from t2c_jax.models.seq2seq import Prediction
from t2c_jax.train.batch_loss import loss_sums
from t2c_jax.train.cross_entropy import chunked_cross_entropy, token_sums
from t2c_jax.train.r_drop import pointing_divergence, repeat_rows

B, T, D, V, S = 3, 6, 4, 11, 5


def test_the_loss_of_one_target_is_half_of_equation_4():
    """By hand: p is (1/2, 1/2) in one pass and (3/4, 1/4) in the other; the target is the first token, of weight 2."""
    logits = jnp.log(jnp.array([[[0.5, 0.5]], [[0.75, 0.25]]]))
    targets, weights = jnp.zeros((2, 1), jnp.int32), jnp.full((2, 1), 1.0)
    _, found = token_sums(logits, targets, weights, label_smoothing=0.0, z_loss=0.0, r_drop=2.0)
    nll = (np.log(2) + np.log(4 / 3)) / 2
    one = 0.5 * np.log(0.5 / 0.75) + 0.5 * np.log(0.5 / 0.25)
    other = 0.75 * np.log(0.75 / 0.5) + 0.25 * np.log(0.25 / 0.5)
    assert float(found["weight"]) == 2.0
    np.testing.assert_allclose(found["loss"], 2 * (nll + 2 / 4 * (one + other)), rtol=1e-6)


@pytest.mark.parametrize("chunk", [2, 6])
def test_chunked_is_the_formula_over_all_logits(chunk):
    draw = np.random.default_rng(0)
    states = jnp.asarray(draw.normal(0, 1, (2 * B, T, D)), jnp.float32)
    table = jnp.asarray(draw.normal(0, 1, (V, D)), jnp.float32)
    targets = jnp.repeat(jnp.asarray(draw.integers(0, V, (B, T)), jnp.int32), 2, axis=0)
    weights = jnp.repeat(jnp.asarray(draw.integers(0, 2, (B, T)), jnp.float32), 2, axis=0)

    def written_out(states, table):
        logits = jnp.einsum("btd,vd->btv", states, table)
        p = jax.nn.softmax(logits, axis=-1)
        log_z = jax.nn.logsumexp(logits, axis=-1)
        nll = log_z - jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
        ways = [(p[a::2] * (jnp.log(p[a::2]) - jnp.log(p[b::2]))).sum(-1) for a, b in ((0, 1), (1, 0))]
        costs = (nll + 1e-2 * log_z**2) * weights / 2
        return costs.sum() + 5.0 / 4 * ((ways[0] + ways[1]) * weights[::2]).sum()

    def ours(states, table):
        options = {"chunk": chunk, "label_smoothing": 0.0, "z_loss": 1e-2, "r_drop": 5.0}
        return chunked_cross_entropy(Prediction(states, table, None), targets, weights / 2, **options)["loss"]

    expected, found = (jax.jit(jax.value_and_grad(f, argnums=(0, 1)))(states, table) for f in (written_out, ours))
    assert_close(found, expected, tolerance=2e-5)  # the same float32 terms, summed in another order


def copied_from(gate, scores, tokens):
    attention = jax.nn.softmax(scores, axis=-1)
    return Copying(jax.nn.log_sigmoid(gate), jax.nn.log_sigmoid(-gate), attention, tokens)


def two_passes(seed=0):
    """States, a table, gates and scores of pointing of two copies of each row; targets; the source's tokens."""
    draw = np.random.default_rng(seed)
    states, gate, scores = (
        jnp.asarray(draw.normal(0, 1, shape), jnp.float32) for shape in ((2 * B, T, D), (2 * B, T), (2 * B, T, S))
    )
    table = jnp.asarray(draw.normal(0, 1, (V, D)), jnp.float32)
    targets, tokens = (
        jnp.repeat(jnp.asarray(draw.integers(0, V, shape), jnp.int32), 2, axis=0) for shape in ((B, T), (B, S))
    )
    return (states, table, gate, scores), targets, tokens


def jeffreys(p):
    """KL both ways between the copies of each row."""
    return ((p[::2] - p[1::2]) * (jnp.log(p[::2]) - jnp.log(p[1::2]))).sum(-1)


@pytest.mark.parametrize("chunk", [2, 6])
def test_copying_agrees_on_the_ways_to_come_by_a_token(chunk):
    """The loss and its gradients, over the whole of the distribution of what is written and where it is pointed."""
    parts, targets, tokens = two_passes()
    weights = jnp.repeat(jnp.asarray(np.random.default_rng(1).integers(0, 2, (B, T)), jnp.float32), 2, axis=0)

    def ways(states, table, gate, scores):
        written = jax.nn.softmax(jnp.einsum("btd,vd->btv", states, table), axis=-1)
        g = jax.nn.sigmoid(gate)[..., None]
        return jnp.concatenate([g * written, (1 - g) * jax.nn.softmax(scores, axis=-1)], axis=-1)

    def mixture(*parts):
        p = ways(*parts)
        held = jax.nn.one_hot(tokens, V)
        return p[..., :V] + jnp.einsum("bts,bsv->btv", p[..., V:], held)

    def written_out(*parts):
        nll = -jnp.log(jnp.take_along_axis(mixture(*parts), targets[..., None], axis=-1)[..., 0])
        return (nll * weights / 2).sum() + 5.0 / 4 * (jeffreys(ways(*parts)) * weights[::2]).sum()

    def ours(states, table, gate, scores):
        prediction = Prediction(states, table, copied_from(gate, scores, tokens))
        options = {"chunk": chunk, "label_smoothing": 0.0, "z_loss": 0.0, "r_drop": 5.0}
        return chunked_cross_entropy(prediction, targets, weights / 2, **options)["loss"]

    expected, found = (jax.jit(jax.value_and_grad(f, argnums=(0, 1, 2, 3)))(*parts) for f in (written_out, ours))
    assert_close(found, expected, tolerance=2e-5)  # the same float32 terms, summed in another order
    assert (jeffreys(mixture(*parts)) <= jeffreys(ways(*parts))).all()  # what it bounds from above


def test_masked_positions_cost_nothing_and_have_a_finite_gradient():
    """One copy points where the other cannot, far beyond what float32 holds of it."""
    _, _, tokens = two_passes()
    scores = jnp.zeros((2 * B, T, S)).at[::2, :, 0].set(-200.0).at[:, :, 1].set(MASKED)
    gate, weights = jnp.zeros((2 * B, T)), jnp.ones((2 * B, T))

    def cost(scores):
        return pointing_divergence(copied_from(gate, scores, tokens), weights)

    value, gradient = jax.jit(jax.value_and_grad(cost))(scores)
    assert np.isfinite(value)
    assert value > 0
    assert np.isfinite(gradient).all()
    assert (gradient[:, :, 1] == 0).all()
    assert float(cost(scores.at[::2].set(scores[1::2]))) == 0


def test_a_batch_given_twice_keeps_its_rows_together_on_every_device():
    mesh = make_mesh(experiment(mesh={"data": 8}))
    values = batch()
    with jax.set_mesh(mesh):
        doubled = jax.jit(repeat_rows)(meshes.global_batch(values, mesh))
    for name, value in values.items():
        factor = 2 if name == "decoder_loss_weights" else 1
        np.testing.assert_array_equal(doubled[name][::2] * factor, value, err_msg=name)
        np.testing.assert_array_equal(doubled[name][1::2] * factor, value, err_msg=name)


@pytest.mark.parametrize("copy", [False, True], ids=["plain", "copying"])
def test_the_cost_is_the_divergence_of_the_passes(copy):
    """Without dropout the copies agree, and it is the plain loss, of the heads too, with the weight that it had.

    Held-out losses know nothing of it.
    """
    values = batch()
    tags = np.random.default_rng(0).integers(-1, 2, values["encoder_input_tokens"].shape).astype(np.int32)
    pairs = np.ones(len(tags), np.int32)
    values = on_device({**values, "encoder_tags": tags, "contrastive_pairs": pairs})
    model = replace(MODEL, copy=copy, output_heads=("tagging", "embedding"))
    _, params = drawn(model)

    def sums(r_drop, dropout, *, training=True):
        config = experiment(train={"r_drop": r_drop, "z_loss": 0.0}, data={"pairs_in_row": 1})
        definition, _ = drawn(replace(model, dropout=dropout))
        key = jax.random.key(0) if training else None
        return jax.jit(
            lambda params: loss_sums(
                definition.bind, params, values, key, config.train, config.data, training=training
            )[1]
        )(params)

    plain = sums(0.0, 0.0)
    assert_close(sums(3.0, 0.0), plain, tolerance=1e-5)  # the same terms, halved and added up
    assert_close(sums(3.0, 0.3, training=False), plain, tolerance=1e-5)
    found = sums(1.0, 0.3)
    costs = sum(
        weight * float(found[f"{kind}nll"]) for kind, weight in (("", 1), ("tagging_", 1), ("contrastive_", 16))
    )
    assert float(found["loss"]) > 1.001 * costs
    assert float(found["denominator"]) == float(plain["denominator"])


def test_it_wants_dropout():
    with pytest.raises(UserError, match=r"config.train.r_drop .*: set model.dropout above 0"):
        configs.check(experiment(train={"r_drop": 1.0}, model={"dropout": 0.0}))
    configs.check(experiment(train={"r_drop": 1.0}, model={"dropout": 0.1, "copy": True}))
