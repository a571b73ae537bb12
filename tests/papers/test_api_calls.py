import ast
import sys
import textwrap

import pytest

from t2c_jax.config import CorpusConfig
from t2c_jax.languages.python.extractor import extract_python
from t2c_jax.papers.deep_api.api_calls import ApiCalls

MODULE = """
import json
import os.path
import pandas as pd
import sqlite3, typing
import numpy as np
from datetime import datetime as dt
from pathlib import Path
from typing import Optional, List
from . import sibling
from .other import thing

def helper(): ...

class Local: ...

LOG = logging = __import__("x")
log = json.loads("{}")
read = pd.read_csv
"""


def calls(body: str, parameters: str = "", module: str = MODULE) -> str:
    """What ``def f(parameters)`` calls, as a line."""
    source = f"{module}\ndef f({parameters}):\n{textwrap.indent(textwrap.dedent(body), '    ')}\n"
    tree = ast.parse(source)
    return " ".join(ApiCalls(tree).of(tree.body[-1]))


# name: (body, calls)
BODIES = {
    "imports": (
        "pd.read_csv(p)\nos.path.join(a)\ndt.now()\nPath(p)\nnp.random.rand()",
        "pandas.read_csv os.path.join datetime.datetime.now pathlib.Path numpy.random.rand",
    ),
    "arguments come first": (
        "print(len(sorted(x)), *map(str, x), sep=repr(y))",
        "sorted len map repr print",
    ),
    "chains": (
        "return pd.read_csv(p).groupby(k).agg(len(k)).x.sum()",
        "pandas.read_csv pandas.read_csv.groupby len pandas.read_csv.groupby.agg pandas.read_csv.groupby.agg.x.sum",
    ),
    "variables": (
        "df = pd.read_csv(p)\ngrouped = df.groupby(k)\ngrouped.sum()\nq = Path(p)\nq.exists()",
        "pandas.read_csv pandas.read_csv.groupby pandas.read_csv.groupby.sum pathlib.Path pathlib.Path.exists",
    ),
    "with": ("with open(p) as f, open(q):\n    json.load(f)\n    f.read()", "open open json.load open.read"),
    "literals": (
        "','.join(x)\n[].append(1)\n{}.get(1)\n{1}.add(2)\nf'{len(x)}'.upper()\nb''.hex()\n(1, 2).count(1)\n"
        "x = [y for y in z]\nx.sort()\n('%s' % x).strip()",
        "str.join list.append dict.get set.add len str.upper bytes.hex tuple.count list.sort str.strip",
    ),
    "functions by another name": (
        "load = json.load\nload(x)\nread(x)\nread(x).head()",
        "json.load pandas.read_csv pandas.read_csv pandas.read_csv.head",
    ),
    "names of the module": ("log.get(1)", "json.loads.get"),
    "what is not known": (
        "helper()\nLocal().x()\nsibling.a()\nthing()\nx()\nx.y()\nundefined()\nself.z()\nsuper().f()\nx[0].f()\n"
        "json.load(x)()\nos.environ['A'].lower()\n(lambda: 1)()",
        "json.load",
    ),
    "rebinding": (
        "x = 'a'\nx.upper()\nx = Path(x)\nx.exists()\nx = y\nx.exists()",
        "str.upper pathlib.Path pathlib.Path.exists",
    ),
    "shadowing": (
        "open = z\nopen(p)\nfor json in y:\n    json.load(f)\npd: Path = q\npd.exists()",
        "pathlib.Path.exists",
    ),
    "a variable of the function hides the module's from the start": ("json.load(x)\njson = 1", ""),
    "global": ("global read\nread(x)\nread = len\nread(x)", "pandas.read_csv len"),
    "unpacking": (
        "a, (b, *c) = Path(p), ([], 1)\na.exists()\nb.append(1)\nc.sort()\nd, e = Path(p)\nd.exists()",
        "pathlib.Path pathlib.Path.exists list.append list.sort pathlib.Path",
    ),
    "branches that agree": (
        "if a:\n    x = open(p)\nelse:\n    x = open(q)\nx.read()",
        "open open open.read",
    ),
    "branches that do not": ("if a:\n    x = open(p)\nelse:\n    x = []\nx.read()", "open"),
    "a branch that leaves None": ("x = None\nif a:\n    x = open(p)\nx.read()", "open open.read"),
    "a branch that returns": (
        "x = open(p)\nif a:\n    x = 'b'\n    return x.upper()\nx.read()",
        "open str.upper open.read",
    ),
    "a loop": (
        "for x in sorted(y):\n    len(x)\n    if a:\n        break\nelse:\n    print()\nwhile iter(x):\n    next(x)",
        "sorted len print iter next",
    ),
    "what a loop leaves": (
        "x = []\nfor y in z:\n    if y:\n        x = {}\n        break\nx.copy()\nfor y in z:\n    w = []\nw.copy()",
        "list.copy",
    ),
    "try": (
        "try:\n    x = open(p)\nexcept (A, B) as e:\n    e.f()\nexcept json.JSONDecodeError as e:\n"
        "    print(e.args.count(1))\n    x = []\nelse:\n    x.read()\nfinally:\n    x.close()",
        "open json.JSONDecodeError.args.count print open.read open.close",
    ),
    "an import that falls back": (
        "try:\n    import fast as j\nexcept ImportError:\n    import json as j\nj.load(x)",
        "fast.load",
    ),
    "a value that falls back": ("x = None\ntry:\n    print()\nexcept E:\n    x = []\nx.copy()", "print list.copy"),
    "match": (
        "match len(x):\n    case 1 if any(x):\n        abs(x)\n    case [json, *_]:\n        json.load(x)\nopen(x)",
        "len any abs open",
    ),
    "comprehensions": (
        "[len(x) for x in sorted(json) if any(x)]\n{str(k): repr(v) for k, v in zip(a, b)}\n"
        "[json.load() for json in x]",
        "sorted any len zip str repr",
    ),
    "lambdas count where they stand": ("sorted(x, key=lambda json: len(json.load(1)))", "len sorted"),
    "nested functions do not": (
        "import functools\n@functools.wraps(g)\ndef inner(x=len(y)):\n    abs(x)\ninner()",
        "functools.wraps len",
    ),
    "conditional expressions": (
        "(open(p) if any(x) else None).read()\n(open(p) or [])\nx = y or []\nx.append(1)",
        "any open open.read open",
    ),
    "walrus": ("if (m := json.load(x)):\n    m.get(1)", "json.load json.load.get"),
    "await and async": (
        "async def g(): ...\nx = [len(await y) for y in z]\nreturn x.copy()",
        "len list.copy",
    ),
    "targets": ("len(x).y = abs(1)\nx[max(1)] = min(2)\nx[int(1)] += str(1)", "abs len min max int str"),
    "raise and assert": (
        "assert any(x), repr(x)\nraise ValueError(str(x)) from OSError()",
        "any repr str ValueError OSError",
    ),
    "del": ("x = []\ndel x\nx.append(1)", ""),
    "a class inside": ("class A(dict):\n    x = len(y)\n    def f(self): abs(1)\nA()", "len"),
    "nothing": ("pass", ""),
}


