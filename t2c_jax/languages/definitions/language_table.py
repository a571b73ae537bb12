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
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tree_sitter import Node

_NEVER = re.compile(rb"(?!)")
_SPACE = rb"[ \t\r\n\f\v]*+"


@dataclass(frozen=True)
class CommentSyntax:
    """How comments are written.

    Attributes:
      begin: matches the beginning of a comment.
      lines: matches line comments one below the other, with the space behind them.
      block: the first bytes of a block comment.
      block_end: its last bytes.
      space: matches what may be between comments.
    """

    begin: re.Pattern[bytes]
    lines: re.Pattern[bytes]
    block: bytes
    block_end: bytes
    space: re.Pattern[bytes] = re.compile(_SPACE)


SLASHES = CommentSyntax(re.compile(rb"/[/*]"), re.compile(rb"(?://[^\n]*+%s)+" % _SPACE), b"/*", b"*/")
HASHES = CommentSyntax(re.compile(rb"#|=begin\b"), re.compile(rb"(?:#[^\n]*+%s)+" % _SPACE), b"=begin", b"\n=end")

NAME_OR_CALL = b")_$" + f"{string.ascii_letters}{string.digits}".encode()
"""Last bytes of attributes such as ``@name`` and ``@name(1)``."""

Macros = Callable[[bytes], Iterator[tuple[int, int]]]
"""Finds macros in a file: start and end of each."""

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
      syntax: of all comments.
      statement: matches the beginning of what is no definition for certain, behind an ordinary comment. It saves time.
    """

    style: str
    doc: re.Pattern[bytes] = _NEVER
    plain: bool = False
    plain_style: str = "plain"
    directive: re.Pattern[bytes] | None = None
    not_doc: re.Pattern[bytes] | None = None
    joins: bool = False
    inner: re.Pattern[bytes] | None = None
    syntax: CommentSyntax = SLASHES
    statement: re.Pattern[bytes] = _NEVER

    @cached_property
    def begin(self) -> re.Pattern[bytes]:
        """Matches the beginning of a comment that may document, and literals that look like it."""
        if self.plain:
            return self.syntax.begin
        return self.doc if self.inner is None else re.compile(self.doc.pattern + b"|" + self.inner.pattern)


@dataclass(frozen=True, eq=False)  # hashed by identity
class LanguageTable:
    """A language, or one dialect of it.

    Attributes:
      language: its name in ``aliases``.
      grammar: module and function of the tree-sitter grammar.
      query: finds definitions and attributes; see the module's docstring.
      comments: which comments are documentation.
      comment_types: types of nodes that are comments.
      names: by type of node, where the name is; ``name`` for all others.
      bodies: by type of node, where the body is; ``body`` for all others.
      wrapped: by type of ``@wrapper``, the field of what it wraps; the last child for all others.
      strings: a query for literals that may have several lines. Lines within them keep their indentation.
      string_start: bytes without which there is no such literal.
      attribute_ends: last bytes of attributes that stand before a definition and are no part of its node.
      unimplemented: matches the only statement of a body that implements nothing.
      generated: matches an attribute of definitions that a tool wrote.
      terminator: what ends a definition outside of its node, such as C's semicolon after a struct.
      blanked: finds macros that the parser does not see.
      blanked_on_errors: finds macros that it does not see in files with errors, if more definitions are whole
        without them.
    """

    language: str
    grammar: tuple[str, str]
    query: str
    comments: CommentRules
    comment_types: frozenset[str] = frozenset(("comment",))
    names: Mapping[str, Part] = field(default_factory=dict)
    bodies: Mapping[str, Part] = field(default_factory=dict)
    wrapped: Mapping[str, str] = field(default_factory=dict)
    strings: str = ""
    string_start: re.Pattern[bytes] | None = None
    attribute_ends: bytes = b""
    unimplemented: re.Pattern[bytes] | None = None
    generated: re.Pattern[bytes] | None = None
    terminator: bytes = b""
    blanked: Macros | None = None
    blanked_on_errors: Macros | None = None

    def name_of(self, node: Node) -> Node | None:
        """The node of a definition's name, or None where it has none."""
        return _part(node, self.names.get(node.type, "name"))

    def body_of(self, node: Node) -> Node | None:
        """A definition's body, or None where it has none."""
        return _part(node, self.bodies.get(node.type, "body"))

    def wrapped_by(self, wrapper: Node) -> Node | None:
        """The node that a wrapper belongs to."""
        if wrapper.type in self.wrapped:
            return wrapper.child_by_field_name(self.wrapped[wrapper.type])
        count = wrapper.named_child_count
        return wrapper.named_child(count - 1) if count else None


def _part(node: Node, part: Part) -> Node | None:
    if not isinstance(part, str):
        return part(node)
    found: Node | None = node
    for name in part.split("."):
        if found is not None:
            found = found.child_by_field_name(name)
    return found
