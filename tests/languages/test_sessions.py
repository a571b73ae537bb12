import pytest

from t2c_jax.languages.sessions import commands


@pytest.mark.parametrize(
    ("language", "session", "wanted"),
    [
        ("python", "# first\n>>> a = 1\n>>> a\n1", "a = 1\na"),
        ("python", ">>> def f():\n...     return 1\n...\n>>> f()\n1", "def f():\n    return 1\n\nf()"),
        ("python", "In [1]: 1 + 1\nOut[1]: 2", "1 + 1"),
        (
            "julia",
            "julia> area(r) =\n           3 * r\narea (generic function)\n\njulia> area(2)",
            "area(r) =\n    3 * r\narea(2)",
        ),
        ("sql", "mysql> SELECT 1\n    -> FROM a;\n+---+\n| 1 |", "SELECT 1\nFROM a;"),
        ("sql", "shop=# select 1\nshop-# from a;\n 1", "select 1\nfrom a;"),
        ("shell", "(venv) $ pip install x\nCollecting x", "pip install x"),
        ("shell", "user@host:~/a$ ls \\\n  -l\ntotal 0", "ls \\\n  -l"),
        ("shell", "[user@host a]$ ls\nb", "ls"),
        ("shell", "~ % ls\nb", "ls"),
        ("shell", "root@host:/# ls", "ls"),
        ("powershell", "PS C:\\work> python -m x\nServing", "python -m x"),
        ("batch", "C:\\Users\\x> dir", "dir"),
        ("ruby", "irb(main):001:0> a = 1\n=> 1", "a = 1"),
        ("r", "> x <- 1\n> x +\n+ 1\n[1] 2", "x <- 1\nx +\n1"),
        ("javascript", "// add\n> 1 + 1\n2", "1 + 1"),
        ("scala", "scala> def f =\n     |   1\ndef f: Int", "def f =\n  1"),
        ("elixir", "iex(1)> 1 + 1\n2", "1 + 1"),
        ("haskell", "ghci> 1 + 1\n2", "1 + 1"),
        ("swift", "  1> let x = 1\nx: Int = 1", "let x = 1"),
        ("erlang", "1> X = 1.\n1", "X = 1."),
    ],
)
def test_commands_of_a_session(language, session, wanted):
    assert commands(session, language) == wanted


@pytest.mark.parametrize(
    ("language", "code"),
    [
        ("python", 'def f():\n    """Doc.\n\n    >>> f()\n    1\n    """\n    return 1'),
        ("python", "if x:\n    # $ y\n    print(x)"),
        ("haskell", "total\n  $ map f xs"),
        ("javascript", "<A\n  b\n>\n  c\n</A>"),
        ("javascript", "const a = b\n  > c"),
        ("javascript", "x=> x + 1"),
        ("java", "Map<String,\nInteger> x = a\n  >>> 3;"),
        ("php", "$x = 1;"),
        ("shell", "# cd into it\ncd x\nmake > log\n> empty"),
        ("css", "ul> li { }"),
    ],
)
def test_code_is_no_session(language, code):
    assert commands(code, language) is None
