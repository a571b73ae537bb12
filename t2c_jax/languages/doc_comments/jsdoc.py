"""JSDoc and TSDoc."""

from __future__ import annotations

import re

from t2c_jax.languages.doc_comments.block_tags import Named, TagStyle, first_word, split_tags, without_dash
from t2c_jax.languages.doc_comments.delimiters import comment_lines
from t2c_jax.languages.doc_comments.doc import Doc
from t2c_jax.languages.doc_comments.inline_tags import closing_brace, without_inline_tags
from t2c_jax.languages.doc_comments.markup import Protected, markdown_prose, without_fence

_TAG = re.compile(r"[ \t]*@([a-zA-Z][\w-]*)(?![\w(./@-])")
_OPTIONAL = re.compile(r"\s*\[\s*([\w$.\[\]]+?)\s*(?:=|\])")
_CAPTION = re.compile(r"\A\s*<caption>(.*?)</caption>[ \t]*\n?", re.DOTALL)


def _prose(text: str) -> str:
    kept = Protected()
    return markdown_prose(without_inline_tags(text, kept), kept) if text else ""


def _without_type(text: str) -> tuple[str, str]:
    """The type in braces at the start of a section, and the text behind it."""
    text = text.lstrip()
    close = closing_brace(text, 0) if text.startswith("{") and not text.startswith("{@") else -1
    return (text[1:close].strip(), text[close + 1 :].lstrip(" \t")) if close >= 0 else ("", text)


def _parameter(text: str) -> Named:
    _, text = _without_type(text)
    optional = _OPTIONAL.match(text)
    if not optional:
        return first_word(text)
    end, depth = optional.start(), 0
    for end in range(text.index("["), len(text)):  # a default may hold brackets
        depth += (text[end] == "[") - (text[end] == "]")
        if not depth:
            break
    return Named(optional[1], without_dash(text[end + 1 :]))


def _raised(text: str) -> Named:
    name, text = _without_type(text)
    return Named(name, without_dash(text))


_STYLE = TagStyle(
    _prose,
    parameters=frozenset({"param", "arg", "argument", "typeParam", "typeparam", "template", "prop", "property"}),
    raises=frozenset({"throws", "exception", "throw"}),
    description=frozenset({"description", "desc", "remarks", "classdesc", "overview", "fileoverview", "file"}),
    summary=frozenset({"summary"}),
    parameter=_parameter,
    returned=lambda text: without_dash(_without_type(text)[1]),
    raised=_raised,
    example=lambda text: without_fence(_CAPTION.sub("", text)),
)


def clean_jsdoc(raw: str) -> Doc:
    """The doc of a comment."""
    return _STYLE.read(split_tags(comment_lines(raw), _TAG))
