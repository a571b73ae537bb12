from dataclasses import replace

import numpy as np
import pytest
from evaluate_examples import pair
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from t2c_jax.config import metrics as KNOWN
from t2c_jax.errors import UserError
from t2c_jax.evaluate.metrics.code_tokens import code_tokens
from t2c_jax.evaluate.metrics.exact_match import exact_match
from t2c_jax.evaluate.metrics.metric import Metric, metric_named, metrics_named
from t2c_jax.evaluate.metrics.parses import answer_parses
from t2c_jax.languages.execution import Execution

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
# Those that need training pairs have these.
ALL = tuple(metric.fitted(PAIRS) for metric in metrics_named(tuple(KNOWN)))
METRICS = [metric for metric in ALL if not metric.runs_code]  # those that run code are in test_executed_metrics
# Neither holds of the package's CodeBLEU: see its module.
SOUND = [metric for metric in METRICS if not metric.name.startswith("codebleu_published")]
BY_NAME: dict[str, Metric] = {metric.name: metric for metric in ALL}


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


def test_an_answer_that_completes_code_is_parsed_with_it():
    header = Execution(prefix='def twice(x):\n    """Twice a number."""\n', suffix="\n", test="assert twice(1) == 2")
    body = replace(pair("0", "Twice a number.", "    return 2 * x", language="python"), tests=header)
    alone = replace(body, tests=None)
    answers = ["    return 2 * x", "    return 2 *", "  return x\n y", " \n", "    return x\n\ndef f():\n    return 1"]
    assert [answer_parses(body, answer) for answer in answers] == [True, False, False, False, True]
    assert answer_parses(alone, answers[0]) is False
    assert BY_NAME["parses"].statistics([body, alone], [[body.code], [body.code]]).tolist() == [[1, 1], [0, 1]]


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_predictions_without_a_pair_are_refused(metric: Metric):
    with pytest.raises(ValueError, match="zip"):
        metric.statistics(PAIRS, CANDIDATES[:-1])


def test_signatures_name_sacrebleu_and_its_settings():
    assert "tok:none|smooth:exp|version:" in BY_NAME["bleu"].signature
    assert "nc:6|nw:0|space:no|version:" in BY_NAME["chrf"].signature


def test_edit_similarities():
    pairs = [pair("a", "t", "foo = bar(1)"), pair("b", "t", "x")]
    characters, tokens = BY_NAME["edit_similarity"], BY_NAME["token_edit_similarity"]
    # Three of twelve characters differ, one of six tokens; the other answer is all wrong, and twice as long.
    assert characters.statistics(pairs, [[" foo = baz(22)\n"], ["yz"]])[:, 0].tolist() == [pytest.approx(10 / 13), 0]
    assert tokens.statistics(pairs, [["foo =\n baz(1)"], ["y z"]])[:, 0].tolist() == [pytest.approx(5 / 6), 0]
    assert characters.score([1.5, 2]) == 75


def test_identifiers_count_as_often_as_they_occur():
    metric = BY_NAME["identifier_f1"]
    languages = ("python", "java", "no such")
    pairs = [pair(str(n), "t", "total = total + größe", language=language) for n, language in enumerate(languages)]
    found = metric.statistics(pairs, [["total = größe + other + größe"], ["total = 'total'"], ["total"]])
    assert found.tolist() == [[2, 4, 3], [1, 1, 3], [0, 0, 0]]
    assert metric.score([2, 4, 3]) == pytest.approx(100 * 4 / 7)
    assert np.isnan(metric.score([0, 0, 0]))


def test_crystal_bleu_leaves_out_what_training_code_shares():
    train = [pair(str(n), "t", f"self.n{n} = n{n}; ") for n in range(200)]
    metric = metric_named("crystal_bleu").fitted(train)
    held_out = [pair("x", "t", "self.alpha = beta(gamma(delta(1)))")]
    (row,) = metric.statistics(held_out, [["self.other = beta(gamma(delta(2)))"]]).tolist()
    (plain,) = BY_NAME["bleu"].statistics(held_out, [["self.other = beta(gamma(delta(2)))"]]).tolist()
    # "self", ".", "=" and "self ." are in every training pair. The answer has 14 tokens.
    assert row[:2] == plain[:2] == [14, 14]
    assert [before - after for before, after in zip(plain[2:], row[2:], strict=True)] == [3, 1, 0, 0, 3, 1, 0, 0]
    assert metric.score(row) < BY_NAME["bleu"].score(plain)
    # Of another language nothing is known to be shared.
    (other,) = metric.statistics([pair("x", "t", "self.a", language="java")], [["self.a"]]).tolist()
    assert other[2:6] == [3, 2, 1, 0]
    # Scores with other n-grams left out are other scores.
    again, fewer = (metric_named("crystal_bleu").fitted(pairs).signature for pairs in (train, train[:100]))
    assert again == metric.signature != fewer


def test_crystal_bleu_without_training_pairs_says_what_it_needs():
    with pytest.raises(UserError, match="crystal_bleu needs training pairs"):
        metric_named("crystal_bleu").statistics(PAIRS, CANDIDATES)
