"""Macros of C and C++ that a grammar cannot know, such as ``API_EXPORT`` before a function.

They are blanked before a file is parsed, so that all positions stay as they are.
"""

from __future__ import annotations

import re

from t2c_jax.languages.definitions.attached_comments import Item

_NAME = "[A-Z][A-Z0-9_]{2,}"
_MACRO = rf"{_NAME}(?:\([^()\n]*\))?"
_TYPES = (
    "static|inline|const|constexpr|extern|virtual|explicit|auto|void|int|char|bool|unsigned|struct|template|class"
    "|typename|friend|enum|operator"
)
BEFORE_CLASS_NAME = re.compile(
    rf"(?:(?<=class[ \t])|(?<=struct[ \t])){_MACRO}(?=[ \t]+\w+\s*(?:final\s*)?[:{{])".encode()
)
"""Without it, ``class API Name {`` is read as a function."""
ANYWHERE = re.compile(
    rf"""
      ^[ \t]*{_NAME}[ \t]*;?[ \t]*\r?$                                                  # alone on a line
    | \b{_MACRO}(?=[ \t]+(?:(?:{_TYPES})\b|[A-Za-z_][\w:<>]*[ \t*&]+[A-Za-z_][\w:]*[ \t]*\())  # before a type
    | (?<=\))\s+{_MACRO}(?=\s*\{{)                                                        # behind parameters
    """.encode(),
    re.MULTILINE | re.VERBOSE,
)
_SPACE = b" \t\r\n\f\v"


def without_macros(data: bytes, macros: re.Pattern[bytes]) -> tuple[bytes, list[Item]]:
    """The data with spaces for the macros, and those that share a line with code: they belong to a definition."""
    found: list[Item] = []

    def blank(match: re.Match[bytes]) -> bytes:
        text = match[0]
        start = match.start() + len(text) - len(text.lstrip(_SPACE))
        end = match.end() - len(text) + len(text.rstrip(_SPACE))
        before = data[data.rfind(b"\n", 0, start) + 1 : start]
        after = data[end : end + 200].partition(b"\n")[0]
        if before.strip(_SPACE) or after.strip(_SPACE):
            found.append(Item(start, end, False))
        return re.sub(rb"[^\r\n]", b" ", text)

    return macros.sub(blank, data), found
