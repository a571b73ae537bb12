"""Definitions of the languages that tree-sitter reads, against hand-made truth.

``truth/LANGUAGE/`` has small files, and beside each ``FILE`` a ``FILE.truth``: a line for every pair and for every
counted candidate, as ``report`` writes them.
"""

import re
from pathlib import Path
from random import Random

import pytest
from tree_sitter import QueryCursor

from t2c_jax.config import CorpusConfig
from t2c_jax.corpus.pairs import MINED_KINDS
from t2c_jax.languages.definitions import c, cpp, macros
from t2c_jax.languages.definitions.captures import matches, query_of
from t2c_jax.languages.definitions.parsed_definitions import is_sounder
from t2c_jax.languages.extractor import extractor_for, extractors
from t2c_jax.languages.syntax_trees import nodes, parse, parse_changed

TRUTH = Path(__file__).parent / "truth"
FILES = sorted(path.relative_to(TRUTH) for path in TRUTH.rglob("*.truth"))
LANGUAGES = [name for name in extractors if name not in ("python", "markdown")]


def extract(data, path, **config):
    extractor = extractor_for(path, LANGUAGES)
    assert extractor is not None, path
    data = data if isinstance(data, bytes) else data.encode()
    return extractor.extract(data, path, CorpusConfig(**{"text": "signature+summary", **config}))


def report(found):
    """Lines and kind, signature, summary on one line; reasons of what is skipped."""
    lines = []
    for pair in found.extracts:
        signature, _, summary = pair.text.partition("\n")
        summary = " ".join(summary.split())
        lines.append((pair.start_line, f"{pair.start_line}-{pair.end_line} {pair.kind} | {signature} | {summary}"))
    lines += [(line, f"{line} skipped | {reason}") for reason, line in found.skipped]
    return [line for _, line in sorted(lines, key=lambda item: item[0])]


@pytest.mark.parametrize("path", FILES, ids=str)
def test_truth(path):
    source = (TRUTH / path).with_suffix("")
    expected = [line for line in (TRUTH / path).read_text("utf-8").splitlines() if line]
    assert report(extract(source.read_bytes(), source.name)) == expected


