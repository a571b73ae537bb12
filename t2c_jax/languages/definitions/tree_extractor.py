"""Functions, methods and types as pairs, from source files of the languages that tree-sitter reads.

What is particular to a language is in its table (``language_table``); this is the same for all. A file is parsed once,
and one query finds its definitions and comments.

``code`` is the definition from its first attribute or wrapper (``export``, ``template``) to its end, without its
documentation comments and its own indentation. Otherwise it is byte for byte as in the file. Lines within literals of
several lines keep their indentation, since it is part of their value.

An ``example`` is the code of an example in a documentation comment (``doc_comments.doc_examples``); its text is the
comment's summary and the paragraph before the example.

``text`` follows config.corpus.text, see ``languages.texts``: the documentation comment without its markup
(``doc_comments``), with or without the header on one line, without attributes.

A definition in a file with syntax errors is a pair if its own tree has none. Otherwise it is counted, as are stubs
(without a body, with an empty one, or one that only raises that it is not implemented), unless config.corpus.stubs
keeps them.
"""

from __future__ import annotations

import collections
import html
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from t2c_jax.config import CorpusConfig
from t2c_jax.languages import comment_prose, example_texts, forms
from t2c_jax.languages.definitions.attached_comments import Comments, Item
from t2c_jax.languages.definitions.captures import Captures, matches
from t2c_jax.languages.definitions.comment_runs import CommentRuns
from t2c_jax.languages.definitions.commented_statements import find_commented_statements
from t2c_jax.languages.definitions.language_table import LanguageTable
from t2c_jax.languages.definitions.parsed_definitions import parse_definitions
from t2c_jax.languages.definitions.source_file import read_source
from t2c_jax.languages.doc_comments import Doc, clean_doc
from t2c_jax.languages.doc_comments.doc_examples import find_examples
from t2c_jax.languages.document_code import read_code
from t2c_jax.languages.extractor import Extract, Extraction
from t2c_jax.languages.forms import NoPair, TextForm
from t2c_jax.languages.markdown.info import read_info
from t2c_jax.languages.parsing import parses
from t2c_jax.languages.python.definitions import PLACEHOLDER
from t2c_jax.languages.syntax_trees import compile_query, nodes

if TYPE_CHECKING:
    from tree_sitter import Node, Query

_SPACE = b" \t\r\n\f\v"
_INDENT = re.compile(rb"[ \t\f\v]*")
_FEW_LINES = 6  # between two lines of an example
_BODY_BEGINS = re.compile(r"\s*(?:=>|[{=:;,])\s*\Z")
_AFTER_BRACKET = re.compile(r"([(\[<])\s*\n\s*")
_CUT_IN_BRACKET = re.compile(r"([(\[<])\s*\0\s*")  # where an attribute or a comment was first within brackets
_BEFORE_BRACKET = re.compile(r",?\s*\n\s*([)\]>])")
_BEFORE_VALUE = re.compile(rb"\A=>?\s*")  # of a body that is a value
_ITEM = re.compile(rb"[@#\[:]|/[/*]|=begin")  # a header without it has no comment and no attribute
_Edit = tuple[int, int, bytes]  # replaces the bytes between two positions


@dataclass(slots=True)
class _Open:
    """A node around the one that is read."""

    end: int
    capture: str
    node: Node
    scope: str  # the capture of the nearest definition or scope, itself included


@dataclass(slots=True)
class _Definition:
    """A candidate.

    Attributes:
      node: its own.
      whole: with the wrappers around it.
      kind: of the pair.
    """

    node: Node
    whole: Node
    kind: str


