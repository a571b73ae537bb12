"""What the text and the code of a mined definition are: the values of config.corpus.text and config.corpus.code.

Extractors look the forms up here. A paper's own forms register themselves from the paper's package.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from t2c_jax.config import CorpusConfig
from t2c_jax.config.registry import Registry
from t2c_jax.languages.doc_comments import DocPart


class NoPair(Exception):
    """Why a definition makes no pair; the reason is counted in the card."""


class Described(Protocol):
    """A definition of any language, as a form of text sees it."""

    @property
    def name(self) -> str:
        """Its own name."""
        ...

    def signature(self) -> str:
        """Its header without the body; empty where it has none. Raises ``NoPair`` if it cannot be written."""
        ...


@dataclass(frozen=True)
class TextForm:
    """How the text of a definition is made.

    Attributes:
      write: of the definition and that part of its documentation, the text; raises ``NoPair``.
      part: of the documentation.
      documented: the text needs documentation. If not, ``write`` gets an empty text where there is none, and
        formats without definitions, such as Markdown, make no pairs.
      hides_name: the code must not hold the definition's own name.
    """

    write: Callable[[Described, str], str]
    part: DocPart = "docstring"
    documented: bool = True
    hides_name: bool = False


@dataclass(frozen=True)
class CodeForm:
    """How the code of a definition is made, if it is not its source.

    Attributes:
      language: of the code.
      kinds: of definitions that have such code.
      reader: called once for a file with its tree; returns a function from a definition to its code, which raises
        ``NoPair``.
    """

    language: str
    kinds: tuple[str, ...]
    reader: Callable[[Any], Callable[[Any], str]]


text_forms: Registry[TextForm] = Registry("form of text")
code_forms: Registry[CodeForm | None] = Registry("form of code")
code_forms.register("source")(None)


def text_form(config: CorpusConfig) -> TextForm:
    """The form of config.corpus.text.

    Raises:
      UserError: there is none of this name.
    """
    return text_forms.get(config.text, "config.corpus.text")


def code_form(config: CorpusConfig) -> CodeForm | None:
    """The form of config.corpus.code; None for the source itself.

    Raises:
      UserError: there is none of this name.
    """
    return code_forms.get(config.code, "config.corpus.code")
