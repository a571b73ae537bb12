"""Test functions of Python, what they call, and the definitions that they may be about.

A test is a function whose name begins with ``test``. Which function it is about is decided in
``corpus.tested_functions``.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
import warnings
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from t2c_jax.languages.forms import NoPair
from t2c_jax.languages.python.source_lines import BLANK, dedented

_LINE = re.compile(rb"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+\Z")
_LINE_END = re.compile(rb"(?:\r\n|\r|\n)\Z")
_TEST_FILE = re.compile(r"(?:^|/)(?:test_[^/]*|[^/]*_tests?|tests?)\.py$|(?:^|/)tests?/(?:[^/]*/)*[^/]*\.py$")

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Called(NamedTuple):
    """A name that a test calls: of a module as it is imported, or of a class that is."""

    module: str
    name: str
    class_name: str = ""


class PythonTest(NamedTuple):
    """A test function.

    Attributes:
      name: of the function.
      code: its lines without their common indentation.
      called: imported functions, and methods by their names.
    """

    name: str
    code: str
    called: tuple[Called, ...]


class Defined(NamedTuple):
    """A function or method of a file that is no test."""

    name: str
    class_name: str
    code: str
    first_line: int
    last_line: int


def is_test_file(path: str) -> bool:
    """Whether a file holds tests, by its path."""
    return _TEST_FILE.search(path) is not None


def read_tests(data: bytes) -> list[PythonTest]:
    """The tests of a file; none of one that Python does not parse."""
    tree, lines = _parsed(data)
    imports = dict(_imports(tree))
    found = []
    for node, _ in _functions(tree):
        if node.name.startswith("test") and (called := tuple(dict.fromkeys(_called(node, imports)))):
            try:
                found.append(PythonTest(node.name, _code(node, lines)[0], called))
            except (NoPair, RecursionError):
                continue
    return found


def read_definitions(data: bytes, names: Collection[str]) -> list[Defined]:
    """The functions and methods of these names; none of a file that Python does not parse."""
    tree, lines = _parsed(data)
    found = []
    for node, class_name in _functions(tree):
        if node.name in names:
            try:
                code, first = _code(node, lines)
            except (NoPair, RecursionError):
                continue
            found.append(Defined(node.name, class_name, code, first, node.end_lineno or first))
    return found


def subject_of(test: str, names: Collection[str]) -> str:
    """The longest of the names that a test's name begins with behind ``test_``; empty if there is none."""
    subject = test.removeprefix("test").lstrip("_").lower()
    fitting = [name for name in names if f"{subject}_".startswith(f"{name.strip('_').lower()}_")]
    return max(fitting, key=len, default="")


def _parsed(data: bytes) -> tuple[ast.Module, list[bytes]]:
    empty = ast.Module(body=[], type_ignores=[])
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        source = data.decode(encoding)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(source), _LINE.findall(source.encode("utf-8"))
    except (SyntaxError, LookupError, ValueError, RecursionError, MemoryError):
        return empty, []


def _functions(tree: ast.Module) -> Iterator[tuple[Function, str]]:
    """Functions of the module and methods of its classes, with the class."""
    for node in tree.body:
        if isinstance(node, Function):
            yield node, ""
        elif isinstance(node, ast.ClassDef):
            yield from ((inner, node.name) for inner in node.body if isinstance(inner, Function))


def _imports(tree: ast.Module) -> Iterator[tuple[str, Called]]:
    """Each imported name, and what it is."""
    for node in tree.body:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.asname or alias.name, Called(alias.name, "")
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or alias.name, Called(node.module or "", alias.name)


def _called(test: Function, imports: dict[str, Called]) -> Iterator[Called]:
    classes = {
        name.name for name in (imports.get(node.id) for node in ast.walk(test) if isinstance(node, ast.Name)) if name
    }
    for node in ast.walk(test):
        if not isinstance(node, ast.Call):
            continue
        match node.func:
            case ast.Name(id=name) if name in imports:
                yield imports[name]
            case ast.Attribute(value=value, attr=attribute):
                module = imports.get(ast.unparse(value)) if isinstance(value, ast.Name | ast.Attribute) else None
                if module is not None:
                    yield Called(".".join(filter(None, (module.module, module.name))), attribute)
                for class_name in sorted(filter(None, classes)):
                    yield Called("", attribute, class_name)


def _code(node: Function, lines: Sequence[bytes]) -> tuple[str, int]:
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    block = list(lines[first - 1 : node.end_lineno])
    margin = block[0][: len(block[0]) - len(block[0].lstrip(BLANK))]
    block[-1] = _LINE_END.sub(b"", block[-1])
    return dedented(block, margin, node), first
