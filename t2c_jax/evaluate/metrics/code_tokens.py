"""Code as the tokens that BLEU counts."""

from __future__ import annotations

from t2c_jax.languages.lexical_tokens import LEXICAL_TOKEN, lexical_tokens

CODE_TOKEN = LEXICAL_TOKEN


def code_tokens(code: str) -> list[str]:
    r"""Splits code into identifiers, keywords and numbers (``\w+``), and every other visible character alone.

    Layout is not a token. sacrebleu's own tokenisers are made for prose: its default leaves ``foo(bar)`` whole
    or cuts it by rules for English punctuation, so most code n-grams would never match.
    """
    return lexical_tokens(code)
