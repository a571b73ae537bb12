"""Where values come from, and the structures of sub-trees."""

from collections import defaultdict

import pytest

from t2c_jax.languages.data_flow import FLOW_RULES, data_flow, normalised
from t2c_jax.languages.subtrees import Subtrees
from t2c_jax.languages.syntax_trees import nodes, states_nothing, syntax_tree


def flow(code: str, language: str) -> list[str]:
    items = data_flow(code, language)
    assert items is not None
    sign = {"comesFrom": "<-", "computedFrom": "<="}
    return [f"{item.variable} {sign[item.relation]} {' '.join(sorted(item.sources))}".strip() for item in items]


@pytest.mark.parametrize(
    ("language", "code", "expected"),
    [
        ("python", "def f(a):\n  b = a\n  b += 1", ["a <-", "b <= a", "a <- a", "b <= 1 b", "1 <-"]),
        ("python", "a, b = c, d", ["a <= c", "b <= d", "c <-", "d <-"]),
        ("python", "if (n := f): x = n", ["n <= f", "f <-", "x <= n", "n <- n"]),
        ("java", "int a = b; a++; a = -c;", ["a <- b", "b <-", "a <= a", "a <= c", "c <-"]),
        ("javascript", "let a = b; a = c; a += d", ["a <- b", "b <-", "a <= c", "c <-", "a <= a d", "d <-"]),
        ("typescript", "function f(a: number = b) { return a }", ["a <- b", "b <-", "a <- a"]),
        ("go", "a, b := c, d\nb = a", ["a <- c", "b <- d", "c <-", "d <-", "b <= a", "a <- a"]),
        ("go", "for k := range a { b = k }", ["k <= a", "a <-", "b <= k", "k <- k"]),
        (
            "php",
            "$a = $b; foreach ($a as $v) { $c = $v; }",
            ["$a <= $b", "$b <-", "$a <- $a", "$v <= $a", "$c <= $v", "$v <- $v"],
        ),
        ("ruby", "a = b\nb = 1 while a", ["a <= b", "b <-", "b <= 1", "1 <-", "a <- a"]),
        ("rust", "let mut a = b; a += c; a = d;", ["a <- b", "b <-", "a <= a c", "c <-", "a <= d", "d <-"]),
        ("c", "int a = b, *c = &a;", ["a <- b", "b <-", "c <- a", "a <- a"]),
        ("cpp", "for (auto x : y) z = x;", ["x <= y", "y <-", "z <= x", "x <- x"]),
        ("csharp", "foreach (var x in y) { var z = x; }", ["x <= y", "y <-", "z <- x", "x <- x"]),
    ],
)
def test_items(language: str, code: str, expected: list[str]):
    assert flow(code, language) == expected


def test_a_condition_leaves_the_values_of_both_branches():
    code = "if c:\n  a = x\nelse:\n  a = y\nb = a"
    found = data_flow(code, "python")
    assert found is not None
    assert [item.sources for item in found if item.variable == "b"] == [{"a"}]
    # By places: the last a comes from both, so that both are linked though nothing else reads them.
    assert flow("if c:\n  a = f()\nelse:\n  a = g()\nprint(a)", "python").count("a <= f") == 1


def test_a_chain_of_conditions_without_an_end_keeps_the_value_before():
    with_end, without = (
        flow(f"a = x\nif p:\n  a = 1\nelif q:\n  a = 2\n{end}b = a + a", "python") for end in ("else:\n  a = 3\n", "")
    )
    assert with_end != without


def test_a_loop_hands_values_to_its_next_round():
    assert "b <- b" in flow("while x:\n  print(b)\n  b = c", "python")
    assert "b <- b" not in flow("print(b)\nb = c", "python")


def test_renaming_changes_nothing():
    code = "def f(b, a):\n  c = a + b\n  for d in c:\n    c = b + d\n  return c"
    other = code.replace("b", "zz").replace("c", "aa")
    ours, theirs = (data_flow(text, "python") for text in (code, other))
    assert ours is not None
    assert theirs is not None
    assert ours != theirs
    assert normalised(ours) == normalised(theirs)
    swapped = data_flow(code.replace("b + d", "a + d"), "python")
    assert swapped is not None
    assert normalised(ours) != normalised(swapped)


def test_nested_loops_take_no_exponential_time():
    lines = [" " * depth + f"for v{depth} in n:" for depth in range(60)]
    assert len(flow("\n".join([*lines, " " * 60 + "x = v0"]), "python")) > 60


@pytest.mark.parametrize("language", FLOW_RULES)
def test_any_code_has_a_flow(language: str):
    for code in ("", "(" * 3000, "a = " + "b + " * 5000 + "c", "\x00\ud800", "if if if else for x in in"):
        assert data_flow(code, language) is not None


def test_other_languages_have_none():
    assert data_flow("SELECT 1", "sql") is None


CODES = {
    "python": 'def f(x, *y):\n    """Doc."""\n    if x: # c\n        return x.a[1:2]\n    return x.b[3:4]',
    "java": "int f(int a) { int b = a; /* c */ if (a > b) { b = 1; } else { b = 2; } return b",
    "javascript": "f(a, , (x) => { let y = x; let z = y; }",
}


@pytest.mark.parametrize("language", CODES)
def test_structures_are_equal_where_tree_sitter_prints_the_same(language: str):
    tree = syntax_tree(CODES[language], language)
    assert tree is not None
    subtrees = Subtrees()
    printed: dict[int, set[str]] = defaultdict(set)
    numbers: dict[str, set[int]] = defaultdict(set)
    total = 0
    for node in nodes(tree.root_node):
        if node.child_count:
            number, _ = subtrees.of(node)
            printed[number].add(str(node))
            numbers[str(node)].add(number)
            total += 1
    assert {len(each) for each in (*printed.values(), *numbers.values())} == {1}
    assert len(numbers) < total
    assert subtrees.of(tree.root_node)[1].total() == total


def test_skipped_nodes_leave_no_trace():
    subtrees = Subtrees()
    plain_code = "def f(a, *b):\n  if a: return a.c[0:0]\n  return a.a[1:1]"
    trees = [syntax_tree(code, "python") for code in (CODES["python"], plain_code)]
    assert trees[0] is not None
    assert trees[1] is not None
    noted, plain = (subtrees.of(tree.root_node, states_nothing) for tree in trees if tree)
    assert noted == plain
    assert subtrees.of(trees[0].root_node)[1].total() == noted[1].total() + 2  # the docstring and its statement
