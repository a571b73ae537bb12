"""Whether code parses, by language."""

import threading
import warnings

import pytest

from t2c_jax.languages.parsing import parses
from t2c_jax.languages.python.parsing import parses_as_python
from t2c_jax.languages.syntax_trees import encoded, nodes, syntax_tree, tree_grammars


@pytest.mark.parametrize(
    ("code", "good"),
    [
        ("x = 1", True),
        ("def f(:", False),
        ("    x = 1", False),
        ("", False),
        ("# only a comment", False),
        ("x = '\\d'", True),  # an invalid escape: a SyntaxWarning, silenced
        ("x = 1\x00", False),
        ("x = '\ud800'", False),
        ("(" * 10_000, False),
        ("(" * 5_000 + ")" * 5_000, False),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_python(code: str, good: bool):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert parses_as_python(code) is good
        assert parses(code, "python") is parses(code, "py") is good


@pytest.mark.parametrize(
    "code", ["-" * 100_000 + "1", "a" + ".b" * 100_000, "a" + "[0]" * 100_000, "x = " + "1 + " * 50_000 + "1"]
)
def test_what_nests_beyond_the_parsers_stack_does_not_parse(code: str):
    assert parses_as_python(code) is False


# Parts of files, as answers are: a function, a method without its class, a query.
GOOD = {
    "c": "int f(int x) { return x; }",
    "cpp": "void A::f(int x) const { y = x; }",
    "csharp": "public int F(int x) { return x; }",
    "go": "func f(x int) int { return x }",
    "java": "public int f(int x) { return x; }",
    "javascript": "const f = async (x) => <a>{await x}</a>;",
    "json": '{"a": [1, null]}',
    "kotlin": "fun f(x: Int) = x",
    "php": "function f($x) { return $x; }",
    "python": "def f(x): return x",
    "ruby": "def f(x) = x",
    "rust": "fn f(x: i32) -> i32 { x }",
    "shell": "find . -name '*.py' | xargs wc -l",
    "sql": "SELECT a, COUNT(*) FROM t WHERE b = 'x' GROUP BY a",
    "swift": "func f(_ x: Int) -> Int { return x }",
    "typescript": "function f(x: number): string { return <string>x }",
}
COMMENTS = {"python": "# a", "ruby": "# a", "shell": "# a", "sql": "-- a", "json": ""}


@pytest.mark.parametrize("language", GOOD)
def test_languages(language: str):
    code = GOOD[language]
    assert parses(code, language)
    assert parses(code + "\n)", language) is False
    assert parses("", language) is parses(" \n", language) is False
    assert parses(COMMENTS.get(language, "// a"), language) is False
    assert parses("(" * 10_000, language) is False
    assert parses("\ud800\x00", language) in (True, False)


@pytest.mark.parametrize("language", sorted(GOOD.keys() - COMMENTS.keys() | {"sql"}))
def test_block_comments_state_nothing(language: str):
    assert parses("/* a */", language) is False


def test_every_grammar_has_an_example():
    assert GOOD.keys() - {"json"} == {*tree_grammars}


def test_php_with_and_without_its_opening_tag():
    assert parses("<?php echo 1;", "php")
    assert parses("<?php", "php") is False
    assert parses("some prose", "php") is False


def test_typescript_reads_casts_and_elements():
    assert parses("let x = <T>y;", "ts")
    assert parses("let x = <b>y</b>;", "tsx")
    assert parses("let x = <b>y</b;", "ts") is False


def test_nodes_come_in_the_order_of_the_code_however_deep():
    code = "f(" * 3000 + "x" + ")" * 3000
    tree = syntax_tree(code, "java")
    assert tree is not None
    found = [node for node in nodes(tree.root_node) if node.type == "identifier"]
    assert len(found) == 3001
    assert [node.start_byte for node in found] == sorted(node.start_byte for node in found)
    assert encoded(code)[found[-1].start_byte : found[-1].end_byte] == b"x"


def test_threads_parse_at_once():
    codes = [f"int f{n}() {{ return {n}; }} " * 50 for n in range(8)]
    found: dict[int, set[str]] = {}

    def parse(n: int) -> None:
        trees = [syntax_tree(codes[n], "c") for _ in range(20)]
        found[n] = {str(tree and tree.root_node.end_byte) for tree in trees}

    threads = [threading.Thread(target=parse, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: {str(len(codes[n]))} for n in range(8)}


def test_a_language_without_a_grammar():
    assert parses("x", "no such language") is None
    assert syntax_tree("x", "no such language") is None


@pytest.mark.parametrize(
    ("language", "code"),
    [
        ("c", "#define ONE 1"),
        ("cpp", "#include <map>"),
        ("go", "x := f()\nprint(x)"),
        ("csharp", "#if A\nint a;\n#endif"),
    ],
)
def test_the_last_line_needs_no_end(language: str, code: str):
    assert parses(code, language) is True
