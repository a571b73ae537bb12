"""Doxygen's comments, with the notations of kernel-doc and gtk-doc for parameters."""

from __future__ import annotations

import re

from t2c_jax.languages.doc_comments.block_tags import Named, first_word, without_dash
from t2c_jax.languages.doc_comments.delimiters import comment_lines
from t2c_jax.languages.doc_comments.doc import Doc, make_doc
from t2c_jax.languages.doc_comments.markup import Protected, markdown_prose
from t2c_jax.languages.doc_comments.plain import clean_plain

_PARAMETER, _RETURN, _BRIEF = ("param", "tparam"), ("return", "returns", "result", "retval"), ("brief", "short")
_RAISES = ("throw", "throws", "exception")
_NOTES = ("note", "warning", "attention")
_PROSE = ("details", "remark", "remarks", "pre", "post", "invariant", "par", "section", "{", "}")
_OTHER = (
    *("see", "sa", "since", "version", "author", "authors", "date", "copyright", "todo", "bug", "test"),
    *("file", "fn", "def", "class", "struct", "union", "enum", "var", "typedef", "namespace", "ingroup"),
    *("addtogroup", "defgroup", "relates", "headerfile", "overload", "name", "example", "include", "snippet"),
    *("internal", "endinternal", "private", "deprecated", "hideinitializer", "nosubgrouping", "subsection"),
    *("related", "memberof", "callgraph", "callergraph", "weakgroup", "public", "protected", "static"),
    *("pure", "property", "package", "category", "cond", "endcond", "paragraph", "tableofcontents"),
    *("interface", "protocol", "extends", "implements", "mainpage", "page", "dir", "idlexcept", "xrefitem"),
)  # fmt: skip
_NAMES = "|".join(
    sorted({*_PARAMETER, *_RETURN, *_BRIEF, *_RAISES, *_NOTES, *_PROSE[:-2], *_OTHER}, key=len, reverse=True)
)
# The last two: kernel-doc's and gtk-doc's "@name: text", and their "Returns: text".
_TAG = re.compile(
    rf"[ \t]*(?:[@\\]({_NAMES}|[{{}}](?=\s|\Z))(?![\w(.-])|@(\w+|\.\.\.):(?=\s|\Z)"
    r"|(Returns?|Return value|Deprecated):(?=\s|\Z))"
)
_COMMAND = re.compile(rf"^[ \t]*(?:/[/*]+!?|\*+)?[ \t]*[@\\](?:{_NAMES})(?![\w(.-])", re.MULTILINE)
_INTERNAL = re.compile(r"[ \t]*[@\\]internal[ \t]+(?=\S)")  # documentation all the same
_DIRECTION = re.compile(r"[ \t]*\[(?:in|out|,|\s)*\]")
_NAMED_PARAMETER = re.compile(r"\s*([\w.*&:~]+(?:\s*,\s*[\w.*&]+)*|\.\.\.)[ \t]*")
_CODE = re.compile(
    r"[@\\](code|verbatim|dot|msc|startuml)\b(?:\{[^{}]*\})?(.*?)(?:[@\\](?:end\1|enduml)\b|\Z)", re.DOTALL
)
_FORMULA = re.compile(r"[@\\]f\$(.{0,1000}?)[@\\]f\$|[@\\]f\[(.{0,2000}?)[@\\]f\]", re.DOTALL)
_WORD = re.compile(
    r"(?<![\w@\\])[@\\](c|p|a|e|em|b|ref|link|subpage)[ \t]+((?:[\w:~.<>*&#]|\([^()\s]*\)|->)+)"
    r"(?:[ \t]+\"([^\"\n]*)\")?"
)
_SEPARATORS = re.compile(r"(?<![\w@\\])[@\\](?:n\b|li\b|arg\b|endlink\b|[{}]|anchor[ \t]+\S+|image[ \t]+[^\n]*)")
_ESCAPED = re.compile(r"[@\\]([@\\&$#<>%\"])")
_PLAIN_NAME = re.compile(r"\A\s*(?:(?:struct|union|enum)[ \t]+)?(\w+)(?:\(\))?(?:[ \t]+-+[ \t]+|:[ \t]*(?:\n|\Z))")
_REFERENCE = re.compile(r"(?<![\w:])(?:::|#|%)(?=[A-Za-z_]\w+)")
_ITEM = re.compile(r"[@\\](?:li|arg)\b[ \t]*")
_BLANK = re.compile(r"\n[ \t]*\n")


