import math
from typing import Any

import numpy as np
import pytest
from evaluate_examples import pair

from t2c_jax.config import EvaluateConfig
from t2c_jax.evaluate.comparison import bootstrap_sums, compare, format_score, paired, score_table, summary, verdict
from t2c_jax.evaluate.metrics.metric import metrics_named

METRICS = metrics_named(EvaluateConfig().metrics)
CODES = [f"def f{n}(a):\n    return a + {n}" for n in range(40)]
PAIRS = [pair(str(n), "t", code) for n, code in enumerate(CODES)]


def scored(predictions: list[str], copies: list[str], pairs: Any = PAIRS, samples: int = 200) -> dict[str, Any]:
    sides = (
        {m.name: m.statistics(pairs, [[code] for code in codes]) for m in METRICS} for codes in (predictions, copies)
    )
    return compare(METRICS, *sides, samples=samples, seed=0)


def test_bootstrap_of_a_share_has_the_binomial_standard_error():
    hits = np.array([[1.0]] * 30 + [[0.0]] * 70)
    shares = bootstrap_sums(hits, 20_000, seed=1)[:, 0] / 100
    # 20,000 resamples know the spread to 1/sqrt(2 * 20,000) = 0.5 %; 2 % is four of that.
    assert shares.std() == pytest.approx(math.sqrt(0.3 * 0.7 / 100), rel=0.02)
    assert shares.mean() == pytest.approx(0.3, abs=0.002)


def test_every_resample_draws_as_many_examples_as_there_are():
    sums = bootstrap_sums(np.ones((7, 1)), 50, seed=0)
    np.testing.assert_array_equal(sums, np.full((50, 1), 7))


def test_bootstrap_depends_on_the_seed_alone():
    statistics = np.random.default_rng(0).random((50, 3))
    np.testing.assert_array_equal(bootstrap_sums(statistics, 30, 5), bootstrap_sums(statistics, 30, 5))
    assert not np.array_equal(bootstrap_sums(statistics, 30, 5), bootstrap_sums(statistics, 30, 6))


def test_more_examples_than_fit_a_block():
    statistics = np.random.default_rng(0).random((1_200_000, 1)).astype(np.float32)
    sums = bootstrap_sums(statistics, 2, seed=3)
    assert sums.shape == (2, 1)
    assert np.all(np.abs(sums - statistics.sum()) < 5 * math.sqrt(1_200_000 / 12))


def test_the_difference_is_paired():
    """Two systems that move together differ by less than their own spreads suggest."""
    wrong = [code.replace("return", "yield") for code in CODES]
    ours = [*CODES[:20], *wrong[20:]]
    theirs = [*CODES[:18], *wrong[18:]]
    scores = scored(ours, theirs, samples=2_000)
    exact = {side: scores[side]["exact_match"] for side in ("model", "retrieval", "difference")}
    assert exact["difference"]["value"] == pytest.approx(exact["model"]["value"] - exact["retrieval"]["value"])
    assert exact["difference"]["standard_error"] < 0.6 * exact["model"]["standard_error"]


def test_verdicts_of_a_good_and_a_bad_model():
    wrong = ["def g(b): pass"] * 40
    assert scored(CODES, wrong)["verdict"] == {
        "exact_match": "better",
        "bleu": "better",
        "chrf": "better",
        "parses": "no clear difference",
    }
    worse = scored(wrong, CODES)
    assert worse["verdict"]["bleu"] == "worse"
    assert summary(METRICS, worse["verdict"]).startswith(
        "The model does not beat copying the nearest training pair: it is worse"
    )


def test_copying_makes_no_difference():
    copies = CODES[1:] + CODES[:1]
    scores = scored(copies, copies)
    assert set(scores["verdict"].values()) == {"no clear difference"}
    none = {"value": 0.0, "standard_error": 0.0, "interval": [0.0, 0.0]}
    assert all(score == none for score in scores["difference"].values())
    assert summary(METRICS, scores["verdict"]) == (
        "The model does not beat copying the nearest training pair."
        " No clear difference on exact match, BLEU, chrF and the share that parses."
    )
    unknown = dict.fromkeys(scores["verdict"], "not applicable")
    assert summary(METRICS, unknown) == "No metric can be compared with copying the nearest training pair."


def test_a_single_example_has_no_standard_error_and_proves_nothing():
    scores = scored(CODES[:1], ["pass"], PAIRS[:1])
    assert scores["model"]["exact_match"] == {"value": 100.0, "standard_error": None, "interval": None}
    assert scores["verdict"]["exact_match"] == "no clear difference"


def test_what_does_not_apply_is_none():
    apis = [pair(str(n), "t", "os.listdir", language="apis") for n in range(5)]
    scores = scored(["ls"] * 5, ["pwd"] * 5, apis)
    assert scores["model"]["parses"] == {"value": None, "standard_error": None, "interval": None}
    assert scores["verdict"]["parses"] == "not applicable"
    assert "parses" not in summary(METRICS, scores["verdict"])
    columns, rows = score_table(METRICS, scores)
    assert [len(row) for row in rows] == [len(columns)] * len(METRICS)
    assert rows[-1][1:] == ("-", "-", "not applicable")


@pytest.mark.parametrize(
    ("value", "error", "said"),
    [
        (3.0, 1.0, "better"),
        (-3.0, 1.0, "worse"),
        (1.9, 1.0, "no clear difference"),
        (0.0, 0.0, "no clear difference"),
        (5.0, None, "no clear difference"),
        (None, None, "not applicable"),
    ],
)
def test_verdict(value: float | None, error: float | None, said: str):
    assert verdict({"value": value, "standard_error": error}) == said


def test_the_summary_names_wins_and_losses():
    verdicts: dict[str, Any] = {"exact_match": "better", "bleu": "better", "chrf": "worse", "parses": "worse"}
    assert summary(METRICS, verdicts) == (
        "The model beats copying the nearest training pair on exact match and BLEU,"
        " but is worse than copying on chrF and the share that parses."
    )


def test_format_score():
    assert format_score({"value": 12.34, "standard_error": 0.56}) == "12.3 ± 0.6"
    assert format_score({"value": 12.34, "standard_error": None}) == "12.3"


def test_systems_are_compared_with_one_of_them_as_two_are():
    half = [code if n % 2 else "pass" for n, code in enumerate(CODES)]
    none = ["pass"] * len(CODES)
    two = scored(half, none)
    for metric in METRICS:
        systems = {name: metric.statistics(PAIRS, [[c] for c in codes]) for name, codes in (("a", none), ("b", half))}
        many = paired(metric, systems, "a", samples=200, seed=0)
        for name in ("value", "standard_error"):
            assert many["b"][name] == two["model"][metric.name][name]
        assert many["b"]["difference"] == two["difference"][metric.name]["value"]
        assert many["b"]["verdict"] == two["verdict"][metric.name]
        assert (many["a"]["difference"], many["a"]["interval"], many["a"]["verdict"]) == (None, None, None)
    low, high = paired(
        METRICS[0],
        {
            "a": METRICS[0].statistics(PAIRS, [[c] for c in none]),
            "b": METRICS[0].statistics(PAIRS, [[c] for c in half]),
        },
        "a",
        samples=2000,
        seed=0,
    )["b"]["interval"]
    # Of a share of 40: 1.96 standard errors of 7.9 points; quantiles of steps of 2.5 points.
    assert low == pytest.approx(50 - 15.5, abs=2.5)
    assert high == pytest.approx(50 + 15.5, abs=2.5)
