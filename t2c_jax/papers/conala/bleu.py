"""BLEU as the CoNaLa challenge computes it."""

from __future__ import annotations

import re

from t2c_jax.evaluate.metrics.corpus_bleu import CorpusBleu

_TOKEN = re.compile(r"[A-Za-z0-9_]+|[^A-Za-z0-9_\s]")
_CAMEL_CASE = re.compile(r"(?<=[a-z])(?=[A-Z])")
_QUOTES = str.maketrans("\"'", "``")


def conala_tokens(code: str) -> list[str]:
    """Splits as Ling et al. (2016) did and the CoNaLa challenge does.

    Every character but ASCII letters, digits and ``_`` is a token, ``camelCase`` is split, and both quotes are one.
    """
    return [part for token in _TOKEN.findall(code.translate(_QUOTES)) for part in _CAMEL_CASE.split(token)]


class ConalaBleu4(CorpusBleu):
    """Corpus BLEU-4 without smoothing over ``conala_tokens``, the score of the CoNaLa challenge (Yin et al. 2018)."""

    name = "conala_bleu"
    title = "BLEU, CoNaLa's"
    phrase = "CoNaLa's BLEU"
    smoothing = "none"

    def tokens(self, text: str) -> list[str]:
        """``conala_tokens``."""
        return conala_tokens(text)

    def tokens_signature(self) -> str:
        """Their rules."""
        return f"{_TOKEN.pattern} split at {_CAMEL_CASE.pattern}, quotes as one,"
