"""Comments whose sections begin with a tag at the start of a line, such as ``@param``."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from t2c_jax.languages.doc_comments.doc import Doc, make_doc

_FENCE = re.compile(r"[ \t]*(```|~~~)")
_PRE = re.compile(r"<(/?)pre\b", re.IGNORECASE)
_WORD = re.compile(r"\s*(\S+)\s*")
_DASH = re.compile(r"\s*(?:[-:\u2013\u2014]+(?:\s+|\Z))?")


class Tag(NamedTuple):
    """A section: the tag's name, and the text behind it. The prose before all tags has no name."""

    name: str
    text: str


class Named(NamedTuple):
    """What a section is about, and what it says of it."""

    name: str
    text: str


def split_tags(lines: Sequence[str], tag: re.Pattern[str]) -> list[Tag]:
    """The sections of a comment, the prose first.

    Args:
      lines: without delimiters.
      tag: matches a tag, which has an @, at the start of a line; its first group is the name.

    Lines within braces, ``<pre>`` and fenced code begin no section.
    """
    found: list[tuple[str, list[str]]] = [("", [])]
    matches = [tag.match(line) if "@" in line else None for line in lines]
    if not any(matches):
        return [Tag("", _section(lines))]
    inside = _are_inside(lines) if _may_begin_code("\n".join(lines)) else itertools.repeat(False)
    for line, match, is_inside in zip(lines, matches, inside, strict=False):
        if match and not is_inside:
            found.append((match[1], [line[match.end() :].lstrip()]))
        else:
            found[-1][1].append(line)
    return [Tag(name, _section(text)) for name, text in found]


def _section(lines: Sequence[str]) -> str:
    return "\n".join(lines).strip("\n").rstrip()


def _may_begin_code(text: str) -> bool:
    return "{@" in text or "```" in text or "~~~" in text or ("<" in text and "<pre" in text.lower())


def _are_inside(lines: Sequence[str]) -> Iterator[bool]:
    """Whether each line begins within code or an inline tag."""
    braces, in_pre, fence = 0, False, ""
    for line in lines:
        yield bool(fence) or in_pre or braces > 0
        if ("```" in line or "~~~" in line) and (match := _FENCE.match(line)):
            fence = "" if fence == match[1] else fence or match[1]
        if fence:
            continue
        if "<" in line:
            for pre in _PRE.finditer(line):
                in_pre = not pre[1]
        if braces or "{@" in line:
            start = 0 if braces else line.index("{@")
            braces = max(0, braces + line.count("{", start) - line.count("}", start))


def first_word(text: str) -> Named:
    """The first word as the name; the text without a dash before it."""
    word = _WORD.match(text)
    return Named(word[1], without_dash(text[word.end() :])) if word else Named("", "")


def without_dash(text: str) -> str:
    """The text without space and a dash or colon before it."""
    match = _DASH.match(text)
    return text[match.end() :] if match else text


@dataclass(frozen=True)
class TagStyle:
    """What the tags of a style mean. Tags that it does not name are dropped.

    Attributes:
      prose: a text without markup.
      parameters: tags of parameters.
      returns: tags of what is returned.
      raises: tags of errors.
      examples: tags of code.
      description: tags of prose that continues the description.
      summary: tags of prose that is the summary.
      parameter: name and text of such a section.
      returned: the text of such a section without its type.
      raised: name and text of such a section.
      notes: tags of prose that is a paragraph of its own, by the words before it.
    """

    prose: Callable[[str], str]
    parameters: frozenset[str] = frozenset({"param"})
    returns: frozenset[str] = frozenset({"return", "returns"})
    raises: frozenset[str] = frozenset({"throws", "exception"})
    examples: frozenset[str] = frozenset({"example"})
    description: frozenset[str] = frozenset()
    summary: frozenset[str] = frozenset()
    parameter: Callable[[str], Named] = first_word
    returned: Callable[[str], str] = str
    raised: Callable[[str], Named] = first_word
    example: Callable[[str], str] = str

    def read(self, sections: Sequence[Tag]) -> Doc:
        """The doc of a comment's sections."""
        main, summary = [self.prose(sections[0].text)], ""
        parameters: dict[str, str] = {}
        raises: dict[str, str] = {}
        returns: list[str] = []
        examples: list[str] = []
        deprecated = ""
        for tag, text in sections[1:]:
            if tag in self.parameters:
                name, text = self.parameter(text)
                if name:
                    parameters[name] = self.prose(text)
            elif tag in self.returns:
                returns.append(self.prose(self.returned(text)))
            elif tag in self.raises:
                name, text = self.raised(text)
                text = self.prose(text)
                raises[name] = f"{raises[name]}\n{text}" if raises.get(name) else text
            elif tag in self.description:
                main.append(self.prose(text))
            elif tag in self.summary and not summary:
                first, _, rest = self.prose(text).partition("\n\n")
                summary = first
                main.append(rest)
            elif tag in self.examples:
                examples.append(self.example(text))
            elif tag == "deprecated":
                deprecated = self.prose(text) or "yes"
        return make_doc(
            "\n\n".join(filter(None, [summary, *main])),
            parameters,
            "\n".join(filter(None, returns)),
            raises,
            deprecated,
            tuple(filter(None, examples)),
        )
