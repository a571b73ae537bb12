"""C: functions, structs, unions and enums."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from t2c_jax.languages.definitions import macros
from t2c_jax.languages.definitions.language_table import CommentRules, LanguageTable

if TYPE_CHECKING:
    from tree_sitter import Node

NAMES = (
    *("identifier", "field_identifier", "type_identifier", "qualified_identifier", "destructor_name", "operator_name"),
    *("template_function", "operator_cast", "primitive_type"),
)


def declared_name(node: Node) -> Node | None:
    """The name within declarators: ``*(*f)(int)`` declares ``f``."""
    found = node.child_by_field_name("declarator")
    while found is not None and found.type not in NAMES:
        inner = found.child_by_field_name("declarator")
        if inner is None:  # parentheses and references have no field
            inner = next((child for child in found.named_children if not child.is_extra), None)
        found = inner
    return found


# Without a function declarator it is no function: the grammar reads unknown macros and C++'s classes as such.
FUNCTIONS = """
  (function_definition declarator: (function_declarator)) @function
  (function_definition declarator: (_ (function_declarator))) @function
  (function_definition declarator: (_ (_ (function_declarator)))) @function
"""
DECLARED = "(function_declarator declarator: (identifier))"  # in parentheses it is a variable that holds a pointer
QUERY = f"""
  {FUNCTIONS}
  (declaration declarator: {DECLARED}) @function
  (declaration declarator: (_ {DECLARED})) @function
  (declaration declarator: (_ (_ {DECLARED}))) @function
  [(struct_specifier body: (_)) (union_specifier body: (_)) (enum_specifier body: (_))] @class
  (type_definition type: [(struct_specifier body: (_)) (union_specifier body: (_)) (enum_specifier body: (_))]) @wrapper
"""
DOXYGEN = CommentRules(
    style="doxygen",
    doc=re.compile(rb"/\*[*!](?![*/<])|//[/!](?![/<])"),
    plain=True,
    plain_style="c",
    statement=re.compile(
        rb"(?:if|for|while|do|switch|return|break|continue|goto|case|default|else|delete|throw|try)\b"
        rb"|(?!operator\b)[A-Za-z_](?:[\w.]|->|\[[\w.+-]*\])*[ \t]*(?:[|&^+*/%-]?=|\+\+|--|[;,])|[}{(*&\"#]|[+-][+-]"
    ),
    directive=re.compile(rb"/[/*]\s*(?:NOLINT|clang-format|cppcheck-suppress|LCOV_|GCOV_|coverity|IWYU|@?lint\b)"),
    not_doc=re.compile(
        rb"/[/*][*!/]?<|/[/*][*!/]?[\s*]*[\\@](?:file|defgroup|addtogroup|name|page|mainpage|[{}])(?!\w)"
    ),
)

C = LanguageTable(
    language="c",
    grammar=("tree_sitter_c", "language"),
    query=QUERY,
    comments=DOXYGEN,
    names={"function_definition": declared_name, "declaration": declared_name, "type_definition": "declarator"},
    wrapped={"type_definition": "type"},
    terminator=b";",
    blanked_on_errors=macros.anywhere,
)
