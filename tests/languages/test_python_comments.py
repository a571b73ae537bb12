import collections
import difflib
import random
import textwrap
from pathlib import Path

import pytest

from t2c_jax.config import CorpusConfig
from t2c_jax.languages.comment_prose import comment_text
from t2c_jax.languages.python.extractor import extract_python

SOURCE = '''
# At the top of a module it names a section.
LIMIT = 3

def send(path, retries=2):
    """Sends a file.

    # Not a comment but a docstring.
    """
    # Open the file before the
    # connection is made.
    with open(path) as file:
        # Read all of it at once.
        data = file.read()
        size = len(data)

        rest = 0
    for attempt in range(retries):
        if attempt:
            # Wait a little longer each time.
            wait(attempt)
        # Not about a statement of its own
        elif attempt > 3:
            pass
        # This is about nothing below it

        else:
            x = """
            # Within a string it is no comment
            """
    # noqa: E501 because it is long
    a = 1
    # TODO: make this much better
    b = 2
    # -------- a ruler of lines --------
    c = 3
    # x = compute(a, b) + call(c)
    d = 4
    # short one
    e = 5
    # Two on a line are not told apart.
    f = 6; g = 7
    try:
        # Close what was opened.
        close()
    except OSError:
        # The file is gone already.
        pass
    except ValueError:
        # Nothing to do about that here.
        return None
    finally:
\t    # Say that it is over.
\t    done()
'''


def extract(source, **config):
    return extract_python(source.encode(), CorpusConfig(**{"kinds": ("comment",), "text": "docstring", **config}))


def test_statements_under_a_comment():
    found = extract(SOURCE.replace("\t", "   "))
    assert [(pair.text, pair.code) for pair in found.extracts] == [
        (
            "Open the file before the\nconnection is made.",
            "with open(path) as file:\n    # Read all of it at once.\n    data = file.read()\n    size = len(data)\n\n"
            "    rest = 0\nfor attempt in range(retries):\n    if attempt:\n        # Wait a little longer each time.\n"
            "        wait(attempt)\n    # Not about a statement of its own\n    elif attempt > 3:\n        pass\n"
            '    # This is about nothing below it\n\n    else:\n        x = """\n            # Within a string it is no'
            ' comment\n            """',
        ),
        ("Read all of it at once.", "data = file.read()\nsize = len(data)"),
        ("Wait a little longer each time.", "wait(attempt)"),
        ("Close what was opened.", "close()"),
        ("Nothing to do about that here.", "return None"),
        ("Say that it is over.", "done()"),
    ]
    assert collections.Counter(reason for reason, _ in found.skipped) == {
        "comment that is no prose": 5,
        "not reproducible": 1,
    }
    assert {pair.kind for pair in found.extracts} == {"comment"}


def test_the_signature_is_above_it():
    source = "class A:\n    async def f(self, x=1):\n        # Add one to it.\n        return x + 1\n"
    pairs = extract(source, text="signature+summary").extracts
    assert [pair.text for pair in pairs] == ["async def f(self, x=1)\nAdd one to it."]


@pytest.mark.parametrize("config", [{"text": "name"}, {"code": "unparsed"}, {"kinds": ("function",)}])
def test_forms_without_comments(config):
    assert not extract("def f():\n    # Add one to it.\n    return x + 1\n", **config).extracts


def test_line_ends_and_tabs_are_kept():
    pairs = extract("def f():\r\n\t# Add one to it.\r\n\ta = 1\r\n\tif a:\r\n\t\tb = 2\r\n").extracts
    assert [pair.code for pair in pairs] == ["a = 1\r\nif a:\r\n\tb = 2"]


@pytest.mark.parametrize("module", [collections, difflib, textwrap])
def test_spans_of_real_files_hold_the_comment_and_its_code(module):
    source = Path(module.__file__).read_text("utf-8")
    lines = source.split("\n")
    pairs = extract(source, kinds=("comment", "example")).extracts
    assert len([pair for pair in pairs if pair.kind == "comment"]) > 9
    assert pairs == sorted(pairs, key=lambda pair: pair.start_line)
    for pair in pairs:
        block = lines[pair.start_line - 1 : pair.end_line]
        if pair.kind == "comment":
            text, code = pair.text.split("\n"), pair.code.split("\n")
            assert [line.strip().lstrip("#").strip() for line in block[: len(text)]] == [line.strip() for line in text]
            assert [line.strip() for line in block[len(text) :]] == [line.strip() for line in code]
        else:
            inside = "\n".join(block)
            assert all(line.strip() in inside for line in pair.code.split("\n"))


def test_any_bytes_are_survived():
    dice = random.Random(0)
    good = SOURCE.replace("\t", "   ").encode()
    pairs = 0
    for _ in range(200):
        place = dice.randrange(len(good))
        data = good[:place] + dice.choice([b"", b"#", b"\n", b'"""', b"\\\n", b"\xff", b"\t", b";"]) + good[place:]
        pairs += len(extract_python(data, CorpusConfig(kinds=("comment", "example"))).extracts)
    assert pairs > 100


@pytest.mark.parametrize(
    ("comment", "text"),
    [
        ("Convert it.\nmypy: ignore this\nThen store it.", "Convert it.\nThen store it."),
        ("Make the argument hashable.\npyrefly: ignore [bad-argument-type]", "Make the argument hashable."),
        ("Update the values.\nTODO(someone): do it for all", "Update the values."),
        ("The value is known from\nbug reports of others.", ""),
        ("pyright: ignore[reportUnknownMemberType]", ""),
        ("pyre-fixme[16]: `Module` has no attribute `weight`.", ""),
        ("LINT.IfChange(the_name_of_it)", ""),
        ("See https://example.com/an-issue/of-some-words/1", ""),
        ("https://example.com/one/two/three\nhttps://example.com/four/five", ""),
        ("The formula is at https://example.com/a", "The formula is at https://example.com/a"),
        ("Reduce the number of calls to time()", "Reduce the number of calls to time()"),
        ("For x >= 1: arccos(x) = arcosh(x)", "For x >= 1: arccos(x) = arcosh(x)"),
        ("Use the other one:\npartition = sets(of(the, graph), 2)", ""),
        ("Use the other one:\nstore.sets(of(the, graph), 2)", ""),
        ("#  return all of them", ""),
    ],
)
def test_what_a_comment_says(comment, text):
    assert comment_text([f" {line}" for line in comment.split("\n")]) == text
