"""What a doc comment says, without the markup of its language."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

DocPart = Literal["summary", "description", "docstring"]
"""How much of a doc comment is used: its first paragraph, its prose, or the prose with all sections."""
_NOTE = re.compile(r"^ {0,3}(?:TODO|FIXME|XXX|HACK)\b", re.MULTILINE)
_RETURNS = re.compile(r"returns? ")


@dataclass(frozen=True, slots=True)
class Doc:
    """A doc comment as prose. Inline code is in backticks, blocks of code are indented by four spaces.

    Attributes:
      summary: the first paragraph, or what the style marks as the summary.
      description: all prose, which begins with the summary. If the comment only says what is returned, that.
      parameters: texts by name, in the order of the comment.
      returns: what is returned.
      raises: texts by the name of the error; the name is empty where the style has none.
      deprecated: why, or "yes"; empty if it is not.
      examples: blocks of code that the style marks as examples.
    """

    summary: str = ""
    description: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    returns: str = ""
    raises: Mapping[str, str] = field(default_factory=dict)
    deprecated: str = ""
    examples: tuple[str, ...] = ()

    @property
    def docstring(self) -> str:
        """The prose, then every section in one layout, whatever the style. Empty where nothing is said.

        Parameters without a text are left out, since the signature has their names, and so is what is returned where
        the summary says it.
        """
        if not self.description:
            return ""
        parts = [self.description]
        sections = [_named("Parameters", {name: text for name, text in self.parameters.items() if text})]
        if self.returns and _returned(self.returns) != _returned(self.summary):
            sections.append(f"Returns: {_hanging(self.returns)}")
        if "" in self.raises:
            sections.append(f"Raises: {_hanging(self.raises[''])}")
        sections.append(_named("Raises", {name: text for name, text in self.raises.items() if name}))
        if self.deprecated:
            sections.append(f"Deprecated: {_hanging(self.deprecated)}")
        parts.append("\n".join(filter(None, sections)))
        parts.extend(f"Example:\n{indented(example)}" for example in self.examples)
        return "\n\n".join(filter(None, parts))

    def part(self, part: DocPart) -> str:
        """As much of the comment as ``part`` says."""
        return str(getattr(self, part))


def make_doc(
    description: str,
    parameters: Mapping[str, str] | None = None,
    returns: str = "",
    raises: Mapping[str, str] | None = None,
    deprecated: str = "",
    examples: tuple[str, ...] = (),
) -> Doc:
    """A doc whose summary is the first paragraph of its description, or says what is returned; notes are left out."""
    if _NOTE.search(description):
        description = _without_notes(description)
    if not description and returns:
        description = returns if returns.lower().startswith("return") else f"Returns {returns}"
    return Doc(first_paragraph(description), description, parameters or {}, returns, raises or {}, deprecated, examples)


def _without_notes(prose: str) -> str:
    """The prose without what the authors noted for themselves. A note goes to the end of its paragraph."""
    paragraphs = (_NOTE.split(paragraph, maxsplit=1)[0].rstrip() for paragraph in prose.split("\n\n"))
    return "\n\n".join(filter(None, paragraphs))


def first_paragraph(prose: str) -> str:
    """The lines up to the first blank one."""
    return prose.partition("\n\n")[0]


def indented(code: str) -> str:
    """Code as a block within prose."""
    return "\n".join(f"    {line}" if line.strip() else "" for line in code.split("\n"))


def _returned(text: str) -> str:
    """What is returned, without the word for it."""
    return _RETURNS.sub("", " ".join(text.lower().split()).rstrip("."))


def _named(title: str, texts: Mapping[str, str]) -> str:
    if not texts:
        return ""
    return "\n".join([f"{title}:", *(f"  {name}: {_hanging(text)}".rstrip() for name, text in texts.items())])


def _hanging(text: str) -> str:
    """A text behind its name: one line for each of its own, without paragraphs."""
    return " ".join(text.split())
