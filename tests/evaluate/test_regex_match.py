"""Regular expressions by what they match, on hand-worked pairs."""

import pytest
from evaluate_examples import pair

from t2c_jax.evaluate.metrics import metrics_named
from t2c_jax.evaluate.regex_match import plain_regex, regex_match


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
