"""Whether code parses, by language."""

import warnings

import pytest

from t2c_jax.languages.parsing import parses
from t2c_jax.languages.python.parsing import parses_as_python


@pytest.mark.parametrize(
    ("code", "good"),
    [
        ("x = 1", True),
        ("def f(:", False),
        ("    x = 1", False),
        ("", False),
        ("# only a comment", False),
        ("x = '\\d'", True),  # an invalid escape: a SyntaxWarning, silenced
        ("x = 1\x00", False),
        ("x = '\ud800'", False),
        ("(" * 10_000, False),
        ("(" * 5_000 + ")" * 5_000, False),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_python(code: str, good: bool):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert parses_as_python(code) is good
        assert parses(code, "python") is parses(code, "py") is good


@pytest.mark.parametrize(
    "code", ["-" * 100_000 + "1", "a" + ".b" * 100_000, "a" + "[0]" * 100_000, "x = " + "1 + " * 50_000 + "1"]
)
def test_what_nests_beyond_the_parsers_stack_does_not_parse(code: str):
    assert parses_as_python(code) is False


def test_a_language_without_a_parser():
    assert parses("x", "no such language") is None
