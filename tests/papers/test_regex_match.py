"""Regular expressions by what they match, on hand-worked pairs."""

import pytest
from evaluate_examples import pair

from t2c_jax.evaluate.metrics.metric import metrics_named
from t2c_jax.papers.nlrx import regex_match as module
from t2c_jax.papers.nlrx.regex_match import plain_regex, regex_match


def test_placeholders_and_spaces_go():
    assert plain_regex("( [ <VOW> ] ) . * <M1> { 3 , }") == "([AEIOUaeiou]).*(truck){3,}"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("( [ <NUM> ] ) +", "[ <NUM> ] [ <NUM> ] *", True),
        ("( [ <LET> ] ) & ( [ <CAP> ] )", "[ <CAP> ]", True),
        ("~ ( . * <M0> . * )", ". *", False),
        ("~ ( ~ ( <M0> ) )", "<M0>", True),
        ("( <M0> ) | ( <M1> )", "( <M1> ) | ( <M0> )", True),
        ("<M0> *", "( <M0> ) *", True),  # of the word, not of its last letter
        ("<M0>", "<M1>", False),
        ("( [ <VOW> ] ) { 2 , }", "[ <VOW> ] [ <VOW> ] +", True),
        ("( . *", ". *", False),  # broken
        ("( " * 3000, "a", False),
        ("( ( . * A . * ) { 9 , } B ) { 9 , } & ~ ( ( . * C . * ) { 9 , } )", "a", False),
    ],
)
def test_the_same_language_however_written(one, other, same):
    assert regex_match(one, other) is same


def test_the_share_of_hits():
    (metric,) = metrics_named(("regex_match",))
    pairs = [pair("a", "", "[ <NUM> ]"), pair("b", "", "<M0>")]
    rows = metric.statistics(pairs, [["[ 0-9 ]"], ["<M2>"]])
    assert metric.score(rows.sum(0).tolist()) == 50


def test_what_takes_too_long_counts_as_wrong_with_a_warning(monkeypatch, capsys):
    monkeypatch.setattr(module, "SECONDS", 2.0)
    (metric,) = metrics_named(("regex_match",))
    slow = "( ( . * <M0> . * ) | ( [ <LET> ] ) ) { 6 , }"
    pairs = [pair(name, "", code) for name, code in (("a", slow), ("b", slow), ("c", "<M1>"))]
    # The first is one that a model gave: 20 s on one core.
    rows = metric.statistics(pairs, [["( ( <M0> ) | ( [ <LET> ] ) ) { 6 , }"], [slow], ["<M2>"]])
    assert rows.tolist() == [[0, 1], [1, 1], [0, 1]]
    assert "1 of 3 regular expressions could not be compared within 2 s" in capsys.readouterr().err
