import ast
import itertools
import sys
import sysconfig
import textwrap
from pathlib import Path

import pytest

from t2c_jax.config import CorpusConfig
from t2c_jax.errors import UserError
from t2c_jax.languages.python.extractor import extract_python


def extract(source, **config):
    data = source if isinstance(source, bytes) else source.encode()
    return extract_python(data, CorpusConfig(**{"text": "docstring", **config}))


def only(source, **config):
    found = extract(source, **config)
    assert found.skipped == []
    assert len(found.extracts) == 1, [extract.code for extract in found.extracts]
    return found.extracts[0]


# name: (source, code, text)
EXACT = {
    "function": ('def f(x):\n    """Doc."""\n    return x\n', "def f(x):\n    return x", "Doc."),
    "crlf": (
        'def f():\r\n    """Doc.\r\n\r\n    More."""\r\n    return 1\r\n',
        "def f():\r\n    return 1",
        "Doc.\n\nMore.",
    ),
    "lone carriage returns": ('def f():\r    """Doc."""\r    return 1\r', "def f():\r    return 1", "Doc."),
    "tabs": ('class A:\n\tdef f(self):\n\t\t"""Doc."""\n\t\treturn 1\n', "def f(self):\n\treturn 1", "Doc."),
    "form feed before": ('x = 1\n\x0cdef f():\n    """Doc."""\n    return 1\n', "def f():\n    return 1", "Doc."),
    "form feed inside": (
        'def f():\n    """Doc."""\n    x = 1\n\x0c\n    return x\n',
        "def f():\n    x = 1\n\x0c\n    return x",
        "Doc.",
    ),
    "byte order mark": (b'\xef\xbb\xbfdef f():\n    """Doc."""\n    return 1\n', "def f():\n    return 1", "Doc."),
    "cookie": (
        '# -*- coding: latin-1 -*-\ndef f():\n    "Größe."\n    return "ü"\n'.encode("latin-1"),
        'def f():\n    return "ü"',
        "Größe.",
    ),
    "columns in bytes": ('def f(é="😀"): "Döc 😀"; return "é😀"\n', 'def f(é="😀"): return "é😀"', "Döc 😀"),
    "one line": ('def f(): "Doc."; return 1', "def f(): return 1", "Doc."),
    "semicolon": ('def f():\n    "Doc.";  x = 1; return x;\n', "def f():\n    x = 1; return x;", "Doc."),
    "lonely semicolon": ('def f():\n    "Doc.";\n    return 1\n', "def f():\n    return 1", "Doc."),
    "comment after": ('def f():\n    """Doc."""  # noqa\n    return 1\n', "def f():\n    # noqa\n    return 1", "Doc."),
    "comment after a semicolon": (
        'def f():\n    "Doc."; # a\n    return 1\n',
        "def f():\n    # a\n    return 1",
        "Doc.",
    ),
    "comment before": (
        'def f():\n    # why\n    """Doc."""\n    return 1\n',
        "def f():\n    # why\n    return 1",
        "Doc.",
    ),
    "comments kept": (
        'def f():  # a\n    """Doc."""\n\n    # b\n    return 1  # c\n    # d\n\n    # e\n\n# not ours\n',
        "def f():  # a\n\n    # b\n    return 1  # c\n    # d\n\n    # e",
        "Doc.",
    ),
    "comment to the left": (
        'class A:\n    def f(self):\n        """Doc."""\n# left\n        return 1\n',
        "def f(self):\n# left\n    return 1",
        "Doc.",
    ),
    "concatenation": (
        'def f():\n    "Doc " "and "\\\n    "more."\n    return 1\n',
        "def f():\n    return 1",
        "Doc and more.",
    ),
    "parentheses": ('def f():\n    ("Doc "\n     "more.")\n    return 1\n', "def f():\n    return 1", "Doc more."),
    "raw": ('def f():\n    r"""\\d."""\n    return 1\n', "def f():\n    return 1", "\\d."),
    "decorators": (
        'class A:\n    @a(1,\n       2)\n    @b  # c\n    async def f(self):\n        """Doc."""\n        return 1\n',
        "@a(1,\n   2)\n@b  # c\nasync def f(self):\n    return 1",
        "Doc.",
    ),
    "decorator in parentheses": (
        '@(\n  a)\ndef f():\n    """Doc."""\n    return 1\n',
        "@(\n  a)\ndef f():\n    return 1",
        "Doc.",
    ),
    "signature over lines": (
        'def f(\n    a,  # one\n    b=2,\n) -> int:\n    """Doc."""\n    return a\n',
        "def f(\n    a,  # one\n    b=2,\n) -> int:\n    return a",
        "Doc.",
    ),
    "multi-line string in the body": (
        'class A:\n    def f(self):\n        """Doc."""\n        return """a\n        b\n    c"""\n',
        'def f(self):\n    return """a\n        b\n    c"""',
        "Doc.",
    ),
    "multi-line f-string in the body": (
        'class A:\n    def f(self, x):\n        """Doc."""\n        return f"""a\n        {x}\n        b"""\n',
        'def f(self, x):\n    return f"""a\n        {x}\n        b"""',
        "Doc.",
    ),
    "continued string in the body": (
        'class A:\n    def f(self):\n        """Doc."""\n        return "a\\\n        b"\n',
        'def f(self):\n    return "a\\\n        b"',
        "Doc.",
    ),
    "lines of a call": (
        'class A:\n    def f(self):\n        """Doc."""\n        return g("a"\n                 "b",\n    1)\n',
        'def f(self):\n    return g("a"\n             "b",\n1)',
        "Doc.",
    ),
    "string after the docstring": (
        'def f():\n    "Doc."\n    "No doc."\n    return 1\n',
        'def f():\n    "No doc."\n    return 1',
        "Doc.",
    ),
    "blank lines with spaces": (
        'class A:\n    def f(self):\n        """Doc."""\n  \n        x = 1\n            \n        return x\n',
        "def f(self):\n\n    x = 1\n        \n    return x",
        "Doc.",
    ),
    "unicode line separators": (
        'def f():\n    """Doc."""\n    return "\u2028\x85\x1c"\n',
        'def f():\n    return "\u2028\x85\x1c"',
        "Doc.",
    ),
    "no line end at the end": ('def f():\n    """Doc."""\n    return 1', "def f():\n    return 1", "Doc."),
    "class": ('class A(B):\n    """Doc."""\n\n    x = 1\n', "class A(B):\n\n    x = 1", "Doc."),
    "in a branch": (
        'if x:\n    def f():\n        """Doc."""\n        return 1\nelse:\n    pass\n',
        "def f():\n    return 1",
        "Doc.",
    ),
}


