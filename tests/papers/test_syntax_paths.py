"""Paths of syntax trees, worked by hand and against a slow but plain enumeration."""

import ast
import sys
from dataclasses import replace
from itertools import combinations, pairwise

import numpy as np
import pytest

from t2c_jax.papers.code2seq import syntax_paths as paths
from t2c_jax.papers.code2seq.config import PathsConfig
from t2c_jax.papers.code2seq.syntax_paths import NODE_IDS, NODE_TYPES, describe, extract, terminal

ALL = PathsConfig(max_length=12, max_width=100)
SAMPLE = """
@register("x.y")
def find_all(self, items, *rest, key=None, **options) -> list[int]:
    total: int = 0
    with open(self.path) as file:
        for i, line in enumerate(file):
            if not line.strip() or i > 10 and key is None:
                continue
            total += {"a": items[i], **options}.get(line, -1)
    try:
        return [f"{v!r} of {total:>{i}}" for v in items if v in rest]
    except (ValueError, a.b.Error) as error:
        raise RuntimeError from error
    finally:
        del self.path, total
    match total:
        case {"k": 1, **others} | Point(x=0) | [None, *_]:
            return lambda z: (z := z + 1)
"""


def found(code, config=ALL):
    """(terminal, nodes, terminal) of each path, as words."""
    made = extract(code, config)
    return [
        (made.terminals[a], describe(nodes), made.terminals[b])
        for nodes, (a, b) in zip(made.nodes_PM, made.ends_P2.tolist(), strict=True)
    ]


def test_an_assignment():
    assert found("x = y_1 + 2") == [
        ("x", "Name:Store^ Assign BinOp:Addv Namev", "y 1"),
        ("x", "Name:Store^ Assign BinOp:Addv Constantv", "2"),
        ("y 1", "Name^ BinOp:Add Constantv", "2"),
    ]


def test_a_function():
    code = "def areaOf(shape):\n    return shape.width * -1\n"
    assert found(code) == [
        ("area of", "FunctionDef argumentsv argv", "shape"),
        ("area of", "FunctionDef Returnv BinOp:Multv Attributev Namev", "shape"),
        ("area of", "FunctionDef Returnv BinOp:Multv Attributev", "width"),
        ("area of", "FunctionDef Returnv BinOp:Multv UnaryOp:USubv Constantv", "1"),
        ("shape", "arg^ arguments^ FunctionDef Returnv BinOp:Multv Attributev Namev", "shape"),
        ("shape", "arg^ arguments^ FunctionDef Returnv BinOp:Multv Attributev", "width"),
        ("shape", "arg^ arguments^ FunctionDef Returnv BinOp:Multv UnaryOp:USubv Constantv", "1"),
        ("shape", "Name^ Attribute", "width"),
        ("shape", "Name^ Attribute^ BinOp:Mult UnaryOp:USubv Constantv", "1"),
        ("width", "Attribute^ BinOp:Mult UnaryOp:USubv Constantv", "1"),
    ]


def test_what_is_a_leaf():
    """Names, attributes, arguments, keywords, aliases and constants; two of one node make a path of one node."""
    assert found("import os.path as p") == [("os path", "alias", "p")]
    assert found("f(sep='-')") == [
        ("f", "Name^ Call keywordv", "sep"),
        ("f", "Name^ Call keywordv Constantv", "-"),
        ("sep", "keyword Constantv", "-"),
    ]
    assert found("global a, b") == [("a", "Global", "b")]
    assert found("a < b") == [("a", "Name^ Compare:Lt Namev", "b")]
    assert found("a < b < c", replace(ALL, max_width=1))[0] == ("a", "Name^ Compare Namev", "b")
    assert found("del a[b'\\xe9']") == [("a", "Name^ Subscript:Del Constantv", "é")]
    neighbours = found("[..., None, 1.5, 0x1ffffffffffffffffff, x]", replace(ALL, max_width=1))
    assert [start for start, _, _ in neighbours] == ["...", "none", "1 5", "0 x 1 ffffffffffffffffff"]


def test_the_keys_of_a_dict_are_next_to_their_values():
    assert found("{a: b, c: d, **e}", replace(ALL, max_width=1)) == [
        ("a", "Name^ Dict Namev", "b"),
        ("b", "Name^ Dict Namev", "c"),
        ("c", "Name^ Dict Namev", "d"),
        ("d", "Name^ Dict Namev", "e"),
    ]


def test_length_is_bounded():
    code = "def f(a):\n    return a.b\n"
    whole = found(code)
    assert max(len(nodes.split()) for _, nodes, _ in whole) == 6
    for length in range(1, 7):
        assert found(code, replace(ALL, max_length=length)) == [
            path for path in whole if len(path[1].split()) <= length
        ]


def test_width_is_bounded():
    code = "f(a, b, c, d)"
    for width in range(1, 5):
        expected = [
            pair for pair in combinations("fabcd", 2) if "fabcd".index(pair[1]) - "fabcd".index(pair[0]) <= width
        ]
        assert [(a, b) for a, _, b in found(code, replace(ALL, max_width=width))] == expected


@pytest.mark.parametrize(("length", "width"), [(12, 100), (9, 2), (5, 1), (1, 1)])
def test_all_paths_and_no_others(length, width, monkeypatch):
    """Against ancestors compared node by node, with leaves looked at in several blocks."""
    monkeypatch.setattr(paths, "_BLOCK_CELLS", 300)
    config = replace(ALL, max_length=length, max_width=width, stored=10**6)
    assert found(SAMPLE, config) == list(plainly(SAMPLE, length, width))


