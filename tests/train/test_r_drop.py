"""R-Drop's loss against its formula, and what a batch given twice is."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import MODEL, assert_close, batch, drawn, experiment, on_device

from t2c_jax import config as configs
from t2c_jax import mesh as meshes
from t2c_jax.errors import UserError
from t2c_jax.models.seq2seq import Prediction
from t2c_jax.train.loss import chunked_sums
from t2c_jax.train.r_drop import r_drop_sums, twice
from t2c_jax.train.step import loss_sums

B, T, D, V = 3, 6, 4, 11


def test_the_loss_of_one_target_is_half_of_equation_4():
    """By hand: p is (1/2, 1/2) in one pass and (3/4, 1/4) in the other; the target is the first token, of weight 2."""
    logits = jnp.log(jnp.array([[[0.5, 0.5]], [[0.75, 0.25]]]))

    def sums(logits, targets, weights, copied):
        nll = -jnp.take_along_axis(jax.nn.log_softmax(logits), targets[..., None], axis=-1)[..., 0]
        return {"loss": jnp.sum(nll * weights), "weight": jnp.sum(weights)}

    found = r_drop_sums(sums, 2.0, logits, jnp.zeros((2, 1), jnp.int32), jnp.full((2, 1), 1.0))
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
        return chunked_sums(Prediction(states, table, None), targets, weights / 2, **options)["loss"]

    expected, found = (jax.jit(jax.value_and_grad(f, argnums=(0, 1)))(states, table) for f in (written_out, ours))
    assert_close(found, expected, tolerance=2e-5)  # the same float32 terms, summed in another order


def test_a_batch_given_twice_keeps_its_rows_together_on_every_device():
    mesh = meshes.make_mesh(experiment(mesh={"data": 8}))
    values = batch()
    with jax.set_mesh(mesh):
        doubled = jax.jit(twice)(meshes.global_batch(values, mesh))
    for name, value in values.items():
        factor = 2 if name == "decoder_loss_weights" else 1
        np.testing.assert_array_equal(doubled[name][::2] * factor, value, err_msg=name)
        np.testing.assert_array_equal(doubled[name][1::2] * factor, value, err_msg=name)


def test_the_passes_cost_what_they_differ_in():
    """Without dropout the copies agree, and it is the plain loss; held-out losses know nothing of it."""
    values = on_device(batch())
    _, params = drawn()

    def sums(r_drop, dropout, *, training=True):
        config = experiment(train={"r_drop": r_drop, "z_loss": 0.0})
        definition, _ = drawn(replace(MODEL, dropout=dropout))
        key = jax.random.key(0) if training else None
        return jax.jit(lambda params: loss_sums(definition, params, values, key, config, training=training))(params)

    plain = sums(0.0, 0.0)
    assert_close(sums(3.0, 0.0), plain, tolerance=1e-5)  # the same terms, halved and added up
    assert_close(sums(3.0, 0.3, training=False), plain, tolerance=1e-5)
    found = sums(1.0, 0.3)
    assert float(found["loss"]) > 1.01 * float(found["nll"])
    assert float(found["weight"]) == float(plain["weight"])


@pytest.mark.parametrize("model", [{"dropout": 0.0}, {"dropout": 0.1, "copy": True}], ids=["no dropout", "copying"])
def test_what_it_cannot_go_with_is_refused(model):
    with pytest.raises(UserError, match=r"config.train.r_drop .*: set model.dropout above 0 and model.copy=False"):
        configs.check(experiment(train={"r_drop": 1.0}, model=model))
