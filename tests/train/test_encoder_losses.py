"""The heads' losses by their formulas, and a mixture of all tasks that learns what it is shown."""

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import EXPERIMENT, MODEL, assert_close, compiled_on, drawn, make_mesh, on_device, one_device

from t2c_jax import mesh as meshes
from t2c_jax.config import OptimizerConfig, TaskConfig
from t2c_jax.data.pipeline import TASK_KEYS, Batches, Stream
from t2c_jax.data.schedule import TaskSchedule
from t2c_jax.data.tasks.contrastive import Contrast
from t2c_jax.data.tasks.identifiers import IdentifierTagging, occurrence_codes
from t2c_jax.data.tasks.span_corruption import SpanCorruption
from t2c_jax.data.tasks.translation import Translation
from t2c_jax.data.templates import SourceTemplate
from t2c_jax.data.tokens import Tokens
from t2c_jax.models.interface import Encoded
from t2c_jax.train import batch_loss
from t2c_jax.train import step as steps
from t2c_jax.train.encoder_losses import contrastive_sums, tagging_sums


def test_tagging_is_binary_cross_entropy_over_tagged_tokens():
    logits = jnp.array([[2.0, -1.0, 5.0]])
    found = tagging_sums(logits, jnp.array([[1, 1, -1]]))
    expected = np.log1p(np.exp(-2.0)) + np.log1p(np.exp(1.0))
    assert float(found["tagging_nll"]) == pytest.approx(expected, rel=1e-6)
    assert (float(found["tagging_correct"]), float(found["tagging_weight"])) == (1.0, 2.0)