def plainly(code, length, width):
    lines = []  # of each leaf: its text, and (node, place among the node's children) from the root to its holder

    def visit(node, above):
        for place, child in enumerate(paths._children(node)):
            here = [*above, (node, place)]
            if isinstance(child, str):
                lines.append((terminal(child), here))
            else:
                visit(child, here)

    visit(ast.parse(code), [])
    for (a, left), (b, right) in combinations(lines, 2):
        same = sum(x is y for (x, _), (y, _) in zip(left, right, strict=False))
        up, down = left[same:][::-1], right[same:]
        apart = right[same - 1][1] - left[same - 1][1]
        if len(up) + 1 + len(down) <= length and apart <= width:
            words = [name(node) + "^" for node, _ in up] + [name(left[same - 1][0])]
            yield a, " ".join(words + [name(node) + "v" for node, _ in down]), b


def name(node):
    return NODE_TYPES[paths._type(node)]


@pytest.mark.parametrize("code", ["def f(:", "x = \0", "(" * 5000, "x = 1\n  y", "\ud800", "9" * 5000])
def test_what_does_not_parse_has_no_paths(code):
    assert extract(code, ALL) is None


@pytest.mark.parametrize("code", ["", "# nothing", "pass", "x", "\n\n"])
def test_what_has_fewer_than_two_leaves_has_no_paths(code):
    made = extract(code, ALL)
    assert made.nodes_PM.shape == (0, ALL.max_length)
    assert made.ends_P2.shape == (0, 2)
    assert made.terminals == []


def test_deep_trees():
    """A sum of n terms is n deep; only neighbours are near."""
    assert sys.getrecursionlimit() < 1500
    made = extract(" + ".join(["a"] * 1500), replace(ALL, max_length=3, stored=10**6))
    if made is not None:  # some Pythons do not parse it
        assert describe(made.nodes_PM[0]) == "Name^ BinOp:Add Namev"
        assert len(made.ends_P2) == 1
    made = extract("f(" * 90 + "x" + ")" * 90, replace(ALL, max_length=4))
    # each function with the next one, the last with x, and the last but one with x
    assert len(made.ends_P2) == 89 + 1 + 1


def test_at_most_stored_paths_sampled_evenly_and_always_the_same():
    code = f"f({', '.join(f'a{i}' for i in range(60))})"
    whole, some = extract(code, replace(ALL, stored=10**6)), extract(code, replace(ALL, stored=200))
    assert len(whole.ends_P2) == 60 * 61 // 2
    assert len(some.ends_P2) == 200
    every, drawn = ([tuple(one.terminals[i] for i in pair) for pair in one.ends_P2] for one in (whole, some))
    places = [every.index(pair) for pair in drawn]
    assert places == sorted(set(places))
    # 200 of 1830, uniformly: the mean place is 915 with a standard error of 35.
    assert abs(np.mean(places) - 915) < 3 * 35
    np.testing.assert_array_equal(some.ends_P2, extract(code, replace(ALL, stored=200)).ends_P2)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("parseHTTPResponse_v2", "parse http response v 2"),
        ("__init__", "init"),
        ("XMLHttp", "xml http"),
        ("größe2", "größe 2"),
        ("_", "_"),
        ("", "''"),
        (", ", ", "),
        ("two words, punctuated", "two words punctuated"),
        ("a\ud800", "a"),
    ],
)
def test_terminals(text, expected):
    assert terminal(text) == expected
    assert terminal("x" * 1000) == "x" * 64


def test_every_class_of_this_python_that_can_lie_on_a_path_has_an_id():
    abstract = {"AST", "expr", "stmt", "mod", "pattern", "slice", "excepthandler", "type_param", "type_ignore"}
    abstract |= {"operator", "unaryop", "boolop", "cmpop", "expr_context"}
    roots = {"Expression", "Interactive", "FunctionType", "TypeIgnore"}  # of other ways to parse
    leafless = {"Pass", "Break", "Continue"}
    old = {
        "Num",
        "Str",
        "Bytes",
        "NameConstant",
        "Ellipsis",
        "Index",
        "ExtSlice",
        "Suite",
        "Param",
        "AugLoad",
        "AugStore",
    }
    folded = (ast.operator, ast.unaryop, ast.boolop, ast.cmpop, ast.expr_context)
    classes = {
        name: value for name, value in vars(ast).items() if isinstance(value, type) and issubclass(value, ast.AST)
    }
    nodes = {name for name, value in classes.items() if not issubclass(value, folded)}
    assert nodes - abstract - roots - leafless - old <= set(NODE_TYPES)
    operators = {name for name, value in classes.items() if issubclass(value, folded[:4])} - abstract
    assert operators <= {name.partition(":")[2] for name in NODE_TYPES}
    assert len(set(NODE_TYPES)) == len(NODE_TYPES)


def test_node_ids_never_change():
    """The ids of a model trained before; a new type goes to the end."""
    made = extract("x = y_1 + 2", replace(ALL, max_length=4))
    assert made.nodes_PM.dtype == np.uint16
    kinds = [NODE_TYPES.index(kind) for kind in ("Name:Store", "Assign", "BinOp:Add", "Name")]
    assert kinds == [77, 3, 81, 45]
    assert made.nodes_PM[0].tolist() == [1 + 3 * 77, 2 + 3 * 3, 3 + 3 * 81, 3 + 3 * 45]
    assert 1 + 3 * len(NODE_TYPES) == NODE_IDS
    assert all(a != b for a, b in pairwise(made.nodes_PM[0]))
