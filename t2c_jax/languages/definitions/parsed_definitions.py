"""The syntax tree of a file of definitions: with its macros, or without them where more definitions are whole then."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from t2c_jax.languages.definitions.attached_comments import Item
from t2c_jax.languages.definitions.captures import matches
from t2c_jax.languages.definitions.language_table import LanguageTable
from t2c_jax.languages.definitions.macros import without_macros
from t2c_jax.languages.syntax_trees import compile_query, parse, parse_changed

if TYPE_CHECKING:
    from tree_sitter import Node, Query, Tree

_SMALL = 500  # bytes; smaller nodes are searched at once, larger ones child by child
_COUNTED = ("@function", "@method", "@class")


def parse_definitions(data: bytes, table: LanguageTable) -> tuple[Tree, list[Item]]:
    """The tree, and the macros in it that the parser did not see and that share a line with code."""
    macros: list[Item] = []
    if table.blanked is not None:
        data, macros = without_macros(data, table.blanked(data))
    tree = parse(data, *table.grammar)
    if table.blanked_on_errors is not None and tree.root_node.has_error:
        spans = list(table.blanked_on_errors(data))
        if spans:
            blanked, more = without_macros(data, spans)
            other = parse_changed(tree, blanked, spans, *table.grammar)
            if is_sounder(other, tree, table):
                return other, [*macros, *more]
    return tree, macros


def is_sounder(other: Tree, tree: Tree, table: LanguageTable) -> bool:
    """Whether a tree has more whole definitions than the one that it was made from, or as many and fewer broken ones.

    What both trees share is the same in both, so it is not counted.
    """
    from tree_sitter import QueryCursor

    below, here = QueryCursor(_query(table)), QueryCursor(_query(table))
    here.set_max_start_depth(0)
    whole = broken = 0  # how many more the other tree has
    levels = [[other.root_node], [tree.root_node]]
    while levels[0] or levels[1]:
        for sign, level, own in zip((1, -1), levels, _apart(*levels), strict=True):
            level.clear()
            for node in own:
                is_small = node.end_byte - node.start_byte <= _SMALL
                for _, found in matches(below if is_small else here, node):
                    if found.has_error:
                        broken += sign
                    else:
                        whole += sign
                if not is_small:
                    level += node.children
    return (whole, -broken) > (0, 0)


def _apart(some: list[Node], others: list[Node]) -> tuple[list[Node], list[Node]]:
    """The nodes with children that only one of two trees has. Nodes of one type with the same children are the same."""
    ids = {node.id for node in some} & {node.id for node in others}
    first, second = (
        {(node.type, *[child.id for child in node.children]): node for node in level if node.id not in ids}
        for level in (some, others)
    )
    return (
        [node for key, node in first.items() if len(key) > 1 and key not in second],
        [node for key, node in second.items() if len(key) > 1 and key not in first],
    )


@cache
def _query(table: LanguageTable) -> Query:
    """A table's patterns of definitions alone, each of which begins at the definition itself."""
    query, source = compile_query(table.query, *table.grammar), table.query.encode()
    for i in range(query.pattern_count):
        pattern = source[query.start_byte_for_pattern(i) : query.end_byte_for_pattern(i)].decode()
        if not pattern.rstrip().endswith(_COUNTED):
            query.disable_pattern(i)
    return query
