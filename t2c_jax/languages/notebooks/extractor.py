"""Code cells with the Markdown that introduces them, from Jupyter notebooks.

``text`` is the nearest heading above and the last paragraph of the Markdown cell. ``code`` is all code cells up to the
next Markdown cell, with a blank line between them; cells without code are left out. Code in the fences of a Markdown
cell makes pairs as in Markdown files, where config.corpus.kinds has them. The language is that of the kernel, or that
of a cell's first line, such as ``%%bash``.

The lines of a pair are those of the file, from the first code cell's source to the last one's. Ids of cells are no
provenance: some tools write new ones each time.

Formats 2 to 4 are read. Skipped and counted: what is no notebook, cells that no paragraph introduces, and what
``document_code`` says.
"""

from __future__ import annotations

import dataclasses
import re
from bisect import bisect_right
from collections.abc import Iterator
from typing import Any, NamedTuple

from t2c_jax.config import CorpusConfig
from t2c_jax.languages.aliases import canonical
from t2c_jax.languages.document_code import DocumentText, makes_pairs, read_code
from t2c_jax.languages.extractor import Extract, Extraction
from t2c_jax.languages.forms import NoPair
from t2c_jax.languages.markdown.extractor import KIND as MARKDOWN_KIND
from t2c_jax.languages.markdown.extractor import MarkdownReader
from t2c_jax.languages.markdown.info import language_of_kernel
from t2c_jax.languages.notebooks.json_places import JsonValue, elements, members, value_at

KIND = "notebook"


class _Cell(NamedTuple):
    kind: str
    source: str
    language: str  # its own; empty for the notebook's
    lines: list[int]  # the file's line of each line of the source

    @property
    def first_line(self) -> int:
        return self.lines[0]


def extract_notebook(data: bytes, config: CorpusConfig) -> Extraction:
    """The introduced code cells of a notebook; see the module's docstring."""
    found = Extraction()
    if not {KIND, MARKDOWN_KIND}.intersection(config.kinds) or not makes_pairs(config):
        return found
    try:
        text = DocumentText(data).text
        notebook = _parse(text)
        cells = list(_cells(text, notebook))
    except NoPair as reason:
        found.skipped.append((str(reason), 0))
        return found
    _Reader(config, _language(notebook.value), found).read(cells)
    return found


class _Reader:
    def __init__(self, config: CorpusConfig, language: str, found: Extraction) -> None:
        self._config, self._language, self._found = config, language, found
        self._inner = Extraction()  # of the fences in Markdown cells
        self._markdown = MarkdownReader(config, language, self._inner)

    def read(self, cells: list[_Cell]) -> None:
        """Adds the pairs of all cells."""
        below: list[_Cell] = []  # code cells since the last Markdown cell
        for cell in cells:
            if cell.kind == "code":
                if cell.source.strip():
                    below.append(cell)
            elif cell.kind == "markdown":
                self._code(below)
                below = []
                self._prose(cell)
        self._code(below)

    def _prose(self, cell: _Cell) -> None:
        self._markdown.prose = ""
        try:
            self._markdown.read(cell.source, 0)
        except RecursionError:
            self._found.skipped.append(("nested too deeply", cell.first_line))
        if MARKDOWN_KIND in self._config.kinds:
            self._found.extracts += [
                dataclasses.replace(
                    extract, start_line=cell.lines[extract.start_line - 1], end_line=cell.lines[extract.end_line - 1]
                )
                for extract in self._inner.extracts
            ]
            self._found.skipped += [(reason, cell.lines[line - 1]) for reason, line in self._inner.skipped]
        self._inner.extracts.clear()
        self._inner.skipped.clear()

    def _code(self, cells: list[_Cell]) -> None:
        if not cells or KIND not in self._config.kinds:
            return
        codes: list[str] = []
        common = ""
        kept: list[_Cell] = []
        for cell in cells:
            try:
                code, language = read_code(cell.source.strip("\n"), cell.language or self._language, self._config)
            except NoPair as reason:
                self._found.skipped.append((str(reason), cell.first_line))
                continue
            if language != (common or language):
                self._found.skipped.append(("code cell in another language than those above", cell.first_line))
                continue
            codes.append(code)
            common = language
            kept.append(cell)
        if not kept:
            return
        if not self._markdown.prose:
            self._found.skipped.append(("code cell without introducing prose", kept[0].first_line))
            return
        text = "\n".join(filter(None, (self._markdown.heading, self._markdown.prose)))
        self._found.extracts.append(
            Extract(text, "\n\n".join(codes), common, KIND, kept[0].first_line, kept[-1].lines[-1])
        )


def _parse(text: str) -> JsonValue:
    try:
        notebook = value_at(text, 0)
    except RecursionError:
        raise NoPair("nested too deeply") from None
    except ValueError:
        raise NoPair("not JSON") from None
    if text[notebook.end :].strip() or not isinstance(notebook.value, dict):
        raise NoPair("not a notebook")
    if not {"cells", "worksheets"}.intersection(notebook.value):
        raise NoPair("not a notebook")
    return notebook


def _cells(text: str, notebook: JsonValue) -> Iterator[_Cell]:
    starts = [0, *(found.end() for found in re.finditer("\n", text))]
    for place in _cell_places(text, notebook):
        if not isinstance(place.value, dict):
            continue
        parts = dict(members(text, place))
        kind = place.value.get("cell_type")
        source = parts.get("source") or parts.get("input")  # "input" before format 4
        if source is None or (content := _joined(source.value)) is None:
            continue
        # The JSON of a cell has one string, or one of each line.
        pieces = list(elements(text, source)) if source.value and isinstance(source.value, list) else [source]
        ends = [bisect_right(starts, piece.start) for piece in pieces for _ in str(piece.value).splitlines() or [""]]
        lines = ends + ends[-1:] * (content.count("\n") + 1 - len(ends))
        own = place.value.get("language")  # before format 4
        language = canonical(language_of_kernel(own)) if isinstance(own, str) else ""
        if kind == "heading":  # before format 4
            level = place.value.get("level")
            marks = "#" * (level if isinstance(level, int) and 1 <= level <= 6 else 1)
            content, kind = f"{marks} {' '.join(content.split())}", "markdown"
        if isinstance(kind, str):
            yield _Cell(kind, content, language, lines)


def _cell_places(text: str, notebook: JsonValue) -> Iterator[JsonValue]:
    for key, value in members(text, notebook):
        if key == "cells":
            yield from elements(text, value)
        elif key == "worksheets":
            for sheet in elements(text, value):
                for name, cells in members(text, sheet):
                    if name == "cells":
                        yield from elements(text, cells)


def _joined(source: Any) -> str | None:
    """The text of a cell, which is a string or a list of lines; None if it is something else."""
    if isinstance(source, list) and all(isinstance(line, str) for line in source):
        source = "".join(source)
    if not isinstance(source, str) or "\0" in source:
        return None
    try:
        source.encode("utf-8")
    except UnicodeEncodeError:  # a lone surrogate
        return None
    return source.replace("\r\n", "\n").replace("\r", "\n")


def _language(notebook: dict[str, Any]) -> str:
    """The language of the kernel, as ``aliases.canonical`` names it; empty if the notebook does not say."""
    metadata = notebook.get("metadata")
    if not isinstance(metadata, dict):
        return ""
    for key, names in (("language_info", ("name",)), ("kernelspec", ("language", "name")), ("kernel_info", ("name",))):
        section = metadata.get(key)
        for name in names:
            value = section.get(name) if isinstance(section, dict) else None
            if isinstance(value, str) and value:
                return canonical(language_of_kernel(value))
    return ""
