import math

import pytest
from evaluate_examples import pair

from t2c_jax.evaluate.metrics.metric import metrics_named

(METRIC,) = metrics_named(("subtoken_f1",))


@pytest.mark.parametrize(
    ("prediction", "reference", "counts"),
    [
        ("get user name", "get user name", [3, 0, 0]),
        ("getUserName", "get user name", [3, 0, 0]),
        ("name get", "get user name", [2, 0, 1]),
        ("get the name", "get user name", [2, 1, 1]),
        ("get get get", "get user", [3, 0, 1]),  # looked up, not matched one to one
        ("file name", "filename", [1, 0, 0]),  # equal once joined
        ("", "get", [0, 0, 1]),
        ("a b", "c", [0, 2, 1]),
    ],
)
def test_counts(prediction: str, reference: str, counts: list[float]):
    (row,) = METRIC.statistics([pair("0", "t", reference)], [[prediction]])
    assert row.tolist() == counts


def test_f1_is_of_the_sums():
    # Precision 4 of 5, recall 4 of 8.
    assert METRIC.score([4, 1, 4]) == pytest.approx(100 * 2 * 0.8 * 0.5 / 1.3)
    assert METRIC.score([0, 2, 3]) == 0
    assert math.isnan(METRIC.score([0, 0, 0]))
