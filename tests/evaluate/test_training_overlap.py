"""What answers and held-out pairs have in common with training pairs."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from evaluate_examples import pair

from t2c_jax.config import CorpusConfig, EvaluateConfig
from t2c_jax.corpus.held_out import find_problems
from t2c_jax.corpus.pairs import Pair
from t2c_jax.errors import UserError
from t2c_jax.evaluate import training_overlap as module
from t2c_jax.evaluate.evaluator import evaluate_predictions, write_evaluation
from t2c_jax.evaluate.leakage import leakage
from t2c_jax.evaluate.training_overlap import (
    ORDERS,
    Overlap,
    licences_of,
    memorised_by_length,
    summary_of,
    training_overlap,
)
from t2c_jax.languages.lexical_tokens import lexical_tokens


def licensed(pair_id: str, code: str, licence: str, text: str = "t") -> Pair:
    made = pair(pair_id, text, code)
    return dataclasses.replace(made, source=dataclasses.replace(made.source, licence=licence, path=f"{pair_id}.py"))


def words(*numbers: int) -> str:
    return " ".join(f"w{number}" for number in numbers)


def plainly(text: str, train: list[Pair]) -> tuple[dict[int, float | None], int, str | None, float]:
    """The same as ``training_overlap`` by comparing all with all."""
    tokens, codes = lexical_tokens(text), [lexical_tokens(one.code) for one in train]

    def grams(tokens: list[str], size: int) -> list[tuple[str, ...]]:
        return [*zip(*(tokens[start:] for start in range(size)), strict=False)]

    shares: dict[int, float | None] = {}
    for order in ORDERS:
        known = {gram for code in codes for gram in grams(code, order)}
        own = grams(tokens, order)
        shares[order] = sum(gram in known for gram in own) / len(own) if own else None
    longest, source = 0, None
    for size in range(ORDERS[0], len(tokens) + 1):
        holders = [
            one.id for one, code in zip(train, codes, strict=True) if {*grams(tokens, size)} & {*grams(code, size)}
        ]
        if holders:
            longest, source = size, min(holders)
    sets = [{*grams(each, min(3, len(each)))} if each else set() for each in (tokens, *codes)]
    similarity = max(
        (len(sets[0] & other) / len(sets[0] | other) for other in sets[1:] if sets[0] and other), default=0.0
    )
    return shares, longest, source, similarity


@pytest.mark.parametrize("held", [10, 4_000_000])
def test_it_is_what_a_comparison_of_all_with_all_finds(held: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_READ", held)  # characters at a time
    random = np.random.default_rng(0)
    train = [licensed(f"t{n}", words(*random.integers(0, 9, random.integers(0, 60))), "MIT") for n in range(25)]
    texts = [words(*random.integers(0, 9, random.integers(0, 40))) for _ in range(25)]
    texts += ["", "w1", "w1 w2", train[3].code, f"{train[3].code} x {train[4].code}", train[7].code[5:60]]
    for text, found in zip(texts, training_overlap(texts, iter(train)), strict=True):
        shares, longest, source, similarity = plainly(text, train)
        assert found.shares == pytest.approx(shares)
        assert found.longest_run == longest
        assert (found.run_from and found.run_from.id) == source
        assert found.similarity == pytest.approx(similarity, abs=1e-6)
        assert found.tokens == len(lexical_tokens(text))


def test_a_run_lies_within_one_pair_and_layout_does_not_count():
    train = [licensed("a", words(1, 2, 3, 4, 5), "MIT"), licensed("b", words(6, 7, 8, 9, 10), "GPL-3.0-only")]
    both, one = training_overlap([words(*range(1, 11)), "w6\n  w7\tw8 w9 w0"], train)
    assert (both.longest_run, both.is_copy) == (5, False)
    assert both.run_from is train[0]
    assert (one.longest_run, one.run_from, one.nearest) == (4, train[1], train[1])
    assert one.to_dict()["run_from"] == {"id": "b", "source": "example/b.py:3", "licence": "GPL-3.0-only"}
    assert training_overlap(["x y"], []) == [Overlap(2, {4: None, 8: None, 16: None})]


def test_summaries():
    train = [licensed("a", words(*range(20)), "MIT"), licensed("b", words(*range(100, 160)), "")]
    texts = [words(*range(20)), words(*range(100, 140), 0, 0, 0), words(*range(300, 330)), "x"]
    overlaps = training_overlap(texts, train)
    summary = summary_of(overlaps)
    assert summary["texts"] == 4
    assert summary["runs"] == {"8": 50, "16": 50, "32": 25, "64": 0}
    assert summary["copies"] == summary["near_copies"] == 25
    assert summary["ngrams"]["16"]["value"] == pytest.approx(100 * (1 + 25 / 28 + 0) / 3, abs=1e-3)
    assert summary["ngrams"]["16"]["standard_error"] > 20
    assert summary_of(overlaps[3:])["ngrams"] == {"4": None, "8": None, "16": None}
    assert licences_of(overlaps) == {"MIT": 1, "unknown": 1}
    groups = memorised_by_length(overlaps)
    assert [(group["tokens"], group["texts"], group["copies"]) for group in groups] == [
        ([1, 7], 1, 0),
        ([16, 31], 2, 50),
        ([32, 63], 1, 0),
    ]
    assert groups[2]["longest_run_share"] == pytest.approx(100 * 40 / 43, abs=1e-3)


def test_leaks_of_pairs_and_of_problems():
    train = [
        licensed("a", "def add(a, b):\n    return a + b", "MIT", "Adds two numbers and returns their sum."),
        licensed("b", words(*range(50)), "GPL-3.0-only", "Words."),
    ]
    held_out = [
        licensed("near", words(*range(49), 99), "", "Words."),
        licensed("other text", words(*range(50)), "", words(*range(200, 260))),
        licensed("far", "something else entirely, at some length", "", "Else."),
    ]
    problems = {"bench.jsonl": ["def add(a,b): return a+b", words(*range(400, 440)), ""], "empty.jsonl": []}
    found = leakage(held_out, train, problems)
    assert found["split"]["pairs"] == 3
    assert found["split"]["near_duplicates"] == 1
    (leak,) = found["split"]["found"]
    assert (leak["id"], leak["train_id"], leak["licence"]) == ("near", "b", "GPL-3.0-only")
    assert 0.8 < leak["similarity"] < 1
    assert found["problems"].keys() == {"bench.jsonl"}
    bench = found["problems"]["bench.jsonl"]
    assert (bench["problems"], bench["near_duplicates"]) == (3, 1)
    assert bench["copies"] == pytest.approx(100 / 3, abs=1e-3)
    # Of a model that describes code, the code is the prompt.
    reversed_train = [one.reverse() for one in train]
    assert leakage([one.reverse() for one in held_out], reversed_train, problems)["problems"] == found["problems"]


def test_the_report_says_where_answers_come_from(tmp_path: Path):
    train = [licensed("a", words(*range(40)), "GPL-3.0-only", "count"), licensed("b", words(7, 8, 9), "MIT", "more")]
    unlabelled = licensed("alone", words(*range(500, 540)), "BSD-3-Clause", "")
    held_out = [licensed("x", words(*range(100, 140)), "", "count"), licensed("y", words(*range(39), 77), "", "count")]
    evaluation = evaluate_predictions(
        held_out,
        [[words(*range(30))], [words(*range(500, 530))]],
        train,
        EvaluateConfig(bootstrap_samples=10),
        seed=0,
        trained_on=[*train, unlabelled],
        problems={"<bench>.jsonl": [words(*range(40))]},
    )
    scores = evaluation.scores
    assert scores["training"]["train_pairs"] == 3
    assert scores["training"]["answers"]["copies"] == 100
    assert scores["training"]["references"]["copies"] == 0
    assert scores["training"]["licences"] == {"BSD-3-Clause": 1, "GPL-3.0-only": 1}
    assert scores["leakage"]["split"]["near_duplicates"] == 1
    assert evaluation.examples[1]["training"]["run_from"]["id"] == "alone"
    json.dumps(scores)
    write_evaluation(tmp_path, evaluation)
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "30 tokens verbatim from example/a.py:3 (GPL-3.0-only)" in page
    assert "1 of 2 held-out pairs are near-duplicates" in page
    assert "Of &lt;bench&gt;.jsonl, 1 of 1 solutions" in page


def test_problems_are_files_of_pairs():
    with pytest.raises(UserError, match=r"config.evaluate.problems: 'a.txt' is no file of pairs"):
        find_problems(["a.txt"], "config.evaluate.problems")
    with pytest.raises(UserError, match=r"config.evaluate.problems: 'none.jsonl' cannot be read"):
        find_problems(["none.jsonl"], "config.evaluate.problems")
    assert find_problems(CorpusConfig().held_out, "config.corpus.held_out") == []