@pytest.mark.parametrize("name", EXACT)
def test_code_is_exact(name):
    source, code, text = EXACT[name]
    found = only(source)
    assert (found.code, found.text) == (code, text)


def test_every_combination_of_style():
    """Built from parts, so that the expected code is known by construction."""
    ends, indents, quotes = ("\n", "\r\n", "\r"), ("    ", "\t", " "), ('"{}"', "'''{}'''", 'r"""{}"""')
    tails = (("", ""), ("  # c", "# c"), ("; x = 1", "x = 1"), (" ; x = 1  # c", "x = 1  # c"))
    for end, indent, quote, (tail, kept), depth in itertools.product(ends, indents, quotes, tails, (0, 1, 2)):
        head = [f"{indent * level}class C{level}:" for level in range(depth)]
        body = [
            "@d",
            "def f(é, b):",
            f"{indent}{quote.format('Wörds.')}{tail}",
            "",
            f"{indent}if b:",
            f"{indent * 2}return é",
        ]
        source = end.join(head + [indent * depth + line if line else line for line in body]) + end
        kept_line = [indent + kept] if kept else []
        code = end.join(body[:2] + kept_line + body[3:])
        found = only(source)
        assert found.code == code, source
        assert (found.start_line, found.end_line) == (depth + 1, depth + 6)
        assert found.kind == ("method" if depth else "function")


def test_lines_point_at_the_definition():
    source = 'x = 1\n\n@a\n@b\ndef f():\n    """Doc."""\n    return 1\n    # trailing\n'
    found = only(source)
    assert (found.start_line, found.end_line) == (3, 8)


