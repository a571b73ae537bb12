"""C#: types, methods, constructors, operators, properties with code, local functions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from t2c_jax.languages.definitions.language_table import CommentRules, LanguageTable

if TYPE_CHECKING:
    from tree_sitter import Node


def _body_of_property(node: Node) -> Node | None:
    return node.child_by_field_name("accessors") or node.child_by_field_name("value")


def _body_of_record(node: Node) -> Node | None:
    """That of a record with parameters alone is the parameters: they are all that there is to write."""
    parameters = (child for child in node.named_children if child.type == "parameter_list")
    return node.child_by_field_name("body") or next(parameters, None)


CSHARP = LanguageTable(
    language="csharp",
    grammar=("tree_sitter_c_sharp", "language"),
    query="""
      [(class_declaration) (interface_declaration) (enum_declaration) (struct_declaration) (record_declaration)
       (delegate_declaration)] @class
      [(method_declaration) (destructor_declaration) (operator_declaration) (conversion_operator_declaration)] @method
      ((constructor_declaration name: (identifier) @_name) @method (#not-eq? @_name "extension"))
      ((constructor_declaration name: (identifier) @_name) @scope (#eq? @_name "extension"))
      (local_function_statement) @function
      ([(property_declaration value: (arrow_expression_clause)) (indexer_declaration value: (_))]) @method
      (property_declaration accessors: (accessor_list (accessor_declaration body: (_)))) @method
      (indexer_declaration accessors: (accessor_list (accessor_declaration body: (_)))) @method
      (event_declaration accessors: (accessor_list (accessor_declaration body: (_)))) @method
      (attribute_list) @attribute
    """,
    comments=CommentRules(style="xmldoc", doc=re.compile(rb"///(?!/)|/\*\*(?![*/])")),
    bodies={
        "property_declaration": _body_of_property,
        "indexer_declaration": _body_of_property,
        "event_declaration": "accessors",
        "record_declaration": _body_of_record,
        "delegate_declaration": "parameters",
    },
    strings="[(verbatim_string_literal) (raw_string_literal) (interpolated_string_expression)] @string",
    string_start=re.compile(rb'"""|@\$?"|\$@"'),
    unimplemented=re.compile(
        rb"throw\s+new\s+(?:[\w.]*\.)?(?:NotImplemented|NotSupported|PlatformNotSupported)Exception\b.*", re.DOTALL
    ),
    generated=re.compile(rb"\[\s*(?:[\w.:]*[.:])?(?:GeneratedCode|CompilerGenerated)(?:Attribute)?\b"),
)


def table_of(data: bytes, path: str) -> LanguageTable:
    """One table for all files."""
    return CSHARP
