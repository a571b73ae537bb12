# ruff: noqa: E501, SIM905  (tables of texts)
"""The JSON grammar: exactly RFC 8259."""

import functools
import json
import random

import pytest
from grammar_examples import Pieces, accepts, counterexamples, mutants, random_walks, tokenizer_over

from t2c_jax.decode.grammar.compiled import Grammar

PIECES = [*'{}[]:,"\\ \n\t\r/-+.eE0123456789abfnrtu', *('\\u \\" "a" ": , true false null 00 1. e+ \\ud800 NaN Infinity é \x7f \u2028 '
          "\x00 \x1f \\x 0x1 .5 -0 1e5 1E-2 '".split(" "))]  # fmt: skip
CLOSERS = ['"', "]", "}", ":", "1", "0"]

ACCEPTED = [
    "0", "-0", "10.25", "1e5", "-1.5E+30", '""', '"a"', '"\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\uD800"', '"é 🙂\x7f\u2028"', "true", "false", "null", "[]", "{}",
    " [ 1 , 2 ] ", '{"a":1,"a":2}', '\r\n\t{ "a" : [ { } , [ ] , null ] }\n', '[[[[["x"]]]]]', '{"": ""}', "1" * 40,
]  # fmt: skip
REJECTED = [
    "", " ", "01", "-", "+1", ".5", "1.", "1e", "1e+", "0x1", "NaN", "Infinity", "-Infinity", "True", "nul", "truefalse", "1 2", '"', '"\\"', '"\\x"', '"\\u12"',
    '"\t"', '"\n"', '"\x00"', "'a'", "[", "]", "[1", "[1,", "[1,]", "[,1]", "[1 2]", "{", '{"a"}', '{"a":}', '{"a":1,}', "{a:1}", "{1:1}", '{"a":1 "b":2}',
    "[1]]", "\u00a01", "\ufeff1", "// c\n1", "/* c */ 1", "\x0b1", "\x0c1",
]  # fmt: skip


@functools.cache
def grammar():
    return Grammar.compile("json", tokenizer_over("json"))


def is_json(text):
    """Python's reader, without the constants that it adds to the standard."""

    def constant(name):
        raise ValueError(name)

    try:
        json.loads(text, parse_constant=constant)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("text", ACCEPTED)
def test_json_is_accepted_token_by_token(text):
    assert accepts(grammar(), tokenizer_over("json"), text)


@pytest.mark.parametrize("text", REJECTED)
def test_what_is_not_json_is_rejected(text):
    assert not accepts(grammar(), tokenizer_over("json"), text)


def test_mutations_are_accepted_exactly_where_python_reads_them():
    tokenizer, source = tokenizer_over("json"), random.Random(0)

    def value(depth):
        kind = source.randrange(7 if depth else 5)
        if kind < 5:
            return [
                source.choice(["", "a b", 'é"\\\n', "\x7f/"]),
                source.uniform(-1e3, 1e3),
                10 ** source.randrange(30),
                True,
                None,
            ][kind]
        if kind == 5:
            return [value(depth - 1) for _ in range(source.randrange(4))]
        return {source.choice("abc"): value(depth - 1) for _ in range(source.randrange(4))}

    texts = [
        json.dumps(value(4), ensure_ascii=source.random() < 0.5, indent=source.choice([None, 1])) for _ in range(100)
    ]
    found = [*texts, *mutants(texts, PIECES, 2000)]
    assert {is_json(text) for text in found} == {False, True}
    assert [text for text in found if accepts(grammar(), tokenizer, text) != is_json(text)] == []


def test_random_walks_are_json():
    pieces = Pieces(PIECES)
    walks = random_walks(Grammar.compile("json", pieces), pieces.surfaces, pieces.eos, CLOSERS, 400)
    assert counterexamples(walks, is_json) == []
