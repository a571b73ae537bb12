"""Inline tags of Javadoc, JSDoc, TSDoc and PHPDoc: ``{@code …}``, ``{@link …}``."""

from __future__ import annotations

import re

from t2c_jax.languages.doc_comments.markup import Protected

_INLINE = re.compile(r"(?:\[(?P<label>[^\[\]\n]*)\])?\{@(?P<tag>\w+)")
_REFERENCE = re.compile(r"(\S*?\([^()]*\)|[^\s|]+)\s*\|?\s*", re.DOTALL)
_BRACE = re.compile("[{}]")
_FARTHEST = 5_000  # characters
_LINKS = ("link", "linkplain", "linkcode", "see", "value", "tutorial")


def without_inline_tags(text: str, kept: Protected) -> str:
    """The text with each tag as what a reader sees of it. Unclosed ones are kept as they are."""
    if "{@" not in text:
        return text
    parts: list[str] = []
    end = 0
    while match := _INLINE.search(text, end):
        close = closing_brace(text, match.end() - len(match["tag"]) - 2)
        if close < 0:
            break
        content = text[match.end() : close]
        seen = match["label"] if match["label"] is not None else _seen(match["tag"], content, kept)
        parts += text[end : match.start()], seen
        end = close + 1
    return "".join(parts) + text[end:]


def closing_brace(text: str, start: int) -> int:
    """Where the brace at ``start`` is closed; -1 if it is not, or far away."""
    first = text.find("}", start, start + _FARTHEST)
    if first < 0 or text.find("{", start + 1, first) < 0:  # as most have no braces within
        return first
    depth = 0
    for brace in _BRACE.finditer(text, start, start + _FARTHEST):
        depth += 1 if brace[0] == "{" else -1
        if not depth:
            return brace.start()
    return -1


def _seen(tag: str, content: str, kept: Protected) -> str:
    words = content.strip()
    if tag == "code":
        return kept.block(content) if "\n" in words else kept.code(content)
    if tag == "snippet":
        return kept.block(content.partition("\n")[2]) if "\n" in content else ""
    if tag == "literal":
        return kept.keep(words)
    if tag in _LINKS:
        reference = _REFERENCE.match(words)
        label = words[reference.end() :] if reference else ""
        if label:
            return without_inline_tags(label, kept)
        target = words.removeprefix("#").replace("#", ".")
        return target if tag == "linkplain" or not target or "://" in target else kept.code(target)
    if tag == "return":
        return f"Returns {without_inline_tags(words, kept)}"
    if tag.lower() in ("inheritdoc", "docroot", "internal"):
        return ""
    return without_inline_tags(words, kept)  # summary, index, systemProperty and what comes after them
