"""Doc comments as prose: the markup of each style is removed, parameters and other sections are kept apart."""

from __future__ import annotations

from collections.abc import Callable

from t2c_jax.languages.doc_comments.doc import Doc as Doc
from t2c_jax.languages.doc_comments.doc import DocPart as DocPart
from t2c_jax.languages.doc_comments.javadoc import clean_javadoc
from t2c_jax.languages.doc_comments.plain import clean_plain

STYLES: dict[str, Callable[[str], Doc]] = {
    "javadoc": clean_javadoc,
    "plain": clean_plain,
}
"""By style: what reads a comment with its delimiters."""


def clean_doc(raw: str, style: str) -> Doc:
    """What a doc comment says. It raises nothing, whatever the comment holds.

    Args:
      raw: the comment, or a run of comments one below the other, with their delimiters.
      style: one of ``STYLES``.
    """
    return STYLES[style](raw)
