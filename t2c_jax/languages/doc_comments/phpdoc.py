"""PHPDoc (PSR-5)."""

from __future__ import annotations

import re

from t2c_jax.languages.doc_comments.block_tags import Named, TagStyle, split_tags, without_dash
from t2c_jax.languages.doc_comments.delimiters import comment_lines
from t2c_jax.languages.doc_comments.doc import Doc
from t2c_jax.languages.doc_comments.inline_tags import without_inline_tags
from t2c_jax.languages.doc_comments.markup import Protected, markdown_prose, without_fence

_TAG = re.compile(r"[ \t]*@([a-zA-Z][\w\\-]*)(?![\w./@-])")
_NAME = re.compile(r"&?(?:\.\.\.)?&?\$(\w+)(?:,\s*\.\.\.)?\s*")
_OPEN, _CLOSE, _OPERATORS = "<([{", ">)]}", ("|", "&", ":")


def _prose(text: str) -> str:
    kept = Protected()
    return markdown_prose(without_inline_tags(text, kept), kept) if text else ""


def _without_type(text: str) -> tuple[str, str]:
    """The type at the start of a section, which may have spaces within brackets, and the text behind it."""
    text = text.lstrip()
    depth = end = 0
    for end, character in enumerate(text):
        depth += (character in _OPEN) - (character in _CLOSE)
        if depth > 0 or not character.isspace():
            continue
        if text[:end].rstrip()[-1:] not in _OPERATORS and text[end:].lstrip()[:1] not in ("|", "&"):
            break
    else:
        end = len(text)
    return text[:end], text[end:].lstrip(" \t")


def _parameter(text: str) -> Named:
    name = _NAME.match(text)
    if not name:
        _, text = _without_type(text)
        name = _NAME.match(text)
    if not name:
        return Named("", "")
    return Named(name[1], without_dash(text[name.end() :]))


def _raised(text: str) -> Named:
    name, text = _without_type(text)
    return Named(name.lstrip("\\"), without_dash(text))


_STYLE = TagStyle(
    _prose,
    raises=frozenset({"throws", "throw", "exception"}),
    parameter=_parameter,
    returned=lambda text: without_dash(_without_type(text)[1]),
    raised=_raised,
    example=without_fence,
)


def clean_phpdoc(raw: str) -> Doc:
    """The doc of a comment."""
    return _STYLE.read(split_tags(comment_lines(raw), _TAG))
