"""The header of a Python definition as a text shows it."""

from __future__ import annotations

import ast
import copy
from dataclasses import dataclass

from t2c_jax.languages.forms import NoPair
from t2c_jax.languages.python.definitions import Definition


@dataclass(frozen=True)
class PythonHeader:
    """A definition as ``forms.Described``."""

    node: Definition

    @property
    def name(self) -> str:
        """As it is written."""
        return self.node.name

    def signature(self) -> str:
        """On one line, as ``ast.unparse`` spells defaults, without decorators and colon. Raises ``NoPair``."""
        header = copy.copy(self.node)
        header.body, header.decorator_list = [], []
        try:
            return ast.unparse(header).strip().removesuffix(":")
        except ValueError:  # before Python 3.12, an f-string whose parts need a backslash has no spelling
            raise NoPair("signature that Python cannot spell") from None
