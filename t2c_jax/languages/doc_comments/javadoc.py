"""Javadoc in HTML (``/** … */``) and in Markdown (``///``, JEP 467)."""

from __future__ import annotations

import re

from t2c_jax.languages.doc_comments.block_tags import TagStyle, split_tags
from t2c_jax.languages.doc_comments.delimiters import comment_lines
from t2c_jax.languages.doc_comments.doc import Doc
from t2c_jax.languages.doc_comments.inline_tags import without_inline_tags
from t2c_jax.languages.doc_comments.markup import Protected, html_prose, markdown_prose

_TAG = re.compile(r"[ \t]*@([a-z][\w.-]*)(?![\w(.-])")
_REFERENCE = re.compile(r"\[([\w.]*#?[\w.]+(?:\([^()\[\]]*\))?)\](?![(\[:])")


def _html(text: str) -> str:
    kept = Protected()
    return html_prose(without_inline_tags(text, kept), kept) if text else ""


def _markdown(text: str) -> str:
    kept = Protected()
    return markdown_prose(without_inline_tags(text, kept), kept, _REFERENCE) if text else ""


_HTML, _MARKDOWN = TagStyle(_html), TagStyle(_markdown)


def clean_javadoc(raw: str) -> Doc:
    """The doc of a comment, of either kind."""
    style = _MARKDOWN if raw.lstrip().startswith("///") else _HTML
    return style.read(split_tags(comment_lines(raw), _TAG))