def extract_definitions(data: bytes, config: CorpusConfig, table: LanguageTable) -> Extraction:
    """What a file yields; see the module's docstring."""
    found = Extraction()
    text_form = forms.text_form(config)
    if forms.code_form(config) is not None:  # another form is of one language
        return found
    source = read_source(data, table.language, config, found)
    if source is None:
        return found
    wants_all = config.code_only or comment_prose.KIND in config.kinds or not text_form.documented
    runs = None if wants_all else CommentRuns(source, table.comments)
    if runs is not None and runs.after(0) is None:
        return found
    file = _File(source, table, runs)
    wants_examples = example_texts.KIND in config.kinds and text_form.documented
    for definition in file.definitions():
        attached = file.comments.attached_to(definition.whole.start_byte)
        docs = [*attached.docs, *file.docs_inside(definition)]
        if docs and wants_examples:
            _add_examples(found, file, definition, docs, attached.plain, config)
        has_text = bool(docs) or not text_form.documented
        if definition.kind not in (config.kinds if has_text else config.code_only):
            continue
        start = attached.start
        line = file.line_of(start)
        try:
            file.check(definition, start, config.stubs)
            prose = file.doc(docs, attached.plain).part(text_form.part)
            if text_form.documented and docs and not prose:
                raise NoPair("empty documentation")
            text = text_form.write(_TreeHeader(file, definition), prose) if has_text else ""
            code, end = file.code(definition, start, docs, text_form.hides_name)
        except NoPair as reason:
            found.skipped.append((str(reason), line))
            continue
        found.extracts.append(Extract(text, code, table.language, definition.kind, line, file.line_of(end)))
    if comment_prose.KIND in config.kinds and text_form.documented:
        _add_comments(found, file, text_form)
    if wants_examples:
        found.extracts.sort(key=lambda extract: extract.start_line)
    for line in file.lines_of_lost():
        found.skipped.append((file.broken, line))
    return found


def _add_comments(found: Extraction, file: _File, text_form: TextForm) -> None:
    """Statements under a comment, with the signature of the function that they are in."""
    functions = collections.deque(found for found in file.definitions() if found.kind in ("function", "method"))
    around: list[_Definition] = []
    for commented in find_commented_statements(file.data, file.tree.root_node, file.comments):
        while functions and functions[0].node.start_byte < commented.start:
            around.append(functions.popleft())
        while around and around[-1].node.end_byte < commented.end:
            around.pop()
        if not around:
            continue
        line = file.line_of(commented.comment_start)
        try:
            if commented.has_error:
                raise NoPair(file.broken)
            if not commented.text:
                raise NoPair("comment that is no prose")
            text = text_form.write(_TreeHeader(file, around[-1]), commented.text)
        except NoPair as reason:
            found.skipped.append((str(reason), line))
            continue
        code = file.cut(commented.start, commented.end)
        end_line = file.line_of(commented.end)
        found.extracts.append(Extract(text, code, file.table.language, comment_prose.KIND, line, end_line))
    found.extracts.sort(key=lambda extract: extract.start_line)


def _add_examples(
    found: Extraction, file: _File, definition: _Definition, docs: list[Item], plain: bool, config: CorpusConfig
) -> None:
    """The examples in documentation comments, with the signature of what is documented."""
    rules = file.table.comments
    summary = file.doc(docs, plain).part("summary")
    line = file.line_of(docs[0].start)
    lines = file.data[docs[0].start : docs[-1].end].decode("utf-8").split("\n")
    row = 0
    for example in find_examples(file.raw(docs), rules.plain_style if plain else rules.style):
        shown = _rows_of(example.code, lines, row)
        try:
            if shown is None:
                raise NoPair("example whose lines are not in the file as they are")
            row = shown[1] + 1
            language = read_info(example.language, "").language
            if not language and parses(example.code, file.table.language):
                language = file.table.language
            code, language = read_code(example.code, language, config)
            text = example_texts.example_text(summary, example.prose)
            if not text:
                raise NoPair("example without a description")
            text = forms.text_form(config).write(_TreeHeader(file, definition), text)
        except NoPair as reason:
            found.skipped.append((str(reason), line + (shown[0] if shown else row)))
            continue
        found.extracts.append(Extract(text, code, language, example_texts.KIND, line + shown[0], line + shown[1]))


