"""Identifiers by hand; and against the syntax tree on real files."""

import ast
import itertools
import random
import sysconfig
import token
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from t2c_jax.data.tasks.identifiers import occurrence_codes
from t2c_jax.languages.identifiers import Identifiers, aligned, identifiers, spelt

LIBRARY = Path(sysconfig.get_paths()["stdlib"])
BOLD_DEF = "\U0001d41d\U0001d41e\U0001d41f"


def names(code):
    data = code.encode("utf-8", "surrogatepass")
    return " ".join(data[start:end].decode("utf-8") for start, end in identifiers(code, "python").spans)


# code: the names in it, in order
PLAIN = {
    "": "",
    "total = price + 1": "total price",
    "from a.b import c as d, e": "a b c d e",
    "def f(a, *b, c=None, **d) -> E:\n    return a.x(y=b)": "f a b c d E a x y b",
    "class A(B, metaclass=C):\n    pass": "A B metaclass C",
    "@dec.orate(1)\nasync def f():\n    await g()\n    async with h as i: pass": "dec orate f g h i",
    "if (n := len(a)) > 3: del n": "n len a n",
    "def f[T: int, *Ts, **P](x: T): ...": "f T int Ts P x T",
    "x = lambda y: y if True else not None": "x y y",
    "x = 'name' b'name' r'\\'name' # name\n'''name\nname''' + y": "x y",
    "global a; nonlocal b": "a b",
    "1if x else y": "x y",
    "return'x'or y": "y",
    "match'x':\n    case'x': y": "y",
    "print 'x'": "print",
    "x = 0x1for_": "x",
}

LINES = {
    "a = b\r\nc = d\re = f\n": "a b c d e f",
    "a = (b +\r\n     c)": "a b c",
    "a = b \\\n    + c": "a b c",
    "if a:\n\tb\n\tif c:\n\t\td": "a b c d",
    "\x0cif a:\n\x0c    b\n\x0c\nc": "a b c",
    "\ufeffa = b": "a b",
    "x = '''a\r\n b''' + c": "x c",
}

UNICODE = {
    "größe = ª + 日本 + 'é'": "größe ª 日本",
    "x·y = e\u0301f + ℘": "x·y e\u0301f ℘",  # not all of which \w matches
    f"{BOLD_DEF} = 1": BOLD_DEF,  # a name whose normal form is a keyword is a name
    "x = '😀' + y": "x y",
}

SOFT = {
    "match = 1; case = match; type = case; _ = type": "match case match type case _ type",
    "match x:\n    case 1: y\n    case _: match(x)\n": "x y match x",
    "match(x):\n    case [a, b]:\n        case = 3\n        case[a]: int\n    case c if d:\n        pass\n": (
        "x a b case case a int c d"
    ),
    "match x, *y:\n    # a comment\n\n    case 1 | 2: pass\ncase(x)\n": "x y case x",
    "match: int = 3\nmatch[a:b] = 3\nmatch.x(y)\nmatch * x": "match int match a b match x y match x",
    "case: int = 1\ncase[x]: int = 2\n": "case int case x int",
    "if x:\n match y:\n  case 1:\n   match z:\n    case 2: match\n  case 3: case\n": "x y z match case",
    "type X[T] = list[T]\nif a: type Y = int\n": "X T list T a Y int",
    "type(x) is type; type: int = type if type else type in y\n": "type x type type int type type type y",
    "type type = type\n": "type type",
    "match x:\n    case [_, *_]: y\n    case {'a': _, **r}: _ = r\n    case A(_, b=_) | _: y\n": "x y r _ r A b y",
    "match x:\n    case A(_=1) | _.b | a._ | _(c): y\n    case d if _: _\n": "x A _ _ b a _ _ c y d _ _",
    "for _ in x: _(lambda _: _)": "_ x _ _ _",
    "match x\n": "match x",  # no header without its colon
}

