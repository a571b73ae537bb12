"""The grammars of Python: what they accept parses, and real code is accepted."""

import ast
import functools
import importlib.resources
import inspect
import json
import random
import re
import textwrap
import warnings

import numpy as np
import pytest
from grammar_tokenizers import tokenizer_of
from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper

from t2c_jax.decode.grammar import python_grammar
from t2c_jax.decode.grammar.engine import Engine
from t2c_jax.decode.grammar.grammar_sources import source_of
from t2c_jax.decode.grammar.spelling import Spelling
from t2c_jax.evaluate.metrics.python_match import canonical_python


class _Pieces:
    """A vocabulary of these pieces and all bytes."""

    bos_token_id = None

    def __init__(self, pieces):
        self.tokens = [*pieces, *(bytes([byte]) for byte in range(256)), b"\xff<eos>"]
        self.eos_token_id = len(self.tokens) - 1
        self.special_token_ids = [self.eos_token_id]

    def __call__(self, text):
        first = self.eos_token_id - 256
        return [first + byte for byte in (text.encode() if isinstance(text, str) else text)]


# Words and signs that make and break Python, alone and behind a space.
_WORDS = """
and as assert async await break class continue def del elif else except finally for from global if import in is lambda
match case _ nonlocal not or pass raise return try while with yield None x y self é
+ - ** // ~ < == != -> += := = . ... , : ; ( ) [ ] { } ! ? \\ # 0 12 012 1.5 .5 0x1f 1j 'a' "b" b'c' \\x41 \\n () []
"""
_QUOTES = ["'", '"', "'" * 3, '"' * 3, "r'", "f'", 'f"', "rf'", "f'''", "{x}", "{{", "}}", "!r", ":>3"]
_ALONE = [*_WORDS.split(), *_QUOTES]
_LINES = [
    " ",
    "\t",
    "\n",
    "\\\n",
    "#c\n",
    "\n\n",
    "\n  # c\n",
    "\n\t",
    "\n\t\t",
    *("\n" + " " * n for n in (1, 2, 4, 8)),
]
_JOINED = [
    ":\n    ",
    ":\n\t",
    "if x:",
    "try:\n    pass\nexcept",
    "match x:\n    case",
    "def f(",
    "lambda x",
    "x=",
    ", x",
]
_PIECES = [piece.encode() for piece in [*_ALONE, *(f" {piece}" for piece in _ALONE), *_LINES, *_JOINED]]
# With these an answer can usually end soon.
_ENDING = [")", "]", "}", "x", ":", "=", "pass", "0", ",", "in", "else", "import", "case", "except", "as", "for"]
_ENDING = {piece.encode() for piece in (*_ENDING, *_QUOTES[:4])}


@functools.cache
def _grammar(name):
    pieces = _Pieces(_PIECES)
    matcher = LLMatcher(LLTokenizer(TokenizerWrapper(pieces)), LLMatcher.grammar_from_lark(source_of(name).lark))
    assert not matcher.get_error()
    return matcher, pieces


def _accepts(text, name="python"):
    matcher, pieces = _grammar(name)
    matcher, tokens = matcher.deep_copy(), pieces(text)
    return matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()


def _parses(text):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # escapes such as "\d", numbers such as "1if"
        try:
            ast.parse(text)
        except SyntaxError:
            return False
    return True


def _walk(name, seed):
    """An answer of random allowed pieces, or None where it does not end."""
    root, pieces = _grammar(name)
    draw, matcher, answer = random.Random(seed), root.deep_copy(), b""
    ending = [i for i, piece in enumerate(_PIECES) if piece.strip() in _ENDING]
    length = draw.choice((2, 4, 8, 16, 32))
    for step in range(length + 100):
        bits = np.unpackbits(np.frombuffer(matcher.compute_bitmask(), np.uint8), bitorder="little")
        assert not matcher.get_error()
        if step >= length and bits[pieces.eos_token_id]:
            return answer.decode()
        found = [i for i in ending if bits[i]] if step >= length and draw.random() < 0.8 else []
        found = found or np.flatnonzero(bits[: len(_PIECES)]).tolist() or np.flatnonzero(bits).tolist()
        assert found  # there is always a way on
        token = draw.choice(found)
        if token == pieces.eos_token_id:
            return answer.decode()
        assert matcher.consume_token(token)
        answer += pieces.tokens[token]
    return None


