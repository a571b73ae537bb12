"""JavaScript with JSX: functions, classes, methods, and functions that a name, a member or a property holds."""

from __future__ import annotations

import re

from t2c_jax.languages.definitions.language_table import CommentRules, LanguageTable

FUNCTIONS = "[(function_expression) (generator_function) (arrow_function)]"
QUERY = f"""
  [(function_declaration) (generator_function_declaration)] @function
  (class_declaration) @class
  (method_definition) @method
  (variable_declarator value: {FUNCTIONS}) @function
  (variable_declarator value: (class)) @class
  (assignment_expression right: {FUNCTIONS}) @function
  (assignment_expression right: (class)) @class
  (pair value: {FUNCTIONS}) @method
  (export_statement value: {FUNCTIONS}) @function
  (export_statement value: (class)) @class
  (export_statement declaration: (_)) @wrapper
  ((lexical_declaration . (variable_declarator) .) @wrapper)
  ((variable_declaration . (variable_declarator) .) @wrapper)
  (variable_declarator value: (assignment_expression)) @wrapper
  (assignment_expression right: (assignment_expression)) @wrapper
  (expression_statement (assignment_expression)) @wrapper
  (decorator) @attribute
"""
JSDOC = CommentRules(
    style="jsdoc",
    doc=re.compile(rb"/\*\*(?![*/])"),
    not_doc=re.compile(
        rb"/\*\*[\s*]*(?:.*?\s)??@(?:file|fileoverview|overview|module|license|packageDocumentation|typedef|callback)\b",
        re.DOTALL,
    ),
)
NAMES = {
    "assignment_expression": "left",
    "pair": "key",
    "field_definition": "property",
}
BODIES = {
    "assignment_expression": "right.body",
    "export_statement": "value.body",
    "field_definition": "value.body",
    "pair": "value.body",
    "variable_declarator": "value.body",
}
UNIMPLEMENTED = re.compile(
    rb"throw\s+(?:new\s+)?\w*(?:NotImplemented|Error\s*\([^)]*(?:not |un|non-?)implemented).*",
    re.DOTALL | re.IGNORECASE,
)

JAVASCRIPT = LanguageTable(
    language="javascript",
    grammar=("tree_sitter_javascript", "language"),
    query=f"{QUERY} (field_definition value: {FUNCTIONS}) @method",
    comments=JSDOC,
    names=NAMES,
    bodies=BODIES,
    strings="(template_string) @string",
    string_start=re.compile(rb"`"),
    unimplemented=UNIMPLEMENTED,
    terminator=b";",
)


def table_of(data: bytes, path: str) -> LanguageTable:
    """One table for all files."""
    return JAVASCRIPT