def test_contrast_is_the_mean_of_both_ways_over_all_rows():
    """Three pairs in two rows; a fourth place is empty, whatever lies there."""
    draw = np.random.default_rng(0)
    vectors = draw.normal(0, 1, (2, 4, 5)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    found = contrastive_sums(jnp.asarray(vectors), jnp.array([2, 1]), jnp.asarray(0.5))
    texts = np.stack([vectors[0, 0], vectors[0, 2], vectors[1, 0]])
    codes = np.stack([vectors[0, 1], vectors[0, 3], vectors[1, 1]])
    scores = np.exp(texts @ codes.T / 0.5)
    ways = np.log(scores.sum(1)) + np.log(scores.sum(0)) - 2 * np.log(np.diag(scores))
    assert float(found["contrastive_nll"]) == pytest.approx(ways.sum() / 2, rel=1e-5)
    assert float(found["contrastive_weight"]) == 3
    assert float(found["contrastive_correct"]) == (scores.argmax(1) == np.arange(3)).sum()
    empty = contrastive_sums(jnp.asarray(vectors), jnp.array([0, 0]), jnp.asarray(0.5))
    assert all(float(value) == 0 for value in empty.values())


def test_an_embedding_depends_on_its_segment_only():
    config = replace(MODEL, output_heads=("embedding",), embedding_width=6)
    definition, params = drawn(config)
    states = np.random.default_rng(0).normal(0, 1, (1, 5, MODEL.width)).astype(np.float32)
    segments = jnp.array([[1, 1, 2, 2, 0]])

    @jax.jit
    def embed(params, states):
        return definition.bind(params).heads.embedding(Encoded(states, segments, ()), 2)

    found = np.asarray(embed(params, jnp.asarray(states)))
    kernel = np.asarray(params["heads"]["embedding"]["kernel"])
    for segment, rows in enumerate((slice(0, 2), slice(2, 4))):
        expected = states[0, rows].mean(0) @ kernel
        np.testing.assert_allclose(found[0, segment], expected / np.linalg.norm(expected), atol=1e-5)
    temperature = jax.jit(lambda params: definition.bind(params).heads.embedding.temperature())(params)
    assert float(temperature) == pytest.approx(0.07)


def test_a_temperature_at_its_floor_comes_back_when_it_should():
    """Descent on what asks for less goes no further than the floor; asked for more, it rises from there."""
    config = replace(MODEL, output_heads=("embedding",))
    definition, params = drawn(config)

    def temperature(scale):
        head = {**params["heads"], "embedding": {**params["heads"]["embedding"], "scale": scale[None]}}
        return definition.bind({**params, "heads": head}).heads.embedding.temperature()

    def descend(scale, sign, steps):
        gradient = jax.jit(jax.grad(lambda scale: sign * jnp.log(temperature(scale))))
        for _ in range(steps):
            scale -= 0.1 * gradient(scale)
        return scale

    low = descend(jnp.log(0.02), 1.0, 30)
    assert float(temperature(low)) == pytest.approx(0.01)
    assert float(low) > np.log(0.01) - 0.1 - 1e-6  # one step's worth below
    assert float(temperature(descend(low, -1.0, 10))) == pytest.approx(0.01 * np.exp(1.0), rel=0.1)


def mixture(rows=8):
    """A handful of pairs under four tasks; tokens of 3 to 9 are text, identifiers are 10 to 19."""
    draw = np.random.default_rng(0)
    texts = [draw.integers(3, 10, 4).tolist() for _ in range(6)]
    codes = [draw.integers(10, 28, 8).tolist() for _ in range(6)]
    names = []
    for code in codes:
        is_name = np.array(code) < 20
        numbers = np.where(is_name, np.cumsum(is_name), 0)
        names.append(occurrence_codes(numbers, [token for token in code if token < 20]).tolist())
    tokens = Tokens.of(texts, codes, list("abcdef"), identifiers=names)
    data = replace(
        EXPERIMENT.data,
        pairs_in_row=2,
        encoder_length=28,
        batch_size=rows,
        tasks={name: TaskConfig(name) for name in ("text_to_code", "span_corruption", "contrastive")}
        | {"tags": TaskConfig("identifier_tagging")},
    )
    made = (
        Translation(SourceTemplate(before=np.array([28], np.int32))),
        SpanCorruption(SourceTemplate(before=np.array([29], np.int32)), sentinels=(30, 31), length=8, mean_span=2.0),
        Contrast(max_examples_per_row=2, length=28),
        IdentifierTagging(length=8),
    )
    streams = [Stream(tokens, data, number, task) for number, task in enumerate(made)]
    batches = Batches(streams, data, TaskSchedule.of(np.ones(4)), extra_keys=TASK_KEYS)
    experiment = replace(
        EXPERIMENT,
        data=data,
        model=replace(MODEL, output_heads=("tagging", "embedding")),
        optimizer=replace(EXPERIMENT.optimizer, learning_rate=2e-2),
    )
    return experiment, batches


# Plain gradient descent: Adam's first update is a sign, which turns a rounding error into a whole step.
SGD = OptimizerConfig(
    name="sgd", learning_rate=0.1, schedule="constant", warmup_steps=0, weight_decay=0.0, clip_norm=0.0
)


def taken(experiment, values, **sizes):
    """State and metrics after a step on a mesh of those sizes."""
    config = replace(experiment, mesh=replace(experiment.mesh, **sizes))
    mesh = make_mesh(config, jax.devices()[: math.prod(sizes.values())])
    compiled = compiled_on(mesh, config)
    return compiled.train_step(compiled.init(), meshes.global_batch(values, mesh))


@pytest.mark.parametrize(("microbatches", "sizes"), [(4, {"data": 1}), (2, {"data": 4, "fsdp": 2})], ids=str)
def test_negatives_are_those_of_all_microbatches(microbatches, sizes):
    """Pairs lie in different microbatches: sums, norms and all parameters after a step are those of one batch."""
    experiment, batches = mixture(16)
    experiment = replace(experiment, optimizer=SGD)
    values = batches.batch(0)
    order = np.argsort(values["contrastive_pairs"] == 0, kind="stable")  # every n-th row is of the same microbatch
    values = {name: value[order] for name, value in values.items()}
    assert (values["contrastive_pairs"] > 0).sum() > 2
    parts = replace(experiment, train=replace(experiment.train, microbatches=microbatches))
    # The same float32 terms, summed in another order.
    assert_close(taken(parts, values, **sizes), taken(experiment, values, data=1), tolerance=2e-5)


def test_a_mixture_learns_every_task():
    experiment, batches = mixture()
    compiled = compiled_on(one_device(), replace(experiment, train=replace(experiment.train, steps=150)))
    state, seen = compiled.init(), []
    for step in range(150):
        state, metrics = compiled.train_step(state, on_device(batches.batch(step)))
        seen.append(jax.device_get(metrics))
    first, last = seen[0], seen[-1]
    per_token = last["task_nll"][:2] / last["task_weight"][:2]
    assert per_token[0] < 0.2  # pairs are learnt by heart
    assert per_token[1] < 0.8 * (first["task_nll"][1] / first["task_weight"][1])  # spans are new each epoch
    assert (last["task_weight"][2:] == 0).all()  # they write nothing
    np.testing.assert_allclose(last["task_nll"].sum(), last["nll"], rtol=1e-5)
    assert last["tagging_correct"] / last["tagging_weight"] > 0.95
    assert last["contrastive_correct"] == last["contrastive_weight"] > 1
    expected = last["weight"] + last["tagging_weight"] + 16 * last["contrastive_weight"]
    assert last["denominator"] == pytest.approx(expected)


def test_negatives_are_those_of_all_devices():
    """The same sums on eight devices as on one."""
    experiment, batches = mixture()
    values, found = batches.batch(0), []
    for mesh in ({"data": 1}, {"data": 8}):
        config = replace(experiment, mesh=replace(experiment.mesh, **mesh))
        devices = make_mesh(config, jax.devices()[: mesh["data"]])
        compiled = compiled_on(devices, config)
        sums = compiled.eval_step(compiled.init()["params"], meshes.global_batch(values, devices))
        found.append({name: np.asarray(value) for name, value in sums.items()})
    assert found[0]["contrastive_weight"] > 2
    for name, value in found[0].items():
        np.testing.assert_allclose(found[1][name], value, rtol=2e-5, err_msg=name)  # sums in another order


def test_a_microbatch_draws_the_same_dropout_for_both_of_its_passes(monkeypatch):
    """The gradient in its vectors is of those that the first pass made."""
    experiment, batches = mixture()
    experiment = replace(
        experiment,
        model=replace(experiment.model, dropout=0.3),
        train=replace(experiment.train, microbatches=2, r_drop=1.0),  # under which each pass is two
    )
    seen, made = [], batch_loss.contrastive_vectors

    def watched(model, encoded, pairs_in_row):
        vectors, temperature = made(model, encoded, pairs_in_row)
        jax.debug.callback(lambda vectors: seen.append(float(np.abs(vectors).sum())), vectors)
        return vectors, temperature

    for module in (batch_loss, steps):
        monkeypatch.setattr(module, "contrastive_vectors", watched)
    compiled = compiled_on(one_device(), experiment)
    compiled.train_step(compiled.init(), on_device(batches.batch(0)))
    jax.effects_barrier()
    assert len(seen) == 4
    seen.sort()
    np.testing.assert_allclose(seen[::2], seen[1::2], rtol=1e-5)  # compiled with and without a gradient
    assert seen[2] > 1.001 * seen[0]
