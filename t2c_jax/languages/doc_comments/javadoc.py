"""Javadoc in HTML (``/** … */``) and in Markdown (``///``, JEP 467)."""

from __future__ import annotations

import re

from t2c_jax.languages.doc_comments.block_tags import name_and_text, split_tags
from t2c_jax.languages.doc_comments.delimiters import comment_lines
from t2c_jax.languages.doc_comments.doc import Doc, make_doc
from t2c_jax.languages.doc_comments.markup import Protected, html_prose, markdown_prose, safe

_TAG = re.compile(r"[ \t]*@([a-z][\w.-]*)(?![\w(.-])")
_INLINE = re.compile(r"\{@(\w+)")
_REFERENCE = re.compile(r"(\S*?\([^()]*\)|\S+)\s*", re.DOTALL)
_MARKDOWN_REFERENCE = re.compile(r"\[([\w.]*#?[\w.]+(?:\([^()\[\]]*\))?)\](?![(\[:])")


def clean_javadoc(raw: str) -> Doc:
    """The doc of a comment, of either kind."""
    is_markdown = raw.lstrip().startswith("///")
    sections = split_tags(comment_lines(safe(raw)), _TAG)
    parameters: dict[str, str] = {}
    raises: dict[str, str] = {}
    returns = deprecated = ""
    for name, text in sections[1:]:
        if name == "param":
            key, text = name_and_text(text)
            parameters[key] = _prose(text, is_markdown)
        elif name in ("return", "returns"):
            returns = _prose(text, is_markdown)
        elif name in ("throws", "exception"):
            key, text = name_and_text(text)
            raises[key] = _prose(text, is_markdown)
        elif name == "deprecated":
            deprecated = _prose(text, is_markdown) or "yes"
    return make_doc(_prose(sections[0].text, is_markdown), parameters, returns, raises, deprecated)


def _prose(text: str, is_markdown: bool) -> str:
    if not text:
        return ""
    kept = Protected()
    text = resolve_inline_tags(text, kept)
    if is_markdown:
        return markdown_prose(_MARKDOWN_REFERENCE.sub(lambda match: kept.code(match[1]), text), kept)
    return html_prose(text, kept)


def resolve_inline_tags(text: str, kept: Protected) -> str:
    """The text with ``{@code …}``, ``{@link …}`` and the like as what a reader sees."""
    parts: list[str] = []
    end = 0
    while match := _INLINE.search(text, end):
        close = _closing_brace(text, match.start())
        if close < 0:
            break
        parts += text[end : match.start()], _seen(match[1], text[match.end() : close], kept)
        end = close + 1
    return "".join(parts) + text[end:]


def _closing_brace(text: str, start: int) -> int:
    depth = 0
    for i in range(start, len(text)):
        depth += (text[i] == "{") - (text[i] == "}")
        if not depth:
            return i
    return -1


def _seen(tag: str, content: str, kept: Protected) -> str:
    words = content.strip()
    if tag == "code":
        return kept.block(content) if "\n" in words else kept.code(content)
    if tag == "snippet":
        return kept.block(content.partition("\n")[2]) if "\n" in content else ""
    if tag == "literal":
        return kept.keep(words)
    if tag in ("link", "linkplain", "see", "value"):
        reference = _REFERENCE.match(words)
        label = words[reference.end() :] if reference else ""
        if label:
            return resolve_inline_tags(label, kept)
        target = words.removeprefix("#").replace("#", ".")
        return target if tag == "linkplain" or not target else kept.code(target)
    if tag == "return":
        return f"Returns {resolve_inline_tags(words, kept)}"
    if tag in ("inheritDoc", "docRoot"):
        return ""
    return resolve_inline_tags(words, kept)  # summary, index, systemProperty and what comes after them
