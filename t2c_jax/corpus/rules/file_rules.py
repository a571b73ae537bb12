"""Which files are not mined, by their path and bytes."""

from __future__ import annotations

from t2c_jax.config import CorpusConfig


class FileRules:
    """The rules of a config for files; picklable, for mining workers."""

    def __init__(self, config: CorpusConfig) -> None:
        self._config = config

    def __call__(self, path: str, data: bytes) -> str:
        """The reason why a file is skipped; empty if it is mined.

        Args:
          path: relative to the source's root, with forward slashes.
          data: all of its bytes.
        """
        return ""