FSTRINGS = {
    "f'{x}' + y": "x y",
    "f'no {{no}} {{{yes}}} no'": "yes",
    "f'{x!r} {y!s:>10} {z !a}'": "x y z",
    "f'{x=} {y = !r} {z=:3}'": "x y z",
    "f'{x:{width}.{precision!r}} {y:%H:%M}'": "x width precision y",
    "f'{x:{y:{z}}}'": "x y z",
    "f'{x:{{y}}}'": "x y",  # in a specification braces are not doubled
    "f'{x!=y} {(k:=3)} {w:=3}'": "x y k w",
    "f'{a[\"k:}\"]} {d[b:c]} {{}} { {e: f}[g] }'": "a d b c e f g",
    "f'{(lambda q: q)(1)} {lambda: x}'": "q q",  # outside brackets a colon begins the specification
    "f'{f\"{x!r:{y}}\"}' f'{z}'": "x y z",
    "f'''{\n    a\n    + b\n}''' + c": "a b c",
    "rf'\\{x}' f'\\N{DASH}{y}' fR'\\N{z}' f'\\\\N{w}' F'{v}' Rf'{u}'": "x y z w v u",
    "f'{*a, b} {c,} {yield_}'": "a b c yield_",
    "f'{match} {case} {type} {_}'": "match case type _",
    "f'ü{größe}' + ü": "größe ü",
    "'{x}' b'{x}' u'{x}' r'{x}'": "",
    "a; f'{x}{'": "a",  # all of it or nothing
    "a; f'{x}": "a",
    "a; f'{x}}' ; b": "a",
    "a; f'{x!}' ; f'{(y}'": "a x",
}

BROKEN = {
    "a = b +": "a b",
    "a = (b, [c": "a b c",
    "a = b) + c": "a b",
    "a = (b] + c": "a b",
    "a = 'b + c\nd": "a",
    "a = '''b\nc": "a",
    "if a:\n    b\n  c\nd": "a b",
    "    a\n    b": "a b",
    "a = \\": "a",
    "a \\ b": "a",
    "a ? b": "a",
    "a ! b": "a",
    "a $ b": "a",
    "a\0b": "a",
    "a = '\0'; b": "a",
    "a # \ud800\nb": "a",
    "a = '\ud800' + b": "a",
    "a\u00a0= b": "a",
    "a = x² + b": "a x",
    "a = 1b + c": "a",
    "a = 0777 + c": "a",
    "a = 1.real": "a",
    "a\x01b": "a",
    "[" * 150 + "a" + "]" * 150 + "b": "a b",
    "a" + "(" * 300 + "b": "a",
    "a; rb'b + c": "a",
    "a; F'b": "a",
}


@pytest.mark.parametrize(("code", "expected"), (PLAIN | LINES | UNICODE | SOFT | FSTRINGS | BROKEN).items())
def test_the_names_of_some_code(code, expected):
    assert names(code) == expected


def test_offsets_count_utf8_bytes():
    assert identifiers("é = 'ü' + b", "python") == ([(0, 2), (12, 13)], 13)
    assert identifiers("\ufeffa\r\nf'ß{b}'", "python") == ([(3, 4), (11, 12)], 14)


@pytest.mark.parametrize(
    ("language", "code", "names"),
    [
        ("java", "import java.util.List;\n@A int f(List<T> xs) { return xs.x; }", "java util List A f List T xs xs x"),
        ("javascript", "const f = async (a, $b) => `é ${a.c}` + 'd' // e", "f a $b a c"),
        ("php", "function f($x) { return $this->y($x ?? null); }", "f $x $this y $x"),
        (
            "go",
            'func (s *Server) F(l net.Listener) error { return fmt.Errorf("x") }',
            "s Server F l net Listener fmt Errorf",
        ),
        ("ruby", "def each(&block)\n  @items.map { |x| block.call(x) }\nend", "each block items map x block call x"),
        ("c++", "template<class T> T* f(const std::vector<T>& v) { return 0; }", "T T f std vector T v"),
        ("html", '<a href="x">b</a>', "href"),
    ],
)
def test_other_languages(language, code, names):
    found, text = identifiers(code, language), code.encode()
    assert [text[start:end].decode() for start, end in found.spans] == names.split()
    assert found.known == len(text)


