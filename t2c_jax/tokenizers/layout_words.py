"""Code on one line, its layout as the words NEW_LINE, INDENT and DEDENT, as PLBART was trained (Ahmad et al. 2021).

Its tokenizer knows no newlines and no runs of spaces. A line begins with the words for what its indentation changes,
as in Python's own tokenizer. Back from words, a level is four spaces; blank lines are lost.
"""

from __future__ import annotations

import re

_LINE, _INDENT, _DEDENT = "NEW_LINE", "INDENT", "DEDENT"
_WORDS = re.compile(rf"(?<!\S)({_LINE}|{_INDENT}|{_DEDENT})(?!\S)")
_STARTED = re.compile(r"(?:^|\s+)(\S+)$")  # the last word, which may go on
_LEVEL = "    "


def to_words(code: str) -> str:
    """Code of several lines as one line; one of a single line as it is."""
    if "\n" not in code:
        return code
    levels, lines = [0], []
    for line in code.split("\n"):
        if not line.strip():
            continue
        width, words = len(line.expandtabs()) - len(line.expandtabs().lstrip()), []
        while width < levels[-1]:
            levels.pop()
            words.append(_DEDENT)
        if width > levels[-1]:
            levels.append(width)
            words.append(_INDENT)
        lines.append(" ".join([*words, line.strip()]))
    return f" {_LINE} ".join(lines) + (f" {_LINE}" if code.endswith("\n") else "")


def from_words(text: str, *, is_whole: bool = True) -> str:
    """The code that ``to_words`` made a line of.

    Args:
      text: with words for its layout.
      is_whole: nothing follows. Else a last word that may become one of these words is U+FFFD, as the bytes of a
        character that is not whole are.
    """
    started = _STARTED.search(text)
    if not is_whole and started and any(word.startswith(started[1]) for word in (_LINE, _INDENT, _DEDENT)):
        return from_words(text[: started.start()]) + "\ufffd"
    lines, depth = [""], 0
    for part in _WORDS.split(text):
        if part == _LINE:
            lines.append("")
        elif part in (_INDENT, _DEDENT):
            depth = max(0, depth + (1 if part == _INDENT else -1))
        elif part.strip():
            lines[-1] += (" " if lines[-1] else _LEVEL * depth) + part.strip()
    return "\n".join(lines)
