"""Functions, methods and types of the languages that tree-sitter reads; one table a language.

To add a language, write its table in a module here (``language_table``) and register an extractor below.
"""

from __future__ import annotations

import importlib

from t2c_jax.config import CorpusConfig
from t2c_jax.languages.extractor import Extraction, extractors
from t2c_jax.languages.syntax_trees import grammar_version


class DefinitionsExtractor:
    """Documented definitions of one language; see ``definitions.tree_extractor``."""

    def __init__(self, language: str, module: str, suffixes: tuple[str, ...], revision: int = 4) -> None:
        """Makes the extractor of a language.

        Args:
          language: as in ``aliases``.
          module: the one here with ``table_of(data, path)``.
          suffixes: of the file names that it reads.
          revision: counts the changes of what files yield.
        """
        self.suffixes = suffixes
        self._language, self._module, self._revision = language, module, revision

    @property
    def version(self) -> str:
        """Which files parse, and to what, is the installed grammar's."""
        return f"{self._revision}, grammar {grammar_version(self._language)}"

    def extract(self, data: bytes, path: str, config: CorpusConfig) -> Extraction:
        """See ``definitions.tree_extractor``."""
        from t2c_jax.languages.definitions.tree_extractor import extract_definitions

        module = importlib.import_module(f"t2c_jax.languages.definitions.{self._module}")
        return extract_definitions(data, config, module.table_of(data, path))


for _language, _module, *_suffixes in (
    ("c", "cpp", ".c", ".h"),
    ("cpp", "cpp", ".cc", ".cpp", ".cxx", ".c++", ".hh", ".hpp", ".hxx", ".h++", ".ipp", ".tpp", ".inl", ".h"),
    ("csharp", "csharp", ".cs", ".csx"),
    ("go", "go", ".go"),
    ("java", "java", ".java"),
    ("javascript", "javascript", ".js", ".jsx", ".mjs", ".cjs"),
    ("kotlin", "kotlin", ".kt", ".kts"),
    ("php", "php", ".php"),
    ("ruby", "ruby", ".rb"),
    ("rust", "rust", ".rs"),
    ("shell", "shell", ".sh", ".bash"),
    ("swift", "swift", ".swift"),
    ("typescript", "typescript", ".ts", ".tsx", ".mts", ".cts"),
):
    extractors.register(_language)(DefinitionsExtractor(_language, _module, tuple(_suffixes)))
