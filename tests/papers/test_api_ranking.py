import math

import numpy as np
import pytest
from evaluate_examples import pair

from t2c_jax.evaluate.comparison import compare, score_table, summary, verdict
from t2c_jax.evaluate.metrics.metric import metrics_named
from t2c_jax.papers.deep_api.ranking import is_relevant

PRECISION, RELEVANCY, FRANK = METRICS = metrics_named(("api_precision", "relevancy", "frank"))
WANTED = "open open.read json.loads"


@pytest.mark.parametrize(
    ("candidate", "relevant"),
    [
        (WANTED, True),
        ("json.loads open len", True),  # two of three
        ("open open open", False),  # one of three, however often
        ("len", False),
        ("", False),
    ],
)
def test_relevant_is_half_of_the_distinct_calls(candidate: str, relevant: bool):
    assert is_relevant(candidate, WANTED) is relevant
    assert is_relevant("open", "open open.read")


@pytest.mark.parametrize(
    ("ranked", "precision", "relevancy", "rank"),
    [
        ([WANTED], [3, 3], 1, 1),
        (["len open", "open open.read"], [3, 4], 1 / 2, 2),
        (["len", "", "len len"], [0, 3], 0, 6),
        (["len"] * 5 + [WANTED], [0, 5], 0, 6),  # the sixth is not looked at
        (["len"] * 4 + [WANTED], [3, 7], 1 / 5, 5),
    ],
)
def test_statistics(ranked: list[str], precision: list[float], relevancy: float, rank: float):
    pairs = [pair("0", "t", WANTED, language="apis")]
    assert PRECISION.statistics(pairs, [ranked]).tolist() == [precision]
    assert RELEVANCY.statistics(pairs, [ranked]).tolist() == [[relevancy, 1]]
    assert FRANK.statistics(pairs, [ranked]).tolist() == [[rank, 1]]


def test_scores():
    assert PRECISION.score([3, 4]) == RELEVANCY.score([3, 4]) == 75
    assert FRANK.score([7, 2]) == 3.5
    assert all(math.isnan(metric.score([0, 0])) for metric in METRICS)


def test_less_of_a_rank_is_better():
    pairs = [pair(str(n), "t", WANTED, language="apis") for n in range(30)]
    sides = (
        {metric.name: metric.statistics(pairs, [ranked] * 30) for metric in METRICS}
        for ranked in ([WANTED], ["len", "open", WANTED])
    )
    scores = compare(METRICS, *sides, samples=20, seed=0)
    assert scores["difference"]["frank"] == {"value": -2.0, "standard_error": 0.0, "interval": [-2.0, -2.0]}
    assert set(scores["verdict"].values()) == {"better"}
    assert "on the precision of calls, relevancy and FRank, and loses" in summary(METRICS, scores["verdict"])
    columns, rows = score_table(METRICS, scores)
    assert columns[0] == "score"
    assert rows[-1] == ("FRank (lower is better)", "1.0 ± 0.0", "3.0 ± 0.0", "better")
    assert verdict({"value": np.float64(1.0), "standard_error": 0.1}, lower_is_better=True) == "worse"
