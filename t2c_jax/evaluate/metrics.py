"""Scores of generated code against its reference, each a function of sums over examples.

A metric turns every (prediction, reference) into a row of sufficient statistics; the corpus score is a
function of the rows' sum. So one pass over the text serves the score, every breakdown of it, and as many
bootstrap resamples as one likes. All scores are percentages.
"""

from __future__ import annotations

import ast
import re
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

if TYPE_CHECKING:
    from t2c_jax.corpus.pairs import Pair

_TOKEN = re.compile(r"\w+|[^\w\s]")


def code_tokens(code: str) -> list[str]:
    r"""Splits code into identifiers, keywords and numbers (``\w+``), and every other visible character alone.

    Layout is not a token. sacrebleu's own tokenisers are made for prose: its default leaves ``foo(bar)`` whole
    or cuts it by rules for English punctuation, so most code n-grams would never match.
    """
    return _TOKEN.findall(code)


def exact_match(prediction: str, reference: str) -> bool:
    """Whether the two are the same text; white space around them is ignored, inside them it counts."""
    return prediction.strip() == reference.strip()


def parses_as_python(code: str) -> bool:
    """Whether the running Python's grammar accepts the code, and it holds at least one statement.

    Nothing is compiled or run. Blank predictions and bare comments do not count: they parse and answer nothing.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd escapes and literals are a matter of style here
        try:
            return bool(ast.parse(code).body)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            # ValueError: null bytes, lone surrogates. The last two: nesting beyond the parser's stack.
            return False


class Metric(ABC):
    """A score that is a function of per-example sums."""

    name: str
    title: str
    phrase: str
    signature: str

    @abstractmethod
    def statistics(self, pairs: Sequence[Pair], predictions: Sequence[str]) -> np.ndarray:
        """Sufficient statistics, one row an example: float64 ``(examples, columns)``."""

    @abstractmethod
    def score(self, sums: Sequence[float]) -> float:
        """The corpus score, in percent, of the rows' sum; NaN where the metric does not apply."""


class ExactMatch(Metric):
    """Share of predictions that equal their reference."""

    name = "exact_match"
    title = "Exact match"
    phrase = "exact match"
    signature = "equal after stripping surrounding whitespace"

    def statistics(self, pairs: Sequence[Pair], predictions: Sequence[str]) -> np.ndarray:
        """Columns: hit, example."""
        return np.array([(exact_match(p, pair.code), 1) for pair, p in zip(pairs, predictions, strict=True)], float)

    def score(self, sums: Sequence[float]) -> float:
        """Hits in a hundred."""
        return _percent(sums)


class Parses(Metric):
    """Share of Python predictions that Python's grammar accepts; other languages are left out."""

    name = "parses"
    title = "Parses"
    phrase = "the share that parses"
    signature = "ast.parse accepts it and finds a statement; Python pairs only"

    def statistics(self, pairs: Sequence[Pair], predictions: Sequence[str]) -> np.ndarray:
        """Columns: parsed, Python example."""
        rows = [
            (parses_as_python(prediction), 1) if pair.language == "python" else (0, 0)
            for pair, prediction in zip(pairs, predictions, strict=True)
        ]
        return np.array(rows, float)

    def score(self, sums: Sequence[float]) -> float:
        """Parsed predictions in a hundred; NaN without any Python."""
        return _percent(sums)


class CodeBleu4(Metric):
    """Corpus BLEU-4 (Papineni et al. 2002) as sacrebleu counts it, over ``code_tokens``."""

    name = "bleu"
    title = "BLEU"
    phrase = "BLEU"

    def __init__(self) -> None:
        self._bleu = BLEU(tokenize="none", force=True, effective_order=True)
        # effective_order only silences a notice on single sentences; corpus scores below are the ordinary ones.
        corpus = BLEU(tokenize="none", force=True)
        corpus.corpus_score([""], [[""]])
        self.signature = f"tokens:{_TOKEN.pattern} joined by spaces; sacrebleu {corpus.get_signature()}"

    def statistics(self, pairs: Sequence[Pair], predictions: Sequence[str]) -> np.ndarray:
        """Columns: prediction's length, reference's length, matched 1- to 4-grams, the prediction's 1- to 4-grams."""
        rows = []
        for pair, prediction in zip(pairs, predictions, strict=True):
            hypothesis, reference = (" ".join(code_tokens(text)) for text in (prediction, pair.code))
            sentence = self._bleu.sentence_score(hypothesis, [reference])
            rows.append([sentence.sys_len, sentence.ref_len, *sentence.counts, *sentence.totals])
        return np.array(rows, float)

    def score(self, sums: Sequence[float]) -> float:
        """BLEU with sacrebleu's exponential smoothing of empty orders."""
        length, reference, *counts = (round(value) for value in sums)
        return BLEU.compute_bleu(counts[:4], counts[4:], length, reference, smooth_method="exp").score


class _CountingChrf(CHRF):
    """Opens sacrebleu's per-segment statistics, which its chrF scores do not carry."""

    def counts(self, prediction: str, reference: str) -> list[int]:
        return self._extract_corpus_statistics([prediction], [[reference]])[0]

    def of_counts(self, counts: list[int]) -> float:
        return self._compute_score_from_stats(counts).score


class ChrF(Metric):
    """chrF2 (Popovic 2015) as sacrebleu counts it: character 1- to 6-grams, white space left out."""

    name = "chrf"
    title = "chrF"
    phrase = "chrF"

    def __init__(self) -> None:
        self._chrf = _CountingChrf()
        self._chrf.corpus_score([""], [[""]])
        self.signature = f"sacrebleu {self._chrf.get_signature()}"

    def statistics(self, pairs: Sequence[Pair], predictions: Sequence[str]) -> np.ndarray:
        """Columns: for each order the n-grams of the prediction, of the reference, and in both."""
        rows = [self._chrf.counts(prediction, pair.code) for pair, prediction in zip(pairs, predictions, strict=True)]
        return np.array(rows, float)

    def score(self, sums: Sequence[float]) -> float:
        """F-score with recall weighed twice."""
        return self._chrf.of_counts([round(value) for value in sums])


def _percent(sums: Sequence[float]) -> float:
    hits, examples = sums
    return 100 * hits / examples if examples else float("nan")


METRICS: tuple[Metric, ...] = (ExactMatch(), CodeBleu4(), ChrF(), Parses())
"""Every metric, in the order people see them."""
