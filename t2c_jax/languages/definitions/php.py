"""PHP: functions, methods, classes, interfaces, traits and enums."""

from __future__ import annotations

import re

from t2c_jax.languages.definitions.language_table import CommentRules, LanguageTable

PHP = LanguageTable(
    language="php",
    grammar=("tree_sitter_php", "language_php"),
    query="""
      [(class_declaration) (interface_declaration) (trait_declaration) (enum_declaration)] @class
      (function_definition) @function
      (method_declaration) @method
      (attribute_list) @attribute
    """,
    comment_types=frozenset(("comment", "php_tag")),
    comments=CommentRules(style="phpdoc", doc=re.compile(rb"/\*\*(?![*/])")),
    strings="[(heredoc) (nowdoc) (string) (encapsed_string)] @string",
    string_start=re.compile(rb"<<<|'[^'\n]*\n|\"[^\"\n]*\n"),
    attribute_ends=b"p",  # of the opening tag, which is no code
    unimplemented=re.compile(
        rb"throw\s+new\s+[\\\w]*\(\s*['\"](?:[\w:]+\s+)?(?:is\s+)?(?:not\s+(?:yet\s+)?implemented|todo)\b.*",
        re.DOTALL | re.IGNORECASE,
    ),
)


def table_of(data: bytes, path: str) -> LanguageTable:
    """One table for all files."""
    return PHP
