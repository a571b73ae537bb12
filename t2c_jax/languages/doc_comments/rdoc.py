"""Comments of Ruby: RDoc, YARD and TomDoc."""

from __future__ import annotations

import re

from t2c_jax.languages.doc_comments.block_tags import Named, TagStyle, split_tags, without_dash
from t2c_jax.languages.doc_comments.delimiters import comment_lines
from t2c_jax.languages.doc_comments.doc import Doc
from t2c_jax.languages.doc_comments.markup import Protected, html_prose, tidy

_YARD_DIRECTIVE = re.compile(r"^@!\w+.*\n?(?:[ \t]+\S.*(?:\n|\Z))*", re.MULTILINE)
_TAG = re.compile(r"@([a-z]\w*)(?![\w(.@-])")  # unlike those of Javadoc, not indented
_TYPES = re.compile(r"\s*\[([^\[\]]*(?:\[[^\[\]]*\][^\[\]]*)*)\][ \t]*")
_NAME = re.compile(r"\s*([*&:]{0,2}[\w.]+[?!]?:?)[ \t]*")
_OPTION = re.compile(
    r"^@option[ \t]+(\w+)[ \t]+(?:\[[^\[\]\n]*\][ \t]+)?:?[\"']?([\w?-]+)[\"']?:?(?:[ \t]+\([^()\n]*\))?",
    re.MULTILINE,
)
_HIDDEN = re.compile(r"^--[ \t]*$.*?(?:^\+\+[ \t]*$\n?|\Z)", re.DOTALL | re.MULTILINE)
_DIRECTIVE = re.compile(
    r"^[ \t]*:(?:nodoc|doc|startdoc|stopdoc|enddoc|yields?|args?|notnew|include|section|category|main|title|markup"
    r"|method|attr\w*|singleton-method):.*$",
    re.MULTILINE,
)
_CALL_SEQUENCE = re.compile(r"^[ \t]*:?call-seq:[ \t]*\n(?:[ \t]+\S[^\n]*\n?|[ \t]*\n(?=[ \t]+\S))*", re.MULTILINE)
_CODE = re.compile(r"(?:(?<=\n\n)|\A)((?:[ \t]{2,}\S[^\n]*\n?|[ \t]*\n(?=[ \t]{2,}\S|[ \t]*\n))+)")
_LIST = re.compile(r"[ \t]*(?:[-*]|\d+\.|\[[^\[\]\n]+\]|\S+::)[ \t]+\S")
_HEADING = re.compile(r"^(?:=+|#+)[ \t]+", re.MULTILINE)
_BULLET = re.compile(r"^([ \t]*)\*[ \t]+", re.MULTILINE)
_PLUS = re.compile(r"(?<![\w+])\+([\w:.?!=\[\]#@$/]+(?:\(\))?)\+(?![\w+])")
_TT = re.compile(r"<(tt|code)>(.{0,500}?)</\1>", re.DOTALL)
_TICKS = re.compile(r"`([^`\n]+)`")
_EMPHASIS = re.compile(r"(?<![\w*_/])([*_])(\w[\w?!.-]*)\1(?![\w*_])")
_LINK = re.compile(r"\{([^{}\n]+)\}\[[^\[\]\n]+\]|(?<![\w:])(\w+)\[(?:https?:|rdoc-\w+:|mailto:|link:)[^\[\]\s]+\]")
_YARD_LINK = re.compile(r"(?<!#)\{((?:[A-Z]\w*|\.|#|::)[\w:#.?!=()]*|https?://[^\s{}]+)(?:[ \t\n]+([^{}]+))?\}")
_MARKDOWN_LINK = re.compile(r"(?<![!\w])\[([^\[\]\n]+)\]\([^()\s]+\)")
_BOLD = re.compile(r"(?<![\w*])\*\*(?=\S)([^*\n]+)(?<!\s)\*\*(?![\w*])")
_TOMDOC_ITEM = re.compile(r"^(:?[a-z_]\w*)[ \t]+- +", re.MULTILINE)
_LISTED = re.compile(
    r"^(?:=+|#+)[ \t]*(?:Parameters|Arguments|Attributes|Options)[ \t]*\n(?:[ \t]*\n)?"
    r"((?:\w+(?:<[^<>\n]*>)?::.*\n?(?:[ \t]+\S.*\n?)*)+)",
    re.MULTILINE | re.IGNORECASE,
)
_LABEL = re.compile(r"^(\w+)(?:<[^<>\n]*>)?::", re.MULTILINE)
_VISIBILITY = re.compile(r"\A(?:Public|Internal|Private|Deprecated): ")


