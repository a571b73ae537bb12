"""Java: classes, interfaces, enums, records and annotations, methods and constructors."""

from __future__ import annotations

import re

from t2c_jax.languages.definitions.language_table import CommentRules, LanguageTable

JAVA = LanguageTable(
    language="java",
    grammar=("tree_sitter_java", "language"),
    query="""
      [(class_declaration) (interface_declaration) (enum_declaration) (record_declaration)
       (annotation_type_declaration)] @class
      [(method_declaration) (constructor_declaration) (compact_constructor_declaration)] @method
      (modifiers [(annotation) (marker_annotation)] @attribute)
    """,
    comment_types=frozenset(("line_comment", "block_comment")),
    comments=CommentRules(style="javadoc", doc=re.compile(rb"/\*\*(?![*/])|///(?!/)")),
    strings="(multiline_string_fragment) @string",
    string_start=re.compile(rb'"""'),
    unimplemented=re.compile(rb"throw\s+new\s+(?:[\w.]*\.)?UnsupportedOperationException\b.*", re.DOTALL),
    generated=re.compile(rb"@(?:[\w.]*\.)?Generated\b"),
)


def table_of(data: bytes, path: str) -> LanguageTable:
    """One table for all files."""
    return JAVA
