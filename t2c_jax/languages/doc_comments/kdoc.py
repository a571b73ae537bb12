"""KDoc."""

from __future__ import annotations

import re

from t2c_jax.languages.doc_comments.block_tags import Named, TagStyle, first_word, split_tags, without_dash
from t2c_jax.languages.doc_comments.delimiters import comment_lines
from t2c_jax.languages.doc_comments.doc import Doc
from t2c_jax.languages.doc_comments.markup import Protected, markdown_prose

_TAG = re.compile(r"[ \t]*@([a-z]\w*)(?![\w(.@:-])")
_BRACKETED = re.compile(r"\s*\[([^\[\]]+)\]")
_REFERENCE = re.compile(r"(?<![\])\\!])\[([\w.<>]+(?:\([^()\[\]]*\))?)\](?![(\[:])")


def _prose(text: str) -> str:
    kept = Protected()
    return markdown_prose(text, kept, _REFERENCE) if text else ""


def _named(text: str) -> Named:
    bracketed = _BRACKETED.match(text)
    return Named(bracketed[1], without_dash(text[bracketed.end() :])) if bracketed else first_word(text)


_STYLE = TagStyle(
    _prose,
    parameters=frozenset({"param", "property"}),
    parameter=_named,
    raised=_named,
    examples=frozenset(),
)


def clean_kdoc(raw: str) -> Doc:
    """The doc of a comment."""
    return _STYLE.read(split_tags(comment_lines(raw), _TAG))
