"""Definitions without their names: the code of the task of names (Alon et al. 2019, section 4.1)."""

from __future__ import annotations

import ast
import contextlib
import re
from collections.abc import Iterator, Sequence

PLACEHOLDER = "_"
"""Replaces the name that the model must find."""

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef

_HEAD = re.compile(rb"(?:async[ \t\f]+def|def|class)[ \t\f]+")


def is_dunder(name: str) -> bool:
    """Whether Python itself gives the name its meaning, as ``__init__``."""
    return len(name) > 4 and name.startswith("__") and name.endswith("__")


class Mentions:
    """Where a definition names itself: its header, and every variable and parameter of that name inside.

    Of a method also every attribute of that name: ``self.total()`` in ``total`` and ``super().reset()`` in ``reset``
    name it, and so may another object's, as a child's in a recursion over a tree.

    Attributes:
      nodes: the definition, and the ``ast.Name``, ``ast.arg`` and ``ast.Attribute`` nodes with its name.
      elsewhere: whether the name is bound in a way that has no such node, as by an import or ``global``; renaming the
        others would then change what the code means.
    """

    def __init__(self, definition: Definition, is_method: bool) -> None:
        self.nodes: list[Definition | ast.Name | ast.arg | ast.Attribute] = [definition]
        self.elsewhere = False
        name = definition.name
        stack: list[ast.AST] = list(ast.iter_child_nodes(definition))
        while stack:
            node = stack.pop()
            match node:
                case ast.Name(id=found) | ast.arg(arg=found) if found == name:
                    self.nodes.append(node)
                case ast.Attribute(attr=found) if found == name and is_method:
                    self.nodes.append(node)
                case _ if name in _other_bindings(node):
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
            if isinstance(node, ast.Attribute):
                assert node.end_lineno is not None
                assert node.end_col_offset is not None
                row, column = node.end_lineno - start, node.end_col_offset - len(wanted)
            if node is name:
                head = _HEAD.match(result[row], column)
                column = head.end() if head else len(result[row])
            line = result[row]
            if column < 0 or not line.startswith(wanted, column):
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
            setattr(node, {ast.Name: "id", ast.arg: "arg", ast.Attribute: "attr"}.get(type(node), "name"), name)


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
