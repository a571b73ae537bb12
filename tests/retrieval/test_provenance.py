"""Shares of an answer that were copied, and near-copies of pairs."""

import pytest
from evaluate_examples import pair

from t2c_jax.retrieval.near_copies import NearCopies
from t2c_jax.retrieval.provenance import Provenance, provenance


def shares(*counts):
    return Provenance(*(count / sum(counts) for count in counts))


@pytest.mark.parametrize(
    ("answer", "prompt", "neighbours", "expected"),
    [
        ("a b c d e f x", "a b c", ["c d e f"], shares(1, 3, 3)),
        ("a b c d", "a b c", ["z a b c d"], shares(0, 0, 4)),  # the longest passage wins
        ("a b c", "a b c", ["a b c"], shares(0, 3, 0)),  # of equals the prompt
        ("a b", "a b", ["a b"], shares(2, 0, 0)),  # too short to be a copy
        ("a b x a b c", "a b c", [], shares(3, 3, 0)),
        ("f(x):return x", "write f(x)", ["lambda x: return x"], shares(0, 4, 3)),
        ("a b c", "", ["a b", "c"], shares(3, 0, 0)),  # no passage runs over two neighbours
        ("a a a a", "a a a", [], shares(1, 3, 0)),
        ("", "a b c", [], Provenance()),
        (" \n", "a b c", [], Provenance()),
    ],
)
def test_passages_of_three_tokens_are_copied(answer, prompt, neighbours, expected):
    assert provenance(answer, prompt, neighbours) == expected


def test_near_copies_share_their_tokens():
    pairs = [
        pair("a", "list all files here", "ls -a"),
        pair("b", "list all  files here", "ls   -a\n"),  # white space is no token
        pair("c", "list all files there", "ls -a"),  # 6 of 8
        pair("d", "remove", "rm"),
    ]
    at = NearCopies(pairs, 0.75)
    assert at(0, 1)
    assert at(0, 2)
    assert not NearCopies(pairs, 0.76)(0, 2)
    assert not at(0, 3)
    assert not NearCopies(pairs, 0)(0, 1)
