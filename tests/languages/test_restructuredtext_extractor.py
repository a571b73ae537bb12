import random

import pytest

from t2c_jax.config import CorpusConfig
from t2c_jax.languages.restructuredtext.extractor import extract_restructuredtext


def extract(source, **config):
    data = source if isinstance(source, bytes) else source.encode()
    return extract_restructuredtext(data, CorpusConfig(**{"kinds": ("restructuredtext",), **config}))


def summary(source, **config):
    found = extract(source, **config)
    return [(pair.language, pair.text, pair.code) for pair in found.extracts], [reason for reason, _ in found.skipped]


PAGE = """
Files
=====

Send *one* with ``send``, :func:`~files.close` and `a link <https://example.org>`_
to the |server|:

.. code-block:: python
   :linenos:
   :emphasize-lines: 2

   send(1)

     # deeper

.. |server| replace:: server

Install
-------

.. highlight:: sh

Do this::

\tmake all \n\tmake install

.. note:: Take care of it.

   .. code-block:: c

      int a;

- In a list::

    ls -l

.. py:function:: f(x)

   It calls:

   .. testcode::

      f(2)
"""


def test_blocks_come_with_heading_and_paragraph():
    assert summary(PAGE) == (
        [
            (
                "python",
                "Files\nSend one with `send`, `close` and a link\nto the server:",
                "send(1)\n\n  # deeper",
            ),
            ("shell", "Install\nDo this:", "make all \nmake install"),
            ("c", "Install\nTake care of it.", "int a;"),
            ("shell", "Install\nIn a list:", "ls -l"),
            ("python", "Install\nIt calls:", "f(2)"),
        ],
        [],
    )


def test_spans_hold_the_code():
    lines = PAGE.split("\n")
    for pair in extract(PAGE).extracts:
        code = pair.code.split("\n")
        block = lines[pair.start_line - 1 : pair.end_line]
        assert [line.strip() for line in block[-len(code) :]] == [line.strip() for line in code]
        assert len(block) == len(code) or block[0].strip().startswith(".. ")


