"""Code blocks with the heading and the paragraph that introduce them, from reStructuredText.

``text`` is the nearest heading above the block and, on the next line, the last paragraph before it, both as plain text
(links by their words, literals and roles in backticks), as from Markdown. ``code`` is the block without its common
indentation, byte for byte.

Blocks are directives of code (``code-block``, ``code``, ``testcode`` …), literal blocks behind ``::`` and doctest
blocks. The language is that of the directive, else that of the ``highlight`` directive above, else by its
prompt, else Python if the block parses as more than names: that is what Sphinx assumes.

Directives that hold no code are no prose, and what they hold is read. Tabs of one set share the paragraph before the
first. Skipped and counted: blocks that no paragraph introduces, blocks whose lines are not in the file as they are (in
tables), and what ``document_code`` says.
"""

from __future__ import annotations

import warnings

from docutils import nodes

from t2c_jax.config import CorpusConfig
from t2c_jax.languages.aliases import canonical
from t2c_jax.languages.document_code import DocumentText, common_indentation, guess_language, makes_pairs, read_code
from t2c_jax.languages.extractor import Extract, Extraction
from t2c_jax.languages.forms import NoPair
from t2c_jax.languages.restructuredtext.document_tree import Directive, parse

KIND = "restructuredtext"
_ADMONITIONS = frozenset(
    [
        *("attention", "caution", "danger", "deprecated", "error", "hint", "important", "note", "seealso", "tip"),
        *("todo", "versionadded", "versionchanged", "warning"),
    ]
)
_IGNORED = (nodes.Invisible, nodes.system_message, nodes.footnote, nodes.citation)
_SILENT = (nodes.footnote_reference, nodes.citation_reference, nodes.image, *_IGNORED)  # within a paragraph
_ENDS_PROSE = (nodes.Sequential, nodes.block_quote, nodes.table, nodes.transition, nodes.line_block, nodes.math_block)


def extract_restructuredtext(data: bytes, config: CorpusConfig) -> Extraction:
    """The introduced code blocks of a reStructuredText file; see the module's docstring."""
    found = Extraction()
    if KIND not in config.kinds or not makes_pairs(config):
        return found
    try:
        document = DocumentText(data)
    except NoPair as reason:
        found.skipped.append((str(reason), 0))
        return found
    reader = _Reader(config, found, document.text, document)
    reader.read_all()
    found.extracts.sort(key=lambda extract: extract.start_line)
    return found


def read_restructuredtext(text: str, config: CorpusConfig, found: Extraction, has_headings: bool) -> None:
    """Adds the blocks of a text that is part of another file.

    Args:
      text: with line feeds alone.
      config: for what a block's code is.
      found: gets the pairs, with the lines of the text, and what is skipped.
      has_headings: whether texts begin with the heading above.
    """
    _Reader(config, found, text, None, has_headings).read_all()


def _parsed(text: str) -> nodes.document:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of docutils' future, not of the document
        try:
            return parse(text)
        except RecursionError:
            raise
        except Exception:  # docutils has assertions and attributes that some inputs break
            raise NoPair("reStructuredText that docutils cannot read") from None


class _Reader:
    """Reads nodes in order, with the heading and the prose that are in reach."""

    def __init__(
        self,
        config: CorpusConfig,
        found: Extraction,
        text: str,
        document: DocumentText | None,
        has_headings: bool = True,
    ) -> None:
        self._config, self._document, self._found = config, document, found
        self._text, self._has_headings = text, has_headings
        self._lines = text.split("\n")
        self._heading = self._prose = self._language = ""

    def read_all(self) -> None:
        """Adds the pairs of the text; what cannot be read is counted."""
        try:
            self._read(_parsed(self._text))
        except NoPair as reason:
            self._found.skipped.append((str(reason), 0))
        except RecursionError:
            self._found.skipped.append(("nested too deeply", 0))

    def _read(self, parent: nodes.Element) -> None:
        """Adds the pairs of what the node holds."""
        before_tab = ""  # the prose in reach where the tab that has just ended began
        for node in parent.children:
            tab, before_tab = before_tab, ""
            if isinstance(node, _IGNORED):
                before_tab = tab
            elif isinstance(node, nodes.title):
                self._heading, self._prose = _words(node), ""
            elif isinstance(node, nodes.paragraph):
                self._prose = _words(node) or self._prose
            elif isinstance(node, nodes.literal_block | nodes.doctest_block):
                language = "python" if isinstance(node, nodes.doctest_block) else self._language
                self._code(node.astext(), language, node.line or 0, node.line or 0)
            elif isinstance(node, Directive):
                is_tab = node.name.startswith("tab")
                if is_tab:
                    self._prose = self._prose or tab
                    before_tab = self._prose
                self._directive(node)
                if is_tab:
                    self._prose = ""
            elif isinstance(node, nodes.Element):
                self._read(node)
                if isinstance(node, _ENDS_PROSE):
                    self._prose = ""

    def _directive(self, node: Directive) -> None:
        if node.name == "highlight":
            self._language = canonical(node.argument)
        elif node.code is not None:
            if node.code:
                language = canonical(node.code_language) or self._language
                self._code(node.code, language, node.first_line, node.code_line)
        else:
            if node.name in _ADMONITIONS and node.argument:
                self._prose = node.argument
            elif node.name == "rubric":
                self._prose = ""
            heading = self._heading
            self._read(node)
            self._heading = heading
            if node.children:
                self._prose = ""

    def _code(self, shown: str, language: str, start: int, code_line: int) -> None:
        shown = shown.strip("\n")
        prose, self._prose = self._prose, ""
        try:
            lines = self._source_lines(shown, code_line)
            written = "\n".join(lines)
            code, language = read_code(written, language or guess_language(written), self._config)
            if not prose:
                raise NoPair("code block without introducing prose")
        except NoPair as reason:
            self._found.skipped.append((str(reason), max(start, 0)))
            return
        if code == written and self._document is not None:
            code = self._document.as_written(code, code_line)
        text = "\n".join(filter(None, (self._heading if self._has_headings else "", prose)))
        self._found.extracts.append(Extract(text, code, language, KIND, start, code_line + len(lines) - 1))

    def _source_lines(self, shown: str, line: int) -> list[str]:
        """The file's lines of a block without their common indentation.

        Args:
          shown: the block as docutils has it: with spaces for tabs and without trailing space.
          line: the number of its first line.
        """
        lines = self._lines[max(line - 1, 0) : line + shown.count("\n")]
        indent = common_indentation(lines)
        lines = [raw[len(indent) :] if raw.startswith(indent) else raw.strip() for raw in lines]
        if line < 1 or [raw.split() for raw in lines] != [seen.split() for seen in shown.split("\n")]:
            raise NoPair("code block whose lines are not in the file as they are")
        return lines


def _words(node: nodes.Element) -> str:
    """The plain text of a heading or a paragraph."""
    parts: list[str] = []
    stack: list[nodes.Node] = [node]
    while stack:
        child = stack.pop()
        if isinstance(child, nodes.Text):
            parts.append(str(child))
        elif isinstance(child, nodes.literal):
            parts.append(f"`{child.astext()}`")
        elif not isinstance(child, _SILENT):
            stack.extend(reversed(child.children))
    return "".join(parts).replace("\0", "").strip()
