import math

import numpy as np
import pytest

from t2c_jax.evaluate.comparison import bootstrap_sums
from t2c_jax.evaluate.significance import bootstrap_test, holm, sign_test


@pytest.mark.parametrize(
    ("wins", "losses", "p"),
    [(0, 0, 1.0), (1, 0, 1.0), (5, 0, 2 / 32), (0, 5, 2 / 32), (3, 3, 1.0), (8, 2, 2 * (1 + 10 + 45) / 1024)],
)
def test_sign_test_is_the_exact_binomial(wins: int, losses: int, p: float):
    assert sign_test(wins, losses) == pytest.approx(p)


def test_holm_corrects_in_steps_and_keeps_the_order():
    # Holm 1979's steps: 3 x 0.01, then 2 x 0.03, then 1 x 0.04 but not below the one before.
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


def test_bootstrap_test_agrees_with_the_normal_one():
    generator = np.random.default_rng(0)
    gains = generator.normal(0.12, 1.0, 400)
    resampled = bootstrap_sums(gains[:, None], 5_000, seed=1)[:, 0] / 400
    z = gains.mean() / (gains.std() / math.sqrt(400))
    expected = math.erfc(abs(z) / math.sqrt(2))
    assert 0.02 < expected < 0.2
    # 5,000 resamples know p to sqrt(p / 5,000), 6 % of it at 0.05; a bit more than twice that.
    assert bootstrap_test(resampled, gains.mean(), 400) == pytest.approx(expected, rel=0.15)


def test_no_chance_level_is_below_one_of_false_alarms():
    """Of systems that do not differ, about one in twenty has p < 0.05."""
    generator = np.random.default_rng(0)
    alarms = 0
    for seed in range(300):
        gains = generator.normal(0.0, 1.0, 60)
        resampled = bootstrap_sums(gains[:, None], 400, seed=seed)[:, 0] / 60
        alarms += bootstrap_test(resampled, gains.mean(), 60) < 0.05
    assert 3 <= alarms <= 34  # 15 +- 3.8 standard deviations of 300 draws, and the bootstrap is a little too sure


def test_few_examples_prove_nothing():
    assert bootstrap_test(np.full(1000, 3.0), 3.0, differing=1) == 1.0
    assert bootstrap_test(np.full(1000, 3.0), 3.0, differing=3) == 0.25
    assert bootstrap_test(np.zeros(1000), 0.0, differing=0) == 1.0
    assert bootstrap_test(np.array([3.0, math.nan, 3.0]), 3.0, differing=50) == pytest.approx(1 / 3)