def test_nested_definitions_each_make_a_pair():
    source = '''
class A:
    """The class."""

    def m(self):
        """The method."""
        def inner():
            """The function."""
            return 1
        return inner

    class B:
        """The inner class."""
        y = """
        kept"""
'''
    found = extract(source).extracts
    assert [(pair.kind, pair.text) for pair in found] == [
        ("class", "The class."),
        ("method", "The method."),
        ("function", "The function."),
        ("class", "The inner class."),
    ]
    assert '"""The method."""' in found[0].code
    assert '"""The class."""' not in found[0].code
    assert found[2].code == "def inner():\n    return 1"
    assert found[3].code == 'class B:\n    y = """\n        kept"""'


NO_PAIRS = {
    "nothing but a docstring": ('def f():\n    """Doc."""\n', 1),
    "empty docstring": ('def f():\n    """  """\n    return 1\n', 1),
    "lone surrogate in the docstring": ('def f():\n    "\\ud800"\n    return 1\n', 1),
    "null bytes": (b'def f():\n    """Doc."""\n    return 1\0\n', 0),
    "undecodable": (b'def f():\n    """\xff"""\n    return 1\n', 0),
    "syntax error": ("def f(:\n", 1),
}


@pytest.mark.parametrize("reason", NO_PAIRS)
def test_what_makes_no_pair_is_counted(reason):
    source, line = NO_PAIRS[reason]
    found = extract(source)
    assert found.extracts == []
    assert found.skipped == [(reason, line)]


@pytest.mark.parametrize("cookie", ["nonsense", "hex", "rot13", "utf-7", "undefined"])
def test_odd_codecs_are_survived(cookie):
    found = extract(f'# coding: {cookie}\ndef f():\n    """+2AA-"""\n    return 1\n')
    assert found.extracts == []
    assert [reason for reason, _ in found.skipped] == ["undecodable"]


@pytest.mark.parametrize("body", ['f"""Doc {x}."""', 'b"""Doc."""', '"a" + "b"', '"doc".x', "1"])
def test_other_first_statements_are_no_docstrings(body):
    found = extract(f"def f(x):\n    {body}\n    return 1\n")
    assert (found.extracts, found.skipped) == ([], [])


def test_deep_nesting_is_survived():
    for source in ("(" * 5000 + ")" * 5000, "x = " + "-" * 200_000 + "1", "x = " + "+".join(["1"] * 200_000)):
        found = extract(source)
        assert found.extracts == []
        assert found.skipped[0][0] in ("nested too deeply", "syntax error")


def test_a_deep_definition_does_not_take_its_neighbours_along():
    deep = 'def deep():\n    """Doc."""\n    return ' + "+".join(["x"] * 700) + "\n"
    found = extract(deep + 'def f():\n    """Doc."""\n    return 1\n')
    assert found.extracts[-1].code == "def f():\n    return 1"


TEXT_FORMS = {
    "docstring": "Adds.\n\nArgs:\n  a: one.\n\n>>> f(1)\n2",
    "summary": "Adds.",
    "signature+docstring": "async def f(a, /, b: int=2, *c, d=(1, 2), **e) -> 'int'\nAdds.\n\nArgs:\n"
    "  a: one.\n\n>>> f(1)\n2",
    "signature+summary": "async def f(a, /, b: int=2, *c, d=(1, 2), **e) -> 'int'\nAdds.",
    "description": "Adds.",
}


@pytest.mark.parametrize("form", TEXT_FORMS)
def test_text_forms(form):
    source = '''
@deco
async def f(a, /, b: int = 2, *c,
            d=(1,
               2), **e) -> "int":
    """
    Adds.

    Args:
      a: one.

    >>> f(1)
    2
    """
    return a
'''
    assert only(source, text=form).text == TEXT_FORMS[form]


def test_class_signature():
    source = 'class A(B, metaclass=M):\n    """Doc."""\n    x = 1\n'
    assert only(source, text="signature+summary").text == "class A(B, metaclass=M)\nDoc."


def test_kinds_choose():
    source = 'class A:\n    """Doc."""\n    def f(self):\n        """Doc."""\n        return 1\n'
    assert [pair.kind for pair in extract(source, kinds=("method",)).extracts] == ["method"]


