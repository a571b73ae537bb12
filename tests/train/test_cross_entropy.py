"""The chunked loss against the loss over whole logits, and what its sums mean."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import DATA, assert_close, batch, drawn, experiment, make_mesh, on_device

from t2c_jax import mesh as meshes
from t2c_jax.aot.costs import costs
from t2c_jax.models.pointer import Copying
from t2c_jax.models.seq2seq import Prediction
from t2c_jax.train.batch_loss import loss_sums
from t2c_jax.train.cross_entropy import chunked_cross_entropy, token_sums

B, T, D, V = 4, 12, 16, 40


def inputs(dtype=jnp.float32):
    draw = np.random.default_rng(0)
    states = jnp.asarray(draw.normal(0, 1, (B, T, D)), dtype)
    table = jnp.asarray(draw.normal(0, 1, (V, D)), jnp.float32)
    targets = jnp.asarray(draw.integers(0, V, (B, T)), jnp.int32)
    weights = jnp.asarray(draw.integers(0, 2, (B, T)) * draw.uniform(0.5, 2, (B, T)), jnp.float32)
    return states, table, targets, weights


def chunked(states, table, targets, weights, **options):
    return chunked_cross_entropy(Prediction(states, table, None), targets, weights, **options)


def whole(states, table, targets, weights, **options):
    logits = jnp.einsum("btd,vd->btv", states, table.astype(states.dtype), preferred_element_type=jnp.float32)
    return token_sums(logits, targets, weights, **options)[1]


def gradients(sums, *arguments):
    """Of the loss with respect to states and table; times a factor, as whatever comes after may ask for."""

    def objective(states, table, targets, weights):
        found = sums(states, table, targets, weights)
        return 0.37 * found["loss"], found

    return jax.jit(jax.grad(objective, argnums=(0, 1), has_aux=True))(*arguments)


@pytest.mark.parametrize("chunk", [1, 5, 12, 512])  # 5 does not divide 12
@pytest.mark.parametrize(("label_smoothing", "z_loss"), [(0.0, 0.0), (0.1, 0.0), (0.0, 1e-2), (0.1, 1e-2)])
def test_chunked_is_whole(chunk, label_smoothing, z_loss):
    options = {"label_smoothing": label_smoothing, "z_loss": z_loss}
    arguments = inputs()
    expected = gradients(functools.partial(whole, **options), *arguments)
    found = gradients(functools.partial(chunked, chunk=chunk, **options), *arguments)
    assert_close(found, expected, tolerance=1e-5)  # the same float32 terms, summed in another order
    without_gradient = jax.jit(functools.partial(chunked, chunk=chunk, **options))(*arguments)
    assert_close(without_gradient, expected[1], tolerance=1e-5)


def test_chunked_is_whole_in_bfloat16():
    """Products in half precision, sums and the table's gradient in float32."""
    options = {"label_smoothing": 0.1, "z_loss": 1e-3}
    arguments = inputs(jnp.bfloat16)
    (d_states, d_table), sums = gradients(functools.partial(chunked, chunk=4, **options), *arguments)
    assert (d_states.dtype, d_table.dtype) == (jnp.bfloat16, jnp.float32)
    (exact_states, exact_table), exact = gradients(functools.partial(whole, **options), *arguments)
    assert_close(sums, exact, tolerance=1e-5)
    # bfloat16 rounds the logits' gradient to 8 bits, 0.4 %, and its products once more.
    assert_close(d_table, exact_table, tolerance=1e-2)
    assert_close(d_states.astype(jnp.float32), exact_states.astype(jnp.float32), tolerance=1e-2)