# name: (source, pairs, reasons)
BLOCKS = {
    "doctest": ("Add:\n\n>>> 1 + 1\n2\n", [], ["interactive session"]),
    "doctest directive": ("Add:\n\n.. doctest:: group\n   :skipif: x\n\n   >>> 1\n   1\n", [], ["interactive session"]),
    "python by its look": ("Call::\n\n    run(1)\n", [("python", "run(1)")], []),
    "unknown by its look": ("Call::\n\n    run 1\n", [], ["code block without a language"]),
    "a name is no program": ("Call::\n\n    make\n", [], ["code block without a language"]),
    "a shell by its prompt": ("Call::\n\n    $ make\n", [], ["interactive session"]),
    "no magic": ("Call::\n\n    log('%s',\n     a\n     %b)\n", [("python", "log('%s',\n a\n %b)")], []),
    "highlight": ("Call:\n\n.. highlight:: ruby\n\n::\n\n    run 1\n", [("ruby", "run 1")], []),
    "no language": ("Call:\n\n.. code-block::\n\n   run(1)\n", [("python", "run(1)")], []),
    "no blank line": ("Call:\n\n.. code:: c\n   int a;\n", [("c", "int a;")], []),
    "text": ("Call:\n\n.. code-block:: none\n\n   run\n", [], ["code block that is no code"]),
    "no prose": (".. code:: c\n\n   int a;\n", [], ["PROSE"]),
    "a heading between": ("Call:\n\nPart\n----\n\n.. code:: c\n\n   int a;\n", [], ["PROSE"]),
    "a list between": ("Call:\n\n- item\n\n.. code:: c\n\n   int a;\n", [], ["PROSE"]),
    "a comment between": ("Call:\n\n.. a comment\n\n.. _label:\n\n.. code:: c\n\n   int a;\n", [("c", "int a;")], []),
    "two blocks": ("Call:\n\n.. code:: c\n\n   a;\n\n.. code:: c\n\n   b;\n", [("c", "a;")], ["PROSE"]),
    "directives without code": (
        ".. toctree::\n   :maxdepth: 2\n\n   a\n\n.. math::\n\n   x\n\n.. raw:: html\n\n   <b>\n",
        [],
        [],
    ),
    "a file": ("Call:\n\n.. literalinclude:: /etc/passwd\n\n.. include:: /etc/passwd\n", [], []),
    "tabs": (
        "Call:\n\n.. tabs::\n\n   .. tab:: A\n\n      .. code:: c\n\n         a;\n\n"
        "   .. tab:: B\n\n      .. code:: sh\n\n         b\n\n.. code:: c\n\n   c;\n",
        [("c", "a;"), ("shell", "b")],
        ["PROSE"],
    ),
    "a table": (
        "+--------+\n| Call:: |\n|        |\n|  a()   |\n+--------+\n",
        [],
        ["code block whose lines are not in the file as they are"],
    ),
    "quoted": ("Call::\n\n> run(1)\n> run(2)\n\nEnd.\n", [], ["code block without a language"]),
    "unknown roles": ("Use :x:y:`z` and :q:`!w`::\n\n   run(1)\n", [("python", "run(1)")], []),
    "lines that docutils alone would split": (
        "A\x0cb \u2028 c.\n\nCall::\n\n   f('\u2028')\n",
        [("python", "f('\u2028')")],
        [],
    ),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks(name):
    source, pairs, reasons = BLOCKS[name]
    found, skipped = summary(source)
    assert [(language, code) for language, _, code in found] == pairs
    assert skipped == [reason.replace("PROSE", "code block without introducing prose") for reason in reasons]


def test_line_ends_and_byte_order_mark():
    page = "\ufeffT\r\n=\r\n\r\nDo::\r\n\r\n  f(1)\r\n  g(2)\r\n"
    assert summary(page) == ([("python", "T\nDo:", "f(1)\r\ng(2)")], [])


def test_sessions_are_cut_to_their_commands_where_the_config_asks():
    page = "Add:\n\n>>> a = 1\n>>> a\n1\n\nList:\n\n.. code-block:: console\n\n   $ ls -l\n   total 0\n"
    found = summary(page, sessions="commands")
    assert found == ([("python", "Add:", "a = 1\na"), ("shell", "List:", "ls -l")], [])


@pytest.mark.parametrize(("data", "reason"), [(b"Prose\xff\n", "undecodable"), (b"Prose\0\n", "null bytes")])
def test_bad_bytes_are_counted(data, reason):
    assert extract(data).skipped == [(reason, 0)]


def test_docutils_keeps_its_directives_and_roles():
    from docutils.core import publish_doctree

    extract(".. note:: a\n\n   .. code:: c\n\n      int a;\n")
    tree = publish_doctree(":emphasis:`x`\n\n.. note:: a\n\n   .. tip:: b\n")
    assert {"emphasis", "note", "tip"} <= {node.tagname for node in tree.findall()}


def test_any_text_is_survived_and_spans_are_where_they_say():
    """Pieces of pages in random order and under random indentation."""
    dice = random.Random(0)
    pieces = [
        *PAGE.split("\n"),
        *["Call it:\n\n.. code:: c\n\n   int a;\n"] * 5,
        *("=====", "-----", ">>> 1", "::", "..", ".. [1] x", ".. |a| image:: b", "__ x", ".. class:: a", "* x", "1. x"),
        *(
            ":a: b",
            "-o x",
            "| x",
            "+--+--+",
            "|  |  |",
            "==  ==",
            "`a",
            "``b",
            "|c|_",
            "a_",
            "\x0c",
            "\u2028",
            "\\",
            "x" * 9,
        ),
    ]
    pairs = 0
    for _ in range(150):
        page = "\n".join(" " * dice.choice([0, 0, 0, 3, 4]) + dice.choice(pieces) for _ in range(dice.randrange(60)))
        lines = page.split("\n")
        for pair in extract(page).extracts:
            code = pair.code.split("\n")
            assert [line.strip() for line in lines[pair.end_line - len(code) : pair.end_line]] == [
                line.strip() for line in code
            ]
            assert 1 <= pair.start_line <= pair.end_line <= len(lines)
            pairs += 1
    assert pairs > 20


def test_deep_nesting_is_survived():
    assert extract("\n\n".join(" " * depth + "- a" for depth in range(0, 900, 2))).extracts == []
