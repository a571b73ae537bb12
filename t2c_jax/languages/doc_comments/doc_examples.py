"""The examples of code in doc comments, each with the paragraph before it.

What is an example, by style: blocks of ``<pre>``, ``{@code}`` and ``{@snippet}`` of Javadoc, ``@example`` of JSDoc and
YARD, ``<code>`` of C#'s and PHP's comments, ``@code`` of Doxygen, indented lines of Go and RDoc, and fenced blocks of
all styles that read Markdown.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import NamedTuple

from t2c_jax.languages.doc_comments import clean_doc
from t2c_jax.languages.doc_comments.delimiters import comment_lines
from t2c_jax.languages.doc_comments.inline_tags import closing_brace

_NOTATIONS = {
    "fence": r"^[ \t]*(?P<marks>`{3,}|~{3,})(?P<info>[^\n`]*)\n(?P<fence>.*?)(?:^[ \t]*(?P=marks)[`~]*[ \t]*$|\Z)",
    "pre": r"<pre(?:\s[^<>]*)?>(?P<pre>.*?)(?:</pre\s*>|\Z)",
    "code": r"<code(?:\s[^<>]*)?>(?P<code>[^<\n]*\n.*?)(?:</code\s*>|\Z)",
    "inline": r"(?P<inline>\{)@(?:code|snippet)\b",
    "doxygen": r"[@\\]code\b(?:\{\.?(?P<extension>[\w+]+)\})?(?P<doxygen>.*?)(?:[@\\]endcode\b|\Z)",
    "example": r"^[ \t]*@example\b(?P<example>.*?)(?=^[ \t]*@[a-zA-Z]|\Z)",
    "yard": r"^@example\b[^\n]*(?P<yard>(?:\n[ \t]+\S[^\n]*|\n[ \t]*(?=\n[ \t]+\S))+)",
    "indented": r"(?:(?<=\n\n)|\A)(?P<indented>(?:[ \t]+\S[^\n]*\n?|[ \t]*\n(?=[ \t]+\S))+)",
}
_STYLES = {
    "doxygen": ("fence", "doxygen"),
    "godoc": ("indented",),
    "javadoc": ("fence", "pre", "inline"),
    "jsdoc": ("example", "fence"),
    "kdoc": ("fence",),
    "phpdoc": ("fence", "code", "pre"),
    "rdoc": ("yard", "indented"),
    "rustdoc": ("fence",),
    "swift": ("fence",),
    "xmldoc": ("code",),
}
_PATTERNS = {
    style: re.compile("|".join(_NOTATIONS[name] for name in names), re.DOTALL | re.MULTILINE | re.IGNORECASE)
    for style, names in _STYLES.items()
}
_LIST = re.compile(r"[ \t]*(?:[-*+\u2022]|\d+[.)]|\[[^\[\]\n]+\]|\S+::)[ \t]+\S")
_CAPTION = re.compile(r"\A\s*<caption>(.*?)</caption>[ \t]*\n?", re.DOTALL)
_WRAPPED = re.compile(r"\A\s*<code(?:\s[^<>]*)?>(.*?)</code\s*>\s*\Z|\A\s*<!\[CDATA\[(.*?)\]\]>\s*\Z", re.DOTALL)
_CODE_TAG = re.compile(r"\{@(code|literal)\b")
_ANY_TAG = re.compile(r"</?(?:b|i|em|strong|span|a|font|code|tt)(?:\s[^<>]*)?>", re.IGNORECASE)
_BLOCK_TAG = re.compile(r"</?(?:summary|remarks|returns|example|para|value|code)(?:\s[^<>]*)?/?>")
_BLANK_LINES = re.compile(r"\n[ \t]*\n")
_HIDDEN = re.compile(r"^[ \t]*#(?:[ \t].*|)(?:\n|\Z)", re.MULTILINE)  # lines that rustdoc does not show
_NOT_RUST = frozenset(["compile_fail"])


class DocExample(NamedTuple):
    """An example: the prose before it, its code, and the language's name if it is written."""

    prose: str
    code: str
    language: str


