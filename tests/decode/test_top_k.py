"""The ranking of a large vocabulary."""

import jax
import numpy as np
import pytest

from t2c_jax.decode.search import top_k


@pytest.mark.parametrize("size", [8192, 8191, 1536, 32])
@pytest.mark.parametrize("values", [2, 40, 1_000_000])
@pytest.mark.parametrize(("beams", "count"), [(1, 1), (1, 2), (4, 8)])
def test_top_k_is_jax_s_with_equals_in_the_same_order(size, values, beams, count):
    draw = np.random.default_rng(size + values)
    x_BWV = draw.integers(0, values, (3, beams, size)).astype(np.float32)
    offset_BW = draw.integers(0, 3, (3, beams)).astype(np.float32)
    found = top_k(x_BWV, offset_BW, count)
    expected = jax.lax.top_k((x_BWV + offset_BW[..., None]).reshape(3, -1), count)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])
