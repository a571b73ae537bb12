"""The text of a documented Python definition: its docstring or the summary of it, with or without the signature."""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Callable

from t2c_jax.languages.forms import NoPair, TextForm, text_forms
from t2c_jax.languages.python.definitions import Definition

_PARAGRAPH_END = re.compile(r"\n[ \t]*\n")


def _summary(prose: str) -> str:
    return _PARAGRAPH_END.split(prose, maxsplit=1)[0].rstrip()


def _with_signature(write: Callable[[str], str]) -> Callable[[Definition, str], str]:
    def text(node: Definition, prose: str) -> str:
        header = copy.copy(node)
        header.body, header.decorator_list = [], []
        try:
            signature = ast.unparse(header).strip().removesuffix(":")
        except ValueError:  # before Python 3.12, an f-string whose parts need a backslash has no spelling
            raise NoPair("signature that Python cannot spell") from None
        return f"{signature}\n{write(prose)}"

    return text


text_forms.register("docstring")(TextForm(lambda node, prose: prose))
text_forms.register("summary")(TextForm(lambda node, prose: _summary(prose)))
text_forms.register("signature+docstring")(TextForm(_with_signature(str)))
text_forms.register("signature+summary")(TextForm(_with_signature(_summary)))
