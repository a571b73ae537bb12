"""The text of a documented definition: a part of its documentation, with or without its signature above it."""

from __future__ import annotations

from t2c_jax.languages.doc_comments import DocPart
from t2c_jax.languages.forms import Described, TextForm, text_forms


def _prose(definition: Described, prose: str) -> str:
    return prose


def _with_signature(definition: Described, prose: str) -> str:
    signature = definition.signature()
    return f"{signature}\n{prose}" if signature else prose


_PARTS: tuple[DocPart, ...] = ("summary", "description", "docstring")
for _part in _PARTS:
    text_forms.register(_part)(TextForm(_prose, _part))
    text_forms.register(f"signature+{_part}")(TextForm(_with_signature, _part))
