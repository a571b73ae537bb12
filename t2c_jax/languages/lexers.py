"""Pygments' lexers by language, for highlighting and for identifiers."""

from __future__ import annotations

import functools

from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name
from pygments.lexers.special import TextLexer
from pygments.util import ClassNotFound

from t2c_jax.languages.aliases import canonical


@functools.cache
def find_lexer(language: str) -> Lexer | None:
    """The lexer of a language, by any of its common names; None if there is none but plain text."""
    try:
        # PHP without its opening tag; blank lines at the ends are kept.
        lexer = get_lexer_by_name(canonical(language), startinline=True, stripnl=False)
    except ClassNotFound:
        return None
    return None if isinstance(lexer, TextLexer) else lexer


def highlighting_lexer(language: str) -> Lexer:
    """The lexer to highlight code of a language with; plain text if there is none."""
    return find_lexer(language) or TextLexer(stripnl=False)
