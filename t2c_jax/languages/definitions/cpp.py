"""C++: functions, methods, classes, structs, unions, enums, aliases and concepts."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from t2c_jax.languages.definitions import c, macros
from t2c_jax.languages.definitions.language_table import LanguageTable

_DECLARED = "(function_declarator declarator: [(field_identifier) (destructor_name) (operator_name)])"

CPP = LanguageTable(
    language="cpp",
    grammar=("tree_sitter_cpp", "language"),
    query=f"""
      {c.QUERY}
      (field_declaration declarator: {_DECLARED}) @method
      (field_declaration declarator: (_ {_DECLARED})) @method
      (function_definition declarator: (function_declarator declarator: (qualified_identifier))) @method
      (function_definition declarator: (_ (function_declarator declarator: (qualified_identifier)))) @method
      (function_definition declarator: (operator_cast)) @method
      (function_definition declarator: (qualified_identifier name: (operator_cast))) @method
      [(class_specifier body: (_)) (alias_declaration) (concept_definition)] @class
      [(template_declaration) (friend_declaration)] @wrapper
      (linkage_specification body: [(function_definition) (declaration)]) @wrapper
      (field_initializer_list) @omitted
    """,
    comments=c.DOXYGEN,
    names={**c.C.names, "field_declaration": c.declared_name},
    bodies={"alias_declaration": "type", "concept_definition": lambda node: node.named_child(1)},
    wrapped={"type_definition": "type"},
    strings="(raw_string_literal) @string",
    string_start=re.compile(rb'R"'),
    terminator=b";",
    blanked=macros.before_class_names,
    blanked_on_errors=macros.anywhere,
)


def table_of(data: bytes, path: str) -> LanguageTable:
    """That of C for its files and for headers without a word of C++."""
    suffix = PurePosixPath(path).suffix.lower()
    return c.C if suffix == ".c" or (suffix == ".h" and not _CPP.search(data)) else CPP


_CPP = re.compile(
    rb"""^[ \t]*(?:
      template[ \t]*<
    | namespace\b[^;=()]*\{?[ \t\r]*$
    | (?:enum[ \t]+)?class[ \t]+\w+[ \t]*(?:[;{:\r\n]|final\b)
    | using[ \t]+(?:namespace\b|\w+[ \t]*=|[\w:]+;)
    | (?:public|private|protected)[ \t]*:
    ) | \bstd::""",
    re.MULTILINE | re.VERBOSE,
)
"""What a header of C does not hold."""
