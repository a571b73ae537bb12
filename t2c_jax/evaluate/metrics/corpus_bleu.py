"""Corpus BLEU over tokens of code."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from sacrebleu.metrics.bleu import BLEU

from t2c_jax.evaluate.metrics.code_tokens import CODE_TOKEN, code_tokens
from t2c_jax.evaluate.metrics.metric import Metric, best

if TYPE_CHECKING:
    from t2c_jax.corpus.pairs import Pair


class CorpusBleu(Metric):
    """Corpus BLEU-4 (Papineni et al. 2002) as sacrebleu counts it, over tokens and with a smoothing to be named."""

    smoothing: str

    def __init__(self) -> None:
        self._bleu = BLEU(tokenize="none", force=True, effective_order=True)
        # effective_order only silences a notice on single sentences; corpus scores below are the ordinary ones.
        corpus = BLEU(tokenize="none", force=True, smooth_method=self.smoothing)
        corpus.corpus_score([""], [[""]])
        self.signature = f"tokens:{self.tokens_signature()} joined by spaces; sacrebleu {corpus.get_signature()}"

    @abstractmethod
    def tokens(self, text: str) -> list[str]:
        """What n-grams are made of; none holds white space."""

    @abstractmethod
    def tokens_signature(self) -> str:
        """How ``tokens`` splits."""

    def statistics(self, pairs: Sequence[Pair], candidates: Sequence[Sequence[str]]) -> np.ndarray:
        """Columns: prediction's length, reference's length, matched 1- to 4-grams, the prediction's 1- to 4-grams."""
        rows = []
        for pair, prediction in zip(pairs, best(candidates), strict=True):
            hypothesis, reference = (" ".join(self.tokens(text)) for text in (prediction, pair.code))
            sentence = self._bleu.sentence_score(hypothesis, [reference])
            rows.append([sentence.sys_len, sentence.ref_len, *sentence.counts, *sentence.totals])
        return np.array(rows, float)

    def score(self, sums: Sequence[float]) -> float:
        """BLEU, in percent."""
        length, reference, *counts = (round(value) for value in sums)
        return BLEU.compute_bleu(counts[:4], counts[4:], length, reference, smooth_method=self.smoothing).score


class CodeBleu4(CorpusBleu):
    """Corpus BLEU-4 over ``code_tokens``, with sacrebleu's exponential smoothing of empty orders."""

    name = "bleu"
    title = "BLEU"
    phrase = "BLEU"
    smoothing = "exp"

    def tokens(self, text: str) -> list[str]:
        """``code_tokens``."""
        return code_tokens(text)

    def tokens_signature(self) -> str:
        """Their pattern."""
        return CODE_TOKEN.pattern