ACCEPTED = r'''
x
x = y = yield
x, y = 1, 2
(x, y), [a, *b], c[0].d = z
x: int
x.y: int = 3
x[1:2, ::3] += yield y
del x, y[0], (a, [b, c])
f(a, *b, c, d=1, *e, **g, h=2, **i)
f(x for x in y)
f(a := 1, *b)
[x async for x in y if a if b for z in x]
{**a, 'b': 1, c: d}
{*a, b}
()
(yield)
x = yield from y
lambda a, /, b=1, *c, d, e=2, **f: (yield)
lambda *, a: lambda: 0
return(x)
not(x) in(y)
x is not y not in z
x is nothing
a if(b)else(c)
import a.b as c, d . e
from . import x
from .. a.b import (c, d as e,)
from ...x import *
raise X from Y
print("a" 'b' f"c{d}" r"" if x else b'' rb"")
f"{x!r:>{w}.{p}} {{}} {y = } {z:%H:%M} {a['b']} { {1: 2}[1] }"
rf"\d{x}\."
f"""{a}
"b" {c["d"]}"""
'\x41\u0041\U00010000\d\
'
if x: y; z;
for x, in *a, b: pass
with a as b, c as (d, e): pass
with (a as b, c,): pass
with (a): pass
with (a).b as c: pass
class A(B, metaclass=C): pass
def f(a, b: int = 1, /, c=2, *args: *T, d, e: int = 3, **k) -> int: ...
def f(*, a, **b): 'c'
async def f(): await x ** -await y
x = 0x1F + 1_000 + 1e5 + 1.j + .5 + 0o17 + 0b1 + 00 + 012.5
x = \
  1
x = (1, # c
2)
  # c

x # d

# e
a[b, *c, d:=1]
~-+x ** - +y
match = case = _
match(x)
match[x] = 2
print(*a, sep='')
naïve = 1
'''
BLOCKS = r"""
if x:
    # c
  # d
    y

elif y: z
else:

    z
===
while x:
\tif y:
\t\tbreak
\tz
else:
\tpass
===
for x in y:
  for z in x:
        pass
  pass
===
try:
    pass
except (A, B) as e:
    pass
except:
    pass
else: pass
finally:
 pass
===
try:
    pass
except* A as e:
    pass
===
@a.b(c)
# d
@e
async def f(
  x,
y):
    '''doc

string'''
    return x
# end
===
match x, *y:
    case 1 | -2.5 | "a" "b" | None:
        pass
    case {'a': b, c.d: _, **e} if f: pass
    case A(b, _, c=[d, *_], e=(f,)) as g, *_:
        pass
    case(_): pass
"""
REJECTED = r"""
 x
x =
x = = 1
f() = 1
f() += 1
x + 1 = 2
(x, y) += 1
x, y: int
*a += 1
del f()
del *a
f(a=1, b)
f(**a, *b)
f(x for x in y, 1)
f(a.b=1)
f(True=1)
f(a=b=c)
f(a.b := 1)
def f(a=1, b): pass
def f(*): pass
def f(*, **k): pass
def f(**k, a): pass
def f(/, a): pass
def f(a, /, b, /): pass
def f(a, *b, /): pass
def f(*a=1): pass
def f():
def True(): pass
lambda *: 0
lambda a=1, b: 0
"\x4"
"\U00110000"
"\N{NO SUCH NAME}"
b"\x4"
b"é"
b"a" "b"
f"a" b"b"
f"{}"
f"{x"
f"}"
f"{x!z}"
f"{x!r }"
f"{a["b"]}"
f"{'\n'}"
f"{lambda x: 1}"
f"{*a}"
012
1_
0xg
1abc
1as
if = 1
x.None
import a.if
from x import a,
from . import
import .x
global x.y
x if y
a not b
a not not in b
x isnot y
x notin y
x == not y
await await x
yield = 1
(x for x in y for)
[x for x]
{**a for a in b}
{a: b, c}
(*a)
(**a)
x...y
x.5
x y
if x
if x: if y: pass
else: pass
try: pass
with a as f(): pass
with a,: pass
for f() in x: pass
for x not in y: pass
@x
@x def f(): pass
async x
raise x from
x; ; y
x = \
x = (1
x = [1)
'abc
a := 1
(a.b := 1)
x: int = y = z
x += y += z
return yield x
print(yield x)
a <> b
a && b
a ? b
`a`
"""
REJECTED_BLOCKS = r"""
if x:
pass
===
if x:
    y
  z
===
if x:
    y
      z
===
if x:
    y
\tz
===
x
  y
===
if x:
    pass
  else:
    pass
===
try:
  pass
else:
  pass
===
try:
  pass
except A:
  pass
except* B:
  pass
===
try:
  pass
except*:
  pass
===
match x:
  pass
===
match x:
  case 1 + 2: pass
===
match x:
  case _.x: pass
===
match x:
  case a as _: pass
===
match x:
  case {a: b}: pass
===
match x:
  case A(a=b, c): pass
===
@x
y
"""


def _blocks(text):
    return text.replace("\\t", "\t").strip("\n").split("\n===\n")


def _statements(text):
    """The statements of a text; some have several lines."""
    return [ast.get_source_segment(text, node) for node in ast.parse(text).body]


def test_files_are_as_written():
    for name, text in (("python", python_grammar.grammar()), ("python-line", python_grammar.grammar(line=True))):
        assert importlib.resources.files("t2c_jax.decode.grammar").joinpath(f"{name}.lark").read_text("utf-8") == text


