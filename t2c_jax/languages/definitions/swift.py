"""Swift: functions, methods, initialisers, properties with code, types and protocols."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from t2c_jax.languages.definitions.language_table import CommentRules, LanguageTable

if TYPE_CHECKING:
    from tree_sitter import Node


def _last_child(node: Node) -> Node | None:
    return node.named_children[-1]


SWIFT = LanguageTable(
    language="swift",
    grammar=("tree_sitter_swift", "language"),
    query="""
      [(class_declaration declaration_kind: ["class" "struct" "enum" "actor"]) (protocol_declaration)
       (typealias_declaration)] @class
      (class_declaration declaration_kind: "extension") @scope
      (function_declaration) @function
      [(init_declaration) (deinit_declaration) (subscript_declaration) (protocol_function_declaration)] @method
      (property_declaration computed_value: (_)) @function
      (attribute) @attribute
    """,
    comment_types=frozenset(("comment", "multiline_comment")),
    comments=CommentRules(style="swift", doc=re.compile(rb"///(?!/)|/\*\*(?![*/])")),
    bodies={
        "subscript_declaration": _last_child,
        "property_declaration": "computed_value",
        "typealias_declaration": _last_child,
    },
    strings="[(multi_line_string_literal) (raw_string_literal)] @string",
    string_start=re.compile(rb'"""'),
    unimplemented=re.compile(rb"(?:fatalError|preconditionFailure)\s*\([^\n]*\)"),
)


def table_of(data: bytes, path: str) -> LanguageTable:
    """One table for all files."""
    return SWIFT
