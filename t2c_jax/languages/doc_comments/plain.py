"""Comments without a markup of their own, and those of shell scripts."""

from __future__ import annotations

import re

from t2c_jax.languages.doc_comments.block_tags import Named, TagStyle, first_word, split_tags, without_dash
from t2c_jax.languages.doc_comments.delimiters import comment_lines
from t2c_jax.languages.doc_comments.doc import Doc, make_doc
from t2c_jax.languages.doc_comments.markup import tidy, without_fence

_ORNAMENT = re.compile(r"^[ \t]*([-=*_~#/+.])\1{2,}[ \t]*|[ \t]*([-=*_~#/+])\2{2,}[ \t]*$")
_SHEBANG = re.compile(r"\A[ \t]*#!.*\n?")
_SECTION = re.compile(r"(Arguments|Args|Parameters|Globals|Outputs|Output|Returns|Return):[ \t]*(.*)\Z", re.IGNORECASE)
_ITEM = re.compile(r"[ \t]+(\$?[\w@*-]+)[ \t]*(?:[-:,=][ \t]+|$)(.*)")
_POSITIONAL = re.compile(r"[ \t]*(\$(?:\d+|[@*]))[ \t]*[-:=][ \t]+")
_ARGUMENT = re.compile(
    r"\s*(\$\S+|-\S+(?:[ \t]+\|[ \t]+-\S+)*|<\w+>|\.\.\.)[ \t]*"
    r"(?:(?:string|int|integer|number|bool|boolean|array|path|any)\b[ \t]*)?"
)


def clean_plain(raw: str) -> Doc:
    """The words of a comment, without rules of dashes and the like around them."""
    return make_doc(tidy(_words(raw)))


def clean_shell(raw: str) -> Doc:
    """The words of a comment; sections by Google's style guide for shell and shdoc's tags apart."""
    lines = _words(_SHEBANG.sub("", raw)).split("\n")
    if any(line.lstrip().startswith("@") for line in lines):
        return _SHDOC.read(split_tags(lines, _SHDOC_TAG))
    main: list[str] = []
    parameters: dict[str, str] = {}
    returns: list[str] = []
    section = ""
    for line in lines:
        if positional := _POSITIONAL.match(line):
            parameters[positional[1]] = line[positional.end() :].strip()
            continue
        match = _SECTION.match(line)
        if match:
            section = match[1].lower().rstrip("s")
            line = f"  {match[2]}" if match[2] else ""
        elif section and line.strip() and not line.startswith((" ", "\t")):
            section = ""
        if not section:
            main.append(line)
        elif section == "return":
            returns.append(line.strip())
        elif section in ("argument", "arg", "parameter") and (item := _ITEM.match(line)):
            parameters[item[1]] = item[2].strip()
    parameters = {name: text for name, text in parameters.items() if name.lower() != "none"}
    return make_doc(tidy("\n".join(main)), parameters, tidy("\n".join(returns)))


def _words(raw: str) -> str:
    return "\n".join(_ORNAMENT.sub("", line) for line in comment_lines(raw))


def _argument(text: str) -> Named:
    match = _ARGUMENT.match(text)
    return Named(match[1], without_dash(text[match.end() :])) if match else first_word(text)


_SHDOC_TAG = re.compile(r"[ \t]*@(\w+)(?![\w.@])")
_SHDOC = TagStyle(
    tidy,
    parameters=frozenset({"arg", "option", "param"}),
    returns=frozenset({"stdout", "return", "returns", "exitcode"}),
    raises=frozenset(),
    description=frozenset({"description", "brief"}),
    parameter=_argument,
    example=without_fence,
)