def test_accepts_every_kind_of_statement_alone_and_in_sequence():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        statements = _statements(ACCEPTED)
    assert len(statements) > 50
    for statement in (*statements, ACCEPTED, *_blocks(BLOCKS), *(f"{block}\n\n" for block in _blocks(BLOCKS))):
        assert _parses(statement), statement
        assert _accepts(statement), statement


def test_rejects_what_python_rejects():
    for text in (*REJECTED.strip("\n").split("\n"), *_blocks(REJECTED_BLOCKS), "x = \\\n"):
        assert not _accepts(text), text
        assert not _parses(text), text


def _functions(*modules):
    for module in modules:
        for node in ast.walk(ast.parse(source := inspect.getsource(module))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                lines = source.splitlines(keepends=True)[node.lineno - 1 : node.end_lineno]
                yield textwrap.dedent("".join(lines))


@functools.cache
def _real_code():
    found = [
        code for code in _functions(json.decoder, textwrap, functools, importlib.resources, re) if len(code) < 3000
    ]
    assert len(found) > 50
    return found


def test_accepts_the_library_s_code_token_by_token():
    tokenizer = tokenizer_of("sentencepiece")
    engine = Engine(source_of("python"), Spelling.of(tokenizer))
    for code in _real_code():
        matcher, tokens = engine.root.deep_copy(), tokenizer.encode_batch([code])[0].tolist()
        assert matcher.try_consume_tokens(tokens) == len(tokens), code
        assert matcher.is_accepting(), code


@pytest.mark.parametrize("unit", ["  ", "   ", "        ", "\t"])
def test_accepts_other_indentation(unit):
    for code in _real_code():
        # Where a line is not indented by whole fours, as within strings, it stays as it is.
        changed = re.sub(r"(?m)^(?: {4})+(?! )", lambda found: unit * (len(found[0]) // 4), code)
        if _parses(changed):
            assert _accepts(changed), changed


def test_what_is_accepted_of_damaged_code_parses():
    draw = random.Random(0)
    accepted = 0
    for code in _real_code():
        for _ in range(3):
            pieces = re.findall(r"\w+|\s+|.", code, re.DOTALL)
            for _ in range(draw.choice((1, 1, 2))):
                at, other = draw.randrange(len(pieces)), draw.choice([*pieces, "    ", "\n", "if", ":", "=", "(", "'"])
                pieces[at : at + draw.choice((0, 1))] = draw.choice(([], [other], [other, " "]))
            damaged = "".join(pieces)
            if _accepts(damaged):
                accepted += 1
                assert _parses(damaged), damaged
    assert accepted > 20


def test_random_answers_parse():
    answers = [answer for seed in range(250) if (answer := _walk("python", seed)) is not None]
    assert len(answers) > 150
    for answer in answers:
        assert _parses(answer), answer


def test_random_lines_parse_once_completed():
    answers = [answer for seed in range(250) if (answer := _walk("python-line", seed)) is not None]
    assert len(answers) > 150
    for answer in answers:
        assert canonical_python(answer) is not None, answer


def test_a_line_may_open_a_block():
    for line in (
        "from django . conf import settings as s , t",
        "if not self . use_argparse :",
        "elif x :",
        "else :",
        "for x , y in z . items ( ) :",
        "def f ( self , ** kwargs ) :",
        "class A ( B ) :",
        "@ property",
        "try :",
        "except ( A , B ) as e :",
        "finally :",
        "with open ( x ) as f :",
        "match x :",
        "case 1 :",
        "if x : return y",
        "x . y [ 0 ] = 'a'  'b'",
    ):
        assert canonical_python(line) is not None
        assert _accepts(line, "python-line"), line
    for line in ("if x", "x = 1\ny = 2", "if x :\n    pass", "match x : pass", "def f ( :"):
        assert not _accepts(line, "python-line"), line


def test_letters_of_names_are_letters_to_python():
    for first, last in re.findall(r"\\u\{(\w+)\}-\\u\{(\w+)\}", python_grammar.LETTERS):
        assert all(chr(code).isidentifier() for code in range(int(first, 16), int(last, 16) + 1))


def test_brackets_and_digits_stay_within_python_s_limits():
    most = python_grammar.MAX_BRACKETS
    for opening, closing in (("(", ")"), ("[", "]"), ("{1: ", "}"), ("f(", ")"), ("a[", "]")):
        assert _parses(deep := opening * most + "1" + closing * most)
        assert _accepts(deep)
        assert not _accepts(opening * (most + 1) + "1" + closing * (most + 1))
    assert _parses(f"x = f'{{{'[' * most}1{']' * most}}}'")
    for number in ("1" * 400, "0" * 400):
        assert _accepts(number)
    assert not _accepts("1" * 5000)
    columns = "".join(f"{' ' * n}if x:\n" for n in python_grammar.SPACES)
    assert _parses(columns[: columns.rindex("if")] + "y")
    assert _accepts(columns[: columns.rindex("if")] + "y")
