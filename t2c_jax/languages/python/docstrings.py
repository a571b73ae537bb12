"""The parts of a Python docstring that are the text of a pair."""

from __future__ import annotations

import inspect
import re

from t2c_jax.languages.doc_comments import DocPart, clean_doc

_PARAGRAPH_END = re.compile(r"\n[ \t]*\n")


def docstring_part(docstring: str, part: DocPart) -> str:
    """As much of a docstring as ``part`` says, as its author wrote it; sections are cut out of ``description``."""
    if part == "description":
        return clean_doc(docstring, "python").description
    text = inspect.cleandoc(docstring).strip()
    return text if part == "docstring" else _PARAGRAPH_END.split(text, maxsplit=1)[0].rstrip()
