"""code2seq (Alon et al. 2019): syntax-tree paths as the encoder's input, and F1 over sub-tokens."""

from __future__ import annotations

from typing import Any

from t2c_jax.config.registry import encoder_features, lazy, metrics
from t2c_jax.languages.forms import NoPair, TextForm, text_forms
from t2c_jax.languages.python.definitions import is_dunder
from t2c_jax.languages.subtokens import subtokens
from t2c_jax.papers.code2seq import config  # noqa: F401  (it registers the encoder)


def _name(node: Any, _: str) -> str:
    """A definition's name in sub-tokens, the text of the task of names (section 4.1)."""
    if is_dunder(node.name):
        raise NoPair("name of Python's own")
    parts = subtokens(node.name)
    if not any(part.isalpha() for part in parts):
        raise NoPair("name without a letter")
    return " ".join(parts)


text_forms.register("name")(TextForm(_name, documented=False, hides_name=True))


@encoder_features.register("paths")
def _paths(data: Any, model: Any) -> Any:
    from t2c_jax.papers.code2seq.features import PathFeatures

    return PathFeatures(model.encoder)


metrics.register("subtoken_f1")(lazy("t2c_jax.papers.code2seq.subtoken_f1:SubtokenF1"))
