"""Words without the markup of HTML and Markdown, as doc comments use them.

Text that no rule may change, such as code, is replaced by a placeholder at once and put back at the end.
"""

from __future__ import annotations

import html
import re

from t2c_jax.languages.doc_comments.doc import indented

# Only names of HTML: "List<String>" is not markup.
_INLINE = (
    "a|abbr|acronym|b|bdo|big|cite|del|dfn|em|font|i|img|ins|kbd|mark|q|s|samp|small|span|strike|strong|sub|sup|u|var"
    "|wbr"
)
_BLOCKS = (
    "address|article|aside|blockquote|body|caption|center|col|colgroup|dd|details|div|dl|dt|figcaption|figure|footer"
    "|h[1-6]|head|header|hr|html|li|link|main|meta|nav|ol|p|section|summary|table|tbody|td|tfoot|th|thead|tr|ul"
)
_ATTRIBUTES = r"(?:\s+[^<>]*)?/?>"
# What is looked for is bounded, since a comment may open thousands that nothing closes.
_COMMENT = re.compile(r"<!--.{0,2000}?-->", re.DOTALL)
_PRE = re.compile(rf"<pre{_ATTRIBUTES}(.*?)(?:</pre\s*>|\Z)", re.DOTALL | re.IGNORECASE)
_CODE = re.compile(rf"<(code|tt){_ATTRIBUTES}(.{{0,2000}}?)</\1\s*>", re.DOTALL | re.IGNORECASE)
_BREAK = re.compile(rf"<br{_ATTRIBUTES}", re.IGNORECASE)
_ITEM = re.compile(rf"\s*<(?:li|dt){_ATTRIBUTES}\s*", re.IGNORECASE)
_BLOCK_TAG = re.compile(rf"</?(?:{_BLOCKS}){_ATTRIBUTES}", re.IGNORECASE)
_INLINE_TAG = re.compile(rf"</?(?:{_INLINE}|code|tt|pre){_ATTRIBUTES}", re.IGNORECASE)
_ANY_TAG = re.compile(rf"</?(?:{_INLINE}|{_BLOCKS}|code|tt|pre|br){_ATTRIBUTES}", re.IGNORECASE)
_PLACEHOLDER = re.compile("\ue000(\\d+)\ue001")
_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n)+")

_FENCE = re.compile(r"^([ \t]*)(`{3,}|~{3,})[^\n`]*\n(.*?)(?:^[ \t]*\2[`~]*[ \t]*$|\Z)", re.DOTALL | re.MULTILINE)
_INDENTED = re.compile(r"(?:(?<=\n\n)|\A)((?: {4}[^\n]*\n?|[ \t]*\n)*(?: {4}[^\n]*(?:\n|\Z)))")
_LINK = r"\[(?P<label>(?:[^\[\]]|\[[^\[\]]*\])*)\]"
_MARKDOWN = re.compile(
    rf"""
      (?<!`)`(?P<code>[^`]{{1,1000}})`(?!`)
    | (?<!`)``(?P<ticked_code>(?:[^`]|`(?!`)){{1,1000}})``(?!`)
    | \\(?P<escaped>[*_`\[\]<>\#{{}}()+!|~-])
    | !\[[^\[\]]*\](?:\([^()\s]*(?:\([^()]*\)[^()\s]*)*(?:\s+["'][^\n]*?["'])?\)|\[[^\[\]]*\])   # an image
    | {_LINK}(?P<target>\(\s*(?:[^()\s]|\([^()]*\))*(?:\s+["'(][^\n]*?["')])?\)|\[[^\[\]\n]*\])
    | <(?P<url>(?:https?|mailto):[^<>\s]+)>
    """,
    re.VERBOSE | re.DOTALL,
)
_EMPHASIS = re.compile(r"(?<![\w*])(\*{1,3})(?=[^\s*])([^*\n]++(?:\n[^*\n]++){0,3}+)(?<!\s)\1(?![\w*])")
_UNDERSCORES = re.compile(r"(?<![\w_])(_{1,3})(?=[^\s_])([^_\n]++(?:\n[^_\n]++){0,3}+)(?<!\s)\1(?![\w_])")
_HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]+(.*?)[ \t]*#*[ \t]*$", re.MULTILINE)
_BULLET = re.compile(r"^([ \t]*)[*+][ \t]+", re.MULTILINE)
_DEFINITION = re.compile(r"^ {0,3}\[[^\[\]\n]+\]:[ \t]*\S+(?:[ \t]+[\"'(][^\n]*)?[ \t]*$", re.MULTILINE)
_RULE = re.compile(r"^[ \t]*([-=*_~#])(?:[ \t]*\1){2,}[ \t]*$", re.MULTILINE)
_QUOTE = re.compile(r"^[ \t]*>[ \t]?(?:\[![A-Z]+\][ \t]*$)?", re.MULTILINE)


