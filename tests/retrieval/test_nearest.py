import math
import random

import numpy as np
import pytest
from evaluate_examples import pair

from t2c_jax.errors import UserError
from t2c_jax.retrieval import nearest as retrieval
from t2c_jax.retrieval.nearest import retrieve, retrieve_by_vectors, terms

WORDS = ("read", "write", "file", "json", "csv", "parse", "sum", "list", "string", "date", "tree", "node", "path")


def corpus(size: int, seed: int) -> list:
    draw = random.Random(seed)
    return [pair(f"{n:04}", " ".join(draw.choices(WORDS, k=6)), f"code_{n}()") for n in range(size)]


def test_terms_are_words_and_the_parts_of_identifiers():
    assert terms("Parse read_csv and HTTPServer2, x") == [
        *("parse", "read_csv", "read", "csv", "and", "httpserver2", "http", "server", "2", "x"),
    ]


def test_the_nearest_text_wins():
    train = [
        pair("a", "Read a JSON file from disk", "json.load(file)"),
        pair("b", "Sum the numbers of a list", "sum(numbers)"),
        pair("c", "Parse a date out of a string", "date.fromisoformat(text)"),
    ]
    found = retrieve(train, ["sum of all numbers", "load a json file", "parse_date(string)"])
    assert [near.pair.id for near in found] == ["b", "a", "c"]
    assert all(0 < near.similarity < 1 for near in found)


def test_an_equal_text_has_cosine_one():
    train = corpus(50, seed=0)
    for near, wanted in zip(retrieve(train, [p.text for p in train]), train, strict=True):
        assert sorted(near.pair.text.split()) == sorted(wanted.text.split())
        assert near.similarity == pytest.approx(1, abs=1e-5)  # float32


def test_similarity_is_the_tf_idf_cosine():
    train = [pair("a", "alpha alpha beta", "1"), pair("b", "beta gamma", "2")]
    (near,) = retrieve(train, ["alpha gamma gamma unseen"])
    once, twice = 1, 1 + math.log(2)
    rare, common = math.log(3 / 2) + 1, math.log(3 / 3) + 1
    query = {"alpha": once * rare, "gamma": twice * rare}
    other = {"beta": common, "gamma": rare}
    cosine = query["gamma"] * other["gamma"] / (math.hypot(*query.values()) * math.hypot(*other.values()))
    first = {"alpha": twice * rare, "beta": common}
    cosine_first = query["alpha"] * first["alpha"] / (math.hypot(*query.values()) * math.hypot(*first.values()))
    assert cosine > cosine_first
    assert near.pair.id == "b"
    assert near.similarity == pytest.approx(cosine, rel=1e-6)


def test_the_answer_depends_on_the_set_and_not_on_its_order():
    train = corpus(200, seed=1)
    queries = [p.text for p in corpus(60, seed=2)]
    shuffled = random.Random(3).sample(train, len(train))
    assert retrieve(train, queries) == retrieve(shuffled, queries)


def test_ties_go_to_the_smallest_id():
    train = [pair(name, "same text", name) for name in ("c", "a", "b")]
    assert [near.pair.id for near in retrieve(train, ["same text", "nothing shared", ""])] == ["a", "a", "a"]


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch):
    train, queries = corpus(100, seed=4), [p.text for p in corpus(30, seed=5)]
    whole = retrieve(train, queries)
    monkeypatch.setattr(retrieval, "_BLOCK_CELLS", 700)
    assert retrieve(train, queries) == whole


def test_texts_without_words_and_no_queries():
    assert retrieve(corpus(3, seed=0), []) == []
    assert retrieve([pair("a", "!!!", "x"), pair("b", "???", "y")], ["..."])[0].similarity == 0


def test_nothing_to_copy_from():
    with pytest.raises(UserError, match="train split is empty"):
        retrieve([], ["x"])


def test_the_nearest_distinct_codes():
    train = [
        pair("a", "sum of a list", "sum(x)"),
        pair("b", "sum of the list", "sum(x)"),
        pair("c", "sum of a tree", "tree.sum()"),
        pair("d", "nothing shared", "pass"),
        pair("e", "neither here", "pass # e"),
    ]
    (near,) = retrieve(train, ["sum of a list"], 3)
    assert near.codes == ("sum(x)", "tree.sum()", "pass")
    (few,) = retrieve(train[:2], ["sum of a list"], 3)
    assert few.codes == ("sum(x)",)
    assert retrieve(train, ["sum of a list"])[0].codes == ("sum(x)",)


def test_the_nearest_vectors_win_and_codes_come_once():
    train = [pair("a", "", "one()"), pair("b", "", "two()"), pair("c", "", "one()"), pair("d", "", "three()")]
    codes = np.array([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6], [0.6, 0.8]])
    texts = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert retrieve_by_vectors(train, codes, texts) == [("one()",), ("two()",)]
    assert retrieve_by_vectors(train, codes, texts, 3) == [("one()", "three()", "two()"), ("two()", "three()", "one()")]
