"""CodeBLEU, its parts, and the package's arithmetic."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from evaluate_examples import pair

from t2c_jax.evaluate.comparison import compare
from t2c_jax.evaluate.metrics.codebleu import WEIGHTED_MATCHED, WEIGHTED_TOTAL, CodeBleuScore
from t2c_jax.evaluate.metrics.metric import metric_named, metrics_named, statistics_of
from t2c_jax.languages.data_flow import FLOW_RULES

OURS, PACKAGE = metric_named("codebleu"), metric_named("codebleu_published")
assert isinstance(OURS, CodeBleuScore)
assert isinstance(PACKAGE, CodeBleuScore)

# Scores of codebleu 0.7.0 with tree-sitter 0.26.1 and these grammars, the same for PYTHONHASHSEED 0 to 3.
PUBLISHED = [
    json.loads(line) for line in Path(__file__).with_name("codebleu_published.jsonl").read_text("utf-8").splitlines()
]


def part(metric: CodeBleuScore, index: int, answer: str, reference: str, language: str = "python") -> float:
    counts = metric.counts(language, reference, answer)
    assert counts is not None
    return metric.part(index, counts)


def score(metric: CodeBleuScore, answer: str, reference: str, language: str = "python") -> float:
    counts = metric.counts(language, reference, answer)
    assert counts is not None
    return metric.score(counts)


@pytest.mark.parametrize("case", PUBLISHED, ids=lambda case: f"{case['language']}-{case['scores'][0]:.4f}")
def test_the_packages_arithmetic(case: dict):
    language = case["language"].replace("c_sharp", "csharp")
    total, *parts = case["scores"]
    assert score(PACKAGE, case["answer"], case["reference"], language) == pytest.approx(100 * total, abs=1e-9)
    found = [part(PACKAGE, index, case["answer"], case["reference"], language) for index in range(4)]
    assert found == pytest.approx(parts, abs=1e-11)


def test_every_language_of_the_package_has_a_case():
    assert {case["language"].replace("c_sharp", "csharp") for case in PUBLISHED} == FLOW_RULES.keys() - {"typescript"}


def test_the_example_of_the_paper():
    """Its figure 4, example 2: all variables renamed. BLEU is 75.71 there, both matches are 100 %."""
    reference = "public static int Sign ( double d ) { return ( int ) ( ( d == 0 ) ? 0 : ( d < 0 ) ? -1 : 1 ) ; }"
    answer = reference.replace(" d ", " c ")
    assert part(PACKAGE, 0, answer, reference, "java") == pytest.approx(0.7571, abs=5e-5)
    for metric in (OURS, PACKAGE):
        assert part(metric, 2, answer, reference, "java") == part(metric, 3, answer, reference, "java") == 1


# The faults of the package, repaired.


def test_a_data_flow_of_zero_is_zero():
    reference = "def f(a, b):\n    c = a + b\n    return c"
    nothing, little = "pass", "def f(a):\n    return a"
    assert part(PACKAGE, 3, nothing, reference) == part(OURS, 3, nothing, reference) == 0
    assert score(PACKAGE, nothing, reference) == 25
    assert score(OURS, nothing, reference) < score(OURS, little, reference)
    assert score(OURS, "", reference) == 0


def test_a_subtree_of_the_reference_is_found_once_for_each_that_the_answer_has():
    answer, reference = "f(a)", "f(a)\nf(b)\nf(c)\nf(d)"
    # call, its arguments, the statement; and of the reference's thirteen sub-trees the module is another one.
    assert part(OURS, 2, answer, reference) == 3 / 13
    assert part(PACKAGE, 2, answer, reference) == 12 / 13


def test_the_weighted_part_is_a_precision():
    reference = "def f(x):\n    return x + 1"
    longer = reference + "\n\n" + "y = [1, 2, 3]\nprint(y)\n" * 5
    assert part(OURS, 1, longer, reference) < 0.4
    assert part(PACKAGE, 1, longer, reference) == 1
    half = "def f(x):"
    assert part(OURS, 1, half, reference) == pytest.approx(math.exp(1 - 10 / 6))  # all of it matches, and it is short


def test_without_keywords_the_weighted_part_is_bleu():
    answer, reference = "a = b + c * d - e", "a = b + c * e - d"
    assert part(OURS, 0, answer, reference) == pytest.approx(part(OURS, 1, answer, reference), abs=1e-12)
    assert 0 < part(OURS, 0, answer, reference) < 1


def test_equal_code_scores_best_however_short():
    counts = [metric.counts("python", code, code) for metric in (OURS, PACKAGE) for code in ("x = f(y)", "x")]
    ours, package = (np.add(*pair).tolist() for pair in (counts[:2], counts[2:]))
    assert OURS.score(ours) == pytest.approx(100)
    assert PACKAGE.score(package) < 99


def test_keywords_are_recognised_without_spaces_around_them():
    counts = OURS.counts("python", "while(x):\n    f()", "if(x):\n    f()")
    assert counts is not None
    (matched, *_), (total, *_) = WEIGHTED_MATCHED, WEIGHTED_TOTAL
    assert (counts[matched], counts[total]) == (pytest.approx(7 * 0.2), pytest.approx(1 + 7 * 0.2))
    assert part(PACKAGE, 1, "x = while(x):", "x = until(x):") == part(PACKAGE, 1, "x = until(x):", "x = while(x):")


def test_scores_do_not_depend_on_the_order_of_a_hash_table():
    script = (
        "from t2c_jax.evaluate.metrics.codebleu import CodeBleu\n"
        "from t2c_jax.evaluate.metrics.codebleu_published import PublishedCodeBleu\n"
        "code = 'def f(a, b, c):\\n  for x in a:\\n    y = b + c * x\\n    y = y + d + e\\n  return y'\n"
        "other = code.replace('b + c * x', 'c * x + b').replace('d + e', 'e + d')\n"
        "print([metric().counts('python', code, other) for metric in (CodeBleu, PublishedCodeBleu)])\n"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("0", "1", "5")
    }
    assert len(said) == 1


def test_without_data_flow_the_other_parts_count():
    answer, reference = "import os, sys", "import os, re"
    assert math.isnan(part(OURS, 3, answer, reference))
    others = [part(OURS, index, answer, reference) for index in range(3)]
    assert score(OURS, answer, reference) == pytest.approx(100 * sum(others) / 3)
    # A pair without data flow leaves that of the others as it is.
    flow = OURS.counts("python", "def f(x):\n    return x", "def f(x):\n    return x")
    alone = OURS.counts("python", reference, answer)
    assert flow is not None
    assert alone is not None
    assert OURS.part(3, np.add(flow, alone).tolist()) == 1


@pytest.mark.parametrize("language", FLOW_RULES)
def test_equal_code_scores_best_whatever_the_layout(language: str):
    code = {
        "python": "def f(a, b):\n  if a > b:\n    return a\n  return b",
        "ruby": "def f(a, b)\n  if a > b\n    return a\n  end\n  return b\nend",
        "go": "func f(a int, b int) int {\n  if a > b {\n    return a\n  }\n  return b\n}",
        "rust": "fn f(a: i32, b: i32) -> i32 {\n  if a > b {\n    return a;\n  }\n  return b;\n}",
        "php": "function f($a, $b) {\n  if ($a > $b) {\n    return $a;\n  }\n  return $b;\n}",
        "javascript": "function f(a, b) {\n  if (a > b) {\n    return a;\n  }\n  return b;\n}",
        "typescript": "function f(a: number, b: number) {\n  if (a > b) {\n    return a;\n  }\n  return b;\n}",
    }.get(language, "int f(int a, int b) {\n  if (a > b) {\n    return a;\n  }\n  return b;\n}")
    assert score(OURS, code.replace("  ", "     "), code, language) == pytest.approx(100)
    assert part(OURS, 3, code.replace("b", "other"), code, language) == 1
    assert part(OURS, 3, code.replace("> b", "> 0").replace("> $b", "> 0"), code, language) < 1


def test_comments_and_docstrings_count_for_nothing_but_their_words():
    code = "def f(x):\n    return x"
    noted = 'def f(x):\n    """Doc."""\n    # Note.\n    return x  # Note.'
    assert part(OURS, 2, noted, code) == part(OURS, 2, code, noted) == 1
    assert part(OURS, 3, noted, code) == 1


# As metrics.


def test_a_score_comes_with_its_parts_and_their_errors():
    metrics = metrics_named(("bleu", "codebleu"))
    assert [metric.name for metric in metrics] == [
        *("bleu", "codebleu", "codebleu_ngram", "codebleu_weighted", "codebleu_syntax", "codebleu_dataflow")
    ]
    codes = ["def f(x):\n    return x + 1", "for x in y:\n    print(x)", "a = b + c"]
    pairs = [pair(str(n), "t", code) for n, code in enumerate(codes)]
    ours = statistics_of(metrics, pairs, [[code] for code in codes])
    copied = statistics_of(metrics, pairs, [[codes[0]]] * 3)
    assert ours["codebleu"] is ours["codebleu_syntax"]
    scores = compare(metrics, ours, copied, samples=50, seed=0)
    for metric in metrics:
        found = scores["model"][metric.name]
        assert (found["value"], found["standard_error"]) == (pytest.approx(100), pytest.approx(0))
        assert scores["retrieval"][metric.name]["standard_error"] > 0
    mean = np.mean([scores["retrieval"][name]["value"] for name in OURS.parts])
    assert scores["retrieval"]["codebleu"]["value"] == pytest.approx(mean, abs=1e-4)
    assert scores["retrieval"]["codebleu_ngram"] == scores["retrieval"]["bleu"]


def test_pairs_of_other_languages_do_not_count():
    pairs = [pair("a", "t", "def f(x):\n    return x"), pair("b", "t", "ls -l", language="shell")]
    for metric in (OURS, PACKAGE):
        both = metric.statistics(pairs, [["def f(x):\n    return x"], ["pwd"]])
        assert not both[1].any()
        assert metric.score(both.sum(axis=0).tolist()) == pytest.approx(100)
        assert math.isnan(metric.score(both[1].tolist()))
    assert metric_named("codebleu_syntax").statistics(pairs[:1], [["x"]]).shape == (1, 16)


@pytest.mark.parametrize("answer", ["", "\x00", "\ud800", "(" * 5000, "f(" * 3000 + "x" + ")" * 3000, "'''"])
@pytest.mark.parametrize("metric", [OURS, PACKAGE], ids=lambda metric: metric.name)
def test_any_answer_has_a_score(metric: CodeBleuScore, answer: str):
    for language in ("python", "java"):
        assert 0 <= score(metric, answer, "def f(x):\n    return x", language) < 60
