"""Doc comments of Rust, and ``#[doc = "…"]``."""

from __future__ import annotations

import re

from t2c_jax.languages.doc_comments.delimiters import comment_lines
from t2c_jax.languages.doc_comments.doc import Doc, make_doc
from t2c_jax.languages.doc_comments.markup import Protected, fenced_code, markdown_prose

_ATTRIBUTE = re.compile(
    r'^[ \t]*#!?\[doc[ \t]*=[ \t]*(?:r(#*)"(.*?)"\1|"((?:[^"\\]|\\.)*)")[ \t]*\][ \t]*$', re.DOTALL | re.MULTILINE
)
_ESCAPE = re.compile(r"\\(?:\n\s*|(.))", re.DOTALL)
_SECTION = re.compile(
    r"[ \t]{0,3}#{1,3}[ \t]+(Examples?|Errors?|Panics?|Arguments|Parameters|Params|Returns?)[ \t]*:?[ \t]*#*$",
    re.IGNORECASE,
)
_HEADING = re.compile(r"[ \t]{0,3}#{1,6}[ \t]+\S")
_FENCE = re.compile(r"[ \t]*(?:```|~~~)(.*)")
_HIDDEN = re.compile(r"[ \t]*#(?: |$)")
_ITEM = re.compile(
    r"^[ \t]*[-*+][ \t]+`?([\w&.:<>\[\]]+)`?[ \t]*(?:\([^()\n]*\)[ \t]*)?[-:\u2013\u2014]+[ \t]*", re.MULTILINE
)
_REFERENCE = re.compile(r"(?<![\])\\!\w])\[((?:\w+@)?[\w:<>!]+(?:\(\))?)\](?![(\[:])")
_TICKED = re.compile(r"\[(`[^`\n\[\]]+`)\](?![(\[:])")


def clean_rustdoc(raw: str) -> Doc:
    """The doc of a comment, or of attributes."""
    raw = _ATTRIBUTE.sub(_attribute, raw) if "#[doc" in raw or "#![doc" in raw else raw
    sections = _sections(comment_lines(raw))
    prose = {name: _prose(text) for name, text in sections.items() if name not in ("example", "argument")}
    raises = {name: prose[key] for key, name in (("error", ""), ("panic", "panic")) if prose.get(key)}
    parameters = dict(_items(sections.get("argument", "")))
    if "argument" in sections and not parameters:
        prose[""] += f"\n\n{_prose(sections['argument'])}"
    examples = fenced_code(sections.get("example", ""))
    return make_doc(prose[""], parameters, prose.get("return", ""), raises, examples=examples)


def _attribute(match: re.Match[str]) -> str:
    text = match[2] if match[3] is None else _ESCAPE.sub(lambda escape: _unescaped(escape[1]), match[3])
    return "\n".join(f"///{line}" for line in text.split("\n"))


def _unescaped(character: str | None) -> str:
    return "" if character is None else {"n": "\n", "t": "\t"}.get(character, character)


def _sections(lines: list[str]) -> dict[str, str]:
    """The text under each heading that has a meaning; under no such heading, that of the name ""."""
    found: dict[str, list[str]] = {"": []}
    current, in_fence, is_rust = "", False, False
    for line in lines:
        if fence := _FENCE.match(line):
            in_fence = not in_fence
            info = fence[1].strip().lower()
            is_rust = in_fence and (not info or "rust" in info or "should_panic" in info or "no_run" in info)
        elif in_fence:
            if is_rust and _HIDDEN.match(line):
                continue
        elif heading := _SECTION.match(line):
            current = heading[1].lower().rstrip("s")
            current = {"parameter": "argument", "param": "argument"}.get(current, current)
            found.setdefault(current, [])
            continue
        elif current and _HEADING.match(line):
            current = ""
        found[current].append(line)
    return {name: "\n".join(text) for name, text in found.items()}


def _items(text: str) -> list[tuple[str, str]]:
    parts = _ITEM.split(text)
    return [(name, " ".join(_prose(rest).split())) for name, rest in zip(parts[1::2], parts[2::2], strict=True)]


def _prose(text: str) -> str:
    text = _TICKED.sub(r"\1", text) if "[`" in text else text
    return markdown_prose(text, Protected(), _REFERENCE) if text.strip() else ""
