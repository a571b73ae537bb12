import math

import pytest
from evaluate_examples import pair

from t2c_jax.evaluate.metrics.metric import metrics_named
from t2c_jax.papers.conala.bleu import conala_tokens


def test_tokens():
    assert conala_tokens("df.groupBy(\"a_1\")['B']\n!= 'é'") == [
        *("df", ".", "group", "By", "(", "`", "a_1", "`", ")", "[", "`", "B", "`", "]", "!", "=", "`", "é", "`"),
    ]
    assert conala_tokens("HTTPServer aBC") == ["HTTPServer", "a", "BC"]


def test_the_score_is_the_unsmoothed_one():
    (metric,) = metrics_named(("conala_bleu",))
    assert "smooth:none" in metric.signature
    pairs = [pair("0", "t", "f(a, b)"), pair("1", "t", "x")]
    # f ( a , c ) and x against f ( a , b ) and x: 6 of 7 tokens, 3 of 5 pairs, 2 of 4 triples, 1 of 3 fours.
    rows = metric.statistics(pairs, [["f(a, c)"], ["x"]])
    assert rows.tolist() == [[6, 6, 5, 3, 2, 1, 6, 5, 4, 3], [1, 1, 1, 0, 0, 0, 1, 0, 0, 0]]
    wanted = 100 * (6 / 7 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25
    assert metric.score(rows.sum(axis=0).tolist()) == pytest.approx(wanted)
    # Without a common run of four tokens there is no score; a short answer is penalised by exp(1 - r / c).
    rows = metric.statistics(pairs, [["f(a; b)"], ["x"]])
    assert metric.score(rows.sum(axis=0).tolist()) == 0
    rows = metric.statistics(pairs, [["f(a,"], ["x"]])
    assert metric.score(rows.sum(axis=0).tolist()) == pytest.approx(100 * math.exp(1 - 7 / 5))
