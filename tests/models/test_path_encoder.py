"""code2seq's encoder: against a plain LSTM, blind to padding, and able to learn."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import MODEL, assert_close, drawn, experiment, on_device, one_device

from t2c_jax.config import DECODERS, DataConfig, PathsConfig, RecurrentConfig, check
from t2c_jax.data.path_columns import StoredPaths
from t2c_jax.data.paths import NODE_IDS
from t2c_jax.data.pipeline import Batches
from t2c_jax.data.prepare import Tokens
from t2c_jax.data.source_side import PathSource
from t2c_jax.data.tasks import Translate
from t2c_jax.mesh import global_batch, make_mesh
from t2c_jax.train.step import Compiled

VOCABULARY = 64
STEPS = 250
CONFIG = replace(MODEL, encoder="paths", recurrent=RecurrentConfig(width=6))
KEYS = ("path_start_tokens", "path_nodes", "path_end_tokens")


def random_paths(rows=2, paths=5, nodes=4, tokens=3, seed=0):
    """Paths and terminals of random lengths, at least 1; the last row has one path less."""
    draw = np.random.default_rng(seed)

    def ragged(top, length):
        values = draw.integers(1, top, (rows, paths, length))
        lengths = draw.integers(1, length + 1, (rows, paths, 1))
        return np.where(np.arange(length) < lengths, values, 0).astype(np.int32)

    batch = dict(
        zip(KEYS, (ragged(VOCABULARY, tokens), ragged(NODE_IDS, nodes), ragged(VOCABULARY, tokens)), strict=True)
    )
    segments = np.ones((rows, paths), np.int32)
    segments[-1, -1] = 0
    for value in batch.values():
        value[-1, -1] = 0
    return {**batch, "encoder_segment_ids": segments}


def encode(definition, params, batch, key=None):
    def run(params, batch):
        encoded = definition.bind(params).encode(batch, key)
        (summary,) = encoded.summaries
        assert summary.pool == "mean"
        assert summary.states_BSC is encoded.states_BSE
        return encoded.states_BSE

    return np.asarray(jax.jit(run)(params, {name: jnp.asarray(value) for name, value in batch.items()}))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def plain_lstm(nodes, table, weights):
    hidden = cell = np.zeros(len(weights["state"]))
    for node in nodes:
        products = np.tensordot(table[node], weights["input"], 1) + np.tensordot(hidden, weights["state"], 1)
        write, forget, value, read = products + weights["bias"]
        cell = sigmoid(forget) * cell + sigmoid(write) * np.tanh(value)
        hidden = sigmoid(read) * np.tanh(cell)
    return hidden


def test_states_are_those_of_the_paper_computed_plainly():
    definition, params = drawn(CONFIG, vocabulary=VOCABULARY)
    batch = random_paths()
    states = encode(definition, params, batch)
    tree = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    weights, table = tree["encoder"], tree["embedding"]["embedding"]
    for row, path in zip(*np.nonzero(batch["encoder_segment_ids"]), strict=True):
        start, nodes, end = ([i for i in batch[key][row, path] if i] for key in KEYS)
        lstm = [
            plain_lstm(nodes, weights["nodes"], weights["forward"]),
            plain_lstm(nodes[::-1], weights["nodes"], weights["backward"]),
        ]
        terminals = np.concatenate([table[start].sum(axis=0), table[end].sum(axis=0)])
        expected = np.tanh(np.concatenate(lstm) @ weights["path_kernel"] + terminals @ weights["terminal_kernel"])
        # float32 against float64 through a few dozen operations
        np.testing.assert_allclose(states[row, path], expected, atol=1e-5)
    assert states.shape == (2, 5, CONFIG.width)
    assert not states[-1, -1].any()


def test_padding_is_invisible():
    """More paths, nodes and tokens of padding leave each state as it is."""
    definition, params = drawn(CONFIG, vocabulary=VOCABULARY)
    batch = random_paths()
    wider = {key: np.pad(batch[key], ((0, 0), (0, 3), (0, 2))) for key in KEYS}
    wider["encoder_segment_ids"] = np.pad(batch["encoder_segment_ids"], ((0, 0), (0, 3)))
    one, other = encode(definition, params, batch), encode(definition, params, wider)
    # The same sums, perhaps in another order.
    np.testing.assert_allclose(other[:, :5], one, atol=1e-6)
    assert not other[:, 5:].any()


def test_a_path_sees_no_other_and_its_direction_counts():
    definition, params = drawn(CONFIG, vocabulary=VOCABULARY)
    batch = random_paths()
    other = {name: value.copy() for name, value in batch.items()}
    other["path_nodes"][0, 0, :2] = batch["path_nodes"][0, 0, :2] % (NODE_IDS - 1) + 1
    other["path_start_tokens"][0, 1], other["path_end_tokens"][0, 1] = [3, 4, 5], [6, 0, 0]
    mirrored = {name: value.copy() for name, value in other.items()}
    mirrored["path_start_tokens"][0, 1], mirrored["path_end_tokens"][0, 1] = [6, 0, 0], [3, 4, 5]
    states = [encode(definition, params, one) for one in (batch, other, mirrored)]
    changed = (states[0] != states[1]).any(axis=-1)
    assert changed[0, :2].all()
    assert not changed[0, 2:].any()
    assert not changed[1].any()
    assert (states[1][0, 1] != states[2][0, 1]).any()


def test_dropout_goes_by_its_key():
    definition, params = drawn(CONFIG, vocabulary=VOCABULARY)
    definition = replace(definition, config=replace(CONFIG, dropout=0.5))
    batch = random_paths()
    one, same, other = (encode(definition, params, batch, jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()
    without = drawn(CONFIG, vocabulary=VOCABULARY)[0]
    np.testing.assert_array_equal(encode(definition, params, batch), encode(without, params, batch))


def test_axes_have_rules():
    definition, _ = drawn(CONFIG, vocabulary=VOCABULARY)
    definition.shardings(one_device())


class Letters:
    """A tokenizer with an id a letter, from 3."""

    vocab_size = VOCABULARY

    def encode_batch(self, texts):
        return [np.array([3 + ord(letter) % 60 for letter in text], np.int32) for text in texts]


BODIES = ["a + b", "a - b", "a.b", "b.a", "a[b]", "not a", "f(a, b)", "[a for a in b]"]
PATHS = PathsConfig(sampled=24, max_length=7, terminal_tokens=2)
DATA = DataConfig(decoder_length=5, batch_size=8, pack=False, direction="code_to_text", paths=PATHS)


def functions_to_learn():
    """Batches of eight functions, each body with a target of its own."""
    codes = [f"def x(a, b, c):\n    c = {body}\n    return c\n" for body in BODIES]
    targets = [[3 + i, 3 + (3 * i) % 8, 11] for i in range(8)]
    tokens = Tokens.of(targets, [[1]] * 8, map(str, range(8)), StoredPaths.of(codes, Letters(), PATHS))
    return Batches.of(tokens, DATA, 0, Translate(to_text=True), PathSource(tokens.paths, DATA))


def run_config(decoder):
    recurrent = RecurrentConfig(width=16)
    config = experiment(
        model={"encoder": "paths", "decoder": decoder, "recurrent": recurrent, "width": 32, "decoder_layers": 1},
        optimizer={"learning_rate": 2e-2, "warmup_steps": 5},
        train={"steps": STEPS, "microbatches": 2, "z_loss": 0.0},
    )
    config = replace(config, data=DATA)
    check(config)
    return config


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_handful_of_functions_is_learnt_by_heart(decoder):
    """From other draws of their paths at each step."""
    config, batches, losses = run_config(decoder), functions_to_learn(), []
    compiled = Compiled(config, VOCABULARY, one_device(config))
    state = compiled.init()
    for step in range(STEPS):
        values = batches.batch(step)
        state, metrics = compiled.train_step(state, on_device(values))
        losses.append(float(metrics["loss"] / metrics["weight"]))
    assert losses[0] > 3
    assert losses[-1] < 0.05
    assert float(metrics["source_tokens"]) == (values["encoder_segment_ids"] > 0).sum()


def test_eight_devices_are_one_device():
    """States and their gradient, with rows, parameters and hidden units split."""
    definition, params = drawn(CONFIG, vocabulary=VOCABULARY)
    values, found = random_paths(rows=4), []

    def objective(params, values):
        return jnp.sum(jnp.square(definition.bind(params).encode(values).states_BSE))

    for on in (one_device(), make_mesh(experiment(mesh={"data": 2, "fsdp": 2, "tensor": 2}))):
        with jax.set_mesh(on):
            placed = jax.device_put(params, definition.shardings(on))
            found.append(jax.jit(jax.value_and_grad(objective))(placed, global_batch(values, on)))
    # Sums of a few hundred float32 terms in another order.
    assert_close(found[1], found[0], tolerance=1e-5)
