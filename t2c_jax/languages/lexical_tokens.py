"""Code and prose as words and signs, whatever the language."""

from __future__ import annotations

import re

LEXICAL_TOKEN = re.compile(r"\w+|[^\w\s]")


def lexical_tokens(text: str) -> list[str]:
    r"""Words (``\w+``), and every other character that is no space, alone. Layout is no token."""
    return LEXICAL_TOKEN.findall(text)