def find_examples(raw: str, style: str) -> Iterator[DocExample]:
    """The examples of a comment.

    Args:
      raw: the comment, as for ``clean_doc``.
      style: one of ``doc_comments.STYLES``. Some have no examples.
    """
    if style not in _PATTERNS:
        return
    text = "\n".join(comment_lines(raw))
    position = 0
    while match := _PATTERNS[style].search(text, position):
        notation = match.lastgroup or ""
        begin, end, code = match.start(), match.end(), match[notation]
        prose = text[position:begin]
        language = ""
        if notation == "inline":
            end = closing_brace(text, begin) + 1
            if not end or "\n" not in text[begin:end].strip():
                position = end or match.end()
                continue
            code = text[match.end() : end - 1].partition("\n")[2]
        elif notation == "fence":
            language = match["info"]
        elif notation == "doxygen":
            language = match["extension"] or ""
        elif notation == "indented" and _LIST.match(code):
            position = end
            continue
        elif notation == "example":
            prose, code, language = _of_tag(code)
        elif notation in ("pre", "code"):
            code = _without_tags(code)
        prose = _BLOCK_TAG.split(prose)[-1] if style == "xmldoc" else prose
        position = max(end, begin + 1)
        if style == "rustdoc":
            words = re.split(r"[,\s{}.]+", language.strip().lower())
            if not _NOT_RUST.isdisjoint(words):
                continue
            named = [word for word in words if word and word not in _RUST_WORDS and not word.startswith("edition")]
            language = named[0] if named else "rust"
            code = _HIDDEN.sub("", code) if language == "rust" else code
        code = _dedented(code)
        if code:
            yield DocExample(_cleaned(_BLANK_LINES.split(prose.strip("\n"))[-1], style), code, language.strip())


_RUST_WORDS = frozenset(["rust", "ignore", "should_panic", "no_run", "standalone", "test_harness"])


def _of_tag(text: str) -> tuple[str, str, str]:
    """Caption, code and language of an ``@example``, whose code may be fenced."""
    caption = _CAPTION.match(text)
    text = text[caption.end() :] if caption else text
    fence = _PATTERNS["kdoc"].search(text)
    before = text[: fence.start()] if fence else ""
    prose = caption[1] if caption else before
    return (prose, fence["fence"], fence["info"]) if fence else (prose, text, "")


def _without_tags(code: str) -> str:
    """The content of ``<pre>`` or ``<code>`` as a reader sees it."""
    wrapped = _WRAPPED.match(code)
    if wrapped and wrapped[2] is not None:
        return wrapped[2]
    code = wrapped[1] if wrapped else code
    parts: list[str] = []
    position = 0
    while tag := _CODE_TAG.search(code, position):
        close = closing_brace(code, tag.start())
        if close < 0:
            break
        parts += _seen(code[position : tag.start()]), code[tag.end() : close]
        position = close + 1
    return "".join(parts) + _seen(code[position:])


def _seen(code: str) -> str:
    return html.unescape(_ANY_TAG.sub("", code))


def _dedented(code: str) -> str:
    lines = [line.rstrip() for line in code.split("\n")]
    while lines and not lines[0]:
        del lines[0]
    while lines and not lines[-1]:
        del lines[-1]
    margin = min((len(line) - len(line.lstrip()) for line in lines if line), default=0)
    return "\n".join(line[margin:] for line in lines)


def _cleaned(paragraph: str, style: str) -> str:
    """The words of a paragraph of a comment."""
    if not paragraph.strip():
        return ""
    mark = {"rdoc": "#", "godoc": "//", "rustdoc": "///", "xmldoc": "///", "swift": "///"}.get(style)
    if mark is None:
        raw = "/**\n" + "\n".join(f" * {line}" for line in paragraph.split("\n")) + "\n */"
    else:
        raw = "\n".join(f"{mark} {line}" for line in paragraph.split("\n"))
    return clean_doc(raw, style).description