class Protected:
    """Texts that are kept as they are while markup around them is removed."""

    def __init__(self) -> None:
        self._texts: list[str] = []

    def keep(self, text: str) -> str:
        """The placeholder of a text."""
        self._texts.append(text)
        return f"\ue000{len(self._texts) - 1}\ue001"

    def code(self, text: str) -> str:
        """The placeholder of inline code."""
        words = " ".join(self.restore(text).split())
        return self.keep(f"`{words}`" if words and "`" not in words else words)

    def block(self, code: str) -> str:
        """The placeholder of a block of code, a paragraph of its own."""
        lines = self.restore(code).rstrip().split("\n")
        while lines and not lines[0].strip():
            del lines[0]
        margin = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
        code = "\n".join(line[margin:].rstrip() for line in lines)
        return f"\n\n{self.keep(indented(code))}\n\n" if code else "\n\n"

    def restore(self, text: str) -> str:
        """The text with what is kept in place of the placeholders."""
        while self._texts and "\ue000" in text:  # kept texts may hold placeholders
            text = _PLACEHOLDER.sub(self._text, text)
        return text

    def _text(self, match: re.Match[str]) -> str:
        number = int(match[1])
        return self._texts[number] if number < len(self._texts) else ""


def tidy(text: str) -> str:
    """Lines without trailing space, at most one blank line in a row, none at the ends."""
    if "\n" not in text:
        return text.rstrip()
    return _without_blank_lines("\n".join([line.rstrip() for line in text.split("\n")]))


def _without_blank_lines(lines: str) -> str:
    return _BLANK_LINES.sub("\n\n", lines).strip("\n") if "\n\n" in lines else lines.strip("\n")


def without_html(text: str, kept: Protected) -> str:
    """HTML as lines of words; placeholders are not yet replaced."""
    if "<" in text:
        if "<!--" in text:
            text = _COMMENT.sub("", text)
        lowered = text.lower()  # a search that ignores case is slow
        if "<pre" in lowered:
            text = _PRE.sub(lambda match: kept.block(html.unescape(_ANY_TAG.sub("", match[1]))), text)
        if "<code" in lowered or "<tt" in lowered:
            text = _CODE.sub(lambda match: kept.code(html.unescape(_ANY_TAG.sub("", match[2]))), text)
        if "<br" in lowered:
            text = _BREAK.sub("\n", text)
        if "<li" in lowered or "<dt" in lowered:
            text = _ITEM.sub("\n- ", text)
        text = _BLOCK_TAG.sub("\n\n", text)
        text = _INLINE_TAG.sub("", text)
    return html.unescape(text) if "&" in text else text


def html_prose(text: str, kept: Protected) -> str:
    """The words of HTML. Indentation is not kept."""
    text = without_html(text, kept)
    text = _without_blank_lines("\n".join([line.strip() for line in text.split("\n")]))
    return tidy(kept.restore(text)) if "\ue000" in text else text


def markdown_prose(text: str, kept: Protected, reference: re.Pattern[str] | None = None) -> str:
    """The words of Markdown, with HTML in it. Lists keep their dashes and their indentation.

    Args:
      text: as the author wrote it.
      kept: holds what is kept of it already.
      reference: matches a name of code in brackets, without a link; its first group is the name.
    """
    if "```" in text or "~~~" in text:
        text = _FENCE.sub(lambda match: kept.block(match[3]), text)
    text = _BLANK_LINES.sub("\n\n", text)
    if "    " in text:
        text = _INDENTED.sub(lambda match: kept.block(match[1]), text)
    text = _DEFINITION.sub("", text) if "]:" in text else text
    if "`" in text or "[" in text or "\\" in text or "<" in text:
        text = _MARKDOWN.sub(lambda match: _inline(match, kept), text)
    if reference is not None and "[" in text:
        text = reference.sub(lambda match: kept.code(match[1]), text)
    text = without_html(text, kept)
    text = _RULE.sub("", text)
    if "#" in text:
        text = _HEADING.sub(r"\n\1\n", text)
    if "*" in text or "+" in text:
        text = _BULLET.sub(r"\1- ", text)
        text = _EMPHASIS.sub(r"\2", text)
    if "_" in text:
        text = _UNDERSCORES.sub(r"\2", text)
    if ">" in text:
        text = _QUOTE.sub("", text)
    text = tidy(text)
    return tidy(kept.restore(text)) if "\ue000" in text else text


def without_fence(text: str) -> str:
    """Code without the fence around it, where that is all of the text."""
    match = _FENCE.match(text.strip())
    inside = match[3] if match and match.end() == len(text.strip()) else text.strip("\n")
    lines = inside.rstrip().split("\n")
    margin = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    return "\n".join(line[margin:].rstrip() for line in lines)


def fenced_code(text: str) -> tuple[str, ...]:
    """The blocks of fenced code in Markdown; all of it where there is none."""
    blocks = [match[3] for match in _FENCE.finditer(text)]
    return tuple(filter(None, map(without_fence, blocks or [text])))


def _inline(match: re.Match[str], kept: Protected) -> str:
    if code := match["code"] or match["ticked_code"]:
        return kept.code(code)
    if match["escaped"] is not None:
        return kept.keep(match["escaped"])
    if match["url"] is not None:
        return kept.keep(match["url"])
    if match["target"] is not None:
        return _MARKDOWN.sub(lambda inner: _inline(inner, kept), match["label"])
    return ""  # an image
