"""Markdown: fenced code with the prose that introduces it."""

from __future__ import annotations

from t2c_jax.config import CorpusConfig
from t2c_jax.languages.extractor import Extraction, extractors


class MarkdownExtractor:
    """Fenced code blocks of Markdown, MDX, Quarto and R Markdown files."""

    suffixes: tuple[str, ...] = (".md", ".markdown", ".mdx", ".qmd", ".rmd")
    version = "4"

    def extract(self, data: bytes, path: str, config: CorpusConfig) -> Extraction:
        """See ``markdown.extractor``."""
        from t2c_jax.languages.markdown.extractor import extract_markdown

        return extract_markdown(data, config)


extractors.register("markdown")(MarkdownExtractor())
