"""Macros of C and C++ that a grammar cannot know, such as ``API_EXPORT`` before a function.

They are blanked before a file is parsed, so that all positions stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from t2c_jax.languages.definitions.attached_comments import Item

_NAME = "[A-Z][A-Z0-9_]{2,}"
_MACRO = rf"{_NAME}(?:\([^()\n]*\))?"
_TYPES = (
    "static|inline|const|constexpr|extern|virtual|explicit|auto|void|int|char|bool|unsigned|struct|template|class"
    "|typename|friend|enum|operator"
)
# Patterns begin with characters, so that the search is fast. What is before a macro is looked at afterwards.
_BEFORE_CLASS_NAME = [
    re.compile(rf"{word}[ \t](?P<macro>{_MACRO})(?=[ \t]+\w+\s*(?:final\s*)?[:{{])".encode())
    for word in ("class", "struct")
]
_ANYWHERE = re.compile(
    rf"""
      (?P<name>[A-Z](?<!\w[A-Z])[A-Z0-9_]{{2,}}+)(?:
        [ \t]*;?[ \t]*\r?$(?P<line>)                                                      # at the end of a line
      | (?:\([^()\n]*\))?(?:
          (?=[ \t]+(?:(?:{_TYPES})\b|[A-Za-z_][\w:<>]*[ \t*&]+[A-Za-z_][\w:]*[ \t]*\())   # before a type
        | (?=\s*\{{)(?P<body>)                                                            # before a body
        )
      )
    """.encode(),
    re.MULTILINE | re.VERBOSE,
)
_BODY = re.compile(rb"\s*\{")
_BEHIND_PARAMETERS = re.compile(rb"\)\s+\Z")
_FARTHEST = 1_000  # bytes of space behind parameters
_SPACE = b" \t\r\n\f\v"


def before_class_names(data: bytes) -> Iterator[tuple[int, int]]:
    """Macros without which ``class API Name {`` is read as a function."""
    return iter(sorted(match.span("macro") for pattern in _BEFORE_CLASS_NAME for match in pattern.finditer(data)))


def anywhere(data: bytes) -> Iterator[tuple[int, int]]:
    """Macros alone on a line, before a type, and between parameters and the body."""
    position = 0
    while match := _ANYWHERE.search(data, position):
        start, end = match.span()
        position = match.end("name")
        if match["line"] is not None:
            if data[data.rfind(b"\n", 0, start) + 1 : start].strip(b" \t"):  # code is before it
                end = position
                if not _BODY.match(data, end) or not _is_behind_parameters(data, start):
                    continue
        elif match["body"] is not None and not _is_behind_parameters(data, start):
            continue
        yield start, end
        position = end


def _is_behind_parameters(data: bytes, start: int) -> bool:
    return _BEHIND_PARAMETERS.search(data, max(0, start - _FARTHEST), start) is not None


def without_macros(data: bytes, macros: Iterable[tuple[int, int]]) -> tuple[bytes, list[Item]]:
    """The data with spaces for the macros, and those that share a line with code: they belong to a definition.

    Args:
      data: a file.
      macros: start and end of each, in the order of the file.
    """
    found: list[Item] = []
    parts: list[bytes] = []
    done = 0
    for start, end in macros:
        parts += data[done:start], re.sub(rb"[^\r\n]", b" ", data[start:end])
        done = end
        before = data[data.rfind(b"\n", 0, start) + 1 : start]
        after = data[end : end + 200].partition(b"\n")[0]
        if before.strip(_SPACE) or after.strip(_SPACE):
            found.append(Item(start, end, False))
    return b"".join([*parts, data[done:]]) if parts else data, found
