"""Shell: functions of Bash scripts."""

from __future__ import annotations

import re

from t2c_jax.languages.definitions.language_table import HASHES, CommentRules, LanguageTable

SHELL = LanguageTable(
    language="shell",
    grammar=("tree_sitter_bash", "language"),
    query="""
      (function_definition) @function
    """,
    comments=CommentRules(
        style="shell",
        plain=True,
        plain_style="shell",
        syntax=HASHES,
        statement=re.compile(rb"(?!function\b|[^\s()]+[ \t]*\()"),
        directive=re.compile(rb"#!|#\s*shellcheck\b"),
    ),
    strings="[(heredoc_redirect) (string) (raw_string) (ansi_c_string)] @string",
    string_start=re.compile(rb"<<|'[^'\n]*\n|\"[^\"\n]*\n"),
    unimplemented=re.compile(rb":|true"),
)


def table_of(data: bytes, path: str) -> LanguageTable:
    """One table for all files."""
    return SHELL
