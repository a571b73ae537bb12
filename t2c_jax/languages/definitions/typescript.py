"""TypeScript and TSX: what JavaScript has, interfaces, enums, type aliases, namespaces, overloads."""

from __future__ import annotations

from t2c_jax.languages.definitions import javascript
from t2c_jax.languages.definitions.language_table import NAME_OR_CALL, LanguageTable

_QUERY = f"""
  {javascript.QUERY}
  (function_signature) @function
  [(method_signature) (abstract_method_signature)] @method
  [(abstract_class_declaration) (interface_declaration) (enum_declaration) (type_alias_declaration)] @class
  (public_field_definition value: {javascript.FUNCTIONS}) @method
  (ambient_declaration) @wrapper
"""


def _table(entry: str) -> LanguageTable:
    return LanguageTable(
        language="typescript",
        grammar=("tree_sitter_typescript", entry),
        query=_QUERY,
        comments=javascript.JSDOC,
        names=javascript.NAMES,
        bodies={**javascript.BODIES, "public_field_definition": "value.body", "type_alias_declaration": "value"},
        strings="[(template_string) (template_literal_type)] @string",
        string_start=javascript.JAVASCRIPT.string_start,
        attribute_ends=NAME_OR_CALL,
        unimplemented=javascript.UNIMPLEMENTED,
        terminator=b";",
    )


TYPESCRIPT, TSX = _table("language_typescript"), _table("language_tsx")


def table_of(data: bytes, path: str) -> LanguageTable:
    """TSX for files of its name: ``<T>x`` is a cast in one dialect and an element in the other."""
    return TSX if path.lower().endswith(".tsx") else TYPESCRIPT