# path: (source, code of the only pair)
CODE = {
    "dedented.java": (
        "class A {\n    /** Doc. */\n    int f() {\n\n        return 1;\n      // far left\n  }\n}\n",
        "int f() {\n\n    return 1;\n  // far left\n  }",
    ),
    "tabs.java": ("class A {\n\t/** Doc. */\n\tint f() {\n\t\treturn 1;\n\t}\n}\n", "int f() {\n\treturn 1;\n}"),
    "crlf.java": (
        "class A {\r\n  /** Doc. */\r\n  int f() {\r\n    return 1;\r\n  }\r\n}\r\n",
        "int f() {\r\n  return 1;\r\n}",
    ),
    "text_block.java": (
        'class A {\n  /** Doc. */\n  String f() {\n    return """\n      a\n    b""";\n  }\n}\n',
        'String f() {\n  return """\n      a\n    b""";\n}',
    ),
    "annotation.java": (
        "class A {\n  @A(1)\n  /** Doc.\n   */\n  @B int f() { return 1; }\n}\n",
        "@A(1)\n@B int f() { return 1; }",
    ),
    "within_line.java": (
        "class A {\n  @A /** Doc. */ public /* kept */ int f() { return 1; }\n}\n",
        "@A public /* kept */ int f() { return 1; }",
    ),
    "template.js": (
        "x = {\n  /** Doc. */\n  f() {\n    return `\n    ${`\n  a`}`;\n  },\n};\n",
        "f() {\n  return `\n    ${`\n  a`}`;\n}",
    ),
    "semicolon.js": ("/** Doc. */\nexports.f = function () { return 1; };\n", "exports.f = function () { return 1; };"),
    "decorator.ts": (
        "class A {\n  @B({ c: `\n  d` })\n  /** Doc. */\n  f() { return 1; }\n}\n",
        "@B({ c: `\n  d` })\nf() { return 1; }",
    ),
    "attribute.rs": (
        "mod m {\n    /// Doc.\n    #[a]\n    /// More.\n    #[b]\n    fn f() { g() }\n}\n",
        "#[a]\n#[b]\nfn f() { g() }",
    ),
    "inner.rs": ("fn f() -> u8 {\n    //! Doc.\n    // kept\n    1\n}\n", "fn f() -> u8 {\n    // kept\n    1\n}"),
    "raw.go": ("// Doc.\nfunc f() string { return `\na` }\n", "func f() string { return `\na` }"),
    "typedef.c": ("/** Doc. */\ntypedef struct { int a; } t ;\n", "typedef struct { int a; } t ;"),
    "macro.c": (
        "/** Doc. */\nAPI_EXPORT int f(int a) { return a; }\nint g(int a) MACRO { return a; }\n",
        "API_EXPORT int f(int a) { return a; }",
    ),
    "template.cpp": (
        "namespace a {\n  /// Doc.\n  template <class T>\n  int f(T t) { return 1; }\n}\n",
        "template <class T>\nint f(T t) { return 1; }",
    ),
    "verbatim.cs": (
        'class A {\n  /// <summary>Doc.</summary>\n  [B]\n  string F() {\n    return @"\n  a";\n  }\n}\n',
        '[B]\nstring F() {\n  return @"\n  a";\n}',
    ),
    "heredoc.php": (
        "<?php\nclass A {\n  /** Doc. */\n  function f() {\n    return <<<B\n      a\n      B;\n  }\n}\n",
        "function f() {\n  return <<<B\n      a\n      B;\n}",
    ),
    "raw.kt": (
        'class A {\n  /** Doc. */\n  @B\n  fun f() = """\n    a"""\n}\n',
        '@B\nfun f() = """\n    a"""',
    ),
    "lines.swift": (
        'struct A {\n  /// Doc.\n  @B\n  func f() -> String { """\n    a\n    """ }\n}\n',
        '@B\nfunc f() -> String { """\n    a\n    """ }',
    ),
    "heredoc.rb": (
        "class A\n  # Doc.\n  sig { void }\n  private def f\n    <<B\n  a\nB\n  end\nend\n",
        "sig { void }\nprivate def f\n  <<B\n  a\nB\nend",
    ),
    "heredoc.sh": (
        "if a; then\n  # Doc.\n  f() {\n    cat <<B\n  c\nB\n  }\nfi\n",
        "f() {\n  cat <<B\n  c\nB\n}",
    ),
    "statement.sql": ("-- Doc.\nSELECT 'a\n  b' -- kept\n  FROM c ;\n", "SELECT 'a\n  b' -- kept\n  FROM c ;"),
}


@pytest.mark.parametrize("path", CODE)
def test_code(path):
    source, code = CODE[path]
    (pair,) = extract(source, path).extracts
    assert pair.code == code


def sources():
    return [source for path in FILES if (source := (TRUTH / path).with_suffix("")).stat().st_size]


def assert_is_of(pair, data):
    """The code's lines are lines of the pair's span, in their order."""
    lines = iter(data.decode("utf-8-sig").split("\n")[pair.start_line - 1 : pair.end_line])
    for line in pair.code.rstrip("\n").split("\n"):  # that of a module ends with a line end
        assert any(line.strip() in other for other in lines), (line, pair)


def test_spans_are_where_the_code_is():
    for source in sources():
        data = source.read_bytes()
        for pair in extract(data, source.name, stubs=True, text="summary").extracts:
            assert_is_of(pair, data)


