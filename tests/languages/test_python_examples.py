import random

import pytest

from t2c_jax.config import CorpusConfig
from t2c_jax.languages.python.extractor import extract_python

# docstring: (text, language, code) of each example, and reasons
DOCSTRINGS = {
    """Add two numbers.

    Parameters
    ----------
    a : int
        The first of them.

    See Also
    --------
    subtract : the inverse of this function

    Examples
    --------
    >>> import sums
    >>> sums.add(1, 2)
    3

    Notes
    =====

    Numbers of two kinds are converted:

    >>> add(1, 2.0)
    3.0
    """: (
        [
            ("Add two numbers.", "python", "import sums\nsums.add(1, 2)"),
            ("Add two numbers.\nNumbers of two kinds are converted:", "python", "add(1, 2.0)"),
        ],
        [],
    ),
    """Add two numbers.

    >>> import sums
    >>> from numbers import Number

    The function is imported like this:

    >>> from sums import add

    And then called:

    >>> add(1, 2)
    3
    """: (
        [
            ("Add two numbers.\nThe function is imported like this:", "python", "from sums import add"),
            ("Add two numbers.\nAnd then called:", "python", "add(1, 2)"),
        ],
        ["example of nothing but imports"],
    ),
    """Add two numbers.

    ```python
      total = 0
      if total:
        total = add(total, ...)
    ```

    Something is left out here:

    ```python
    with numbers() as (a, b):
        # They are added.
    ```

    An output is among the code:

    ```python
    add(1, 2)
    ==> 3
    ```

    In a shell it is called so:

    ```bash
    add 1 2 --verbose
    ```
    """: (
        [
            ("Add two numbers.", "python", "total = 0\nif total:\n  total = add(total, ...)"),
            ("Add two numbers.\nIn a shell it is called so:", "shell", "add 1 2 --verbose"),
        ],
        ["example that does not parse"] * 2,
    ),
    """Add two numbers.

    >>> add(1, 2)
    3

    >>> total = 0
    >>> for x in (1, 2):
    ...     total += x  # doctest: +SKIP
    """: (
        [("Add two numbers.", "python", "add(1, 2)\ntotal = 0\nfor x in (1, 2):\n    total += x")],
        [],
    ),
    """Add two numbers.

    Examples
    --------
    >>> add(1, 2)
    3

    Numbers of several kinds are added
    as well:

    >>> add(1, 2.0)
    3.0
    """: (
        [
            ("Add two numbers.", "python", "add(1, 2)"),
            ("Add two numbers.\nNumbers of several kinds are added\nas well:", "python", "add(1, 2.0)"),
        ],
        [],
    ),
    """Add two numbers.

    For example::

        total = add(1, 2)

    In a shell it is called so:

    .. code-block:: bash

       add 1 2
    """: (
        [
            ("Add two numbers.", "python", "total = add(1, 2)"),
            ("Add two numbers.\nIn a shell it is called so:", "shell", "add 1 2"),
        ],
        [],
    ),
    """Add two numbers.

    Call it with numbers:

    ```python
    total = add(1, 2)
    ```

    Or in a session of Python:

    ```python
    >>> add(3, 4)
    7
    ```
    """: (
        [
            ("Add two numbers.\nCall it with numbers:", "python", "total = add(1, 2)"),
            ("Add two numbers.\nOr in a session of Python:", "python", "add(3, 4)"),
        ],
        [],
    ),
    """>>> add(1, 2)
    3
    """: ([], ["example without a description"]),
    """Args:

    >>> add(1, 2)
    """: ([], ["example without a description"]),
    "Add two numbers.": ([], []),
    "Add.\n\n >>>add(1)": ([], []),
}


def extract(source, **config):
    return extract_python(source.encode(), CorpusConfig(**{"kinds": ("example",), "text": "docstring", **config}))


def function(docstring):
    return f'def add(a, b):\n    """{docstring}"""\n    return a + b\n'


@pytest.mark.parametrize("docstring", DOCSTRINGS)
def test_examples(docstring):
    pairs, reasons = DOCSTRINGS[docstring]
    source = function(docstring)
    found = extract(source)
    assert sorted((pair.text, pair.language, pair.code) for pair in found.extracts) == sorted(pairs)
    assert [reason for reason, _ in found.skipped] == reasons
    for pair in found.extracts:
        block = "\n".join(source.split("\n")[pair.start_line - 1 : pair.end_line])
        assert all(line in block for line in pair.code.split("\n"))
        assert 2 <= pair.start_line <= pair.end_line < source.count("\n")


def test_the_signature_is_above_it():
    source = 'class A:\n    """Holds it well.\n\n    >>> A(1)\n    A\n    """\n'
    assert [pair.text for pair in extract(source, text="signature+docstring").extracts] == ["class A\nHolds it well."]


def test_a_docstring_whose_lines_are_elsewhere_is_counted():
    joined = 'def f():\n    """Add two numbers.\\\n    \n\n    >>> add(1, 2)\n    """\n'
    assert extract(joined).skipped == [("example whose lines are not in the file as they are", 4)]


def test_any_docstring_is_survived():
    dice = random.Random(0)
    pieces = [">>> f(1)", "... x", "2", "", "", "Call it like this:", "```python", "```", "::", "    x = 1", "Examples"]
    pieces += ["--------", ".. code:: c", "   int a;", "\t>>> g(2)", "    >>> h(", ">>>", "- a", "\x0c", "\\"]
    pairs = 0
    for _ in range(150):
        body = "\n".join("    " + dice.choice(pieces) for _ in range(dice.randrange(20)))
        source = function(f"Add two numbers.\n\n{body}\n    ")
        lines = source.split("\n")
        for pair in extract(source).extracts:
            block = "\n".join(lines[pair.start_line - 1 : pair.end_line]).expandtabs()
            assert all(line.strip() in block for line in pair.code.split("\n"))
            pairs += 1
    assert pairs > 20
