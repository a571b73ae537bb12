"""Fenced code blocks with the heading and the paragraph that introduce them, from Markdown.

``text`` is the nearest heading above the block and, on the next line, the last paragraph before it, both as plain
text (links by their words, code spans in backticks). The paragraph must come right before the block, or before the
container that the block is in: a heading, a table, HTML or another block between them ends its reach. Tabs of one set
share the paragraph before the first. ``code`` is the fence's content, byte for byte; CommonMark itself takes off the
fence's indentation and list or quote markers.

Front matter, lines of templates (Hugo, Liquid, MDX), markers of containers and directives that hold no code are no
prose. What directives such as ``{note}`` hold is read as Markdown.

Skipped and counted: blocks without a language, those of a language that is none (output, plain text), blocks that no
paragraph introduces, unclosed blocks, cells with notebook magics, directives without code, fences that CommonMark does
not see (in indented or HTML blocks), and what ``document_code`` says.
"""

from __future__ import annotations

import re

from markdown_it.token import Token

from t2c_jax.config import CorpusConfig
from t2c_jax.languages.document_code import DocumentText, makes_pairs, read_code
from t2c_jax.languages.extractor import Extract, Extraction
from t2c_jax.languages.forms import NoPair
from t2c_jax.languages.markdown.code_blocks import COLON_CONTAINER, INDENTED_CONTAINER, parse, split_front_matter
from t2c_jax.languages.markdown.info import Info, read_info, without_options
from t2c_jax.languages.markdown.prose import is_markup, words_of

KIND = "markdown"
_ENDS_PROSE = frozenset(
    [
        "hr",
        "table_close",
        "bullet_list_close",
        "ordered_list_close",
        "blockquote_close",
        f"{COLON_CONTAINER}_close",
    ]
)
_TAB = "==="
_DEPTH = 20  # of directives in directives


def extract_markdown(data: bytes, config: CorpusConfig) -> Extraction:
    """The introduced code blocks of a Markdown file; see the module's docstring."""
    found = Extraction()
    if KIND not in config.kinds or not makes_pairs(config):
        return found
    try:
        document = DocumentText(data)
    except NoPair as reason:
        found.skipped.append((str(reason), 0))
        return found
    page, lines_before, kernel = split_front_matter(document.text)
    reader = MarkdownReader(config, kernel, found, document)
    reader.read(page, lines_before)
    return found


class MarkdownReader:
    """Reads blocks in order, with the heading and the prose that are in reach.

    Attributes:
      heading: the last one that was read; empty before the first.
      prose: the paragraph in reach of a block that would come next; empty if there is none.
    """

    def __init__(
        self,
        config: CorpusConfig,
        kernel: str,
        found: Extraction,
        document: DocumentText | None = None,
        has_headings: bool = True,
    ) -> None:
        """Starts without a heading.

        Args:
          config: for what a block's code is.
          kernel: the Jupyter kernel or the language of cells; empty if there is none.
          found: gets the pairs and what is skipped.
          document: whose lines are read; line ends of code are those that it has.
          has_headings: whether texts begin with the heading above.
        """
        self._has_headings = has_headings
        self._config, self._kernel, self._found, self._document = config, kernel, found, document
        self.heading = self.prose = ""
        self._depth = 0

    def read(self, source: str, lines_before: int) -> None:
        """Adds the pairs of some Markdown, of a page or of a directive."""
        tokens = parse(source)
        before_containers: list[str] = []  # the prose in reach where each open container began
        before_tab = ""  # of the tab that has just ended
        for position, token in enumerate(tokens):
            tab, before_tab = before_tab, ""
            if token.type == "inline":
                self._inline(token, tokens[position - 1].type)
            elif token.type == "fence":
                self._fence(token, lines_before)
                self.prose = ""
            elif token.type == f"{INDENTED_CONTAINER}_open":
                self.prose = self.prose or (tab if token.markup == _TAB else "")
                before_containers.append(self.prose)
            elif token.type == f"{INDENTED_CONTAINER}_close":
                self.prose = ""
                before = before_containers.pop()
                before_tab = before if token.markup == _TAB else ""
            elif token.type in ("code_block", "html_block"):
                self._opaque(token, lines_before)
            elif token.type in _ENDS_PROSE:
                self.prose = ""

    def _inline(self, token: Token, opener: str) -> None:
        words = words_of(token)
        if opener == "heading_open":
            self.heading, self.prose = words, ""
        elif opener != "paragraph_open":
            self.prose = ""
        elif words:  # a line of markup alone leaves the prose above in reach
            self.prose = words

    def _opaque(self, token: Token, lines_before: int) -> None:
        """A block whose content CommonMark does not read."""
        if token.type == "html_block" and is_markup(token.content):
            return
        self.prose = ""
        assert token.map is not None
        for number, line in enumerate(token.content.split("\n")):
            fence = _FENCE.match(line)
            if fence and fence["info"].strip(" `~"):
                where = "an indented block" if token.type == "code_block" else "HTML"
                self._found.skipped.append((f"code block in {where}", lines_before + token.map[0] + number + 1))

    def _fence(self, token: Token, lines_before: int) -> None:
        assert token.map is not None
        start, end = lines_before + token.map[0] + 1, lines_before + token.map[1]
        info = read_info(token.info, self._kernel)
        if _is_unclosed(token):
            self._found.skipped.append(("unclosed code block", start))
        elif info.directive:
            self._directive(token.content, start)
        else:
            self._code(info, token.content.removesuffix("\n"), start, end)

    def _directive(self, content: str, start: int) -> None:
        before = len(self._found.extracts) + len(self._found.skipped)
        if self._depth < _DEPTH:
            self._depth += 1
            heading = self.heading
            self.read(without_options(content) if content else "", start + _option_lines(content))
            self.heading = heading
            self._depth -= 1
        if before == len(self._found.extracts) + len(self._found.skipped):
            self._found.skipped.append(("directive without code", start))

    def _code(self, info: Info, content: str, start: int, end: int) -> None:
        shown = without_options(content) if info.has_options else content
        try:
            code, language = read_code(shown, info.language, self._config)
            if not self.prose:
                raise NoPair("code block without introducing prose")
        except NoPair as reason:
            self._found.skipped.append((str(reason), start))
            return
        if code == shown and self._document is not None:
            code = self._document.as_written(code, start + 1 + content.count("\n") - shown.count("\n"))
        text = "\n".join(filter(None, (self.heading if self._has_headings else "", self.prose)))
        self._found.extracts.append(Extract(text, code, language, KIND, start, end))


_FENCE = re.compile(r"[ \t]*(?P<fence>`{3,}|~{3,})(?P<info>.*)")


def _is_unclosed(token: Token) -> bool:
    """Whether a fence's end is missing: it ends with what it is in, or swallows the beginning of the next one."""
    assert token.map is not None
    lines = token.content.split("\n") if token.content else []
    if lines and not lines[-1]:
        lines.pop()
    if token.map[1] - token.map[0] == len(lines) + 1:
        return True
    for line in lines:
        found = _FENCE.match(line)
        if found and found["fence"].startswith(token.markup) and re.match(r"[ \t]*[\w{.]", found["info"]):
            return True
    return False


def _option_lines(content: str) -> int:
    return content.count("\n") - without_options(content).count("\n")
