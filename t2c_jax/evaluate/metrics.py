"""Scores of generated code against its reference, each a function of sums over examples.

A metric turns every (ranked candidates, reference) into a row of sufficient statistics; the corpus score is a
function of the rows' sum. So one pass over the text serves the score, every breakdown of it, and as many
bootstrap resamples as one likes. Scores are percentages, more being better, unless the metric says otherwise.
To add one, write its class and register it (``config.metrics``).
"""

from __future__ import annotations

import functools
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from t2c_jax.config import metrics
from t2c_jax.languages.parsing import parses

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


class Metric(ABC):
    """A score that is a function of per-example sums.

    Attributes:
      name: in the config, in scores.json.
      title: in tables.
      phrase: within a sentence.
      signature: all that it takes to compute the score again.
      candidates: how many of an example's candidates it looks at.
      lower_is_better: less of it is better.
      percent: it lies between 0 and 100.
    """

    name: str
    title: str
    phrase: str
    signature: str
    candidates: int = 1
    lower_is_better: bool = False
    percent: bool = True

    @abstractmethod
    def statistics(self, pairs: Sequence[Pair], candidates: Sequence[Sequence[str]]) -> np.ndarray:
        """Sufficient statistics, one row an example: float64 ``(examples, columns)``.

        Args:
          pairs: their ``code`` is the reference.
          candidates: for each pair one answer or more, best first; ``candidates[i][0]`` is the answer.
        """

    @abstractmethod
    def score(self, sums: Sequence[float]) -> float:
        """The corpus score of the rows' sum; NaN where the metric does not apply."""


def best(candidates: Sequence[Sequence[str]]) -> list[str]:
    """Each example's answer: the first of its candidates."""
    return [ranked[0] for ranked in candidates]


class Match(Metric):
    """Share of answers that are, in one sense or another, their reference."""

    @staticmethod
    @abstractmethod
    def match(prediction: str, reference: str) -> bool:
        """Whether the two count as the same."""

    def statistics(self, pairs: Sequence[Pair], candidates: Sequence[Sequence[str]]) -> np.ndarray:
        """Columns: hit, example."""
        rows = [(self.match(answer, pair.code), 1) for pair, answer in zip(pairs, best(candidates), strict=True)]
        return np.array(rows, float)

    def score(self, sums: Sequence[float]) -> float:
        """Hits in a hundred."""
        return percentage(sums)


class ExactMatch(Match):
    """Share of predictions that equal their reference."""

    name = "exact_match"
    title = "Exact match"
    phrase = "exact match"
    signature = "equal after stripping surrounding whitespace"
    match = staticmethod(exact_match)


class Parses(Metric):
    """Share of predictions that the grammar of their language accepts, by ``languages.parses``.

    Pairs of languages without a parser do not count.
    """

    name = "parses"
    title = "Parses"
    phrase = "the share that parses"
    signature = "the language's grammar accepts it and finds a statement; languages without a parser do not count"

    def statistics(self, pairs: Sequence[Pair], candidates: Sequence[Sequence[str]]) -> np.ndarray:
        """Columns: parsed; an example of a language with a parser."""
        found = [parses(prediction, pair.language) for pair, prediction in zip(pairs, best(candidates), strict=True)]
        return np.array([(bool(one), one is not None) for one in found], float)

    def score(self, sums: Sequence[float]) -> float:
        """Parsed predictions, in percent; NaN where no pair counts."""
        return percentage(sums)


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
        return _TOKEN.pattern


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

    def statistics(self, pairs: Sequence[Pair], candidates: Sequence[Sequence[str]]) -> np.ndarray:
        """Columns: for each order the n-grams of the prediction, of the reference, and in both."""
        rows = [
            self._chrf.counts(prediction, pair.code) for pair, prediction in zip(pairs, best(candidates), strict=True)
        ]
        return np.array(rows, float)

    def score(self, sums: Sequence[float]) -> float:
        """F-score with recall weighed twice."""
        return self._chrf.of_counts([round(value) for value in sums])


def percentage(sums: Sequence[float]) -> float:
    """The first of two sums in a hundred of the second; NaN where that is 0."""
    hits, examples = sums
    return 100 * hits / examples if examples else float("nan")


@functools.cache
def _metric(name: str) -> Metric:
    metric: Metric = metrics.get(name, "config.evaluate.metrics")()
    return metric


def metrics_named(names: Sequence[str]) -> tuple[Metric, ...]:
    """The metrics that config.evaluate.metrics names, in its order; ``config.check`` has seen that they exist."""
    return tuple(map(_metric, names))