def test_any_bytes():
    """Cut, repeated and random bytes raise nothing, and spans stay within the file."""
    random = Random(0)
    config = {"stubs": True, "code_only": ("function", "method", "class", "module"), "kinds": MINED_KINDS}
    for source in sources():
        data = source.read_bytes()
        for _ in range(4):
            first, last = sorted(random.choices(range(len(data)), k=2))
            middle = random.choice([b"", data[first:last] * 2, random.randbytes(9), b"{(<", b"*/", b"/**", b'"', b"`"])
            broken = data[:first] + middle + data[last:]
            found = extract(broken, source.name, **config)
            count = len(broken.split(b"\n"))
            for pair in found.extracts:
                assert 1 <= pair.start_line <= pair.end_line <= count
                assert_is_of(pair, broken)
            assert all(0 <= line <= count for _, line in found.skipped)


HOSTILE = {
    "deep brackets": b"(" * 20_000,
    "deep braces": b"{" * 20_000,
    "deep blocks": b"{" * 20_000 + b"}" * 20_000,
    "unclosed comment": b"/** " + b"a " * 20_000,
    "many comments": b"/// a\n" * 20_000 + b"fn f() { g() }",
    "one line": b"/** a */ f(); " * 2_000,
    "null bytes": b"/** a */ int f(\0) { return 1; }",
    "undecodable": b"/** \xff */ int f() { return 1; }",
    "surrogates": b"/** \xed\xa0\x80 */ int f() { return 1; }",
    "nothing": b"",
    "spaces": b" \n" * 20_000,
}


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize(
    "suffix",
    [
        *(
            ".c",
            ".cpp",
            ".cs",
            ".go",
            ".java",
            ".js",
            ".kt",
            ".php",
            ".rb",
            ".rs",
            ".sh",
            ".sql",
            ".swift",
            ".ts",
            ".tsx",
        )
    ],
)
def test_hostile_files(case, suffix):
    found = extract(HOSTILE[case], f"a{suffix}")
    assert len(found.extracts) <= 2_000


# path: (source, (first line, last line, text, code) of each pair)
COMMENTS = {
    "a.java": (
        "class A {\n  int f() {\n    // Count it twice here.\n    n++; // once\n    n++; // again\n\n    n++;\n  }\n"
        "  // Not within a function.\n  int n;\n}\n",
        [(3, 5, "Count it twice here.", "n++; // once\nn++; // again")],
    ),
    "nested.js": (
        "f = () => {\n  // Two lines\n  // of a comment.\n  if (a) {\n    /* Call it right now. */\n    b();\n  }\n"
        "  c(\n    // An argument is none.\n    1,\n  );\n};\n",
        [(2, 11, "Two lines\nof a comment.", None), (5, 6, "Call it right now.", "b();")],
    ),
    "switch.c": (
        "int f(int a) {\n  switch (a) {\n  case 1:\n    // Handle the first case.\n    b();\n    break;\n  }\n}\n",
        [(4, 6, "Handle the first case.", "b();\nbreak;")],
    ),
    "a.go": (
        "func f() {\n\t// Open the file now.\n\tx := g()\n\t// TODO do it better\n\ty()\n}\n",
        [(2, 3, None, "x := g()")],
    ),
    "a.c": (
        "int f(int a) {\n  /* Compute the norm of a, */\n  /* and scale it. */\n  a = b(a);\n\n"
        "  /* Take the root,\n   * which is positive. */\n  // It may be zero.\n  a = c(a);\n\n"
        "  /* Set the sizes here. */\n  /* TODO: set more of them */\n  d();\n\n"
        "  // Round it to zero:\n  //x = e(a);\n  return a;\n}\n",
        [
            (2, 4, "Compute the norm of a,\nand scale it.", "a = b(a);"),
            (6, 9, "Take the root,\nwhich is positive.\nIt may be zero.", "a = c(a);"),
            (11, 13, "Set the sizes here.", "d();"),
        ],
    ),
    "docs.rs": ("fn f() {\n    // Count it twice here.\n    /// Doubles it.\n    fn g() { h() }\n}\n", []),
    "a.rs": ("fn f() {\n    // Return what was found.\n    x.y()\n}\n", [(2, 3, None, "x.y()")]),
    "a.ts": ("// At the top level there.\nf();\nfunction g() {\n  // @ts-ignore because of that\n  h();\n}\n", []),
    "a.cs": (
        "class A {\n  int F() {\n    // Count it twice here.\n    n++;\n    n++;\n\n    return n;\n  }\n}\n",
        [(3, 5, "Count it twice here.", "n++;\nn++;")],
    ),
    "a.kt": (
        "fun f() {\n    // Count it twice here.\n    g()\n    g()\n}\n",
        [(2, 4, "Count it twice here.", "g()\ng()")],
    ),
    "a.php": (
        "<?php\nfunction f() {\n    // Count it twice here.\n    g();\n    # Call the other one.\n    h();\n}\n",
        [(3, 4, "Count it twice here.", "g();"), (5, 6, "Call the other one.", "h();")],
    ),
    "a.rb": (
        "def f\n  # Count it twice here.\n  g\n  g\nend\n",
        [(2, 4, "Count it twice here.", "g\ng")],
    ),
    "a.sh": (
        "f() {\n  # Count it twice here.\n  g a | h\n  g b\n}\n",
        [(2, 4, "Count it twice here.", "g a | h\ng b")],
    ),
    "a.swift": (
        "func f() {\n  // Count it twice here.\n  g()\n  g()\n}\n",
        [(2, 4, "Count it twice here.", "g()\ng()")],
    ),
    "a.cpp": (
        "void f() {\n  // Windows line ends here.\r\n  a();\r\n  // Broken statement is below.\n  b(;\n}\n",
        [(2, 3, None, "a();")],
    ),
}


