"""What the extractor of definitions needs to know of a language: one table for each, without code of its own.

A table's query finds nodes by tree-sitter's query language. Each pattern has one capture, and perhaps one whose name
begins with ``_`` for a predicate:

- ``@function``: a function; a method where a class or a ``@scope`` is the nearest one around it.
- ``@method``: a method wherever it is.
- ``@class``: a type definition: class, interface, enum, struct, trait, alias.
- ``@scope``: makes methods of the functions within, as a class does, but is no pair itself (Rust's ``impl``).
- ``@wrapper``: belongs to the definition that is its last child (or ``wrapped`` child): ``export``, ``template``.
- ``@attribute``: an annotation, attribute or decorator, within a definition or before it. It belongs to the code, but
  not to the signature.
- ``@omitted``: other parts that are not in the signature, such as a constructor's initialisers.
- ``@comment``: every comment.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tree_sitter import Node

Part = str | Callable[["Node"], "Node | None"]
"""Where a part of a node is: a field, a path of fields such as ``value.body``, or a function."""


@dataclass(frozen=True)
class CommentRules:
    """Which comments document the definition below them.

    Attributes:
      style: of their markup, for ``clean_doc``.
      doc: matches the beginning of a documentation comment.
      plain: whether an ordinary comment right above a definition documents it too.
      plain_style: of the markup of ordinary comments.
      directive: matches the beginning of a comment that is an instruction to a tool. It documents nothing.
      not_doc: a documentation comment that matches it documents something else: the file, or what is before it.
      joins: whether all comments right above a definition count, or the last block alone. Comments of one line count
        together either way.
      inner: matches the beginning of a documentation comment at the start of a body (Rust's ``//!``).
    """

    style: str
    doc: re.Pattern[bytes]
    plain: bool = False
    plain_style: str = "plain"
    directive: re.Pattern[bytes] | None = None
    not_doc: re.Pattern[bytes] | None = None
    joins: bool = False
    inner: re.Pattern[bytes] | None = None

    def may_document(self, data: bytes) -> bool:
        """Whether a file has anything that may be documentation. If not, it need not be parsed."""
        if self.plain:
            return any(mark in data for mark in (b"//", b"/*", b"#", b"--", b"=begin"))
        return any(start is not None and start.search(data) for start in (self.doc, self.inner))


@dataclass(frozen=True, eq=False)  # hashed by identity
class LanguageTable:
    """A language, or one dialect of it.

    Attributes:
      language: its name in ``aliases``.
      grammar: module and function of the tree-sitter grammar.
      query: finds definitions and comments; see the module's docstring.
      comments: which of them are documentation.
      names: by type of node, where the name is; ``name`` for all others.
      bodies: by type of node, where the body is; ``body`` for all others.
      wrapped: by type of ``@wrapper``, the field of what it wraps; the last child for all others.
      strings: a query for literals that may have several lines. Lines within them keep their indentation.
      string_start: bytes without which there is no such literal.
      unimplemented: matches the only statement of a body that implements nothing.
      generated: matches an attribute of definitions that a tool wrote.
      terminator: what ends a definition outside of its node, such as C's semicolon after a struct.
      blanked: macros that the parser does not see.
      blanked_on_errors: macros that it does not see in files with errors, if more definitions are whole without them.
    """

    language: str
    grammar: tuple[str, str]
    query: str
    comments: CommentRules
    names: Mapping[str, Part] = field(default_factory=dict)
    bodies: Mapping[str, Part] = field(default_factory=dict)
    wrapped: Mapping[str, str] = field(default_factory=dict)
    strings: str = ""
    string_start: re.Pattern[bytes] | None = None
    unimplemented: re.Pattern[bytes] | None = None
    generated: re.Pattern[bytes] | None = None
    terminator: bytes = b""
    blanked: re.Pattern[bytes] | None = None
    blanked_on_errors: re.Pattern[bytes] | None = None

    def name_of(self, node: Node) -> Node | None:
        """The node of a definition's name, or None where it has none."""
        return _part(node, self.names.get(node.type, "name"))

    def body_of(self, node: Node) -> Node | None:
        """A definition's body, or None where it has none."""
        return _part(node, self.bodies.get(node.type, "body"))

    def wraps(self, wrapper: Node, node: Node) -> bool:
        """Whether a wrapper around a node belongs to it."""
        if wrapper.type in self.wrapped:
            return wrapper.child_by_field_name(self.wrapped[wrapper.type]) == node
        count = wrapper.named_child_count
        return count > 0 and wrapper.named_child(count - 1) == node


def _part(node: Node, part: Part) -> Node | None:
    if not isinstance(part, str):
        return part(node)
    found: Node | None = node
    for name in part.split("."):
        if found is not None:
            found = found.child_by_field_name(name)
    return found