def test_sums_are_their_formulas():
    states, table, targets, weights = inputs()
    found = whole(states, table, targets, weights, label_smoothing=0.2, z_loss=1e-2)
    logits = np.einsum("btd,vd->btv", np.float64(states), np.float64(table))
    log_z = np.log(np.exp(logits).sum(-1))
    nll = log_z - np.take_along_axis(logits, np.asarray(targets)[..., None], -1)[..., 0]
    smooth = (log_z[..., None] - logits).mean(-1)
    w = np.float64(weights)
    expected = {
        "loss": ((0.8 * nll + 0.2 * smooth + 1e-2 * log_z**2) * w).sum(),
        "nll": (nll * w).sum(),
        "nll_squared": (nll**2 * w).sum(),
        "correct": ((logits.argmax(-1) == targets) * w).sum(),
        "weight": w.sum(),
        "nll_B": (nll * w).sum(-1),
        "weight_B": w.sum(-1),
    }
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("length", [127, 131, 509])
def test_a_length_that_the_chunk_does_not_divide_is_padded(length):
    """The same loss and gradients, in as few chunks of equal size as there must be; divisors of 127 are 1 and 127."""
    draw = np.random.default_rng(0)
    states = jnp.asarray(draw.normal(0, 1, (2, length, D)), jnp.float32)
    targets = jnp.asarray(draw.integers(0, V, (2, length)), jnp.int32)
    weights = jnp.asarray(draw.uniform(0.5, 2, (2, length)), jnp.float32)
    arguments = states, inputs()[1], targets, weights
    options = {"label_smoothing": 0.1, "z_loss": 1e-2}
    found = functools.partial(chunked, chunk=64, **options)
    expected = gradients(functools.partial(whole, **options), *arguments)
    assert_close(gradients(found, *arguments), expected, tolerance=1e-5)  # the same terms, summed in another order
    for function in (found, jax.grad(lambda *arrays: found(*arrays)["loss"])):
        scans = re.findall(r" length=(\d+)", str(jax.make_jaxpr(function)(*arguments)))
        assert scans == [str(-(-length // 64))]


def test_the_padding_of_copied_targets_counts_for_nothing():
    """Under the copying head a length that the chunk does not divide gives the loss and gradients of one chunk."""
    states, table, targets, weights = inputs()
    draw = np.random.default_rng(1)
    gate = jnp.asarray(draw.normal(0, 1, (B, T)), jnp.float32)
    scores = jnp.asarray(draw.normal(0, 2, (B, T, S)), jnp.float32)
    tokens = jnp.asarray(draw.integers(0, 9, (B, S)), jnp.int32)

    def loss(states, table, gate, scores, chunk):
        prediction = Prediction(states, table, copying(gate, scores, tokens))
        return chunked_cross_entropy(prediction, targets, weights, chunk=chunk, label_smoothing=0.1, z_loss=1e-2)[
            "loss"
        ]

    gradient = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2, 3)), static_argnames="chunk")
    one, padded = (gradient(states, table, gate, scores, chunk=chunk) for chunk in (T, 5))
    assert_close(padded, one, tolerance=1e-5)  # the same float32 terms, summed in another order


def test_tokens_without_weight_count_for_nothing():
    states, table, targets, weights = inputs()
    options = {"chunk": 4, "label_smoothing": 0.1, "z_loss": 1e-2}
    other = jnp.where(weights > 0, targets, (targets + 1) % V)
    assert_close(
        gradients(functools.partial(chunked, **options), states, table, targets, weights),
        gradients(functools.partial(chunked, **options), states, table, other, weights),
        tolerance=0,
    )


def test_the_loss_of_a_split_batch_is_the_quotient_of_sums():
    """Over devices with unlike numbers of tokens; a mean of the devices' means would be another number."""
    config = experiment(mesh={"data": 8})
    mesh = make_mesh(config)
    definition, params = drawn()
    values = batch()
    for row in range(DATA.batch_size):  # row r keeps r + 1 of its targets
        values["decoder_loss_weights"][row, row + 1 :] = 0

    @jax.jit
    def sums(params, values):
        return loss_sums(definition.bind, params, values, None, config.train, config.data, training=True)[1]

    with jax.set_mesh(mesh):
        split = sums(params, meshes.global_batch(values, mesh))
    alone = sums(params, on_device(values))
    rows = [sums(params, on_device({name: value[r : r + 1] for name, value in values.items()})) for r in range(8)]
    assert_close(split, alone, tolerance=1e-5)
    assert float(split["weight"]) == values["decoder_loss_weights"].sum()
    mean = float(split["loss"] / split["weight"])
    np.testing.assert_allclose(mean, sum(r["loss"] for r in rows) / sum(r["weight"] for r in rows), rtol=1e-5)
    assert abs(mean - np.mean([float(r["loss"] / r["weight"]) for r in rows])) > 1e-3


