"""Ruby: methods, classes and modules."""

from __future__ import annotations

import re

from t2c_jax.languages.definitions.language_table import HASHES, CommentRules, LanguageTable

_DEFINED = "[(method) (singleton_method)]"
_ARGUMENT = f"(argument_list . {_DEFINED} .)"
_CALL = "(call !receiver method: (identifier) arguments: {})"
_NESTED = f"(argument_list . {_CALL.format(_ARGUMENT)} .)"

RUBY = LanguageTable(
    language="ruby",
    grammar=("tree_sitter_ruby", "language"),
    query=f"""
      [(class) (module)] @class
      (method) @function
      (singleton_method) @method
      (singleton_class) @scope
      [{_CALL.format(_ARGUMENT)} {_ARGUMENT} {_CALL.format(_NESTED)} {_NESTED}] @wrapper
      ((call !receiver method: (identifier) @_name block: (_)) @attribute (#eq? @_name "sig"))
    """,
    comments=CommentRules(
        style="rdoc",
        plain=True,
        plain_style="rdoc",
        syntax=HASHES,
        statement=re.compile(
            rb"(?:if|unless|return|end|when|else|elsif|while|until|begin|rescue|ensure|case|require|require_relative"
            rb"|include|extend|raise|next|yield)\b|(?!def\b)[\w.@\[\]:]+[ \t]*(?:[|&+*/-]{0,2}=[^=~>]|<<)|[@})\[]"
        ),
        directive=re.compile(rb"#!|#\s*(?:rubocop|frozen_string_literal|typed|encoding|coding|warn_indent)\b"),
    ),
    strings="[(heredoc_body) (string) (string_array) (symbol_array) (subshell)] @string",
    string_start=re.compile(rb"<<[~-]?['\"`A-Z_a-z]|'[^'\n]*\n|\"[^\"\n]*\n|%[qQwWiIx]?[(\[{|<!]"),
    attribute_ends=b"}d",
    unimplemented=re.compile(rb"(?:raise|fail)\s*\(?\s*(?:::)?NotImplementedError\b[^\n]*"),
)


def table_of(data: bytes, path: str) -> LanguageTable:
    """One table for all files."""
    return RUBY
