"""Fitting a reranker: what it learns, and that a fold's answers do not depend on the fold's own references."""

import numpy as np
import pytest
from evaluate_examples import pair

from t2c_jax.decode.rerank.rerank_weights import RerankWeights
from t2c_jax.errors import UserError
from t2c_jax.evaluate.calibration import calibration
from t2c_jax.evaluate.metrics.metric import metrics_named
from t2c_jax.evaluate.rerank_fit import (
    FOLDS,
    Judged,
    _gains,
    _logistic,
    best_of_all,
    choose,
    cross_validated,
    fit,
    folds_of,
)

BLEU, EXACT = metrics_named(("bleu", "exact_match"))
FEATURES = ("good", "noise")


def judged(metric, count=60, seed=0):
    """Four candidates to each prompt; the second feature is noise, the first one is 1 where a candidate is right."""
    draw = np.random.default_rng(seed)
    found = []
    for number in range(count):
        reference = f"f(a, {number}) + g[{number}]"
        right = int(draw.integers(5))  # 4: no candidate is
        texts = [reference if place == right else f"f(a, {number}) - h({place})" for place in range(4)]
        rows = metric.statistics([pair(str(number), "t", reference)] * 4, [[text] for text in texts])
        good_C = np.array([text == reference for text in texts], float)
        values_CF = np.stack([good_C + draw.normal(0, 0.2, 4), draw.normal(0, 9, 4)], axis=1)
        found.append(Judged(values_CF, rows, good_C))
    return found


@pytest.mark.parametrize("metric", [BLEU, EXACT], ids=["bleu", "exact_match"])
def test_an_informative_feature_is_found(metric):
    prompts = judged(metric)
    weights = fit(prompts, FEATURES, metric)
    assert weights.rank_F[0] > 20 * abs(weights.rank_F[1])
    possible = sum(each.right_C.max() for each in prompts)
    found = [choose(weights, each) for each in judged(metric, seed=1)]
    assert sum(each.right for each in found) >= 0.95 * sum(each.right_C.max() for each in judged(metric, seed=1))
    assert possible < len(prompts)
    right = np.array([each.right for each in found], bool)
    confidence = np.array([each.confidence for each in found])
    assert confidence[right].min() > confidence[~right].max()


def test_a_gain_is_the_change_of_the_corpus_score():
    prompts = judged(BLEU, count=7)
    first = np.sum([each.statistics_CK[0] for each in prompts], axis=0)
    for number, gain_C in enumerate(_gains(prompts, [0] * 7, BLEU)):
        for place in range(4):
            rows = [each.statistics_CK[place if other == number else 0] for other, each in enumerate(prompts)]
            expected = 7 * (BLEU.score(np.sum(rows, axis=0)) - BLEU.score(first))
            assert gain_C[place] == pytest.approx(expected, abs=1e-9)
    shares = _gains(judged(EXACT, count=7), [0] * 7, EXACT)
    assert {round(float(value)) for gain_C in shares for value in gain_C} <= {-100, 0, 100}


def test_what_each_prompt_gains_alone_and_all_lose_together_is_not_learned():
    """Answers are too short, so a single long one raises BLEU; of long ones alone, most words are wrong."""
    words = [f"w{number}" for number in range(20)]
    texts = [" ".join(words[:14]), " ".join([*words, *(f"x{number}" for number in range(30))])]
    rows = BLEU.statistics([pair("a", "t", " ".join(words))] * 2, [[text] for text in texts])
    prompts = [Judged(np.array([[0.0], [1.0]]), rows, np.zeros(2))] * 10
    assert all(gain_C[1] > 0 for gain_C in _gains(prompts, [0] * 10, BLEU))
    chosen = [fit(prompts, ("length",), BLEU).order(each.values_CF)[0] for each in prompts]
    assert chosen == [0] * 10
    best = best_of_all(prompts, BLEU)
    assert 0 < sum(best) < 10, "some long ones"
    scores = [BLEU.score(sum(rows[place] for place in places)) for places in (best, chosen, [1] * 10)]
    assert scores[0] > scores[1] > scores[2]


def test_of_a_metric_that_is_better_when_lower_the_lowest_is_best():
    (metric,) = metrics_named(("frank",))
    assert metric.lower_is_better
    reference = pair("a", "t", "open json.load", language="apis")
    rows = metric.statistics([reference] * 2, [["print"], ["open json.load"]])
    assert best_of_all([Judged(np.zeros((2, 1)), rows, np.zeros(2))], metric) == [1]


