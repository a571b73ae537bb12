"""Kotlin: functions, methods, properties with code, classes, interfaces, objects and type aliases."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from t2c_jax.languages.definitions.language_table import NAME_OR_CALL, CommentRules, LanguageTable

if TYPE_CHECKING:
    from tree_sitter import Node


def _child(node: Node, *types: str) -> Node | None:
    return next((child for child in node.named_children if child.type in types), None)


def _body_of_function(node: Node) -> Node | None:
    body = _child(node, "function_body")
    return None if body is None else _child(body, "block") or body


def _body_of_class(node: Node) -> Node | None:
    """That of a class with a constructor alone is its parameters: they are all that there is to write."""
    return _child(node, "class_body", "enum_class_body") or _child(node, "primary_constructor")


def _name_of_property(node: Node) -> Node | None:
    declaration = _child(node, "variable_declaration")
    return None if declaration is None else _child(declaration, "identifier")


KOTLIN = LanguageTable(
    language="kotlin",
    grammar=("tree_sitter_kotlin", "language"),
    query="""
      [(class_declaration) (object_declaration) (companion_object) (type_alias)] @class
      (function_declaration) @function
      (secondary_constructor) @method
      (property_declaration [(getter (function_body)) (setter (function_body))]) @function
      [(annotation) (annotated_expression)] @attribute
    """,
    comment_types=frozenset(("line_comment", "block_comment")),
    comments=CommentRules(style="kdoc", doc=re.compile(rb"/\*\*(?![*/])")),
    names={"property_declaration": _name_of_property},
    bodies={
        "function_declaration": _body_of_function,
        "secondary_constructor": lambda node: _child(node, "block"),
        "property_declaration": lambda node: _child(node, "getter", "setter"),
        "class_declaration": _body_of_class,
        "object_declaration": lambda node: _child(node, "class_body"),
        "companion_object": lambda node: _child(node, "class_body"),
        "type_alias": lambda node: node.named_children[-1],
    },
    strings="(multiline_string_literal) @string",
    string_start=re.compile(rb'"""'),
    attribute_ends=NAME_OR_CALL,
    unimplemented=re.compile(
        rb"(?:TODO\s*\(|throw\s+(?:NotImplementedError|UnsupportedOperationException)\b).*", re.DOTALL
    ),
    generated=re.compile(rb"@(?:[\w.]*\.)?Generated\b"),
)


def table_of(data: bytes, path: str) -> LanguageTable:
    """One table for all files."""
    return KOTLIN
