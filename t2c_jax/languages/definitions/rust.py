"""Rust: functions, methods, structs, enums, unions, traits and type aliases."""

from __future__ import annotations

import re

from t2c_jax.languages.definitions.language_table import CommentRules, LanguageTable

RUST = LanguageTable(
    language="rust",
    grammar=("tree_sitter_rust", "language"),
    query="""
      [(function_item) (function_signature_item)] @function
      [(struct_item) (enum_item) (union_item) (trait_item) (type_item)] @class
      (impl_item) @scope
      (attribute_item) @attribute
    """,
    comment_types=frozenset(("line_comment", "block_comment")),
    comments=CommentRules(
        style="rustdoc",
        doc=re.compile(rb"///(?!/)|/\*\*(?![*/])"),
        joins=True,
        inner=re.compile(rb"//!|/\*!"),
    ),
    bodies={"type_item": "type"},
    strings="[(raw_string_literal) (string_literal)] @string",
    string_start=re.compile(rb'"'),
    attribute_ends=b"]",
    unimplemented=re.compile(rb"(?:unimplemented|todo)!\s*[(\[{].*", re.DOTALL),
    generated=re.compile(rb"#\[(?:automatically_derived|generated)\b"),
)


def table_of(data: bytes, path: str) -> LanguageTable:
    """One table for all files."""
    return RUST
