"""The examples in a docstring: doctests, fenced blocks of Markdown, code blocks of reStructuredText.

``text`` is the docstring's summary and, on the next line, the paragraph right before the example, if there is another
in its section.
``code`` of a doctest is its commands without prompts and outputs; doctests with nothing but space between them are one
example. Blocks of documents are read as in their files (``markdown``, ``restructuredtext``), without their common
indentation. Examples of Python that do not parse, because something is left out or an output is among the code, are
none. Nor are imports that nothing but the summary introduces: what follows them is an example of its own.
"""

from __future__ import annotations

import ast
import dataclasses
import doctest
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from t2c_jax.config import CorpusConfig
from t2c_jax.languages.document_code import common_indentation
from t2c_jax.languages.example_texts import KIND, example_text
from t2c_jax.languages.extractor import Extract, Extraction
from t2c_jax.languages.python.docstrings import docstring_part
from t2c_jax.languages.python.parsing import statements

_BLANK_LINES = re.compile(r"\n[ \t]*\n")
_DIRECTIVE = re.compile(r"[ \t]*#[ \t]*doctest:.*")
_MARKUP = re.compile(r"^[ \t]*(?:`{3,}|~{3,}|\.\. [\w-]+::).*$", re.MULTILINE)
_UNDERLINED = re.compile(r"^[^\n]*\n[ \t]*([-=~^*])\1{2,}[ \t]*(?:\n|\Z)", re.MULTILINE)


class _Example(NamedTuple):
    prose: str
    code: str
    language: str
    first: int  # its lines, from 0
    last: int
    shown: Sequence[tuple[int, str]]  # lines of code, and what they hold


def read_examples(docstring: str, first_line: int, lines: Sequence[bytes], config: CorpusConfig) -> Extraction:
    """The examples of a docstring; their texts are without a signature.

    Args:
      docstring: the string's value.
      first_line: of the string in its file.
      lines: of the file.
      config: for what the code of a block is.
    """
    found = Extraction()
    if ">>>" not in docstring and "```" not in docstring and "::" not in docstring:
        return found
    text = _dedented(docstring)
    summary = docstring_part(docstring, "summary")
    if summary.startswith((">>>", "```", "..")):
        summary = ""
    for example in [*_doctests(text), *_blocks(text, config, first_line, found)]:
        line = first_line + example.first
        description = example_text(summary, example.prose)
        syntax = statements(example.code) if example.language == "python" else None
        if example.language == "python" and syntax is None:
            found.skipped.append(("example that does not parse", line))
        elif _only_imports(syntax) and description == example_text(summary, ""):
            found.skipped.append(("example of nothing but imports", line))
        elif not description:
            found.skipped.append(("example without a description", line))
        elif not all(_is_at(shown, lines, first_line + row) for row, shown in example.shown):
            found.skipped.append(("example whose lines are not in the file as they are", line))
        else:
            last = first_line + example.last
            found.extracts.append(Extract(description, example.code, example.language, KIND, line, last))
    return found


def _is_at(shown: str, lines: Sequence[bytes], number: int) -> bool:
    return number <= len(lines) and shown.strip().encode("utf-8", "surrogatepass") in lines[number - 1].expandtabs()


def _dedented(docstring: str) -> str:
    """The text as ``inspect.cleandoc`` has it, with the blank lines before it, so that lines keep their numbers."""
    first, *others = docstring.expandtabs().split("\n")
    margin = min((len(line) - len(line.lstrip(" ")) for line in others if line.strip()), default=0)
    return "\n".join([first.lstrip(), *(line[margin:] for line in others)])


def _doctests(text: str) -> Iterator[_Example]:
    try:
        parts = doctest.DocTestParser().parse(text)
    except ValueError:  # the lines of an example are not aligned
        return
    group: list[doctest.Example] = []
    prose = ""
    for part in [*parts, "."]:
        if isinstance(part, doctest.Example):
            group.append(part)
        elif part.strip():
            if group:
                yield _joined(group, prose)
                group = []
            prose = _last_paragraph(part)


def _joined(group: list[doctest.Example], prose: str) -> _Example:
    sources = [_DIRECTIVE.sub("", example.source) for example in group]
    shown = [
        (example.lineno + row, line)
        for example, source in zip(group, sources, strict=True)
        for row, line in enumerate(source.splitlines())
    ]
    last = group[-1].lineno + group[-1].source.count("\n") + group[-1].want.count("\n") - 1
    return _Example(prose, "".join(sources).strip("\n"), "python", group[0].lineno, last, shown)


def _only_imports(syntax: list[ast.stmt] | None) -> bool:
    return bool(syntax) and all(isinstance(node, ast.Import | ast.ImportFrom) for node in syntax or ())


def _last_paragraph(text: str) -> str:
    """The last paragraph of the last section: what is above a heading says nothing of an example below it."""
    headings = list(_UNDERLINED.finditer(text))
    section = text[headings[-1].end() :] if headings else text
    paragraph = _BLANK_LINES.split(_MARKUP.sub("", section).strip("\n"))[-1]
    return "\n".join(line.strip() for line in paragraph.strip().split("\n"))


def _blocks(text: str, config: CorpusConfig, first_line: int, found: Extraction) -> Iterator[_Example]:
    """The blocks of documents; doctests among them are left to ``_doctests``."""
    inner = Extraction()
    config = dataclasses.replace(config, sessions="skip")
    if "```" in text:
        from t2c_jax.languages.markdown.extractor import MarkdownReader

        MarkdownReader(config, "", inner, has_headings=False).read(text, 0)
    elif "::" in text:
        from t2c_jax.languages.restructuredtext.extractor import read_restructuredtext

        read_restructuredtext(text, config, inner, has_headings=False)
    found.skipped += [(reason, first_line + line - 1) for reason, line in inner.skipped if reason not in _ELSEWHERE]
    for block in inner.extracts:
        code = block.code.split("\n")
        last = block.end_line - 1
        first = last - len(code) + 1 - text.split("\n")[last].lstrip().startswith(("```", "~~~"))
        shown = list(enumerate(code, start=first))
        margin = len(common_indentation(code))
        dedented = "\n".join(line[margin:] for line in code)
        yield _Example(block.text, dedented, block.language, block.start_line - 1, last, shown)


_ELSEWHERE = ("interactive session", "code block without a language", "code block without introducing prose")
