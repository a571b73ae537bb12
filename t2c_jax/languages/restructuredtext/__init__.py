"""reStructuredText: code blocks with the prose that introduces them."""

from __future__ import annotations

from t2c_jax.config import CorpusConfig
from t2c_jax.languages.extractor import Extraction, extractors


class ReStructuredTextExtractor:
    """Code blocks of ``.rst`` files."""

    suffixes: tuple[str, ...] = (".rst", ".rest")
    version = "2"

    def extract(self, data: bytes, path: str, config: CorpusConfig) -> Extraction:
        """See ``restructuredtext.extractor``."""
        from t2c_jax.languages.restructuredtext.extractor import extract_restructuredtext

        return extract_restructuredtext(data, config)


extractors.register("restructuredtext")(ReStructuredTextExtractor())
