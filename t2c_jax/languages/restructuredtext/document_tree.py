"""Parses reStructuredText with docutils, so that no directive or role is unknown and none does anything.

Sphinx and its extensions define hundreds of directives. Here each becomes a ``Directive`` node; what it holds is parsed
where it is prose. Each role becomes the words that it shows. Nothing is included, imported, run or read from elsewhere,
and docutils' registries, which other users of the process share, stay as they are.
"""

from __future__ import annotations

import functools
import re
from typing import Any, ClassVar

from docutils import frontend, nodes, utils
from docutils.parsers import rst
from docutils.parsers.rst import states

# Directives whose content is no reStructuredText, or no prose. A directive with a domain, as in "py:function", is none.
_OPAQUE = frozenset(
    [
        *("autosummary", "csv-table", "digraph", "graph", "graphviz", "include", "inheritance-diagram", "math"),
        *("literalinclude", "mermaid", "meta", "parsed-literal", "plantuml", "productionlist", "program-output", "raw"),
        *("tabularcolumns", "testcleanup", "testoutput", "testsetup", "toctree", "uml"),
    ]
)
# Directives that hold code, and the language that the directive implies.
_CODE = {
    "code": "",
    "code-block": "",
    "code-cell": "",
    "doctest": "python",
    "ipython": "python",
    "jupyter-execute": "python",
    "plot": "python",
    "prompt": "",
    "sourcecode": "",
    "testcode": "python",
}
_NO_LANGUAGE = frozenset(["doctest", "ipython", "jupyter-execute", "plot", "testcode"])  # the argument is another thing
_OPTION = re.compile(r"[ \t]*:[\w-][^:\n]*:(?: |$)")
_ROLE_TARGET = re.compile(r"\s*<[^<>]*>$", re.DOTALL)
_PLAIN_ROLES = frozenset(
    ["abbr", "abbreviation", "emphasis", "strong", "sub", "subscript", "sup", "superscript", "term"]
)


class Directive(nodes.General, nodes.Element):
    """A directive; its children are what its content says, if that is prose.

    Attributes:
      name: without its domain, in lower case.
      argument: behind the name, perhaps of several lines.
      code: its content where it holds code; None for other directives.
      code_language: of the code, as it is written; empty if it is not said.
      first_line: of the directive.
      code_line: the line of the code's first line.
    """

    name = argument = code_language = ""
    code: str | None = None
    first_line = code_line = 0


class _Directives:
    """A state of docutils' parser in which every directive is known."""

    nested_sm_cache: ClassVar[list[Any]] = []  # of parsers with these states; docutils has its own list for its own

    def __init__(self, state_machine: Any, debug: bool = False) -> None:
        """Makes the parsers of nested text use these states too."""
        super().__init__(state_machine, debug)  # type: ignore[call-arg]
        self.nested_sm_kwargs = {"state_classes": _STATES, "initial_state": "Body"}

    def explicit_construct(self: Any, match: re.Match[str]) -> tuple[list[nodes.Node], bool]:
        """Docutils calls its own ``directive`` by a table of functions; no other construct looks like a directive."""
        found = states.Body.explicit.constructs[-1][1].match(match.string)
        if found:
            return self.directive(found)
        return states.Body.explicit_construct(self, match)

    def directive(self: Any, match: re.Match[str], **presets: Any) -> tuple[list[nodes.Node], bool]:
        """Returns the directive's node, and whether it ends at a blank line."""
        machine = self.state_machine
        node = Directive()
        node.name = match.group(1).lower().rpartition(":")[2]
        node.first_line = self.document.current_line or machine.abs_line_number()
        block, _, offset, blank_finish = machine.get_first_known_indented(match.end(), strip_top=0)
        lines = list(block)
        while lines and not lines[-1].strip():
            lines.pop()
        begin = 0
        while begin < len(lines) and lines[begin].strip() and not _OPTION.match(lines[begin]):
            begin += 1
            if node.name in _CODE:
                break
        node.argument = "\n".join(lines[:begin]).strip()
        while begin < len(lines) and lines[begin].strip() and (_OPTION.match(lines[begin]) or node.name not in _CODE):
            begin += 1
        while begin < len(lines) and not lines[begin].strip():
            begin += 1
        if node.name in _CODE:
            node.code = "\n".join(lines[begin:])
            node.code_line = _line(block, begin, offset)
            words = node.argument.split()
            node.code_language = words[0] if words and node.name not in _NO_LANGUAGE else _CODE[node.name]
        elif node.name not in _OPAQUE and begin < len(lines):
            self.nested_parse(block[begin : len(lines)], offset + begin, node)
        return [node], blank_finish or machine.is_next_line_blank()


def _line(block: Any, index: int, offset: int) -> int:
    """The document's line of a line of a block."""
    if index < len(block.items) and block.items[index][1] is not None:
        return int(block.items[index][1]) + 1
    return offset + index + 1


def _role(rawsource: str, text: str, role: str, lineno: int) -> tuple[list[nodes.Node], list[nodes.Node]]:
    """The words that a role shows, and no messages."""
    words = utils.unescape(_ROLE_TARGET.sub("", text)).strip().lstrip("!")
    if words.startswith("~"):
        words = words[1:].rpartition(".")[2]
    return [(nodes.inline if role in _PLAIN_ROLES else nodes.literal)(rawsource, words)], []


_STATES = tuple(type(state.__name__, (_Directives, state), {}) for state in states.state_classes)


@functools.cache
def _settings() -> Any:
    settings = frontend.get_default_settings(rst.Parser)
    settings.update(
        {
            "_disable_config": True,
            "file_insertion_enabled": False,
            "halt_level": 5,
            "raw_enabled": False,
            "report_level": 5,
            "warning_stream": False,
        },
        frontend.OptionParser(components=(rst.Parser,)),
    )
    return settings


def parse(text: str) -> nodes.document:
    """The tree of a document with line feeds alone; line n of the tree is line n of the text."""
    document = utils.new_document("document", _settings())
    machine = states.RSTStateMachine(state_classes=_STATES, initial_state="Body")
    # docutils would split lines at form feeds and Unicode's separators as well.
    lines = [line.expandtabs(document.settings.tab_width).rstrip() for line in text.split("\n")]
    inliner = states.Inliner()
    inliner.interpreted = _role  # a subclass would lack the patterns, which docutils reads from the class itself
    machine.run(lines, document, inliner=inliner)
    return document