@pytest.mark.parametrize("name", BODIES)
def test_sequences(name):
    body, wanted = BODIES[name]
    assert calls(body) == wanted


@pytest.mark.parametrize(
    ("parameter", "wanted"),
    [
        ("x: Path", "pathlib.Path.f"),
        ("x: 'Path'", "pathlib.Path.f"),
        ("x: Path | None = None", "pathlib.Path.f"),
        ("x: Optional[Path]", "pathlib.Path.f"),
        ("x: typing.Union[Path, None]", "pathlib.Path.f"),
        ("x: Optional['Path']", "pathlib.Path.f"),
        ("x: typing.Annotated[Path, 3]", "pathlib.Path.f"),
        ("x: list[Path]", "list.f"),
        ("x: List[Path]", "list.f"),
        ("*, x: np.ndarray", "numpy.ndarray.f"),
        ("x: sqlite3.Connection, /", "sqlite3.Connection.f"),
        ("*x: Path", "tuple.f"),
        ("**x", "dict.f"),
        ("x: Path | str", ""),
        ("x: Local", ""),
        ("x: typing.Any", ""),
        ("x: 'not an ('", ""),
        ("x: read", "pandas.read_csv.f"),
        ("x: log", ""),
        ("x", ""),
        ("x=Path()", ""),
    ],
)
def test_parameters(parameter, wanted):
    assert calls("x.f()", parameter) == wanted


def test_methods_and_closures_see_the_scopes_that_python_lets_them_see():
    source = """
import json

class A:
    import re as json
    def method(self):
        json.load(x)

def outer(path: str):
    handle = open(path)
    class B:
        handle = []
        def inner(self):
            handle.read(path.upper())
    handle = open(path, "w")
"""
    tree = ast.parse(source)
    found = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    reader = ApiCalls(tree)
    assert reader.of(found["method"]) == ["json.load"]
    assert reader.of(found["inner"]) == ["str.upper", "open.read"]
    assert reader.of(found["outer"]) == ["open", "open"]


def extract(source, **config):
    data = source if isinstance(source, bytes) else source.encode()
    return extract_python(data, CorpusConfig(**{"code": "apis", "text": "summary", **config}))


def test_pairs_are_of_documented_functions_and_methods():
    source = '''import json

class A:
    """A class: its methods call, it does not."""
    x = len("a")

    def read(self, path):
        """Read it.

        All of it."""
        with open(path) as file:
            return json.load(file)

def undocumented():
    len("a")

def idle():
    """Do nothing."""
    return 1
'''
    found = extract(source)
    (pair,) = found.extracts
    assert (pair.text, pair.code, pair.language, pair.kind) == ("Read it.", "open json.load", "apis", "method")
    assert (pair.start_line, pair.end_line) == (7, 12)
    assert found.skipped == [("no API calls", 17)]
    assert extract(source, text="docstring").extracts[0].text == "Read it.\n\nAll of it."
    assert extract(source, kinds=("function",)).extracts == []


def test_only_a_docstring_makes_no_calls():
    assert extract('def f():\n    """Doc."""\n').skipped == [("no API calls", 1)]


@pytest.mark.parametrize(
    "source",
    [b"def f(:\n", b"def f(): 'a'; len(1)\0", b"\xff", "x = " + "+".join(["1"] * 200_000), "(" * 5000 + ")" * 5000],
    ids=lambda value: repr(value)[:20],
)
def test_garbage_is_survived(source):
    assert extract(source).extracts == []


def test_what_is_nested_too_deeply_does_not_take_its_neighbours_along():
    """Deeper than Python's stack, though not than its parser's, whose limit differs from version to version."""
    tree = ast.parse("x = 1\nimport json\ndef deep(): return 1\ndef f(): json.load(x)\n")
    constant, _, deep, f = tree.body
    expression: ast.expr = ast.Constant(1)
    for _ in range(sys.getrecursionlimit()):
        expression = ast.UnaryOp(ast.Not(), expression)
    constant.value = deep.body[0].value = expression
    reader = ApiCalls(tree)
    assert reader.of(f) == ["json.load"]
    with pytest.raises(RecursionError):
        reader.of(deep)
