"""Names in sub-tokens, and definitions without theirs: the task of code2seq (Alon et al. 2019, section 4.1)."""

from __future__ import annotations

import ast
import contextlib
import re
from collections.abc import Iterator, Sequence

PLACEHOLDER = "_"
"""What stands for the name that is asked for."""

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef

_RUN = re.compile(r"[^\W\d_]+|\d+")
_HEAD = re.compile(rb"(?:async[ \t\f]+def|def|class)[ \t\f]+")


def subtokens(name: str) -> list[str]:
    """The words and numbers of a name in lower case: ``getHTTPUrl_2`` gives get, http, url, 2."""
    parts = []
    for run in _RUN.findall(name):
        start = 0
        for i in range(1, len(run)):
            rises = run[i].isupper() and not run[i - 1].isupper()
            ends_acronym = run[i].isupper() and run[i + 1 : i + 2].islower()
            if rises or ends_acronym:
                parts.append(run[start:i])
                start = i
        parts.append(run[start:])
    return [part.lower() for part in parts]


def is_dunder(name: str) -> bool:
    """Whether Python itself gave the name, as ``__init__``: nothing is to be guessed of it."""
    return len(name) > 4 and name.startswith("__") and name.endswith("__")


class Mentions:
    """Where a definition names itself: its header, and every variable and parameter of that name inside.

    Attributes:
      nodes: the definition, and the ``ast.Name`` and ``ast.arg`` nodes with its name.
      elsewhere: whether the name is bound in a way that has no such node, as by an import or ``global``; renaming the
        others would then change what the code means.
    """

    def __init__(self, definition: Definition) -> None:
        self.nodes: list[Definition | ast.Name | ast.arg] = [definition]
        self.elsewhere = False
        name = definition.name
        stack: list[ast.AST] = list(ast.iter_child_nodes(definition))
        while stack:
            node = stack.pop()
            if (isinstance(node, ast.Name) and node.id == name) or (isinstance(node, ast.arg) and node.arg == name):
                self.nodes.append(node)
            elif name in _other_bindings(node):
                self.elsewhere = True
            stack.extend(ast.iter_child_nodes(node))

    def blank(self, lines: Sequence[bytes], start: int) -> list[bytes] | None:
        """The lines with each mention as the placeholder and null bytes, so that columns stay as they are.

        Args:
          lines: of the definition, decorators counted in.
          start: the number of the first of them in the file.

        Returns:
          None where a mention is not written as it is read (names are normalised to NFKC).
        """
        name, *others = self.nodes
        assert isinstance(name, Definition)
        wanted = name.name.encode()
        result = list(lines)
        for node in (name, *others):
            row, column = node.lineno - start, node.col_offset  # ast counts columns in UTF-8 bytes
            if node is name:
                head = _HEAD.match(result[row], column)
                column = head.end() if head else len(result[row])
            line = result[row]
            if not line.startswith(wanted, column):
                return None
            blank = PLACEHOLDER.encode().ljust(len(wanted), b"\0")
            result[row] = line[:column] + blank + line[column + len(wanted) :]
        return result

    @contextlib.contextmanager
    def renamed(self) -> Iterator[None]:
        """Within it, the tree has the placeholder for its name; a copy would cost more than all the rest."""
        definition = self.nodes[0]
        assert isinstance(definition, Definition)
        name = definition.name
        self._rename(PLACEHOLDER)
        try:
            yield
        finally:
            self._rename(name)

    def _rename(self, name: str) -> None:
        for node in self.nodes:
            setattr(node, {ast.Name: "id", ast.arg: "arg"}.get(type(node), "name"), name)


def _other_bindings(node: ast.AST) -> Sequence[str | None]:
    match node:
        case ast.Global() | ast.Nonlocal():
            return node.names
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return [node.name]
        case ast.ExceptHandler() | ast.MatchAs() | ast.MatchStar():
            return [node.name]
        case ast.MatchMapping():
            return [node.rest]
        case ast.alias():
            return [node.asname or node.name.partition(".")[0]]
    return []
