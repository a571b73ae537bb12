"""Comments whose sections begin with a tag at the start of a line, such as ``@param``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_FENCE = re.compile(r"[ \t]*(```|~~~)")
_PRE = re.compile(r"<(/?)pre\b", re.IGNORECASE)


class Tag(NamedTuple):
    """A section: the tag's name, and the text behind it. The prose before all tags has no name."""

    name: str
    text: str


def split_tags(lines: Sequence[str], tag: re.Pattern[str]) -> list[Tag]:
    """The sections of a comment, the prose first.

    Args:
      lines: without delimiters.
      tag: matches a tag at the start of a line; its first group is the name.

    Lines within braces, ``<pre>`` and fenced code begin no section.
    """
    found = [("", [])]  # type: list[tuple[str, list[str]]]
    for line, is_inside in _with_state(lines):
        match = None if is_inside else tag.match(line)
        if match:
            found.append((match[1], [line[match.end() :].lstrip()]))
        else:
            found[-1][1].append(line)
    return [Tag(name, "\n".join(text).strip("\n").rstrip()) for name, text in found]


def _with_state(lines: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """Each line, and whether it begins within code or an inline tag."""
    braces, in_pre, fence = 0, False, ""
    for line in lines:
        yield line, bool(fence) or in_pre or braces > 0
        if match := _FENCE.match(line):
            fence = "" if fence == match[1] else fence or match[1]
        if fence:
            continue
        if "<" in line:
            for pre in _PRE.finditer(line):
                in_pre = not pre[1]
        if braces or "{@" in line:
            start = 0 if braces else line.index("{@")
            braces = max(0, braces + line.count("{", start) - line.count("}", start))


def name_and_text(text: str) -> tuple[str, str]:
    """The first word, and the rest without a dash before it."""
    name, _, rest = text.strip().partition(" ") if " " in text.strip().split("\n")[0] else text.strip().partition("\n")
    return name, re.sub(r"\A\s*(?:[-:\u2013\u2014]+\s+)?", "", rest)
