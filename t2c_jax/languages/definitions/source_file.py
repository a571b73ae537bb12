"""A source file as bytes of UTF-8, and as one pair of code alone."""

from __future__ import annotations

from t2c_jax.config import CorpusConfig
from t2c_jax.languages.extractor import MODULE_KIND, Extract, Extraction


def read_source(data: bytes, language: str, config: CorpusConfig, found: Extraction) -> bytes | None:
    """The file without a byte order mark; None, with the reason in ``found``, if it is no text.

    Where ``config.code_only`` asks for whole files, ``found`` gets the file.

    Args:
      data: the file as it is.
      language: of the pair.
      config: which pairs are wanted.
      found: gets what was found.
    """
    data = data.removeprefix(b"\xef\xbb\xbf")
    if b"\0" in data:
        found.skipped.append(("null bytes", 0))
        return None
    try:
        source = data.decode("utf-8")
    except UnicodeDecodeError:
        found.skipped.append(("undecodable", 0))
        return None
    if MODULE_KIND in config.code_only:
        lines = data.count(b"\n") + (not data.endswith(b"\n"))
        found.extracts.append(Extract("", source, language, MODULE_KIND, 1, max(lines, 1)))
    return data
