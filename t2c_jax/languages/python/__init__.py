"""Python: pairs from source files, identifiers, definitions."""

from __future__ import annotations

import platform

from t2c_jax.config import CorpusConfig
from t2c_jax.languages.extractor import Extraction, extractors
from t2c_jax.languages.python import codes as codes  # registers forms of code


class PythonExtractor:
    """Functions, methods, classes and modules of ``.py`` files."""

    suffixes: tuple[str, ...] = (".py",)
    # Which files parse, and to what, is the running Python's grammar.
    version = f"4, grammar of {'.'.join(platform.python_version_tuple()[:2])}"

    def extract(self, data: bytes, path: str, config: CorpusConfig) -> Extraction:
        """See ``python.extractor``."""
        from t2c_jax.languages.python.extractor import extract_python

        return extract_python(data, config, path)


extractors.register("python")(PythonExtractor())
