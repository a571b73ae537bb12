"""Comments without a markup of their own."""

from __future__ import annotations

import re

from t2c_jax.languages.doc_comments.delimiters import comment_lines
from t2c_jax.languages.doc_comments.doc import Doc, make_doc
from t2c_jax.languages.doc_comments.markup import tidy

_ORNAMENT = re.compile(r"^[ \t]*([-=*_~#/+.])\1{2,}[ \t]*|[ \t]*([-=*_~#/+])\2{2,}[ \t]*$")


def clean_plain(raw: str) -> Doc:
    """The words of a comment, without rules of dashes and the like around them."""
    return make_doc(tidy("\n".join(_ORNAMENT.sub("", line) for line in comment_lines(raw))))