def test_in_other_languages_too_nothing_is_known_behind_an_error():
    found = identifiers("int é = a; § int b;", "java")
    assert found == ([(4, 6), (9, 10)], 12)


@pytest.mark.parametrize("language", ["", "english", "text"])
def test_of_a_language_without_a_lexer_nothing_is_known(language):
    assert identifiers("x = 1", language) == ([], 0)


@pytest.mark.parametrize(
    ("code", "known"),
    {
        "a = b  # all of it\n": "a = b  # all of it\n",
        "é = b\nprint 'x' + 'y\nlonger = name": "é = b\nprint 'x' +",
        "def f(x):\n    return f'{x' + y": "def f(x):\n    return",
        "x = (a +\n  b": "x = (a +\n  b",
        "a = b\n\0c = d": "a = b\n",
        "\ufeffa = 'é": "\ufeffa =",
        "": "",
    }.items(),
)
def test_what_lies_behind_a_stop_is_unknown(code, known):
    found = identifiers(code, "python")
    assert found.known == len(known.encode())
    if known != code:
        tokens = aligned(code, found, [1] * len(code.encode()))
        assert (tokens[: found.known] >= 0).all()
        assert (tokens[found.known :] == -1).all()


def test_an_fstring_that_needs_a_later_python_is_never_half_read():
    nested = names('a; f"{d["k"]}"; b')
    assert nested == ("a d b" if hasattr(token, "FSTRING_START") else "a")


def test_fields_nested_without_end_are_read_without_recursion():
    assert names("a; f'" + "{x:" * 3000) == "a"
    assert names("a; f'" + "{x:" * 50 + "}" * 50 + "'").startswith("a")
    assert names("x; " + "f'\\N{'" * 3000) == "x"


def in_tree(tree):
    """How often the nodes of a tree say each name."""
    found = Counter()
    fields = {"id", "attr", "arg", "name", "asname", "names", "module", "rest", "kwd_attrs"}
    for node in ast.walk(tree):
        for field in fields & set(node._fields):
            value = getattr(node, field)
            for name in value if isinstance(value, list) else [value]:
                if isinstance(name, str) and name != "*":
                    found.update(name.split(".") if isinstance(node, ast.alias | ast.ImportFrom) else [name])
    return found


FILES = (
    "json/decoder.py",
    "fractions.py",
    "string.py",
    "dataclasses.py",
    "contextlib.py",
    "shlex.py",
    "test/test_patma.py",
)


@pytest.mark.parametrize("name", FILES)
def test_real_files_have_the_names_that_their_trees_have(name):
    if not (path := LIBRARY / name).is_file():
        pytest.skip("this Python comes without its tests")
    code = path.read_text("utf-8")
    data = code.encode()
    found = identifiers(code, "python")
    assert found.known == len(data)
    assert Counter(data[start:end].decode() for start, end in found.spans) == in_tree(ast.parse(code))


def test_any_input_gives_ordered_spans_of_names():
    parts = [
        "f'",
        "f'''",
        "'",
        '"',
        "{",
        "}",
        "{{",
        "(",
        ")",
        "!",
        "!r",
        ":",
        "=",
        "\\",
        "\\N{",
        "\n",
        "\r",
        "\t",
        "  ",
    ]
    parts += [
        "match",
        "case",
        "type",
        "_",
        "x",
        "·",
        "\u0301",
        "\ud800",
        "\0",
        "\ufeff",
        "\x0c",
        "if",
        "def",
        "0",
        "#",
        "é",
    ]
    draw = random.Random(0)
    for _ in range(2000):
        code = "".join(draw.choices(parts, k=draw.randrange(1, 20)))
        spans, known = identifiers(code, "python")
        data = code.encode("utf-8", "surrogatepass")
        assert all(end <= known for _, end in spans), ascii(code)
        assert known <= len(data), ascii(code)
        assert all(left[1] <= right[0] for left, right in itertools.pairwise(spans)), ascii(code)
        assert all(data[start:end].decode("utf-8").isidentifier() for start, end in spans), ascii(code)


