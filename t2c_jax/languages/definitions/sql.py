"""SQL: statements, and routines as functions. A comment block documents what is right below it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from t2c_jax.languages.definitions.language_table import CommentRules, LanguageTable

if TYPE_CHECKING:
    from tree_sitter import Node

_BODIES = ("function_body", "procedure_body", "column_definitions", "create_query")


def _body(statement: Node) -> Node:
    """What follows the header of a routine, a table or a view. Other statements have no header."""
    created = statement.named_child(0)
    if created is None or not created.type.startswith("create_"):
        return statement
    return next((child for child in created.named_children if child.type in _BODIES), statement)


def _name(statement: Node) -> Node | None:
    created = statement.named_child(0)
    if created is None:
        return None
    return next((child for child in created.named_children if child.type == "object_reference"), None)


SQL = LanguageTable(
    language="sql",
    grammar=("tree_sitter_sql", "language"),
    query="""
      (program (statement . [(create_function) (create_procedure)]) @function)
      (program (statement) @statement)
      (transaction (statement) @statement)
      [(comment) (marginalia)] @comment
    """,
    comments=CommentRules(
        style="plain",
        doc=re.compile(rb"(?!)"),  # comments have one form
        plain=True,
        directive=re.compile(rb"/\*[!+]|--\s*(?:sqlfluff|name)\b"),
    ),
    names={"statement": _name},
    bodies={"statement": _body},
    terminator=b";",
)


def table_of(data: bytes, path: str) -> LanguageTable:
    """One table for all files."""
    return SQL
