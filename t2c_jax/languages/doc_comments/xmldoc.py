"""XML documentation comments of C#, by patterns: a comment that is no well-formed XML is read as far as it goes."""

from __future__ import annotations

import html
import re

from t2c_jax.languages.doc_comments.delimiters import comment_lines
from t2c_jax.languages.doc_comments.doc import Doc, make_doc
from t2c_jax.languages.doc_comments.markup import Protected, html_prose, tidy

_SECTION = re.compile(
    r"<(summary|remarks|returns|value|param|typeparam|exception|example)((?:\s[^<>]*)?)(?:/>|>(.*?)(?:</\1\s*>|\Z))",
    re.DOTALL,
)
_ATTRIBUTE = re.compile(r"(\w+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)')")
_CDATA = re.compile(r"<!\[CDATA\[(.{0,5000}?)\]\]>", re.DOTALL)
_CODE = re.compile(r"<code(?:\s[^<>]*)?(?:/>|>(.*?)(?:</code\s*>|\Z))", re.DOTALL)
_INLINE_CODE = re.compile(r"<c(?:\s[^<>]*)?>(.{0,2000}?)</c\s*>", re.DOTALL)
_REFERENCE = re.compile(
    r"<(see|seealso|paramref|typeparamref|inheritdoc|include|a)((?:\s[^<>]*)?)(?:/>|>(.{0,2000}?)</\1\s*>)", re.DOTALL
)
_ITEM = re.compile(r"\s*<item>\s*")
_TERM_END = re.compile(r"\s*</term\s*>\s*(?=<description>)")
_PARAGRAPH = re.compile(r"</?(?:para|list|listheader|note|summary|remarks|value|example|br)(?:\s[^<>]*)?/?>")
_TAG = re.compile(r"</?(?:term|description|item|em|b|i|u|strong|langword|see|seealso|[a-z]+ref)(?:\s[^<>]*)?/?>")
_LEAF = re.compile(r"(?:[A-Z]:)?(?:.*[.+])?([^.()]+(?:\(.*\))?)\Z", re.DOTALL)


def clean_xmldoc(raw: str) -> Doc:
    """The doc of a comment. Without any section, all of it is the description."""
    text = "\n".join(comment_lines(raw))
    kept = Protected()
    text = _CDATA.sub(lambda match: kept.keep(match[1]), text)
    parts: dict[str, list[str]] = {"summary": [], "remarks": [], "returns": [], "value": []}
    parameters: dict[str, str] = {}
    raises: dict[str, str] = {}
    examples: list[str] = []
    for match in _SECTION.finditer(text):
        tag, attributes, content = match[1], _attributes(match[2]), match[3] or ""
        if tag in ("param", "typeparam"):
            parameters[attributes.get("name", "")] = _prose(content, kept)
        elif tag == "exception":
            raises[_leaf(attributes.get("cref", ""))] = _prose(content, kept)
        elif tag == "example":
            examples += [code for code in (_code(found[1] or "", kept) for found in _CODE.finditer(content)) if code]
        else:
            parts[tag].append(_prose(content, kept))
    parameters.pop("", None)
    if not _SECTION.search(text):
        parts["summary"].append(_prose(text, kept))
    description = "\n\n".join(filter(None, [*parts["summary"], *parts["remarks"]]))
    returns = "\n".join(filter(None, [*parts["returns"], *parts["value"]]))
    return make_doc(description, parameters, returns, raises, examples=tuple(examples))


def _attributes(text: str) -> dict[str, str]:
    return {name: html.unescape(double or single) for name, double, single in _ATTRIBUTE.findall(text)}


def _prose(text: str, kept: Protected) -> str:
    if "<" in text:
        text = _CODE.sub(lambda match: kept.block(html.unescape(match[1] or "")), text)
        text = _INLINE_CODE.sub(lambda match: kept.code(html.unescape(match[1])), text)
        text = _REFERENCE.sub(lambda match: _seen(match, kept), text)
        text = _TERM_END.sub(": ", text)
        text = _ITEM.sub("\n- ", text)
        text = _PARAGRAPH.sub("\n\n", text)
        text = _TAG.sub("", text)
    return html_prose(text, kept)


def _seen(match: re.Match[str], kept: Protected) -> str:
    tag, attributes, content = match[1], _attributes(match[2]), (match[3] or "").strip()
    if tag in ("inheritdoc", "include"):
        return ""
    if content:
        return content
    if "href" in attributes:
        return attributes["href"]
    name = attributes.get("cref") or attributes.get("langword") or attributes.get("name") or ""
    return kept.code(_leaf(name).replace("{", "<").replace("}", ">")) if name else ""


def _leaf(name: str) -> str:
    """The last part of a reference: ``M:System.Text.Rune.Equals(System.Object)`` is ``Equals(System.Object)``."""
    head, bracket, arguments = name.partition("(")
    match = _LEAF.match(head)
    return (match[1] if match else head) + bracket + arguments


def _code(text: str, kept: Protected) -> str:
    lines = tidy(kept.restore(html.unescape(text))).split("\n")
    margin = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    return "\n".join(line[margin:] for line in lines)
