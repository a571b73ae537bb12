"""What a language's query finds in the tree of a file: all of it, or what is next to comments that may document.

A query visits every node, and most of them are the insides of functions. Where only documented definitions are wanted,
comments are looked for in the bytes of the file. The tree is walked down to each of them, and the query visits what is
next to it: attributes, the definition behind them, and the nodes around. Both ways give the same pairs.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING

from t2c_jax.languages.definitions.attached_comments import Item
from t2c_jax.languages.definitions.comment_runs import CommentRuns
from t2c_jax.languages.definitions.language_table import LanguageTable
from t2c_jax.languages.syntax_trees import compile_query

if TYPE_CHECKING:
    from tree_sitter import Node, Query, QueryCursor

Span = tuple[int, int, int, str, "Node"]
"""A node of a definition: its start, its negative end, its rank among equal ones, the capture and the node."""

# Of equal spans wrappers come first, and a method before the function that it is as well.
_RANKS = {"wrapper": 0, "method": 1, "function": 2, "class": 2, "scope": 2}
_END = attrgetter("end_byte")


class Captures:
    """The spans and items of a tree that were found so far. To find one again changes nothing."""

    def __init__(self, data: bytes, root: Node, table: LanguageTable) -> None:
        from tree_sitter import QueryCursor

        self._data, self._root, self._table = data, root, table
        self._query = query_of(table)
        self._cursor = QueryCursor(self._query)
        self._rooted = QueryCursor(self._query)  # for what begins at the node itself
        self._rooted.set_max_start_depth(0)
        self._spans: dict[tuple[int, str], Span] = {}
        self._starts: set[int] = set()
        self._wrappers: dict[int, list[Node]] = {}
        self._items: set[Item] = set()
        self._open = [root]  # the nodes around the last position, each a child of the one before

    def spans(self) -> list[Span]:
        """In the order of the file, outer ones first."""
        return sorted(self._spans.values(), key=lambda span: span[:3])

    def items(self) -> list[Item]:
        """Comments and attributes."""
        return list(self._items)

    def find_all(self) -> None:
        """Finds everything."""
        self._items.update(self._add(matches(self._cursor, self._root)))

    def find_near_comments(self, runs: CommentRuns, macros: Mapping[int, int]) -> None:
        """Finds what is next to comments that may document, and around them.

        Args:
          runs: the comments.
          macros: start and end of what the parser did not see. It may stand between a comment and a definition.
        """
        position = 0
        while run := runs.after(position):
            start, end = run
            above = self._last_above(start)
            found = self._find(above, end + 1)
            position = self._behind_comments(found, start)
            if position == start:  # the inside of a literal that looks like a comment
                position = start + 1
                continue
            self._find_behind(position, found if position <= end else None, macros)
            while above < start and (item := next((item for item in found if item.end == above + 1), None)):
                start = item.start
                above = self._last_above(start)
                found = self._find(above, start)

    def items_within(self, node: Node, start: int, end: int) -> list[Item]:
        """The comments and attributes of a node that are between two positions."""
        self._cursor.set_byte_range(start, end)
        found = self._add(matches(self._cursor, node))
        return [item for item in found if item.start >= start and start < item.end <= end]

    def _find(self, start: int, end: int) -> list[Item]:
        """Adds what touches the bytes between two positions; returns the items of it in the order of the file."""
        found: list[Item] = []
        for node in self._touching(start, end):
            if node.type in self._table.comment_types:
                found.append(_item(self._data, node, True))
            else:
                self._cursor.set_byte_range(start, end)
                found += self._add(matches(self._cursor, node))
        self._items.update(found)
        return sorted(found)

    def _touching(self, start: int, end: int) -> list[Node]:
        """The nodes that touch these bytes, all children of the innermost one that begins before them and has them all.

        What that one and those around it are is added.
        """
        around = self._open
        while len(around) > 1 and not (around[-1].start_byte < start and end <= around[-1].end_byte):
            around.pop()
        while True:
            children = around[-1].children
            first = last = bisect_right(children, start, key=_END)
            if first == len(children):
                return []
            child = children[first]
            if not (child.start_byte < start and end <= child.end_byte and child.child_count):
                break
            around.append(child)
            self._add(matches(self._rooted, child))
        while last < len(children) and children[last].start_byte < end:
            last += 1
        return children[first:last]

    def _add(self, found: Iterator[tuple[str, Node]]) -> list[Item]:
        """Adds the spans of what was found; returns the items."""
        items = []
        for capture, node in found:
            rank = _RANKS.get(capture)
            if rank is None:
                items.append(_item(self._data, node, capture == "comment"))
            elif (key := (node.id, capture)) not in self._spans:
                start = node.start_byte
                self._spans[key] = (start, -node.end_byte, rank, capture, node)
                self._starts.add(start)
                if capture == "wrapper":
                    self._wrappers.setdefault(start, []).append(node)
        return items

    def _find_wrapped(self, position: int) -> None:
        """Adds what the wrappers that begin at a position belong to, where it begins behind them."""
        for wrapper in self._wrappers.pop(position, ()):
            wrapped = self._table.wrapped_by(wrapper)
            if wrapped is not None and wrapped.start_byte > position:
                self._find(wrapped.start_byte, wrapped.start_byte + 1)
                self._find_wrapped(wrapped.start_byte)

    def _last_above(self, start: int) -> int:
        """The last byte of what may be above a comment: an attribute, or a comment on its line; else the start."""
        data, last = self._data, start
        while last and data[last - 1] in b" \t\r\n\f\v":
            last -= 1
        if not last:
            return start
        is_comment = data.endswith(self._table.comments.syntax.block_end, 0, last) and data.find(b"\n", last, start) < 0
        return last - 1 if is_comment or data[last - 1] in self._table.attribute_ends else start

    def _behind_comments(self, items: list[Item], position: int) -> int:
        for item in items:
            if item.start <= position < item.end and item.is_comment:
                position = self._skip_space(item.end)
        return position

    def _find_behind(self, position: int, items: list[Item] | None, macros: Mapping[int, int]) -> None:
        """Adds what begins at a position, or behind the comments, attributes and macros that begin there.

        Of attributes that begin together, one is a part of another, and the definition may be behind either.
        """
        pending, seen = [position], {position}
        while pending:
            position = pending.pop()
            items = self._find(position, position + 1) if items is None else items
            ends = [item.end for item in items if item.start == position]
            if position in self._starts:
                self._find_wrapped(position)
                ends = []
            if position in macros:
                ends.append(macros[position])
            behind = {self._behind_comments(items, self._skip_space(end)) for end in ends} - seen
            pending += behind
            seen |= behind
            items = None

    def _skip_space(self, position: int) -> int:
        space = self._table.comments.syntax.space.match(self._data, position)
        return position if space is None else space.end()


def matches(cursor: QueryCursor, node: Node) -> Iterator[tuple[str, Node]]:
    """What a query captures, with the names of the captures. ``QueryCursor.captures`` would be in no order."""
    for _, captures in cursor.matches(node):
        name, found = captures.popitem()
        if name[0] == "_":  # what a predicate compares
            name, found = captures.popitem()
        yield name, found[0]


@cache
def query_of(table: LanguageTable) -> Query:
    """The query of a language, which captures comments too."""
    comments = " ".join(f"({name})" for name in sorted(table.comment_types))
    return compile_query(f"{table.query} [{comments}] @comment", *table.grammar)


def _item(data: bytes, node: Node, is_comment: bool) -> Item:
    start, end = node.start_byte, node.end_byte
    while end > start and data[end - 1] in b"\r\n":  # some grammars have the line end in the comment
        end -= 1
    return Item(start, end, is_comment)
