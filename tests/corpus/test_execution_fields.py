"""Tests in a line of a file of pairs, and in the corpus."""

import json
import subprocess
import sys

import pytest
from evaluate_examples import pair

from t2c_jax.corpus.dataset import read_dataset, write_dataset
from t2c_jax.corpus.execution_fields import execution_of
from t2c_jax.corpus.pairs import Pair
from t2c_jax.languages.execution import Execution

HUMANEVAL = {
    "task_id": "HumanEval/9000",
    "prompt": 'from typing import List\n\n\ndef twice(xs: List[int]) -> List[int]:\n    """Doubles each."""\n',
    "entry_point": "twice",
    "canonical_solution": "    return [2 * x for x in xs]\n",
    "test": "\n\nMETADATA = {}\n\n\ndef check(candidate):\n    assert candidate([1, 2]) == [2, 4]\n\n",
}
MBPP = {
    "text": "Write a function to double a number.",
    "code": "def twice(x):\r\n  return math.ldexp(x, 1)",
    "test_list": ["assert twice(2) == 4", "assert twice(0) == 0"],
    "test_setup_code": "import math",
    "challenge_test_list": [],
}
MBPP_SANITIZED = {
    "prompt": "Write a function to double a number.",
    "code": "def twice(x):\n  return math.ldexp(x, 1)",
    "test_imports": ["import math"],
    "test_list": ["assert twice(2) == 4", "assert twice(0) == 0"],
}
ODEX = {
    "intent": "double each of `xs`",
    "prompt": "def f_1(xs):\n\treturn ",
    "canonical_solution": "[2 * x for x in xs]",
    "suffix": " or None",
    "entry_point": "f_1",
    "test_start": "\ndef check(candidate):",
    "test": ["\n    assert candidate([1]) == [2]\n", "\n    assert candidate([]) is None\n"],
}


def status(source):
    return subprocess.run([sys.executable, "-I", "-c", source], capture_output=True, check=False).returncode


@pytest.mark.parametrize(
    ("line", "solution", "wrong"),
    [
        (HUMANEVAL, HUMANEVAL["canonical_solution"], "    return xs\n"),
        (HUMANEVAL, "def twice(xs):\n    return [x + x for x in xs]", ""),
        (MBPP, MBPP["code"], "def twice(x):\n  return x"),
        (MBPP_SANITIZED, MBPP_SANITIZED["code"], "def twice(x):\n  return 4"),
        (ODEX, ODEX["canonical_solution"], "xs"),
        (ODEX, ODEX["canonical_solution"], "[2 * x for x in xs] or [0]"),
    ],
)
def test_published_forms(line, solution, wrong):
    tests = execution_of(line)
    assert status(tests.source(solution)) == 0
    assert status(tests.source(wrong)) == 1


OWN = {
    "setup": "CREATE TABLE a (b)",
    "prefix": "x",
    "suffix": "y",
    "test": "z",
    "doctest": ">>> 1\n1\n",
    "files": {"d/": "", "e/f": "é\n"},
    "stdin": "s",
}


@pytest.mark.parametrize("tests", [OWN, json.dumps(OWN)])
def test_own_form(tests):
    found = execution_of({"tests": tests})
    assert found == Execution(**OWN)
    assert Execution.from_json(found.to_json()) == found
    assert found.source("|") == "CREATE TABLE a (b)\nx|y\nz\n"


@pytest.mark.parametrize(
    "line",
    [
        {},
        {"tests": None},
        {"tests": ""},
        {"tests": {}},
        {"tests": []},
        {"prompt": "Write it.", "test_list": []},
        {"files": ["a"], "stdin": 3, "setup": {}, "test": True, "entry_point": ""},
    ],
)
def test_lines_without_tests(line):
    assert execution_of(line) is None


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({"tests": 3}, "'tests' is neither a string nor a list of strings"),
        ({"tests": [1]}, "'tests' is neither a string nor a list of strings"),
        ({"tests": "{"}, "'tests' is not JSON"),
        ({"tests": {"tests": ""}}, "'tests' has the unknown field 'tests'"),
        ({"tests": {"setup": 1}}, "'setup' is neither a string nor a list of strings"),
        ({"tests": {"files": []}}, "'files' is not an object of strings"),
        ({"tests": {"files": {"a": 1}}}, "'files' is not an object of strings"),
        ({"tests": {"files": {"../a": ""}}}, "'files' has a path outside the working directory"),
        ({"tests": {"files": {"/a": ""}}}, "'files' has a path outside the working directory"),
        ({"tests": {"files": {".": ""}}}, "'files' has a path outside the working directory"),
        ({"test_list": "a", "test_setup_code": 1}, "'test_setup_code' is neither a string nor a list of strings"),
        ({"entry_point": "f", "test": 1}, "'test' is neither a string nor a list of strings"),
    ],
)
def test_malformed_tests(line, reason):
    with pytest.raises(ValueError, match=reason):
        execution_of(line)


def test_tests_are_kept_in_the_corpus(tmp_path):
    import dataclasses

    plain = dataclasses.replace(pair("a", "text", "code"), split="test")
    tested = dataclasses.replace(pair("b", "text", "code"), split="test", tests=Execution(**OWN))
    write_dataset(tmp_path, [plain, tested], ["test"])
    assert list(read_dataset(tmp_path, "test")) == [plain, tested]
    for each in (plain, tested):
        assert Pair.from_dict(json.loads(json.dumps(each.to_dict()))) == each
    assert tested.reverse().tests is None