def clean_rdoc(raw: str) -> Doc:
    """The doc of a comment."""
    text = "\n".join(comment_lines(raw))
    text = _HIDDEN.sub("", text) if "--" in text else text
    text = _DIRECTIVE.sub("", text) if ":" in text else text
    text = _CALL_SEQUENCE.sub("\n", text) if "call-seq" in text else text
    text = _VISIBILITY.sub("", text.strip("\n"))
    text = _YARD_DIRECTIVE.sub("", text) if "@!" in text else text
    text = _OPTION.sub(r"@param \1.\2", text) if "@option" in text else text
    if "::" in text:
        text = _LISTED.sub(lambda match: _LABEL.sub(r"@param \1", match[1]) + "\n@note\n", text)
    if " - " in text:
        text = "\n\n".join(_with_tags(paragraph) for paragraph in text.split("\n\n"))
    return _STYLE.read(split_tags(text.split("\n"), _TAG))


def _with_tags(paragraph: str) -> str:
    """A paragraph of TomDoc that lists arguments, ``name - text``, with tags before the names."""
    lines = [line for line in paragraph.split("\n") if line[:1].strip()]
    if lines and all(map(_TOMDOC_ITEM.match, lines)):
        return _TOMDOC_ITEM.sub(r"@param \1 ", paragraph) + "\n@note"
    return paragraph


def _prose(text: str) -> str:
    if not text.strip():
        return ""
    kept = Protected()
    text = _CODE.sub(lambda match: match[1] if _LIST.match(match[1]) else kept.block(match[1]), tidy(text))
    text = _TT.sub(lambda match: kept.code(match[2]), text)
    if "`" in text:
        text = _TICKS.sub(lambda match: kept.code(match[1]), text)
    if "+" in text:
        text = _PLUS.sub(lambda match: kept.code(match[1]), text)
    if "[" in text:
        text = _LINK.sub(lambda match: match[1] or match[2], text)
        text = _MARKDOWN_LINK.sub(r"\1", text)
    if "{" in text:
        text = _YARD_LINK.sub(lambda match: match[2] or kept.code(match[1]), text)
    text = _HEADING.sub("", text)
    text = _BULLET.sub(r"\1- ", text)
    if "**" in text:
        text = _BOLD.sub(r"\1", text)
    return html_prose(_EMPHASIS.sub(r"\2", text), kept)


def _parameter(text: str) -> Named:
    text = _TYPES.sub("", text, count=1) if _TYPES.match(text) else text
    name = _NAME.match(text)
    if not name:
        return Named("", "")
    text = text[name.end() :]
    types = _TYPES.match(text)
    return Named(name[1].strip("*&:"), without_dash(text[types.end() :] if types else text))


def _returned(text: str) -> str:
    types = _TYPES.match(text)
    return without_dash(text[types.end() :]) if types else text


def _raised(text: str) -> Named:
    types = _TYPES.match(text)
    return Named(types[1], without_dash(text[types.end() :])) if types else Named("", text)


def _example(text: str) -> str:
    title, _, code = text.partition("\n")
    lines = (code if code.strip() else title).rstrip().split("\n")
    margin = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    return "\n".join(line[margin:] for line in lines).strip("\n")


_STYLE = TagStyle(
    _prose,
    parameters=frozenset({"param", "yieldparam"}),
    returns=frozenset({"return"}),
    raises=frozenset({"raise"}),
    description=frozenset({"note"}),
    parameter=_parameter,
    returned=_returned,
    raised=_raised,
    example=_example,
)
