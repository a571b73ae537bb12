"""Doc comments of Go (go.dev/doc/comment)."""

from __future__ import annotations

import re

from t2c_jax.languages.doc_comments.delimiters import comment_lines
from t2c_jax.languages.doc_comments.doc import Doc, make_doc
from t2c_jax.languages.doc_comments.markup import Protected, tidy

# Directives for a tool: no space behind the slashes, or a marker of Kubernetes' generators.
_DIRECTIVE = re.compile(
    r"^[ \t]*//(?:(?:line|extern|export) |[a-z0-9]+:[a-z0-9]|nolint\b|[ \t]?\+\w).*\n?", re.MULTILINE
)
_LINK = re.compile(r"(?<![\w\[])\[(\*?[\w./]+)\](?![\w(\[])")
_TARGET = re.compile(r"^\[[^\[\]\n]+\]:[ \t]+\S+[ \t]*$", re.MULTILINE)
_TEXT_LINK = re.compile(r"\[([^\[\]\n]+)\](?![(\[:])")
_HEADING = re.compile(r"^# +", re.MULTILINE)
_CODE = re.compile(r"(?:(?<=\n\n)|\A)((?:[ \t]+\S[^\n]*\n?|[ \t]*\n(?=[ \t]+\S|[ \t]*\n))+)")
_LIST = re.compile(r"[ \t]*(?:[-*+\u2022]|\d+[.)])[ \t]+\S")
_BULLET = re.compile(r"^[ \t]*[*+\u2022][ \t]+", re.MULTILINE)
_DEPRECATED = re.compile(r"(?:\A|(?<=\n\n))Deprecated: (.*?)(?:\n\n|\Z)", re.DOTALL)


def clean_godoc(raw: str) -> Doc:
    """The doc of a comment."""
    kept = Protected()
    text = "\n".join(comment_lines(_DIRECTIVE.sub("", raw)))
    text = _CODE.sub(lambda match: _block(match[1], kept), tidy(text))
    if "[" in text:
        has_targets = _TARGET.search(text)
        text = _LINK.sub(lambda match: kept.code(match[1]), _TARGET.sub("", text))
        text = _TEXT_LINK.sub(r"\1", text) if has_targets else text
    text = _HEADING.sub("", text)
    deprecated = ""
    if "Deprecated: " in text and (match := _DEPRECATED.search(text)):
        deprecated = tidy(kept.restore(match[1]))
        text = text[: match.start()] + text[match.end() :]
    return make_doc(tidy(kept.restore(tidy(text))), deprecated=deprecated)


def _block(lines: str, kept: Protected) -> str:
    """Indented lines are a list if they begin as one, else code."""
    if _LIST.match(lines):
        margin = min(len(line) - len(line.lstrip()) for line in lines.split("\n") if line.strip())
        return _BULLET.sub("- ", "\n".join(line[margin:] for line in lines.split("\n")))
    return kept.block(lines)