def test_the_oracle_finds_the_right_candidate():
    prompts = judged(EXACT)
    best = best_of_all(prompts, EXACT)
    assert [each.right_C[place] for each, place in zip(prompts, best, strict=True)] == [
        each.right_C.max() for each in prompts
    ]


def test_what_is_chosen_of_a_fold_does_not_depend_on_its_references():
    prompts = judged(EXACT, count=40)
    folds = folds_of([str(number) for number in range(40)])
    before = cross_validated(prompts, folds, FEATURES, EXACT)
    changed = [
        Judged(each.values_CF, each.statistics_CK[::-1], 1 - each.right_C) if fold == 2 else each
        for each, fold in zip(prompts, folds, strict=True)
    ]
    after = cross_validated(changed, folds, FEATURES, EXACT)
    for fold, one, other in zip(folds, before, after, strict=True):
        if fold == 2:
            assert (one.order, one.confidence) == (other.order, other.confidence)
    assert [each.confidence for each in before] != [each.confidence for each in after], "the others were fitted on it"
    assert before == cross_validated(prompts, folds, FEATURES, EXACT)


def test_folds_keep_groups_together_and_are_about_equal():
    groups = [f"g{number % 13}" for number in range(130)]
    folds = folds_of(groups)
    assert len({(group, fold) for group, fold in zip(groups, folds, strict=True)}) == 13
    sizes = np.bincount(folds, minlength=FOLDS)
    assert sizes.max() - sizes.min() <= 10
    assert folds_of(groups[::-1]) == folds[::-1]
    with pytest.raises(UserError, match="4 groups of dev pairs are too few"):
        folds_of(["a", "b", "c", "d"] * 9)


def test_nothing_to_learn_gives_no_weights():
    rows = EXACT.statistics([pair("a", "t", "x")] * 2, [["y"], ["z"]])
    weights = fit([Judged(np.array([[0.0], [1.0]]), rows, np.zeros(2))] * 6, ("good",), EXACT)
    assert not weights.rank_F.any()
    assert weights.order(np.array([[0.0], [1.0]])) == [0, 1], "the search's order is kept"
    assert 0 < weights.confidence(np.array([0.0])) < 0.3, "nothing was right"


def test_a_constant_feature_changes_nothing():
    prompts = judged(EXACT)
    constant = [
        Judged(np.concatenate([each.values_CF, np.full((4, 1), 7.0)], axis=1), each.statistics_CK, each.right_C)
        for each in prompts
    ]
    weights = fit(constant, (*FEATURES, "constant"), EXACT)
    assert weights.rank_F[2] == 0
    np.testing.assert_allclose(weights.rank_F[:2], fit(prompts, FEATURES, EXACT).rank_F, rtol=1e-6)


def test_weights_read_back():
    weights = fit(judged(EXACT), FEATURES, EXACT)
    again = RerankWeights.from_dict(weights.to_dict())
    values = np.array([[0.3, 1.0], [0.9, -2.0]])
    assert again.features == FEATURES
    assert again.order(values) == weights.order(values)
    assert again.confidence(values[0]) == weights.confidence(values[0])


def test_logistic_regression_is_the_known_solution():
    """One feature, half of all targets 1 at x = 1 and a quarter at x = -1: weight (logit 1/2 - logit 1/4) / 2."""
    rows = np.array([[1.0, 1.0], [1.0, 1.0], [-1.0, 1.0], [-1.0, 1.0]])
    found = _logistic(rows, np.array([0.0, 1.0, 0.25, 0.25]), np.full(4, 0.25), free=2)
    np.testing.assert_allclose(
        found, [np.log(3) / 2, -np.log(3) / 2], rtol=1e-6
    )  # Newton's method doubles the digits a step


def test_calibration_of_known_answers():
    """Two bins of two answers: 0.95 where one of two is right, 0.05 where none is."""
    found = calibration([0.95, 0.95, 0.05, 0.05], [1, 0, 0, 0])
    assert found["expected_calibration_error"] == pytest.approx((2 * 0.45 + 2 * 0.05) / 4)
    assert [(each["from"], each["answers"]) for each in found["reliability"]] == [(0.0, 2), (0.9, 2)]
    risks = {each["coverage"]: each["risk"] for each in found["risk_coverage"]}
    assert risks == {0.25: 0.0, 0.5: 0.5, 0.75: pytest.approx(2 / 3, abs=1e-4), 1.0: 0.75}
    assert calibration([1.0, 0.0], [1, 0])["expected_calibration_error"] == 0