@pytest.mark.parametrize("path", COMMENTS)
def test_comments_within_functions(path):
    source, expected = COMMENTS[path]
    found = extract(source, path, kinds=("comment",), text="summary")
    assert len(found.extracts) == len(expected)
    for pair, (start, end, text, code) in zip(found.extracts, expected, strict=True):
        assert (pair.kind, pair.start_line, pair.end_line) == ("comment", start, end)
        assert text in (None, pair.text)
        assert code in (None, pair.code)


def test_the_name_is_hidden_wherever_it_is():
    source = (
        "class A {\n  int total(int n) {\n    // total\n    return n > 0 ? this.total(n - 1) + totals : 0;\n  }\n}\n"
    )
    (pair,) = extract(source, "A.java", text="name", kinds=("method",)).extracts
    assert pair.text == "total"
    assert pair.code == "int _(int n) {\n  // total\n  return n > 0 ? this._(n - 1) + totals : 0;\n}"


def test_code_alone():
    source = "/** Doc. */\nclass A {\n  int f() { return 1; }\n  /** Doc. */\n  int g() { return 1; }\n}\n"
    found = extract(source, "A.java", code_only=("method", "module"), kinds=()).extracts
    assert [(pair.kind, pair.text, pair.code) for pair in found] == [
        ("module", "", source),
        ("method", "", "int f() { return 1; }"),
    ]


def test_kinds_and_stubs_are_chosen():
    source = "/** Doc. */\ninterface A {\n  /** Doc. */\n  int f();\n}\n"
    assert [pair.kind for pair in extract(source, "A.java", kinds=("class",)).extracts] == ["class"]
    assert [pair.kind for pair in extract(source, "A.java", kinds=("method",), stubs=True).extracts] == ["method"]
    assert extract(source, "A.java", code="unparsed").extracts == []  # a form of Python


def _documented(data, path):
    """What is found next to comments, and what is found where everything is looked at."""
    near = extract(data, path)
    everywhere = extract(data, path, code_only=("module",))
    return near, [pair for pair in everywhere.extracts if pair.kind != "module"], everywhere.skipped


