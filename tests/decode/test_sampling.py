"""Sampling: what may be drawn, how often it is, and that nothing else has a part in it."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from tiny import experiment, make_mesh, nested_collectives
from toy_decoder import Toy, searched

from t2c_jax.decode.logits_processors import FORBIDDEN, RepetitionPenalty
from t2c_jax.decode.sampling import draw, keep_min_p, keep_top_k, keep_top_p
from t2c_jax.decode.search import Shape, requests
from t2c_jax.tokenizers.sentencepiece import EOS

SIZE = 50


def logits(rows, seed=0, levels=None):
    """Some of them forbidden; with ``levels``, many equal ones."""
    random = np.random.default_rng(seed)
    found = random.normal(0, 3, (rows, SIZE)).astype(np.float32)
    if levels is not None:
        found = np.round(found * levels) / levels
    found[random.random(found.shape) < 0.1] = FORBIDDEN
    return found


def kept(function, logits_BV, settings_B):
    found = np.asarray(jax.jit(function)(logits_BV, settings_B))
    is_kept = found > -np.inf
    np.testing.assert_array_equal(found[is_kept], logits_BV[is_kept])
    return is_kept


@pytest.mark.parametrize("levels", [None, 1])
def test_top_k_keeps_what_sorting_keeps(levels):
    """All of equal ones, and all there are where k is 0 or larger than the vocabulary."""
    k_B = np.array([0, 1, 2, 3, 10, SIZE - 1, SIZE, SIZE + 5], np.int32)
    logits_BV = logits(len(k_B), levels=levels)
    found = kept(keep_top_k, logits_BV, k_B)
    for row, k in enumerate(k_B.tolist()):
        least = np.sort(logits_BV[row])[::-1][min(k or SIZE, SIZE) - 1]
        np.testing.assert_array_equal(found[row], logits_BV[row] >= least)
    assert levels is None or found[2].sum() > 2


@pytest.mark.parametrize("levels", [None, 1])
def test_top_p_keeps_what_sorting_keeps(levels):
    p_B = np.array([1e-9, 0.05, 0.3, 0.5, 0.7, 0.9, 0.99, 1.0], np.float32)
    logits_BV = logits(len(p_B), seed=1, levels=levels)
    found = kept(keep_top_p, logits_BV, p_B)
    for row, p in enumerate(p_B.tolist()):
        probability_V = np.exp(logits_BV[row].astype(np.float64))
        probability_V /= probability_V.sum()
        order = np.argsort(-logits_BV[row])
        needed = np.searchsorted(np.cumsum(probability_V[order]), p - 1e-7)
        least = logits_BV[row, order[min(needed, SIZE - 1)]]
        expected = logits_BV[row] >= least
        if p == 1:  # a probability below float32's resolution may be left out
            assert expected[found[row]].all()
            assert probability_V[~found[row]].sum() < 1e-6
        else:
            np.testing.assert_array_equal(found[row], expected)
    assert found[0].sum() == (logits_BV[0] == logits_BV[0].max()).sum()


def test_min_p_keeps_what_is_likely_enough():
    p_B = np.array([0.0, 1e-4, 0.02, 0.3, 1.0], np.float32)
    logits_BV = logits(len(p_B), seed=2)
    found = kept(keep_min_p, logits_BV, p_B)
    for row, p in enumerate(p_B.tolist()):
        relative_V = np.exp(logits_BV[row].astype(np.float64) - logits_BV[row].max())
        np.testing.assert_array_equal(found[row], relative_V >= p)
    assert found[-1].sum() == 1


def probabilities(logits_V, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0):
    """Of each token to be drawn, by sorting, in the order in which transformers truncates."""
    logits_V = logits_V.astype(np.float64) / temperature
    order = np.argsort(-logits_V, kind="stable")
    p_V = np.exp(logits_V - logits_V.max())
    if top_k:
        p_V[order[top_k:]] = 0
    p_V /= p_V.sum()
    before_V = np.cumsum(p_V[order]) - p_V[order]
    p_V[order[before_V >= top_p]] = 0
    p_V[p_V < min_p * p_V.max()] = 0
    return p_V / p_V.sum()


DRAWS = 20_000
SETTINGS = (
    {},
    {"temperature": 0.6},
    {"temperature": 2.5},
    {"top_k": 4},
    {"top_p": 0.8},
    {"min_p": 0.15},
    {"temperature": 1.7, "top_k": 6, "top_p": 0.9, "min_p": 0.1},
    {"temperature": 0.7, "top_k": 100, "top_p": 1e-6},
)
LOGITS = np.array([0.3, 2.0, -1.0, 1.2, 0.9, -0.4, FORBIDDEN, 1.6, -2.5, 0.0], np.float32)


@jax.jit
def drawn(asked, step_B):
    rows = step_B.shape[0]
    return draw(jnp.broadcast_to(LOGITS, (rows, len(LOGITS))), jnp.full((rows,), int(LOGITS.argmax())), asked, step_B)


def keys(rows, seed=0):
    return np.random.default_rng(seed).integers(0, 2**32, (rows, 2), np.uint32)


def chi_square(counts_V, p_V):
    """Divided by what it is expected to be."""
    expected_V = p_V * counts_V.sum()
    possible = expected_V > 0
    assert not counts_V[~possible].any()
    freedom = possible.sum() - 1
    return (((counts_V - expected_V)[possible] ** 2) / expected_V[possible]).sum() / max(freedom, 1)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_tokens_are_drawn_as_often_as_they_are_likely(settings):
    """Over keys at one step, and over steps with one key. The seeds are fixed: a fair draw would fail once in 10^4."""
    asked = requests(DRAWS, 9, **{"temperature": 1.0, **settings}, keys=keys(DRAWS))
    p_V = probabilities(LOGITS, **settings)
    over_keys = np.bincount(drawn(asked, np.full(DRAWS, 3, np.int32)), minlength=len(LOGITS))
    same_key = asked._replace(key=np.broadcast_to(asked.key[:1], asked.key.shape))
    over_steps = np.bincount(drawn(same_key, np.arange(DRAWS, dtype=np.int32)), minlength=len(LOGITS))
    for counts_V in (over_keys, over_steps):
        assert chi_square(counts_V, p_V) < 4


def test_a_draw_is_a_function_of_its_row_alone():
    """Whatever the order of rows, their number, and the settings of others."""
    rows = 64
    random = np.random.default_rng(5)
    asked = requests(rows, 9, keys=keys(rows))._replace(
        temperature=random.choice([0.0, 0.5, 1.0, 2.0], rows).astype(np.float32),
        top_k=random.choice([0, 3], rows).astype(np.int32),
        top_p=random.choice([0.7, 1.0], rows).astype(np.float32),
        min_p=random.choice([0.0, 0.1], rows).astype(np.float32),
    )
    step_B = random.integers(0, 50, rows).astype(np.int32)
    together = np.asarray(drawn(asked, step_B))
    order = random.permutation(rows)
    shuffled = drawn(jax.tree.map(lambda leaf: leaf[order], asked), step_B[order])
    np.testing.assert_array_equal(shuffled, together[order])
    few = order[:3]
    np.testing.assert_array_equal(drawn(jax.tree.map(lambda leaf: leaf[few], asked), step_B[few]), together[few])
    assert (together[asked.temperature == 0] == LOGITS.argmax()).all()
    assert len(set(together.tolist())) > 4


def test_devices_draw_without_exchanging_bits():
    """A vocabulary over several devices is gathered once; no loop over bits waits for another device."""
    mesh = make_mesh(experiment(mesh={"data": 2, "fsdp": 2, "tensor": 2}))
    rows, step_B = 8, np.arange(8, dtype=np.int32)
    logits_BV = logits(rows)
    asked = requests(rows, 9, temperature=1.0, top_k=4, top_p=0.9, min_p=0.05, keys=keys(rows))
    likeliest_B = logits_BV.argmax(-1)
    alone = draw(jnp.asarray(logits_BV), likeliest_B, asked, step_B)
    with jax.set_mesh(mesh):
        placed = jax.device_put(logits_BV, NamedSharding(mesh, PartitionSpec(("data", "fsdp"), "tensor")))
        compiled = jax.jit(draw).lower(placed, likeliest_B, asked, step_B).compile()
        np.testing.assert_array_equal(compiled(placed, likeliest_B, asked, step_B), alone)
    assert "all-gather" in compiled.as_text()
    assert not nested_collectives(compiled)


def copies(toy, count):
    """The toy's first prompt so many times."""
    toy.batch = count
    toy.weights_BTVV, toy.bias_BTV = (
        np.repeat(values[:1], count, axis=0) for values in (toy.weights_BTVV, toy.bias_BTV)
    )
    return toy


