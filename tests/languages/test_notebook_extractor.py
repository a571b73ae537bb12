import json
import random

import pytest

from t2c_jax.config import CorpusConfig
from t2c_jax.languages.notebooks.extractor import extract_notebook


def cell(kind, source, **others):
    return {"cell_type": kind, "metadata": {}, "source": source, **others}


def notebook(*cells, language="python", **others):
    metadata = {"kernelspec": {"name": "x", "language": language}} if language else {}
    return {"cells": list(cells), "metadata": metadata, "nbformat": 4, "nbformat_minor": 5, **others}


def extract(content, indent=1, **config):
    data = content if isinstance(content, bytes) else json.dumps(content, indent=indent).encode()
    return extract_notebook(data, CorpusConfig(**config))


def summary(content, **config):
    found = extract(content, **config)
    return [(e.kind, e.language, e.text, e.code) for e in found.extracts], [reason for reason, _ in found.skipped]


TITLE = cell("markdown", ["# Files\n", "\n", "Send a **file**:"])
CODE = cell("code", ["send(1)\n", "close()"], outputs=[{"text": ["code"]}], execution_count=1)


def test_the_code_cells_under_a_markdown_cell_are_one_pair():
    page = notebook(TITLE, CODE, cell("code", "\n"), cell("raw", "raw"), cell("code", "open()\n"))
    assert summary(page) == ([("notebook", "python", "Files\nSend a file:", "send(1)\nclose()\n\nopen()")], [])


@pytest.mark.parametrize("indent", [1, 4, None])
def test_lines_are_those_of_the_file(indent):
    page = notebook(cell("markdown", "Intro."), CODE, TITLE, CODE, cell("code", ["a = 1\n", "b = 2"]))
    text = json.dumps(page, indent=indent)
    lines = text.split("\n")
    for pair in extract(text.encode()).extracts:
        block = "\n".join(lines[pair.start_line - 1 : pair.end_line])
        assert all(json.dumps(line)[1:-1] in block for line in pair.code.split("\n"))
        if indent:
            assert lines[pair.start_line - 1].strip() == '"send(1)\\n",'
            assert lines[pair.end_line - 1].strip() in ('"close()"', '"b = 2"')


def test_a_heading_reaches_further_than_a_paragraph():
    page = notebook(TITLE, CODE, cell("markdown", "Again."), CODE, cell("markdown", "## Part"), CODE)
    found, skipped = summary(page)
    assert [text for _, _, text, _ in found] == ["Files\nSend a file:", "Files\nAgain."]
    assert skipped == ["code cell without introducing prose"]


@pytest.mark.parametrize(
    ("metadata", "language"),
    [
        ({"kernelspec": {"name": "ir", "display_name": "R"}}, "r"),
        ({"kernelspec": {"name": "julia-1.9"}}, "julia"),
        ({"language_info": {"name": "R"}, "kernelspec": {"name": "x"}}, "r"),
        ({"kernelspec": {"name": "python3"}}, "python"),
        ({"language_info": "x", "kernelspec": []}, ""),
        (None, ""),
    ],
)
def test_the_kernel_is_the_language(metadata, language):
    found, skipped = summary(notebook(TITLE, CODE, metadata=metadata))
    assert [name for _, name, _, _ in found] == [language][: bool(language)]
    assert skipped == ([] if language else ["code block without a language"])


def test_magics_are_skipped_or_removed():
    page = notebook(TITLE, cell("code", "%matplotlib inline\n!pip install x"), cell("code", "%%time\nx = 1"), CODE)
    skips = ["notebook magics"] * 2
    assert summary(page) == ([("notebook", "python", "Files\nSend a file:", "send(1)\nclose()")], skips)
    found, skipped = summary(page, magics="remove")
    assert [code for *_, code in found] == ["x = 1\n\nsend(1)\nclose()"]
    assert skipped == ["notebook magics"]
    shell = notebook(TITLE, cell("code", "%%bash\nls -l"), CODE)
    assert [(language, code) for _, language, _, code in summary(shell, magics="remove")[0]] == [("shell", "ls -l")]
    assert summary(shell, magics="remove")[1] == ["code cell in another language than those above"]


def test_fences_in_markdown_cells_are_markdown_pairs():
    text = ["Do:\n", "\n", "```python\n", "x = 1\n", "```\n", "\n", "Then:\n", "```sh\n", "ls\n", "```\n"]
    page = notebook(cell("markdown", text), CODE)
    found = extract(page)
    assert [(e.kind, e.text, e.code) for e in found.extracts] == [
        ("markdown", "Do:", "x = 1"),
        ("markdown", "Then:", "ls"),
    ]
    lines = json.dumps(page, indent=1).split("\n")
    assert [lines[e.start_line - 1].strip() for e in found.extracts] == ['"```python\\n",', '"```sh\\n",']
    assert [reason for reason, _ in found.skipped] == ["code cell without introducing prose"]
    assert summary(page, kinds=("notebook",))[0] == []
    assert summary(page, kinds=("function",)) == ([], [])


def test_format_3_is_read():
    cells = [
        {"cell_type": "heading", "level": 2, "source": ["Usage"]},
        {"cell_type": "markdown", "source": "Do it."},
        {"cell_type": "code", "language": "python", "input": ["x = 1"], "outputs": []},
    ]
    page = {"worksheets": [{"cells": cells[:1]}, {"cells": cells[1:]}], "nbformat": 3}
    assert summary(page) == ([("notebook", "python", "Usage\nDo it.", "x = 1")], [])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\xff", "undecodable"),
        (b"{}\0", "null bytes"),
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[]", "not a notebook"),
        (b"{}", "not a notebook"),
        (b'{"cells": []} x', "not a notebook"),
    ],
)
def test_what_is_no_notebook_is_counted(data, reason):
    assert extract(data).skipped == [(reason, 0)]


def test_any_values_are_survived():
    """Random values in the place of others, and random bytes in the place of others."""
    dice = random.Random(0)
    values = [None, 0, -1, 2.0, True, "", "x", "\ud800", [], ["a", 1], {}, {"a": []}, [[]]]

    def spoil(value):
        if dice.random() < 0.1:
            return dice.choice(values)
        if isinstance(value, dict):
            return {key: spoil(inner) for key, inner in value.items()}
        return [spoil(inner) for inner in value] if isinstance(value, list) else value

    page = notebook(TITLE, CODE, cell("heading", "x", level=2), cell("code", "%%bash\nls"))
    page["worksheets"] = [{"cells": [{"cell_type": "code", "input": "x"}]}]
    for _ in range(200):
        extract(json.dumps(spoil(page)).encode())
    good = json.dumps(page, indent=1).encode()
    for _ in range(200):
        place = dice.randrange(len(good))
        extract(good[:place] + dice.randbytes(2) + good[place + dice.randrange(4) :])