CHECKED = """
class A:
    def f(self, x: int, *names):
        if x < 0:  # why
            raise ValueError("x must not be negative")
        for name in names:
            if not name:
                raise errors.NameError(f"{name!r} of {self.kind[0]} is "
                                       "empty") from None
        assert x, "x is %d" % x
        if x > 9:
            raise ValueError("too large: " + str(x))
        return x
"""


def test_checks():
    found = extract(CHECKED, kinds=("check",), text="signature+docstring")
    assert found.skipped == []
    assert [(pair.text, pair.code, pair.start_line, pair.end_line) for pair in found.extracts] == [
        (f"def f(self, x: int, *names)\n{error}", code, *lines)
        for error, code, lines in (
            (
                "ValueError: x must not be negative",
                'if x < 0:  # why\n    raise ValueError("x must not be negative")',
                (4, 5),
            ),
            (
                "errors.NameError: {name} of {self.kind[0]} is empty",
                'if not name:\n    raise errors.NameError(f"{name!r} of {self.kind[0]} is "\n'
                '                           "empty") from None',
                (7, 9),
            ),
            ("AssertionError: x is %d", 'assert x, "x is %d" % x', (10, 10)),
            ("ValueError: too large: {str(x)}", 'if x > 9:\n    raise ValueError("too large: " + str(x))', (11, 12)),
        )
    ]
    assert {(pair.kind, pair.language) for pair in found.extracts} == {("check", "python")}


def test_checks_without_a_signature():
    texts = [pair.text for pair in extract(CHECKED, kinds=("check",), text="summary").extracts]
    assert texts[0] == "ValueError: x must not be negative"


@pytest.mark.parametrize(
    "statement",
    [
        "if x: raise ValueError",
        "if x: raise ValueError('x')",
        "if x: raise ValueError(x, 'is no number')",
        "if x:\n        x = 1\n        raise ValueError('is no number')",
        "if x: raise ValueError('is no number')\n    else: y = 1",
        "assert x",
        "raise ValueError('is no number')",
    ],
)
def test_what_is_no_check(statement):
    found = extract(f"def f(x):\n    {statement}\n", kinds=("check",))
    assert (found.extracts, found.skipped) == ([], [])


def test_no_checks_outside_functions_or_by_default():
    check = 'if x:\n    raise ValueError("is no number")\n'
    assert extract(check, kinds=("check",)).extracts == []
    assert extract("def f(x):\n" + textwrap.indent(check, "    ")).extracts == []


@pytest.mark.parametrize("before", ["if x > 1:\n        y = 1\n    el", "y = 1; "])
def test_checks_that_are_part_of_another_statement_are_counted(before):
    word = "if x" if before.endswith("el") else "assert x"
    rest = ":\n        raise ValueError('is no number')" if before.endswith("el") else ", 'is no number'"
    found = extract(f"def f(x):\n    {before}{word}{rest}\n", kinds=("check",))
    assert found.extracts == []
    assert [reason for reason, _ in found.skipped] == ["check that is part of another statement"]


def test_pairs_are_in_the_order_of_their_lines():
    source = CHECKED + 'def g(x):\n    """Doc."""\n    assert x, "is no number"\n    return 1\n'
    found = extract(source, kinds=("function", "check"))
    assert [(pair.kind, pair.start_line) for pair in found.extracts][-2:] == [("function", 14), ("check", 16)]


def test_unparsed_code():
    source = '''
@deco( 1 )
def f(x):
    """Doc."""
    # why
    if x is  None : raise ValueError("no value given")  # this
    return "a"
'''
    function, check = extract(source, kinds=("function", "check"), code="unparsed").extracts
    expected = "if x is None:\n    raise ValueError('no value given')"
    assert function.code == f"@deco(1)\ndef f(x):\n{textwrap.indent(expected, '    ')}\n    return 'a'"
    assert check.code == expected
    assert (function.text, check.text) == ("Doc.", "ValueError: no value given")


def test_unparsed_code_of_a_docstring_alone():
    found = extract('class A(Exception):\n    """Doc."""\n', code="unparsed")
    assert (found.extracts, found.skipped) == ([], [("nothing but a docstring", 1)])


def test_unparsed_code_hides_no_names():
    with pytest.raises(UserError, match=r"config.corpus.text=name hides the name in the source"):
        CorpusConfig(text="name", code="unparsed").check("config.corpus")


