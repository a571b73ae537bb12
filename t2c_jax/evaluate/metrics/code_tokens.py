"""Code as the tokens that BLEU counts."""

from __future__ import annotations

import re

CODE_TOKEN = re.compile(r"\w+|[^\w\s]")


def code_tokens(code: str) -> list[str]:
    r"""Splits code into identifiers, keywords and numbers (``\w+``), and every other visible character alone.

    Layout is not a token. sacrebleu's own tokenisers are made for prose: its default leaves ``foo(bar)`` whole
    or cuts it by rules for English punctuation, so most code n-grams would never match.
    """
    return CODE_TOKEN.findall(code)
