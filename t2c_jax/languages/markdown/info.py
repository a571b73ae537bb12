"""Reads info strings: the line that opens a fence, with the language of its content."""

from __future__ import annotations

import re
from typing import NamedTuple

from t2c_jax.languages.aliases import canonical
from t2c_jax.languages.lexers import find_lexer

_BRACES = re.compile(r"\{([^}]*)\}\s*(.*)", re.DOTALL)
_WORD = re.compile(r"[\w+#.-]+")
_CLASS = re.compile(r"(?:^|\s)\.([\w+#-]+)")
_OPTION = re.compile(r"[ \t]*:[\w-]+:(?:[ \t].*)?$")
_COMMENT_OPTION = re.compile(r"[ \t]*(?:#|//|--|%+|/\*|;+)\|")
# Directives that hold code, and the language that the directive implies.
_CODE_DIRECTIVES = {
    "code": "",
    "code-block": "",
    "code-cell": "",
    "jupyter-execute": "python",
    "sourcecode": "",
    "testcode": "python",
}
_CELL = "code-cell"


class Info(NamedTuple):
    """What a fence holds.

    Attributes:
      language: of the code, as ``aliases.canonical`` names it; empty where it is not said.
      directive: the name of a directive that holds no code; empty for code.
      has_options: the code may begin with the options of a directive or a cell.
    """

    language: str
    directive: str = ""
    has_options: bool = False


def read_info(info: str, kernel: str) -> Info:
    """Reads an info string: CommonMark's, or MyST's, Quarto's, knitr's and pandoc's braces.

    Args:
      info: what follows the fence on its line.
      kernel: the language or kernel of the page's cells, or empty.
    """
    braces = _BRACES.match(info.strip())
    if braces is None:
        word = _WORD.match(info.strip())
        is_attribute = word is not None and info.strip()[word.end() :].startswith("=")  # title="x"
        return Info("" if word is None or is_attribute else canonical(word.group().strip(".")))
    inside, rest = braces[1].strip(), braces[2].strip()
    if inside.startswith("="):
        return Info("", directive="raw")
    if inside.startswith((".", "#")) or not inside:
        found = _CLASS.search(inside)
        return Info(canonical(found[1]) if found else "")
    name = inside.split()[0].split(",")[0].lower()
    if name in _CODE_DIRECTIVES:
        word = _WORD.match(rest)
        language = word.group() if word else _CODE_DIRECTIVES[name] or (kernel if name == _CELL else "")
        return Info(canonical(language_of_kernel(language)), has_options=True)
    if find_lexer(name) is not None:
        return Info(canonical(name), has_options=True)
    return Info("", directive=name)


def language_of_kernel(name: str) -> str:
    """The language of a Jupyter kernel: ``ir`` is R, ``julia-1.9`` Julia, ``python3`` Python."""
    return "r" if name.lower() == "ir" else re.sub(r"-\d[\d.]*$", "", name)


def without_options(code: str) -> str:
    """A directive's or cell's code without the options before it: ``:name: value``, ``#| name: value``, or YAML."""
    lines = code.split("\n")
    begin = 0
    if lines[0].strip() == "---" and any(line.strip() == "---" for line in lines[1:]):
        begin = 1 + next(i for i, line in enumerate(lines[1:], start=1) if line.strip() == "---")
    else:
        option = next((form for form in (_OPTION, _COMMENT_OPTION) if form.match(lines[0])), None)
        while option is not None and begin < len(lines) and option.match(lines[begin]):
            begin += 1
    while begin and begin < len(lines) and not lines[begin].strip():
        begin += 1
    return "\n".join(lines[begin:])