def test_syntax_warnings_of_the_source_are_not_ours():
    assert only('def f():\n    """Doc."""\n    return "\\d" is 1\n').code == 'def f():\n    return "\\d" is 1'


def test_real_files():
    """Over real source: the code is the file's own lines, and with the docstring back it is the definition."""
    root = Path(sysconfig.get_path("stdlib"))
    count = 0
    for path in [
        *sorted(root.glob("*.py"))[::6],
        root / "test" / "test_typing.py",
        root / "asyncio" / "base_events.py",
    ]:
        data = path.read_bytes()
        lines = data.decode("utf-8", "replace").split("\n")
        found = extract(data, stubs=True)
        assert {reason for reason, _ in found.skipped} <= {"nothing but a docstring", "empty docstring"}, path
        for pair in found.extracts:
            original = "\n".join(lines[pair.start_line - 1 : pair.end_line])
            margin = original[: len(original) - len(original.lstrip())]
            own = original.split("\n")
            assert {line.strip() for line in pair.code.split("\n")} <= {line.strip() for line in own} | {""}
            node = ast.parse(textwrap.dedent(original) if not margin else "if 1:\n" + original).body[0]
            node = node if not margin else node.body[0]
            assert ast.get_docstring(node).strip() == pair.text
            node.body = node.body[1:]
            assert ast.dump(ast.parse(pair.code).body[0]) == ast.dump(node)
            count += 1
    assert count > 300


STUBS = """from typing import overload, Protocol
import abc, typing

@overload
def read(path: str) -> bytes:
    \"\"\"Read all the bytes.\"\"\"
    ...

@typing.overload
def read(path: int) -> bytes:
    \"\"\"Read some bytes.\"\"\"
    return b""

class Store(Protocol):
    def put(self, key):
        \"\"\"Put a value.\"\"\"
        ...
    @abc.abstractmethod
    def get(self, key):
        \"\"\"Get the value.\"\"\"
        raise NotImplementedError
    def take(self, key):
        \"\"\"Take the value.\"\"\"
        raise NotImplementedError(f"no {key}")
    async def drop(self, key):
        \"\"\"Drop the value.\"\"\"
        pass  # nothing
    def __lt__(self, other):
        \"\"\"Compare.\"\"\"
        "no docstring"
        return NotImplemented

class StoreError(Exception):
    \"\"\"Raised when the store is full.\"\"\"
    pass

class Full(Store):
    \"\"\"A store that holds nothing.\"\"\"
    def put(self, key):
        \"\"\"Refuse the value.\"\"\"
        if key:
            raise NotImplementedError
        raise StoreError
"""


def test_stubs_are_skipped_and_counted():
    found = extract(STUBS)
    assert [(pair.kind, pair.text) for pair in found.extracts] == [
        ("class", "A store that holds nothing."),
        ("method", "Refuse the value."),
    ]
    assert found.skipped == [("stub", line) for line in (4, 9, 15, 18, 22, 25, 28, 33)]


def test_stubs_are_kept_by_choice():
    found = extract(STUBS, stubs=True)
    assert found.skipped == []
    assert len(found.extracts) == 10
    assert found.extracts[0].code == "@overload\ndef read(path: str) -> bytes:\n    ..."


def test_undocumented_stubs_are_stubs_too():
    assert extract("def f(x): ...\n", code_only=("function",)).skipped == [("stub", 1)]


# Python 3.11 cannot spell an f-string whose parts need a backslash; the other definition must not suffer.
NO_BREAK = """def price(amount, text=f"{'\u202f '.join(['EUR', '5'])}"):
    \"\"\"Write an amount of money.\"\"\"
    return text + str(amount)


def other(a):
    \"\"\"Add one.\"\"\"
    return a + 1
"""


def test_a_signature_without_a_spelling_costs_its_own_pair_only():
    found = extract(NO_BREAK, text="signature+docstring")
    reasons = [reason for reason, _ in found.skipped]
    assert reasons == (["signature that Python cannot spell"] if sys.version_info < (3, 12) else [])
    assert found.extracts[-1].text == "def other(a)\nAdd one."
    assert len(extract(NO_BREAK).extracts) == 2  # the docstring alone needs no signature
