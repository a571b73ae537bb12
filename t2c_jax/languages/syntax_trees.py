"""Syntax trees of code, by the grammars of tree-sitter.

A language has a tree if it is registered in ``tree_grammars`` under its name in ``aliases``. A grammar is imported when
code of its language is first parsed.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from t2c_jax.config.registry import Registry
from t2c_jax.languages.aliases import canonical

if TYPE_CHECKING:
    from tree_sitter import Language, Node, Parser, Query, Tree


@dataclass(frozen=True)
class TreeGrammar:
    """Where the grammar of a language is.

    Attributes:
      module: the package of one language, such as ``tree_sitter_python``. Packages of many languages download them.
      entries: functions of the module that give a grammar. Of several dialects the first one without a syntax error
        is used.
    """

    module: str
    entries: tuple[str, ...] = ("language",)


tree_grammars: Registry[TreeGrammar] = Registry("tree-sitter grammar")
"""By the languages' names, as ``aliases.canonical`` gives them."""

for _name, _grammar in {
    "c": TreeGrammar("tree_sitter_c"),
    "cpp": TreeGrammar("tree_sitter_cpp"),
    "csharp": TreeGrammar("tree_sitter_c_sharp"),
    "go": TreeGrammar("tree_sitter_go"),
    "java": TreeGrammar("tree_sitter_java"),
    "javascript": TreeGrammar("tree_sitter_javascript"),
    "kotlin": TreeGrammar("tree_sitter_kotlin"),
    "php": TreeGrammar("tree_sitter_php", ("language_php_only",)),  # the opening tag may be missing
    "python": TreeGrammar("tree_sitter_python"),
    "ruby": TreeGrammar("tree_sitter_ruby"),
    "rust": TreeGrammar("tree_sitter_rust"),
    "shell": TreeGrammar("tree_sitter_bash"),
    "sql": TreeGrammar("tree_sitter_sql"),
    "swift": TreeGrammar("tree_sitter_swift"),
    # "<T>x" is a cast in one dialect and an element in the other.
    "typescript": TreeGrammar("tree_sitter_typescript", ("language_typescript", "language_tsx")),
}.items():
    tree_grammars.register(_name)(_grammar)


class _Parsers(threading.local):
    """A parser has state, so each thread has its own. Grammars are shared."""

    def __init__(self) -> None:
        self.made: dict[tuple[str, str], Parser] = {}


_parsers = _Parsers()


def has_tree(language: str) -> bool:
    """Whether there is a grammar of the language, by any of its common names."""
    return canonical(language) in tree_grammars


def grammar_version(language: str) -> str:
    """The version of the installed grammar of a language, by any of its common names; empty without a grammar."""
    if not has_tree(language):
        return ""
    return importlib.metadata.version(tree_grammars.get(canonical(language), "language").module.replace("_", "-"))


def syntax_tree(code: str, language: str) -> Tree | None:
    """The tree of some code; None for a language without a grammar.

    Offsets in the tree count UTF-8 bytes of ``encoded(code)``. What the grammar does not accept becomes nodes ``ERROR``
    or missing nodes: ``tree.root_node.has_error``.

    Args:
      code: of any form, a whole file or a few lines.
      language: by any of its common names.
    """
    name = canonical(language)
    if name not in tree_grammars:
        return None
    grammar, source = tree_grammars.get(name, "language"), encoded(code)
    trees = (parse(source, grammar.module, entry) for entry in grammar.entries)
    first = next(trees)
    if not first.root_node.has_error:
        return first
    return next((tree for tree in trees if not tree.root_node.has_error), first)


def parse(source: bytes, module: str, entry: str) -> Tree:
    """The tree by one grammar: an entry of a module, as in ``TreeGrammar``."""
    return _parser(module, entry).parse(source)


def parse_changed(tree: Tree, source: bytes, changed: Iterable[tuple[int, int]], module: str, entry: str) -> Tree:
    """The tree of a source in which some bytes were replaced by as many others, and no line ends.

    Only what depends on them is parsed again. The rest is shared with the tree before the change, which stays as it is:
    its nodes have the same ``id`` in both.

    Args:
      tree: before the change.
      source: after it.
      changed: start and end of what was replaced, in the order of the source.
      module: of the grammar of both trees.
      entry: of the module.
    """
    edited = tree.copy()
    row = counted = 0
    for start, end in changed:
        points = []
        for position in (start, end):
            row += source.count(b"\n", counted, position)
            points.append((row, position - 1 - source.rfind(b"\n", 0, position)))
            counted = position
        edited.edit(start, end, end, points[0], points[1], points[1])
    return _parser(module, entry).parse(source, edited)


def compile_query(query: str, module: str, entry: str) -> Query:
    """A query for trees of one grammar: an entry of a module, as in ``TreeGrammar``."""
    from tree_sitter import Query

    return Query(_language(module, entry), query)


def encoded(code: str) -> bytes:
    """The bytes that the offsets of ``syntax_tree`` count. A lone surrogate, which UTF-8 cannot hold, becomes "?"."""
    return code.encode("utf-8", "replace")


def nodes(root: Node) -> Iterator[Node]:
    """The node and all below it, parents first, in the order of the code. Deep trees are no problem."""
    cursor = root.walk()
    while True:
        node = cursor.node
        assert node is not None
        yield node
        if cursor.goto_first_child():
            continue
        while not cursor.goto_next_sibling():
            if not cursor.goto_parent():
                return


def states_nothing(node: Node) -> bool:
    """Whether a node is a comment, or a string that is a whole statement, as docstrings are."""
    if node.type == "expression_statement":
        return node.child_count == 1 and node.children[0].type == "string"
    return node.is_extra and not node.is_error


def _parser(module: str, entry: str) -> Parser:
    made = _parsers.made
    if (module, entry) not in made:
        from tree_sitter import Parser

        made[module, entry] = Parser(_language(module, entry))
    return made[module, entry]


@functools.cache
def _language(module: str, entry: str) -> Language:
    from tree_sitter import Language

    return Language(getattr(importlib.import_module(module), entry)())
