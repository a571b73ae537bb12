"""code2seq's encoder: against a plain LSTM, each path for itself; with decoders it is in the table of pairings."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from tiny import MODEL, assert_close, drawn, encoder, experiment, make_mesh, one_device, random_paths

from t2c_jax.mesh import global_batch
from t2c_jax.papers.code2seq.syntax_paths import NODE_IDS

VOCABULARY = 64
CONFIG = replace(MODEL, encoder=encoder("paths", width=6))
KEYS = ("path_start_tokens", "path_nodes", "path_end_tokens")


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
    batch = random_paths(vocabulary=VOCABULARY)
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


def test_a_path_sees_no_other_and_its_direction_counts():
    definition, params = drawn(CONFIG, vocabulary=VOCABULARY)
    batch = random_paths(vocabulary=VOCABULARY)
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
    batch = random_paths(vocabulary=VOCABULARY)
    one, same, other = (encode(definition, params, batch, jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()
    without = drawn(CONFIG, vocabulary=VOCABULARY)[0]
    np.testing.assert_array_equal(encode(definition, params, batch), encode(without, params, batch))


def test_axes_have_rules():
    definition, _ = drawn(CONFIG, vocabulary=VOCABULARY)
    definition.shardings(one_device())


def test_eight_devices_are_one_device():
    """States and their gradient, with rows, parameters and hidden units split."""
    definition, params = drawn(CONFIG, vocabulary=VOCABULARY)
    values, found = random_paths(rows=4, vocabulary=VOCABULARY), []

    def objective(params, values):
        return jnp.sum(jnp.square(definition.bind(params).encode(values).states_BSE))

    for on in (one_device(), make_mesh(experiment(mesh={"data": 2, "fsdp": 2, "tensor": 2}))):
        with jax.set_mesh(on):
            placed = jax.device_put(params, definition.shardings(on))
            found.append(jax.jit(jax.value_and_grad(objective))(placed, global_batch(values, on)))
    # Sums of a few hundred float32 terms in another order.
    assert_close(found[1], found[0], tolerance=1e-5)