def test_answers_are_drawn_as_often_as_they_are_likely():
    """All sequences of a prompt, each as often as the product of its tokens' probabilities says."""
    toy = copies(Toy(vocabulary=3, steps=3, batch=1, seed=3), 6000)
    found = searched(toy, Shape(3, sampling=True), temperature=1.0, keys=keys(6000, seed=1))
    answers = [
        tuple(tokens[: tokens.index(EOS) + 1] if EOS in tokens else tokens) for tokens in found.tokens[:, 0].tolist()
    ]
    possible = [
        (*body, EOS) if length < 3 else body for length in range(4) for body in itertools.product((0, 2), repeat=length)
    ]
    possible = sorted({*possible, *((*body, EOS) for body in itertools.product((0, 2), repeat=2))})
    p = np.exp([toy.log_p(0, answer) for answer in possible])
    np.testing.assert_allclose(p.sum(), 1, rtol=1e-6)
    assert chi_square(np.array([answers.count(answer) for answer in possible]), p) < 3


@pytest.mark.parametrize("penalty", [1.0, 1.8])
def test_log_probabilities_are_the_models_own(penalty):
    """Without temperature, truncation and penalty."""
    toy = Toy(vocabulary=6, steps=7, batch=24, seed=2)
    settings = {"temperature": 1.5, "top_k": 4, "top_p": 0.9, "repetition_penalty": penalty, "keys": keys(24)}
    processors = [RepetitionPenalty()] if penalty != 1 else []
    found = searched(toy, Shape(7, sampling=True), processors, **settings)
    own = found.scores if found.log_p is None else found.log_p
    for row in range(24):
        tokens = found.tokens[row, 0].tolist()
        answer = tokens[: tokens.index(EOS) + 1] if EOS in tokens else tokens
        np.testing.assert_allclose(own[row, 0], toy.log_p(row, answer), rtol=1e-5, atol=1e-5)
    assert (found.log_p is None) == (penalty == 1)
    assert penalty == 1 or (np.abs(found.log_p - found.scores) > 0.1).any()
