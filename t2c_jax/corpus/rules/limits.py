"""Limits on the size of a pair and on what its code consists of."""

from __future__ import annotations

from t2c_jax.config import CorpusConfig
from t2c_jax.corpus.pairs import Pair


def broken_limit(pair: Pair, config: CorpusConfig) -> str:
    """The first of the config's limits that the pair breaks; empty if it keeps them all.

    Code alone has no text to measure, and may be of any length: pre-training cuts it into windows.
    """
    code_only = bool(config.code_only) and not pair.has_text
    text, code = len(pair.text.strip()), len(pair.code.strip())
    for size, low, high, what in (
        (text, config.min_text_chars, config.max_text_chars, "text"),
        (code, config.min_code_chars, config.max_code_chars, "code"),
    ):
        if size < low and not (code_only and what == "text"):
            return f"{what} shorter than min_{what}_chars"
        if size > high and not code_only:
            return f"{what} longer than max_{what}_chars"
    if max(map(len, pair.code.splitlines()), default=0) > config.max_line_chars:
        return "line longer than max_line_chars"
    if _alphanumeric(pair.code) < config.min_alphanumeric_share * len("".join(pair.code.split())):
        return "below min_alphanumeric_share"
    return ""


_OTHERS = bytes(byte for byte in range(128) if not chr(byte).isalnum())


def _alphanumeric(code: str) -> int:
    """Its letters and digits."""
    if code.isascii():  # ten times as fast
        return len(code.encode("ascii").translate(None, _OTHERS))
    return sum(map(str.isalnum, code))