@pytest.mark.parametrize("path", FILES, ids=str)
def test_looking_near_comments_finds_what_looking_everywhere_does(path):
    source = (TRUTH / path).with_suffix("")
    near, extracts, skipped = _documented(source.read_bytes(), source.name)
    assert near.extracts == extracts
    assert near.skipped == skipped


def test_looking_near_comments_finds_the_same_in_mixed_up_files():
    """Lines are repeated elsewhere and left out, so that comments are in all kinds of places, and files are broken."""
    random = Random(0)
    for path in FILES:
        source = (TRUTH / path).with_suffix("")
        lines = source.read_bytes().splitlines(keepends=True)
        for _ in range(3):
            mixed = list(lines)
            for _ in range(random.randint(1, 4)):
                first, target, size = random.randrange(len(lines)), random.randrange(len(lines)), random.randint(0, 5)
                mixed[target:target] = mixed[first : first + size] or [b"/** a */ "]
                del mixed[first : first + random.randint(0, 2)]
            near, extracts, skipped = _documented(b"".join(mixed), source.name)
            assert near.extracts == extracts, (path, b"".join(mixed).decode())
            assert near.skipped == skipped, (path, b"".join(mixed).decode())


def whole_and_broken(tree, table):
    found = [
        node.has_error
        for capture, node in matches(QueryCursor(query_of(table)), tree.root_node)
        if capture in ("function", "method", "class")
    ]
    return found.count(False), -found.count(True)


def with_macros():
    """Files of C and C++, as they are and with parts of others in them: the table, and the bytes."""
    random = Random(0)
    sources = [(TRUTH / path).with_suffix("") for path in FILES if path.parts[0] in ("c", "cpp")]
    texts = [source.read_bytes() for source in sources]
    for source, text in zip(sources, texts, strict=True):
        yield cpp.table_of(text, source.name), text
    for _ in range(60):
        mixed = b"".join(random.choice(texts)[(start := random.randrange(400)) : start + 600] for _ in range(8))
        words = mixed.split(b" ")
        for _ in range(20):
            words.insert(random.randrange(len(words)), b"API_EXPORT")
        yield random.choice((cpp.CPP, c.C)), b" ".join(words)


def test_a_tree_without_macros_is_compared_by_all_definitions():
    outcomes = set()
    for table, data in with_macros():
        spans = list(macros.anywhere(data))
        tree = parse(data, *table.grammar)
        before = [(node.type, node.start_byte) for node in nodes(tree.root_node)]
        other = parse_changed(tree, macros.without_macros(data, spans)[0], spans, *table.grammar)
        assert [(node.type, node.start_byte) for node in nodes(tree.root_node)] == before
        more = whole_and_broken(other, table) > whole_and_broken(tree, table)
        assert is_sounder(other, tree, table) == more
        assert not is_sounder(tree, tree, table)
        outcomes.add(more)
    assert outcomes == {True, False}


def test_only_what_changed_is_parsed_again():
    functions = b"".join(b"int f%d(void) {\n  return %d;\n}\n" % (i, i) for i in range(100))
    data = functions + b"static API_EXPORT API_EXPORT int\nlast(void) { return 0; }\n" + functions
    spans = [match.span() for match in re.finditer(b"API_EXPORT", data)]
    blanked, _ = macros.without_macros(data, spans)
    tree, fresh = parse(data, *c.C.grammar), parse(blanked, *c.C.grammar)
    other = parse_changed(tree, blanked, spans, *c.C.grammar)
    assert tree.root_node.has_error
    facts = [
        [(n.type, n.start_byte, n.end_byte, tuple(n.start_point), tuple(n.end_point)) for n in nodes(t.root_node)]
        for t in (other, fresh)
    ]
    assert facts[0] == facts[1]
    ids = {node.id for node in nodes(tree.root_node)}
    assert sum(node.id in ids for node in nodes(other.root_node)) > 0.9 * len(facts[0])
    assert not any(node.id in ids for node in nodes(fresh.root_node))
