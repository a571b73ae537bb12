import ast
import sysconfig
from pathlib import Path

import pytest

from t2c_jax.config import CorpusConfig
from t2c_jax.languages.python.extractor import extract_python


def extract(source, **config):
    return extract_python(source if isinstance(source, bytes) else source.encode(), CorpusConfig(text="name", **config))


# name: (source, code, text)
EXACT = {
    "documented": (
        'def getUserName(x):\n    """Doc."""\n    return x\n',
        "def _(x):\n    return x",
        "get user name",
    ),
    "not documented": ("def f_2(x):\n    return x  # f_2\n", "def _(x):\n    return x  # f_2", "f 2"),
    "class": ("class  A_b( B ):\n    x = 'A_b'\n", "class  _( B ):\n    x = 'A_b'", "a b"),
    "recursion": (
        "async def walk(n):\n\tawait walk(n); self.walk(walk)\n",
        "async def _(n):\n\tawait _(n); self.walk(_)",
        "walk",
    ),
    "decorators": (
        "class A:\n    @size.setter\n    @b(\n      size)\n    def size(self, é, v=size): size = v; return é, size\n",
        "@_.setter\n@b(\n  _)\ndef _(self, é, v=_): _ = v; return é, _",
        "size",
    ),
    "docstring between": (
        'def fact(n): "Of n."; return n * fact(n - 1)\r\n',
        "def _(n): return n * _(n - 1)",
        "fact",
    ),
    "parameters": ("def key(key, *, k=1):\n    return key + k\n", "def _(_, *, k=1):\n    return _ + k", "key"),
    "strings": (
        "class A:\n    def m(self):\n        return m('''m\n    m''', m)\n",
        "def _(self):\n    return _('''m\n    m''', _)",
        "m",
    ),
    "attributes of a method's name": (
        "class A(B):\n    def total(self, node):\n        super(). total(node)\n"
        "        x = [type(self).total, B.total(self), é.\\\n  total]\n"
        "        return self.total(total=1) + self.totals\n",
        "def _(self, node):\n    super(). _(node)\n"
        "    x = [type(self)._, B._(self), é.\\\n  _]\n    return self._(total=1) + self.totals",
        "total",
    ),
    "attributes in a function inside a method": (
        "class A:\n    def walk(self):\n        return map(lambda node: node.walk(), self)\n",
        "def _(self):\n    return map(lambda node: node._(), self)",
        "walk",
    ),
    "attributes and keywords": ("def a():\n    x.a(a=a)\n", "def _():\n    x.a(a=_)", "a"),
}


@pytest.mark.parametrize("name", EXACT)
def test_code_is_exact_but_for_the_name(name):
    source, code, text = EXACT[name]
    found = extract(source)
    assert found.skipped == []
    assert (found.extracts[-1].code, found.extracts[-1].text) == (code, text)
    assert found.extracts[-1].language == "python"


def test_the_definitions_inside_keep_their_own_names_until_it_is_their_turn():
    found = extract("def outer():\n    def inner():\n        return outer, inner\n    return inner\n").extracts
    assert [pair.code for pair in found] == [
        "def _():\n    def inner():\n        return _, inner\n    return inner",
        "def _():\n    return outer, _",
    ]


NO_PAIRS = {
    "name of Python's own": "def __init__(self):\n    self.x = 1\n",
    "name without a letter": "def _1():\n    return 1\n",
    "nothing but a docstring": 'def f():\n    """Doc."""\n',
    "names itself in a way that cannot be hidden": "def f():\n    global f\n    f = 1\n",
}


@pytest.mark.parametrize("reason", NO_PAIRS)
def test_what_makes_no_pair_is_counted(reason):
    found = extract(NO_PAIRS[reason])
    assert (found.extracts, found.skipped) == ([], [(reason, 1)])


@pytest.mark.parametrize(
    "body",
    [
        "import f",
        "import f.g",
        "from x import y as f",
        "def f(): 1",
        "try: 1\n    except E as f: 2",
        "nonlocal_ = f = 1",
    ],
)
def test_other_bindings_of_the_name(body):
    found = extract(f"def f():\n    {body}\n    return 1\n")
    told = [reason for reason, line in found.skipped if line == 1]
    assert told == ([] if "=" in body else ["names itself in a way that cannot be hidden"])


def test_a_name_that_is_not_written_as_it_is_read():
    found = extract("def ﬁle():\n    return 1\n")  # the ligature is normalised to "fi"
    assert [reason for reason, _ in found.skipped] == ["names itself in a way that cannot be hidden"]


@pytest.mark.parametrize("source", [b"def f(:\n", b"def f(): return 1\0", b"\xff", b"def f(): return " + b"-" * 9000])
def test_garbage_is_survived(source):
    assert extract(source).extracts == []


def test_kinds_choose():
    source = "class A:\n    def f(self):\n        return 1\n"
    assert [pair.text for pair in extract(source, kinds=("method",)).extracts] == ["f"]


def test_markdown_has_no_names():
    from t2c_jax.languages.markdown.extractor import extract_markdown

    assert not extract_markdown(b"# A\n\nRun it:\n\n```python\nrun()\n```\n", CorpusConfig(text="name")).extracts


def test_real_files():
    """Over real source: no definition is left that has its name, and the rest of its lines are those of the file."""
    count = 0
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))[::9]:
        data = path.read_bytes()
        lines = [line.strip() for line in data.decode().split("\n")]
        for pair in extract(data).extracts:
            (node,) = ast.parse(pair.code).body
            assert node.name == "_"
            own = lines[pair.start_line - 1 : pair.end_line]
            assert all(line.strip() in own for line in pair.code.split("\n") if "_" not in line)
            count += 1
    assert count > 200
