"""The copying head goes on behind the tokens written last, within a segment, as far as the decoder's state says so."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from t2c_jax.config import ModelConfig
from t2c_jax.models.interface import Encoded
from t2c_jax.models.pointer import BEFORE, Copying, Pointer

WIDTH = 4
# Two segments and padding; 7 stands twice in the first and ends it.
TOKENS = jnp.array([[7, 8, 9, 7, 8, 7, 5, 6, 0]])
SEGMENTS = jnp.array([[1, 1, 1, 1, 1, 1, 2, 2, 0]])


def attention(follow, fed, segment):
    """Of the last of the target's positions, all in one segment, by a pointer for which content says nothing.

    ``follow`` raises the positions behind one, two and three equal tokens.
    """
    pointer = Pointer(ModelConfig(width=WIDTH), WIDTH, rngs=nnx.Rngs(0))
    pointer.query[...] = jnp.zeros((WIDTH, WIDTH))
    pointer.follow[...] = jnp.broadcast_to(jnp.array(follow) / WIDTH, (WIDTH, BEFORE))
    encoded = Encoded(jnp.ones((1, TOKENS.shape[1], WIDTH)), SEGMENTS, ())
    states = jnp.ones((1, len(fed), WIDTH))
    copying = pointer(states, states, jnp.array([fed]), jnp.full((1, len(fed)), segment), encoded, TOKENS)
    return np.asarray(copying.attention_BTS[0, -1])


def spread(positions):
    return [1 / len(positions) if s in positions else 0 for s in range(TOKENS.shape[1])]


@pytest.mark.parametrize(
    ("last", "segment", "positions"),
    [
        (7, 1, [1, 4]),  # behind either 7; the one that ends the segment is not followed into the next
        (8, 1, [2, 5]),
        (9, 1, [3]),
        (5, 2, [7]),
        (7, 2, [6, 7]),  # not in this segment: nothing to follow, and all of it stays as likely as before
        (0, 1, [0, 1, 2, 3, 4, 5]),  # what the decoder starts from is no token of a source
        (3, 1, [0, 1, 2, 3, 4, 5]),
    ],
)
def test_positions_behind_the_last_token_are_raised(last, segment, positions):
    np.testing.assert_allclose(attention((30.0, 0.0, 0.0), [last], segment), spread(positions), atol=1e-6)


@pytest.mark.parametrize(
    ("fed", "positions"),
    [
        ((7, 8), [2, 5]),
        ((9, 7), [4]),
        ((8, 9, 7), [4]),
        ((0, 7), [1, 4]),  # one written so far, and behind either
        ((5, 7), [1, 4]),
        ((5, 9, 7), [4]),
    ],
)
def test_the_longer_the_match_the_higher(fed, positions):
    np.testing.assert_allclose(attention((30.0, 30.0, 30.0), list(fed), 1), spread(positions), atol=1e-6)


def test_a_state_that_wants_no_going_on_gets_none():
    np.testing.assert_allclose(attention((0.0, 0.0, 0.0), [7], 1), spread([0, 1, 2, 3, 4, 5]), atol=1e-6)
    np.testing.assert_allclose(attention((-30.0, 0.0, 0.0), [7], 1), spread([0, 2, 3, 5]), atol=1e-6)


def test_both_ways_to_a_copys_probability_agree():
    """``correct`` compares the two to 1e-5. A CPU multiplies in float32 anyway, accelerators only where told to."""
    draw = np.random.default_rng(0)
    tokens = jnp.asarray(draw.integers(1, 5, (1, 12)), jnp.int32)
    attention = jnp.asarray(draw.dirichlet(np.ones(12), (1, 12)), jnp.float32)
    copying = Copying(jnp.full((1, 12), -0.7), jnp.full((1, 12), -0.7), attention, tokens)
    by_source = jax.jit(lambda: copying.log_copied_source())
    assert "precision = [HIGHEST, HIGHEST]" in by_source.lower().as_text()
    expected = copying.log_copied(tokens)[0]
    np.testing.assert_allclose(jnp.diagonal(by_source()[0]), expected, rtol=0, atol=2e-6)
