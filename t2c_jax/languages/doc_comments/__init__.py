"""Doc comments as prose: the markup of each style is removed, parameters and other sections are kept apart."""

from __future__ import annotations

from collections.abc import Callable

from t2c_jax.languages.doc_comments.doc import Doc as Doc
from t2c_jax.languages.doc_comments.doc import DocPart as DocPart
from t2c_jax.languages.doc_comments.doxygen import clean_c, clean_doxygen
from t2c_jax.languages.doc_comments.godoc import clean_godoc
from t2c_jax.languages.doc_comments.javadoc import clean_javadoc
from t2c_jax.languages.doc_comments.jsdoc import clean_jsdoc
from t2c_jax.languages.doc_comments.kdoc import clean_kdoc
from t2c_jax.languages.doc_comments.phpdoc import clean_phpdoc
from t2c_jax.languages.doc_comments.plain import clean_plain, clean_shell
from t2c_jax.languages.doc_comments.python_docstring import clean_docstring
from t2c_jax.languages.doc_comments.rdoc import clean_rdoc
from t2c_jax.languages.doc_comments.rustdoc import clean_rustdoc
from t2c_jax.languages.doc_comments.swift_markup import clean_swift_markup
from t2c_jax.languages.doc_comments.xmldoc import clean_xmldoc

STYLES: dict[str, Callable[[str], Doc]] = {
    "c": clean_c,
    "doxygen": clean_doxygen,
    "godoc": clean_godoc,
    "javadoc": clean_javadoc,
    "jsdoc": clean_jsdoc,
    "kdoc": clean_kdoc,
    "phpdoc": clean_phpdoc,
    "plain": clean_plain,
    "python": clean_docstring,
    "rdoc": clean_rdoc,
    "rustdoc": clean_rustdoc,
    "shell": clean_shell,
    "swift": clean_swift_markup,
    "xmldoc": clean_xmldoc,
}
"""By style: what reads a comment with its delimiters."""
_LONGEST = 50_000  # characters; no such comment is the text of a pair


def clean_doc(raw: str, style: str) -> Doc:
    """What a doc comment says. It raises nothing, whatever the comment holds.

    Args:
      raw: the comment, or a run of comments one below the other, with their delimiters; of Python, the docstring's
        value.
      style: one of ``STYLES``.
    """
    if "\ue000" in raw or "\ue001" in raw:  # characters of no language, which are placeholders here
        raw = raw.replace("\ue000", "").replace("\ue001", "")
    if len(raw) > _LONGEST:
        return clean_plain(raw)
    try:
        return STYLES[style](raw)
    except RecursionError:  # thousands of tags within each other
        return clean_plain(raw)
