"""Doctests of mined definitions."""

import ast
import dataclasses
import doctest

import pytest

from t2c_jax.config import CorpusConfig
from t2c_jax.languages.python.extractor import extract_python

MODULE = '''
"""A module."""

from __future__ import annotations

import math
import no_such_library
from . import sibling
from .sibling import other

UNIT = math.pi / 180
unused = 1


class Angle(float):
    pass


def helper(x):
    return Angle(x) * UNIT


def radians(degrees: float) -> float:
    """Degrees in radians.

    >>> radians(180) == math.pi
    True
    >>> for x in range(2):
    ...     print(
    ...         radians(0))
    0.0
    0.0

    Nothing else.
    """

    def inner():
        """
        >>> 1
        1
        """
        return 1

    return helper(degrees)


class Pair:
    """
    >>> Pair().left
    1
    """

    left = 1

    def method(self):
        """
        >>> 2
        2
        """
        return 2


def prose():
    """Writes >>> and no example."""
    return math.floor(2.5)


def crooked():
    """
    >>> if 1:
    ... print(2)
   ... print(3)
    """
    return 1
'''


def extracts(**config):
    found = extract_python(MODULE.encode(), CorpusConfig(**{"text": "docstring", **config}))
    return {ast.parse(each.code).body[0].name: each for each in found.extracts}


def run(source, examples):
    """What fails of the examples in a namespace that the source makes."""
    namespace = {"__name__": "answer"}
    exec(compile(source, "answer", "exec"), namespace)
    test = doctest.DocTestParser().get_doctest(examples, namespace, "answer", None, 0)
    return doctest.DocTestRunner(verbose=False).run(test, out=lambda _: None)


def test_a_function_runs_with_what_it_needs_of_its_module():
    found = extracts()["radians"]
    result = run(found.tests.source(found.code), found.tests.doctest)
    assert (result.attempted, result.failed) == (2, 0)
    assert run(found.tests.source("def radians(x):\n    return 0.0"), found.tests.doctest).failed == 1
    lines = found.tests.setup.splitlines()
    assert lines[0] == "from __future__ import annotations"
    assert "sibling" not in found.tests.setup
    assert "unused" not in found.tests.setup
    assert "def radians" not in found.tests.setup
    assert "Nothing else" not in found.tests.doctest


def test_definitions_that_are_not_run_alone_have_no_tests():
    found = extracts()
    assert {name for name, each in found.items() if each.tests} == {"radians", "Pair"}
    assert set(found) == {"radians", "inner", "Pair", "method", "prose", "crooked"}


def test_the_pairs_are_the_same_without_doctests():
    with_tests, without = extracts(), extracts(doctests=False)
    assert not any(each.tests for each in without.values())
    assert {name: dataclasses.replace(each, tests=None) for name, each in with_tests.items()} == without


@pytest.mark.parametrize(
    "config",
    [{"code": "apis", "kinds": ("function",), "text": "summary"}, {"text": "name"}],
)
def test_code_that_is_not_the_source_has_no_tests(config):
    found = extract_python(MODULE.encode(), CorpusConfig(**config))
    assert found.extracts
    assert not any(each.tests for each in found.extracts)


@pytest.mark.parametrize(
    ("path", "statement", "imported"),
    [
        ("json/tool.py", "from . import decoder", "from json import decoder"),
        ("src/json/tool.py", "from .decoder import JSONDecoder as J", "from json.decoder import JSONDecoder as J"),
        ("a/b/c.py", "from ..d import e", "from a.d import e"),
        ("a/b/__init__.py", "from .d import *", "from a.b.d import *"),
        ("a/b.py", "from ..d import e", ""),
        ("b.py", "from .d import e", ""),
        ("no-name/b.py", "from .d import e", ""),
    ],
)
def test_a_relative_import_has_the_name_of_the_package(path, statement, imported):
    source = f'{statement}\n\ndef f():\n    """Does it.\n\n    >>> f()\n    1\n    """\n    return 1\n'
    (pair,) = extract_python(source.encode(), CorpusConfig(kinds=("function",)), path).extracts
    expected = f"try:\n    {imported}\nexcept ImportError:\n    pass" if imported else ""
    assert pair.tests.setup == expected
    compile(pair.tests.setup, "setup", "exec")


def test_a_function_runs_with_a_relative_import():
    source = (
        "from .decoder import JSONDecoder\n\ndef read(x):\n"
        '    """Reads it.\n\n    >>> read("[1]")\n    [1]\n    """\n    return JSONDecoder().decode(x)\n'
    )
    (pair,) = extract_python(source.encode(), CorpusConfig(kinds=("function",)), "json/reads.py").extracts
    result = run(pair.tests.source(pair.code), pair.tests.doctest)
    assert (result.attempted, result.failed) == (1, 0)