def test_tokens_know_their_identifier():
    code = "ab.cd=éf"  # ab 0-2, cd 3-5, éf 6-9 in bytes
    found = identifiers(code, "python")
    assert found == ([(0, 2), (3, 5), (6, 9)], 9)
    for pieces, expected in (
        (["ab", ".", "cd", "=", "éf"], [1, 0, 2, 0, 3]),
        (["a", "b", ".c", "d=", "é", "f"], [1, 1, 2, 2, 3, 3]),
        (["ab.cd", "=é", "f"], [1, 3, 3]),  # of two, the first
        (["ab.cd=éf"], [1]),
        (["", "ab", "", ".cd=", "éf", ""], [0, 1, 0, 2, 3, 0]),  # specials stand for nothing
    ):
        tokens = aligned(code, found, [len(piece.encode()) for piece in pieces])
        assert tokens.tolist() == expected, pieces
        assert tokens.dtype == np.int32
    assert aligned(code, found, [1] * 9).tolist() == [1, 1, 0, 2, 2, 0, 3, 3, 3]  # bytes, within the é too
    assert aligned("a b", Identifiers([(0, 1), (2, 3)], 3), [1, 0, 1, 1]).tolist() == [1, 0, 0, 2]
    assert aligned("abc", Identifiers([(0, 3)], 3), [1, 0, 2]).tolist() == [1, 0, 1]
    assert aligned("a+ b", Identifiers([(0, 1)], 2), [1, 2, 1]).tolist() == [1, -1, -1]  # half known is unknown


@pytest.mark.parametrize("lengths", [[2, 1, 2, 1, 2], [9, 1], [3], []])
def test_of_tokens_that_are_not_the_codes_nothing_is_known(lengths):
    code = "ab.cd=éf"
    assert aligned(code, identifiers(code, "python"), lengths).tolist() == [-1] * len(lengths)


def test_code_without_identifiers():
    assert aligned("1 + 1", identifiers("1 + 1", "python"), [2, 3]).tolist() == [0, 0]
    assert aligned("1 + 1", identifiers("1 + 1", "java"), [2, 3]).tolist() == [0, 0]
    assert aligned("1 + 1", identifiers("1 + 1", "english"), [2, 3]).tolist() == [-1, -1]
    assert aligned("", identifiers("", "python"), []).tolist() == []
    assert spelt(np.zeros(0, np.int32), np.zeros(0, np.int32))[0].tolist() == []
    assert spelt(np.zeros(2, np.int32), np.ones(2, np.int32))[1] == []


def test_occurrences_of_the_same_tokens_are_spelt_alike():
    """x, " x" twice, which touch, one that a token of none interrupts, and x."""
    occurrences = np.array([1, 0, 2, 3, 4, 0, 4, 6, -1])
    runs, spellings = spelt(occurrences, np.array([7, 5, 8, 8, 7, 6, 9, 7, 7], np.int32))
    assert runs.tolist() == [1, 0, 2, 3, 4, 0, 5, 6, -1]
    assert spellings == [0, 1, 1, 0, 2, 0]
    assert runs.dtype == np.int32
    runs, spellings = spelt(np.array([1, 1, 2], np.int32), np.array([7, 8, 7], np.int32))
    assert (runs.tolist(), spellings) == ([1, 1, 2], [0, 1])


def test_touching_occurrences_are_separate_even_if_one_between_has_no_token():
    """Of _+_+_+_+ in two pieces of four characters: the second and the fourth name lie in another's piece."""
    code = "_+_+_+_+"
    occurrences = aligned(code, identifiers(code, "python"), [4, 4])
    assert occurrences.tolist() == [1, 3]
    assert occurrence_codes(*spelt(occurrences, np.array([7, 7]))).tolist() == [1, 2]
