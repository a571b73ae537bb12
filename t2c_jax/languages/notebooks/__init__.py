"""Jupyter notebooks: the code cells under a Markdown cell."""

from __future__ import annotations

from t2c_jax.config import CorpusConfig
from t2c_jax.languages.extractor import Extraction, extractors


class NotebookExtractor:
    """Code cells of ``.ipynb`` files."""

    suffixes: tuple[str, ...] = (".ipynb",)
    version = "2"

    def extract(self, data: bytes, path: str, config: CorpusConfig) -> Extraction:
        """See ``notebooks.extractor``."""
        from t2c_jax.languages.notebooks.extractor import extract_notebook

        return extract_notebook(data, config)


extractors.register("notebook")(NotebookExtractor())