def _rows_of(code: str, lines: list[str], row: int) -> tuple[int, int] | None:
    """The first and the last of the lines that hold the lines of some code in their order, from a row on."""
    wanted = [line.strip() for line in code.split("\n") if line.strip()]
    shown = [html.unescape(line).expandtabs(4) for line in lines]
    for first in range(row, len(lines)):
        last = first - 1
        for line in wanted:
            following = range(last + 1, min(len(lines), last + 1 + _FEW_LINES if last >= first else first + 1))
            last = next((i for i in following if line in shown[i] or line in lines[i]), -1)
            if last < 0:
                break
        else:
            return first, last
    return None


class _File:
    """A parsed file: all that is in it, or what is next to the ``runs`` of comments."""

    def __init__(self, data: bytes, table: LanguageTable, runs: CommentRuns | None) -> None:
        self.data, self.table = data, table
        self.broken = f"syntax error in a definition ({table.language})"
        self.tree, macros = parse_definitions(data, table)  # nodes live as long as the tree does
        self._line, self._counted = 1, 0  # the line of a position, from which others are counted
        self._captures, self._has_all = Captures(data, self.tree.root_node, table), runs is None
        if runs is None:
            self._captures.find_all()
        else:
            self._captures.find_near_comments(runs, {macro.start: macro.end for macro in macros})
        self._spans = self._captures.spans()
        self.comments = Comments(data, [*macros, *self._captures.items()], table.comments)

    def definitions(self) -> Iterator[_Definition]:
        """Every definition with its wrappers and its kind, outer before inner."""
        around: list[_Open] = []
        for start, end, _, capture, node in self._spans:
            while around and around[-1].end <= start:
                around.pop()
            if around and around[-1].node == node:  # two patterns match it
                continue
            scope = around[-1].scope if around else ""
            if capture in ("wrapper", "scope"):
                around.append(_Open(-end, capture, node, scope if capture == "wrapper" else capture))
                continue
            whole = node
            for outer in reversed(around):
                if outer.capture != "wrapper" or self.table.wrapped_by(outer.node) != whole:
                    break
                whole = outer.node
            kind = "method" if capture == "function" and scope in ("class", "scope") else capture
            around.append(_Open(-end, capture, node, capture))
            yield _Definition(node, whole, kind)

    def line_of(self, position: int) -> int:
        """The line of a position, counted from 1. Positions in the order of the file are fast."""
        count, counted = self.data.count, self._counted
        self._line += count(b"\n", counted, position) - count(b"\n", position, counted)
        self._counted = position
        return self._line

    def check(self, definition: _Definition, start: int, stubs: bool) -> None:
        """Raises ``NoPair`` for what a parser or a person did not finish, or a tool wrote."""
        if definition.node.has_error:
            raise NoPair(self.broken)
        generated, header_end = self.table.generated, self._header_end(definition)
        if generated is not None and generated.search(self.data, start, header_end):
            for item in self._items(definition, start, header_end):
                if not item.is_comment and generated.match(self.data, item.start, item.end):
                    raise NoPair("generated code")
        if not stubs and self._is_stub(definition.node):
            raise NoPair("stub")

    def lines_of_lost(self) -> Iterator[int]:
        """Lines of what is documented, but so broken that the tree has no definition there."""
        if not self.tree.root_node.has_error:
            return
        known = {definition.whole.start_byte for definition in self.definitions()}
        for position in self.comments.documented():
            if position not in known and self._is_broken(position):
                yield self.line_of(position)

    def _is_broken(self, position: int) -> bool:
        node = self.tree.root_node.descendant_for_byte_range(position, position + 1)
        while node is not None and node.start_byte == position and not node.has_error:
            node = node.parent
        if node is None:
            return False
        # An ordinary comment may be of any statement.
        is_lost = node.is_error and not self.table.comments.plain
        return is_lost or (node.start_byte == position and node.parent is not None)

    def docs_inside(self, definition: _Definition) -> list[Item]:
        """Documentation comments between an annotation and the name, and at the start of the body."""
        docs: list[Item] = []
        start = definition.whole.start_byte
        if self.comments.next_start(start) < definition.node.end_byte:
            docs = self.comments.within(start, self._header_end(definition))
        if self.table.comments.inner is not None and (body := self.table.body_of(definition.node)) is not None:
            docs += self.comments.inner(body.start_byte)
        return docs

    def doc(self, docs: list[Item], plain: bool) -> Doc:
        """What documentation comments say."""
        rules = self.table.comments
        return clean_doc(self.raw(docs), rules.plain_style if plain else rules.style)

    def raw(self, docs: list[Item]) -> str:
        """Comments as they are, one below the other."""
        return b"\n".join(self.data[item.start : item.end] for item in docs).decode("utf-8")

    def code(self, definition: _Definition, start: int, docs: list[Item], hides_name: bool) -> tuple[str, int]:
        """The code from ``start`` without ``docs``, and the position behind it."""
        data, whole = self.data, definition.whole
        end = whole.end_byte
        while data[end - 1] in _SPACE:  # preprocessor nodes hold their line end
            end -= 1
        if self.table.terminator:
            rest = data[end : end + 100].lstrip(b" \t")
            if rest.startswith(self.table.terminator):
                end = data.index(self.table.terminator, end) + len(self.table.terminator)
        edits = [(*self._line_of(item), b"") for item in docs if item.start >= start]
        if hides_name:
            edits += self._names(definition)
        return self.cut(start, end, edits), end

    def cut(self, start: int, end: int, edits: Iterable[_Edit] = ()) -> str:
        """What is between two positions, edited and without the indentation of its first line."""
        data = self.data
        line_start = data.rfind(b"\n", 0, start) + 1
        indent = _INDENT.match(data, line_start)
        assert indent is not None
        literals = self._literals(start, end) if indent[0] else []
        edits = list(edits)
        if not edits and not literals:
            code = data[start:end]
            return (_indentation(indent[0]).sub(b"\n", code) if indent[0] else code).decode("utf-8")
        edits += self._dedents(start, end, indent[0], literals)
        parts: list[bytes] = []
        position = start
        for first, last, new in sorted(edits, key=lambda edit: (edit[0], -edit[1])):  # a removed line needs no dedent
            if first >= position:
                parts += [data[position:first], new]
                position = last
        parts.append(data[position:end])
        return b"".join(parts).decode("utf-8")

    def signature(self, definition: _Definition) -> str:
        """The header on one line, without attributes and comments."""
        start = position = definition.whole.start_byte
        body = self.table.body_of(definition.node)
        end = definition.whole.end_byte if body is None else body.start_byte
        parts = []
        for item in self._items(definition, start, end):
            if item.start >= position:
                parts.append(self.data[position : item.start])
                position = item.end
        parts.append(self.data[position:end])
        if body is not None and definition.whole.type in self.table.wrapped:  # a typedef's name
            parts.append(self.data[body.end_byte : definition.whole.end_byte])
        text = _CUT_IN_BRACKET.sub(r"\1", b"\0".join(parts).decode("utf-8")).replace("\0", " ")
        text = _BODY_BEGINS.sub("", text.strip())
        return " ".join(_BEFORE_BRACKET.sub(r"\1", _AFTER_BRACKET.sub(r"\1", text)).split())

    def name(self, definition: _Definition) -> str:
        """The definition's name; empty where it has none."""
        node = self._name(definition)
        return "" if node is None else self.data[node.start_byte : node.end_byte].decode("utf-8")

    def _name(self, definition: _Definition) -> Node | None:
        return self.table.name_of(definition.node) or self.table.name_of(definition.whole)

    def _items(self, definition: _Definition, start: int, end: int) -> list[Item]:
        """All comments and attributes between two positions of a definition, in the order of the file."""
        items = self.comments.between(start, end)
        if not self._has_all and _ITEM.search(self.data, start, end):
            items += self._captures.items_within(definition.whole, start, end)
        return sorted(set(items))

    def _header_end(self, definition: _Definition) -> int:
        name = self._name(definition)
        return definition.whole.start_byte if name is None else name.start_byte

    def _is_stub(self, node: Node) -> bool:
        body = self.table.body_of(node)
        if body is None:
            return True
        if not body.is_named or body.named_child_count > 50:
            return False
        unimplemented = self.table.unimplemented
        if not self.data.startswith(b"{", body.start_byte):
            if unimplemented is None or body.end_byte - body.start_byte > 200:
                return False
            text = _BEFORE_VALUE.sub(b"", self.data[body.start_byte : body.end_byte])
            return unimplemented.fullmatch(text.rstrip()) is not None
        statements = [child for child in body.named_children if not child.is_extra]
        if len(statements) > 1:
            return False
        return not statements or (
            unimplemented is not None
            and unimplemented.fullmatch(self.data, statements[0].start_byte, statements[0].end_byte) is not None
        )

    def _line_of(self, item: Item) -> tuple[int, int]:
        """The lines of a comment that has them to itself, else the comment and the space behind it."""
        line = self.data.rfind(b"\n", 0, item.start) + 1
        after = self.data.find(b"\n", item.end)
        after = len(self.data) if after < 0 else after + 1
        if not self.data[line : item.start].strip(_SPACE) and not self.data[item.end : after].strip(_SPACE):
            return line, after
        end = item.end
        while end < len(self.data) and self.data[end] in b" \t":
            end += 1
        return item.start, end

    def _dedents(self, start: int, end: int, indent: bytes, literals: list[tuple[int, int]]) -> Iterator[_Edit]:
        """Removes the indentation of the lines after the first, and what is on lines of nothing but space."""
        if not indent:
            return
        for match in _indentation(indent).finditer(self.data, start, end):
            line = match.start() + 1
            if not any(first < line < last for first, last in literals):
                yield line, match.end(), b""

    def _literals(self, start: int, end: int) -> list[tuple[int, int]]:
        from tree_sitter import QueryCursor

        table = self.table
        if table.string_start is None or not table.string_start.search(self.data, start, end):
            return []
        cursor = QueryCursor(_strings(table))
        cursor.set_byte_range(start, end)
        found = matches(cursor, self.tree.root_node)
        spans = [(node.start_byte, node.end_byte) for _, node in found]
        return [span for span in spans if self.data.find(b"\n", *span) >= 0]

    def _names(self, definition: _Definition) -> list[_Edit]:
        name = self._name(definition)
        if name is None:
            raise NoPair("definition without a name")
        hidden = self.data[name.start_byte : name.end_byte]
        return [
            (node.start_byte, node.end_byte, PLACEHOLDER.encode())
            for node in nodes(definition.whole)
            if node.end_byte - node.start_byte == len(hidden)
            and not node.child_count
            and node.is_named
            and self.data.startswith(hidden, node.start_byte)
        ]


class _TreeHeader:
    """A definition as ``forms.Described``."""

    def __init__(self, file: _File, definition: _Definition) -> None:
        self._file, self._definition = file, definition

    @property
    def name(self) -> str:
        """The definition's name."""
        return self._file.name(self._definition)

    def signature(self) -> str:
        """The header on one line, without attributes."""
        return self._file.signature(self._definition)


@lru_cache(maxsize=100)
def _indentation(indent: bytes) -> re.Pattern[bytes]:
    return re.compile(rb"\n(?:%s|[ \t\f\v]+(?=\r?\n))" % re.escape(indent))


@cache
def _strings(table: LanguageTable) -> Query:
    return compile_query(table.strings, *table.grammar)
