"""The sub-trees of a syntax tree, compared by structure: kinds of nodes and names of fields, without any text."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from tree_sitter import Node


class Subtrees:
    """Numbers structures, so that equal ones of several trees are one number.

    A structure is what tree-sitter prints of a node: its kind, and its named or missing children with their fields.
    """

    def __init__(self) -> None:
        self._numbers: dict[tuple[Any, ...], int] = {}

    def of(self, root: Node, skipped: Callable[[Node], bool] = lambda node: False) -> tuple[int, Counter[int]]:
        """The structure of the root, and how often each structure occurs among the nodes with children.

        Time and memory are linear in the size of the tree, however deep it is.

        Args:
          root: of a tree.
          skipped: nodes that do not belong to the structure, with all below them.
        """
        found: Counter[int] = Counter()
        # For each open node, from the root down: the node, its field in its parent, and the structures of its children.
        opened: list[tuple[Node, str | None, list[tuple[str | None, int]]]] = [(root, None, [])]
        cursor = root.walk()
        descend = True
        while True:
            if descend and cursor.goto_first_child():
                opened.append((_node(cursor), cursor.field_name, []))
                descend = not skipped(opened[-1][0])
                continue
            node, name, children = opened.pop()
            if not skipped(node):
                number = self._number(node, children)
                if node.child_count:
                    found[number] += 1
                if not opened:
                    return number, found
                if node.is_named or node.is_missing:
                    opened[-1][2].append((name, number))
            elif not opened:
                return self._number(node, []), found
            if cursor.goto_next_sibling():
                opened.append((_node(cursor), cursor.field_name, []))
                descend = not skipped(opened[-1][0])
            else:
                cursor.goto_parent()
                descend = False

    def _number(self, node: Node, children: list[tuple[str | None, int]]) -> int:
        unexpected = node.text[:1] if node.is_error and not node.child_count and node.text else b""
        key = (node.type, node.is_missing, unexpected, *children)
        return self._numbers.setdefault(key, len(self._numbers))


def _node(cursor: Any) -> Node:
    node: Node | None = cursor.node
    assert node is not None
    return node
