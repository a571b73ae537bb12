"""Indexes over pairs: TF-IDF over their texts, and vectors."""

import math
import random
import subprocess
import sys

import numpy as np
import pytest
from evaluate_examples import pair

from t2c_jax.retrieval import neighbours
from t2c_jax.retrieval.neighbours import nearest_rows
from t2c_jax.retrieval.term_index import WEIGHTINGS, TermIndex, TfidfIndex, terms
from t2c_jax.retrieval.vectors import VectorIndex

WORDS = ("read", "write", "file", "json", "csv", "parse", "sum", "list", "string", "date", "tree", "node", "path")


def nearest(pairs, texts):
    return [best for (best,) in TfidfIndex(pairs).nearest(texts)]


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
    found = nearest(train, ["sum of all numbers", "load a json file", "parse_date(string)"])
    assert [near.pair.id for near in found] == ["b", "a", "c"]
    assert all(0 < near.similarity < 1 for near in found)


def test_an_equal_text_has_cosine_one():
    train = corpus(50, seed=0)
    for near, wanted in zip(nearest(train, [p.text for p in train]), train, strict=True):
        assert sorted(near.pair.text.split()) == sorted(wanted.text.split())
        assert near.similarity == pytest.approx(1, abs=1e-5)  # float32


def test_similarity_is_the_tf_idf_cosine():
    train = [pair("a", "alpha alpha beta", "1"), pair("b", "beta gamma", "2")]
    (near,) = nearest(train, ["alpha gamma gamma unseen"])
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
    assert nearest(train, queries) == nearest(shuffled, queries)


def test_ties_go_to_the_smallest_id():
    train = [pair(name, "same text", name) for name in ("c", "a", "b")]
    assert [near.pair.id for near in nearest(train, ["same text", "nothing shared", ""])] == ["a", "a", "a"]


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch):
    train, queries = corpus(100, seed=4), [p.text for p in corpus(30, seed=5)]
    whole = nearest(train, queries)
    monkeypatch.setattr(neighbours, "_BLOCK_CELLS", 700)
    assert nearest(train, queries) == whole


def test_texts_without_words_and_no_queries():
    assert nearest(corpus(3, seed=0), []) == []
    assert nearest([pair("a", "!!!", "x"), pair("b", "???", "y")], ["..."])[0].similarity == 0


@pytest.mark.parametrize("index", [lambda: TfidfIndex([]), lambda: VectorIndex(np.zeros((0, 2)))])
def test_an_index_needs_a_pair(index):
    with pytest.raises(ValueError, match="at least one pair"):
        index()


def code(pair):
    return pair.code


def test_the_nearest_pairs_and_the_nearest_distinct_codes():
    index = TfidfIndex(
        [
            pair("e", "neither here", "pass # e"),
            pair("a", "sum of a list", "sum(x)"),
            pair("b", "sum of the list", "sum(x)"),
            pair("c", "sum of a tree", "tree.sum()"),
            pair("d", "nothing shared", "pass"),
        ]
    )
    (found,) = index.nearest(["sum of a list"], 3)
    assert [each.pair.id for each in found] == ["a", "b", "c"]
    assert sorted((each.similarity for each in found), reverse=True) == [each.similarity for each in found]
    (distinct,) = index.nearest(["sum of a list"], 3, code)
    assert [each.pair.id for each in distinct] == ["a", "c", "d"]
    (all_of_them,) = index.nearest(["sum of a list"], 10, code)
    assert [each.pair.id for each in all_of_them] == ["a", "c", "d", "e"]


def test_many_equals_hide_no_neighbour():
    """The second distinct code is behind 100 pairs that are as good as the first."""
    pairs = [pair(f"{n:03}", "sum of a list", "sum(x)") for n in range(100)]
    index = TfidfIndex([*pairs, pair("zzz", "sum of a tree", "tree.sum()"), pair("y", "no", "pass")])
    (found,) = index.nearest(["sum of a list"], 2, code)
    assert [each.pair.id for each in found] == ["000", "zzz"]


def test_ranks_are_those_of_a_full_sort():
    pairs, queries = corpus(150, seed=6), [p.text for p in corpus(20, seed=7)]
    index = TfidfIndex(pairs)
    for some, every in zip(index.nearest(queries, 7), index.nearest(queries, 150), strict=True):
        assert len(every) == 150
        assert some == every[:7]
        assert every == sorted(every, key=lambda each: (-each.similarity, each.pair.id))


def test_vectors(tmp_path):
    VectorIndex(np.array([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6], [0.6, 0.8]])).save(tmp_path / "index")
    index = VectorIndex.open(tmp_path / "index")
    texts = np.array([[1.0, 0.0], [0.0, 1.0]])
    codes = ["one()", "two()", "one()", "three()"]
    found = nearest_rows(len(index), 2, index.similarities(texts), 3, codes)
    assert [[hit.row for hit in hits] for hits in found] == [[0, 3, 1], [1, 3, 2]]
    assert [hit.similarity for hit in found[0]] == pytest.approx([1.0, 0.6, 0.0])


def test_equal_vectors_are_ties_whatever_rounding_does():
    """A tie goes to the first row, as by terms; vectors of one text differ in the last bits from batch to batch."""
    vectors = np.array([[0.6, 0.8], [0.6000001, 0.7999999]], np.float32)
    index = VectorIndex(vectors)
    (hits,) = nearest_rows(2, 1, index.similarities(np.array([[1.0, 0.0]], np.float32)), 2)
    assert [hit.row for hit in hits] == [0, 1]


def test_no_framework_is_loaded():
    program = """
import sys
from t2c_jax.retrieval import term_index, vectors
print(sorted({"jax", "flax", "tensorflow"} & {*sys.modules}))
"""
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert said.stdout == "[]\n"


def test_bm25_is_the_published_sum():
    """Robertson & Zaragoza 2009; the query has beta twice."""
    index = TermIndex.of(["alpha alpha beta", "beta gamma", "delta"], "bm25")
    (row,) = index.similarities(["alpha beta beta unseen"])(slice(0, 1))
    rare, common = math.log(1 + 2.5 / 1.5), math.log(1 + 1.5 / 2.5)

    def term(tf, length):
        return tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * length / 2))

    assert row.tolist() == pytest.approx([rare * term(2, 3) + 2 * common * term(1, 3), 2 * common * term(1, 2), 0])


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_an_index_is_read_back_as_it_was(weighting, tmp_path):
    texts, queries = [p.text for p in corpus(60, seed=0)], [p.text for p in corpus(9, seed=1)]
    index = TermIndex.of(texts, weighting)
    index.save(tmp_path / "index")
    again = TermIndex.open(tmp_path / "index")
    assert len(again) == 60
    assert np.array_equal(again.similarities(queries)(slice(0, 9)), index.similarities(queries)(slice(0, 9)))


def test_excluded_rows_are_never_found_and_others_take_their_ranks():
    draw = np.random.default_rng(0)
    table = draw.integers(0, 40, (6, 3000)).astype(np.float32)  # many ties; long enough for segments
    excluded = draw.random((6, 3000)) < 0.7
    found = nearest_rows(3000, 6, lambda block: table[block], 5, None, lambda query, row: bool(excluded[query, row]))
    for query, hits in enumerate(found):
        ranked = [row for row in np.argsort(-table[query], kind="stable").tolist() if not excluded[query, row]]
        assert [hit.row for hit in hits] == ranked[:5]
    assert nearest_rows(3000, 1, lambda block: table[block], 2, None, lambda query, row: True) == [[]]