def clean_doxygen(raw: str) -> Doc:
    """The doc of a comment."""
    text = "\n".join(comment_lines(raw))
    kept = Protected()
    if "@" in text or "\\" in text:
        text = _CODE.sub(lambda match: kept.block(match[2]), text)
        text = _FORMULA.sub(lambda match: kept.code(match[1] or match[2] or ""), text)
    return _Reader(kept).read(text)


def clean_c(raw: str) -> Doc:
    """The doc of an ordinary comment of C and C++: Doxygen's if one of its lines begins with a command."""
    return clean_doxygen(raw) if _COMMAND.search(raw) else clean_plain(raw)


class _Reader:
    """Collects the sections of a comment. A paragraph of a section ends at a blank line; what follows is prose."""

    def __init__(self, kept: Protected) -> None:
        self._kept = kept
        self._brief, self._deprecated = "", ""
        self._main: list[str] = []
        self._parameters: dict[str, str] = {}
        self._raises: dict[str, str] = {}
        self._returns: list[str] = []

    def read(self, text: str) -> Doc:
        """The doc of a text without delimiters."""
        sections: list[tuple[str, str, list[str]]] = [("", "", [])]
        for line in text.split("\n"):
            line = _INTERNAL.sub("", line, count=1) if "internal" in line else line
            match = _TAG.match(line)
            if match is None:
                sections[-1][2].append(line)
                continue
            command, name, word = match.groups()
            if name:
                command = "param"
            elif word:
                command = word.split()[0].lower()
            sections.append((command, name or "", [line[match.end() :].lstrip(" \t:")]))
        if any(name for _, name, _ in sections) or len(sections[0][2]) > 1:
            sections[0][2][:] = _PLAIN_NAME.sub("", "\n".join(sections[0][2])).split("\n")
        for command, name, lines in sections:
            part = "\n".join(lines)
            if command:
                part, *rest = _BLANK.split(part.strip("\n"), maxsplit=1)
                self._add(command, name, part)
                part = rest[0] if rest else ""
            self._main.append(self._prose(part))
        description = "\n\n".join(filter(None, [self._brief, *self._main]))
        returns = "\n".join(filter(None, self._returns))
        return make_doc(description, self._parameters, returns, self._raises, self._deprecated)

    def _add(self, command: str, name: str, text: str) -> None:
        if command in _PARAMETER:
            name, text = (name, text) if name else _parameter(text)
            if name:
                self._parameters[name] = self._prose(text)
        elif command in _RETURN:
            self._returns.append(self._prose(text))
        elif command in _RAISES:
            name, text = first_word(text)
            self._raises[name] = self._prose(text)
        elif command in _BRIEF and not self._brief:
            self._brief = self._prose(text)
        elif command == "deprecated":
            self._deprecated = self._prose(text) or "yes"
        elif command in _NOTES:
            self._main.append(f"{command.capitalize()}: {self._prose(text)}")
        elif command in _PROSE or command in _BRIEF:
            self._main.append(self._prose(text))

    def _prose(self, text: str) -> str:
        if not text.strip():
            return ""
        if "@" in text or "\\" in text:
            text = _ITEM.sub("- ", text)
            text = _WORD.sub(self._word, text)
            text = _SEPARATORS.sub("", text)
            text = _ESCAPED.sub(lambda match: self._kept.keep(match[1]), text)
        text = markdown_prose(text, self._kept)
        return _REFERENCE.sub("", text) if "::" in text or "#" in text or "%" in text else text

    def _word(self, match: re.Match[str]) -> str:
        command, word, label = match.groups()
        if command in ("c", "p", "a"):
            dots = word[len(word.rstrip(".,:")) :]
            return self._kept.code(word.rstrip(".,:")) + dots
        return label or word


def _parameter(text: str) -> Named:
    direction = _DIRECTION.match(text)
    text = text[direction.end() :] if direction else text
    name = _NAMED_PARAMETER.match(text)
    return Named(name[1], without_dash(text[name.end() :])) if name else Named("", "")