def test_logits_exist_a_chunk_at_a_time():
    """No array in the compiled loss and its gradient is as large as the logits of the batch."""
    states, table, targets, weights = (jax.ShapeDtypeStruct(x.shape, x.dtype) for x in inputs())
    states = jax.ShapeDtypeStruct((B, 96, D), jnp.float32)
    targets, weights = jax.ShapeDtypeStruct((B, 96), jnp.int32), jax.ShapeDtypeStruct((B, 96), jnp.float32)

    def objective(states, table, targets, weights):
        return chunked(states, table, targets, weights, chunk=4, label_smoothing=0.1, z_loss=1e-3)["loss"]

    program = jax.jit(jax.grad(objective, argnums=(0, 1))).lower(states, table, targets, weights).compile()
    assert program.memory_analysis().temp_size_in_bytes < B * 96 * V * 4


S = 7


def copying(gate, scores, tokens):
    return Copying(jax.nn.log_sigmoid(gate), jax.nn.log_sigmoid(-gate), jax.nn.softmax(scores, axis=-1), tokens)


@pytest.mark.parametrize("chunk", [1, 4, 12])
def test_the_mixture_is_its_formula(chunk):
    """Loss, accuracy and every gradient of the chunked mixture are those of the whole distribution, written out."""
    states, table, targets, weights = inputs()
    draw = np.random.default_rng(1)
    gate = jnp.asarray(draw.normal(-3, 3, (B, T)), jnp.float32)  # most copy, so that the copied decide some tokens
    scores = jnp.asarray(draw.normal(0, 2, (B, T, S)), jnp.float32)
    tokens = jnp.asarray(draw.integers(0, 9, (B, S)), jnp.int32)
    targets = jnp.where(targets < V // 2, targets % 9, targets)  # half of them among the source's tokens
    options = {"label_smoothing": 0.1, "z_loss": 1e-2}

    def written_out(states, table, gate, scores):
        logits = jnp.einsum("btd,vd->btv", states, table)
        held = jax.nn.one_hot(tokens, V)
        pointed = jnp.einsum("bts,bsv->btv", jax.nn.softmax(scores, axis=-1), held)
        share = jax.nn.sigmoid(gate)[..., None]
        p = share * jax.nn.softmax(logits, axis=-1) + (1 - share) * pointed
        nll = -jnp.log(jnp.take_along_axis(p, targets[..., None], axis=-1)[..., 0])
        log_z = jax.nn.logsumexp(logits, axis=-1)
        loss = 0.9 * nll + 0.1 * (log_z - logits.mean(-1)) + 1e-2 * log_z**2
        return (loss * weights).sum(), ((nll * weights).sum(), ((p.argmax(-1) == targets) * weights).sum())

    def ours(states, table, gate, scores):
        prediction = Prediction(states, table, copying(gate, scores, tokens))
        sums = chunked_cross_entropy(prediction, targets, weights, chunk=chunk, **options)
        return sums["loss"], (sums["nll"], sums["correct"])

    arguments = (states, table, gate, scores)
    expected, found = (
        jax.jit(jax.value_and_grad(f, argnums=(0, 1, 2, 3), has_aux=True))(*arguments) for f in (written_out, ours)
    )
    assert float(expected[0][1][1]) > 0, "some are right"
    assert_close(found, expected, tolerance=2e-5)  # the same float32 terms, summed in another order
    assert_close(jax.jit(ours)(*arguments), expected[0], tolerance=2e-5)


def test_devices_add_up_the_tables_gradient_once_not_in_every_chunk():
    mesh = make_mesh(experiment(mesh={"data": 1, "fsdp": 4}), jax.devices()[:4])
    arguments = inputs()
    with jax.set_mesh(mesh):
        step = jax.jit(
            jax.grad(lambda *arrays: chunked(*arrays, chunk=3, label_smoothing=0.0, z_loss=0.0)["loss"], argnums=1)
        )
        rows = [jax.device_put(x, meshes.shardings(("batch", None, None)[: x.ndim], mesh)) for x in arguments]
        rows[1] = jax.device_put(arguments[1], meshes.replicated(mesh))
        found = costs(step.lower(*rows).compile().as_text())
    assert found.unknown_loops == 0
    summed = sum(item.payload for item in found.collectives.values() if item.kind in ("all-reduce", "reduce-scatter"))
    table = V * D * 4
    assert table <= summed < 2 * table  # four chunks; beside the table there are scalars
