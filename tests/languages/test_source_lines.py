"""Code that is cut out without parsing it again is what parsing it again gives."""

import inspect
import random
import textwrap

import pytest

from t2c_jax.config import CorpusConfig
from t2c_jax.languages.python import source_lines
from t2c_jax.languages.python.extractor import extract_python

CONFIG = CorpusConfig(code_only=("function", "method", "class"), stubs=True)
INSIDE = "class A:\n    x = 1\n"
# Where a part of the shortcut's condition is needed; some of them make no pair.
TRAPS = {
    "string over lines": INSIDE + '    def f(self):\n        return """a\n        b"""\n',
    "string with a backslash": INSIDE + "    def f(self):\n        return 'a\\\n        b'\n",
    "backslash before the definition": "class A:\n  \\\n    def f(x):\n    return 1\n",
    "backslash before the docstring": "def f(x):\n    \\\n    'Doc.'\n\n    return 1\n",
    "backslash behind the docstring": "def f(x):\n    'Doc.' \\\n    ; return 1\n",
    "docstring behind a backslash": 'def f(x): \\\n    """Doc."""\n',
    "docstring behind a backslash and more": 'class A:\n  def f(x):\\\n    """Doc."""; return 1\n',
    "backslash at the end": "def f(x):\n    return 1 \\\n\n",
    "tabs behind spaces": "class A:\n  def f(x):\n        \ta = 1\n  \t     \treturn a\n",
    "spaces before a tab": "class A:\n\tdef f(x):\n\t        a = 1\n        \treturn a\n",
    "tabs for eight columns": "class A:\n        def f(x):\n\t\t return 1\n",
    "form feed": "class A:\n  def f(x):\n    a = 1\n   \f    return a\n",
    "form feed before": "\f    \fdef f(x):\n    return 1\n",
    "comment to the left": INSIDE + "    def f(x):\n# left\n        return 1\n",
    "continuation to the left": INSIDE + "    def f(x):\n        return (1 +\n2)\n",
    "continuation in brackets": INSIDE + "    def f(x):\n        return [1,\n                2]\n",
    "blank lines": INSIDE + "    def f(x):\n        a = 1\n  \n\n            \n        return a\n",
    "docstring in brackets": "def f(x):\n    (\n    'Doc.'\n    )\n    return 1\n",
    "docstring and a comment": "def f(x):\n    'Doc.'  # why\n    return 1\n",
    "docstring and a statement": "def f(x):\n    'Doc.'; return 1\n",
    "docstring and a semicolon": "def f(x):\n    'Doc.';\n    return 1\n",
    "one line": "class A:\n    def f(x): return 1\n",
    "one line with a docstring": "class A:\n    def f(x): 'Doc.'; return 1\n",
    "decorated": INSIDE + "    @a(\n  1)\n    # why\n    @b\n    async def f(x):\n        await x\n",
    "f-string": INSIDE + "    def f(x):\n        return f'{x =}' f\"{x:>4}\"\n",
    "carriage returns": INSIDE.replace("\n", "\r") + "    def f(x):\r        return 1\r",
    "nested": INSIDE + "    class B:\n        'Doc.'\n        def f(x):\n            'Doc.'\n            return 1\n",
}


def both(source, monkeypatch):
    quick = extract_python(source.encode(), CONFIG)
    with monkeypatch.context() as patch:
        patch.setattr(source_lines, "dedents_safely", lambda block, indent: False)
        return quick, extract_python(source.encode(), CONFIG)


@pytest.mark.parametrize("name", TRAPS)
def test_traps(name, monkeypatch):
    quick, parsed = both(TRAPS[name], monkeypatch)
    assert quick == parsed
    assert parsed.extracts or parsed.skipped


def test_most_code_is_not_parsed_again(monkeypatch):
    parsed = []
    monkeypatch.setattr(source_lines, "is_code_of", lambda *given: parsed.append(given) or True)
    found = extract_python(inspect.getsource(textwrap).encode(), CONFIG)
    assert len(found.extracts) > 10
    assert not parsed


def test_random_changes_of_layout(monkeypatch):
    """Pieces of layout are put before and behind lines of the traps; most results do not parse, and many do."""
    draw, kept = random.Random(0), 0
    pieces = ["\\", "\t", " ", "\f", "    ", "#", '"""', ";", "(", "\n", "'a\\\n'", "\r", "@a\n", "    'Doc.'\n"]
    for _ in range(4000):
        lines = draw.choice(list(TRAPS.values())).split("\n")
        for _ in range(draw.randint(1, 3)):
            place = draw.randrange(len(lines))
            piece = draw.choice(pieces)
            lines[place] = piece + lines[place] if draw.random() < 0.5 else lines[place] + piece
        quick, parsed = both("\n".join(lines), monkeypatch)
        assert quick == parsed, "\n".join(lines)
        kept += bool(parsed.extracts)
    assert kept > 800
