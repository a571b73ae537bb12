"""The parts of a Python docstring: reST, Google, NumPy and Epydoc styles, by docstring-parser."""

from __future__ import annotations

import inspect
import re

from t2c_jax.languages.doc_comments import DocPart
from t2c_jax.languages.doc_comments.markup import tidy

_PARAGRAPH_END = re.compile(r"\n[ \t]*\n")


def docstring_part(docstring: str, part: DocPart) -> str:
    """As much of a docstring as ``part`` says; only the sections of ``description`` are cut out of it."""
    text = inspect.cleandoc(docstring).strip()
    if part == "docstring":
        return text
    if part == "summary":
        return _PARAGRAPH_END.split(text, maxsplit=1)[0].rstrip()
    return _description(text)


def _description(text: str) -> str:
    from docstring_parser import parse

    try:
        return tidy(parse(text).description or "")
    except Exception:  # a docstring that its own rules refuse is prose
        return text
