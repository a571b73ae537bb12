"""Go: functions, methods and types."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from t2c_jax.languages.definitions.language_table import CommentRules, LanguageTable

if TYPE_CHECKING:
    from tree_sitter import Node


def _type_body(node: Node) -> Node | None:
    """The braces of a struct or an interface, else the type."""
    kind = node.child_by_field_name("type")
    if kind is None or kind.type not in ("struct_type", "interface_type"):
        return kind
    if kind.type == "struct_type":
        return kind.named_child(0)
    return next((child for child in kind.children if child.type == "{"), None)


GO = LanguageTable(
    language="go",
    grammar=("tree_sitter_go", "language"),
    query="""
      (function_declaration) @function
      (method_declaration) @method
      [(type_spec) (type_alias)] @class
      ((type_declaration) @wrapper (#not-match? @wrapper "^type *[(]"))
    """,
    comments=CommentRules(
        style="godoc",
        plain=True,
        joins=True,
        plain_style="godoc",
        directive=re.compile(
            rb"//(?:go:|line |export |extern |nolint|lint:|[a-z]+:[a-z])|//\s*\+build\b|//\s*#nosec\b"
        ),
        statement=re.compile(
            rb"(?:if|for|switch|return|var|const|case|default|go|defer|select|package|import|break|continue|goto)\b"
            rb"|[\w.,\[\] \t]*[ \t]?(?:[:+*/|&^%-]=|<-|\+\+|--)|\w+[.,]|[}{(*&\"]"
        ),
    ),
    bodies={"type_spec": _type_body, "type_alias": "type"},
    strings="(raw_string_literal) @string",
    string_start=re.compile(rb"`"),
    unimplemented=re.compile(rb"panic\(.*(?:not |un)-?implemented.*\)", re.DOTALL | re.IGNORECASE),
)


def table_of(data: bytes, path: str) -> LanguageTable:
    """One table for all files."""
    return GO
