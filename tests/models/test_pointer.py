"""The copying head goes on behind the token written last, within a segment, as far as the decoder's state says so."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from t2c_jax.config import ModelConfig
from t2c_jax.models.interface import Encoded
from t2c_jax.models.pointer import Pointer

WIDTH = 4
# Two segments and padding; 7 stands twice in the first and ends it.
TOKENS = jnp.array([[7, 8, 9, 7, 8, 7, 5, 6, 0]])
SEGMENTS = jnp.array([[1, 1, 1, 1, 1, 1, 2, 2, 0]])


def attention(follow, last, segment):
    """Of one target position in the given segment, by a pointer for which content says nothing."""
    pointer = Pointer(ModelConfig(width=WIDTH), WIDTH, rngs=nnx.Rngs(0))
    pointer.query[...] = jnp.zeros((WIDTH, WIDTH))
    pointer.follow[...] = jnp.full(WIDTH, follow / WIDTH)
    encoded = Encoded(jnp.ones((1, TOKENS.shape[1], WIDTH)), SEGMENTS, ())
    states = jnp.ones((1, 1, WIDTH))
    copying = pointer(states, states, jnp.array([[last]]), jnp.array([[segment]]), encoded, TOKENS)
    return np.asarray(copying.attention_BTS[0, 0])


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
    expected = np.zeros(TOKENS.shape[1])
    expected[positions] = 1 / len(positions)
    np.testing.assert_allclose(attention(30.0, last, segment), expected, atol=1e-6)


def test_a_state_that_wants_no_going_on_gets_none():
    np.testing.assert_allclose(attention(0.0, 7, 1), [1 / 6] * 6 + [0] * 3, atol=1e-6)
    behind = attention(-30.0, 7, 1)
    np.testing.assert_allclose(behind[[1, 4]], 0, atol=1e-6)
