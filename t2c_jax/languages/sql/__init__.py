"""SQL: statements and routines under a comment."""

from __future__ import annotations

from t2c_jax.config import CorpusConfig
from t2c_jax.languages.extractor import Extraction, extractors


class SqlExtractor:
    """Statements of ``.sql`` files, of any dialect."""

    suffixes: tuple[str, ...] = (".sql",)
    version = "1"

    def extract(self, data: bytes, path: str, config: CorpusConfig) -> Extraction:
        """See ``sql.extractor``."""
        from t2c_jax.languages.sql.extractor import extract_sql

        return extract_sql(data, config)


extractors.register("sql")(SqlExtractor())
