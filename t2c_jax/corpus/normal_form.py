"""The form of a text in which it is compared with others, so that layout makes no difference."""

from __future__ import annotations

import re

_LINE_END = re.compile(r"\r\n|\r|\n")


def normalised(text: str) -> str:
    """The text with line feeds only, without trailing space, and each line indented by its depth.

    Depth counts the enclosing lines that are indented less, so that tabs, two and four spaces are the same.
    """
    lines = []
    outer: list[int] = []  # the indentation of the enclosing lines, in columns
    for raw in _LINE_END.split(text.strip("\r\n")):
        line = raw.strip()
        if line:
            column = len(raw[: len(raw) - len(raw.lstrip())].expandtabs())
            while outer and outer[-1] >= column:
                outer.pop()
            line = "\t" * len(outer) + line
            outer.append(column)
        lines.append(line)
    return "\n".join(lines).strip("\n")
