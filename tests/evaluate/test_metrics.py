import numpy as np
import pytest
from evaluate_examples import pair
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from t2c_jax.config import metrics as KNOWN
from t2c_jax.evaluate.metrics.code_tokens import code_tokens
from t2c_jax.evaluate.metrics.exact_match import exact_match
from t2c_jax.evaluate.metrics.metric import Metric, metrics_named

METRICS = metrics_named(tuple(KNOWN))
# Neither holds of the package's CodeBLEU: see its module.
SOUND = [metric for metric in METRICS if not metric.name.startswith("codebleu_published")]
BY_NAME: dict[str, Metric] = {metric.name: metric for metric in METRICS}

CODES = [
    "def add(a, b):\n    return a + b\n",
    "x = {'k': [1, 2.5]}  # a comment",
    "for name in sorted(names):\n    print(name.upper())",
    "class Empty:\n    pass",
    "größe = café_1 != 0",
]
PREDICTIONS = [
    "def add(x, y):\n    return x + y\n",
    "x = {'k': [1, 2.5]}",
    "for n in names: print(n)",
    "",
    "größe = café_1 != 0",
]
CANDIDATES = [[prediction] for prediction in PREDICTIONS]
PAIRS = [pair(str(index), "text", code) for index, code in enumerate(CODES)]


def test_code_tokens_keep_identifiers_whole_and_punctuation_alone():
    assert code_tokens("read_csv(x1,**kw) != 'é'\n") == [
        *("read_csv", "(", "x1", ",", "*", "*", "kw", ")", "!", "=", "'", "é", "'"),
    ]


@pytest.mark.parametrize(
    ("prediction", "reference", "equal"),
    [("  x = 1\n", "x = 1", True), ("x  = 1", "x = 1", False), ("", " \n", True), ("x = 1\n\ny", "x = 1\ny", False)],
)
def test_exact_match_ignores_only_surrounding_whitespace(prediction: str, reference: str, equal: bool):
    assert exact_match(prediction, reference) is equal


def test_bleu_of_summed_statistics_is_sacrebleus_corpus_score():
    metric = BY_NAME["bleu"]
    ours = metric.score(metric.statistics(PAIRS, CANDIDATES).sum(axis=0).tolist())
    tokens = [[" ".join(code_tokens(code)) for code in codes] for codes in (PREDICTIONS, CODES)]
    theirs = BLEU(tokenize="none", force=True).corpus_score(tokens[0], [tokens[1]])
    assert ours == pytest.approx(theirs.score, abs=1e-9)
    assert 20 < ours < 90


def test_chrf_of_summed_statistics_is_sacrebleus_corpus_score():
    metric = BY_NAME["chrf"]
    ours = metric.score(metric.statistics(PAIRS, CANDIDATES).sum(axis=0).tolist())
    assert ours == pytest.approx(CHRF().corpus_score(PREDICTIONS, [CODES]).score, abs=1e-9)
    assert 20 < ours < 90


@pytest.mark.parametrize("metric", SOUND, ids=lambda metric: metric.name)
def test_the_references_themselves_score_best_and_blanks_worst(metric: Metric):
    best, worst = (1, 6) if metric.name == "frank" else (100, 0)
    own = metric.statistics(PAIRS, [[code] for code in CODES])
    assert metric.score(own.sum(axis=0).tolist()) == pytest.approx(best)
    assert metric.score(metric.statistics(PAIRS, [[""]] * len(PAIRS)).sum(axis=0).tolist()) == worst


def test_every_metric_goes_by_its_name():
    assert list(BY_NAME) == list(KNOWN)
    assert metrics_named(("chrf", "bleu")) == (BY_NAME["chrf"], BY_NAME["bleu"])


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_further_candidates_count_only_for_metrics_of_several(metric: Metric):
    alone, ranked = (metric.statistics(PAIRS[:1], [["x", *more]]) for more in ([], CODES[:1]))
    assert np.array_equal(alone, ranked) == (metric.candidates == 1)


def test_parses_counts_languages_with_a_parser():
    metric = BY_NAME["parses"]
    languages = ("python", "py", "no such", "text")
    pairs = [pair(str(n), "t", "x = 1", language=language) for n, language in enumerate(languages)]
    found = metric.statistics(pairs, [["x ="], ["x = 1"], ["x = 1"], ["x"]])
    assert found.tolist() == [[0, 1], [1, 1], [0, 0], [0, 0]]
    assert np.isnan(metric.score([0, 0]))


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_predictions_without_a_pair_are_refused(metric: Metric):
    with pytest.raises(ValueError, match="zip"):
        metric.statistics(PAIRS, CANDIDATES[:-1])


def test_signatures_name_sacrebleu_and_its_settings():
    assert "tok:none|smooth:exp|version:" in BY_NAME["bleu"].signature
    assert "nc:6|nw:0|space:no|version:" in BY_NAME["chrf"].signature
