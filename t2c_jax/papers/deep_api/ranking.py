"""Ranked sequences of API calls against the sequence that people wrote (Gu et al. 2016, section 5).

In the paper, people judged which answers are relevant. Here an answer is relevant if it makes at least half of the
calls that the reference makes, counting each call once and in any order; so figures compare between runs, not with the
paper's. A sequence is names of calls with white space between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from t2c_jax.evaluate.metrics.metric import Metric, percentage

if TYPE_CHECKING:
    from t2c_jax.corpus.pairs import Pair

ANSWERS = 5
"""k: how many of the best answers count."""

_RELEVANT = "relevant: at least half of the reference's distinct calls"


def is_relevant(candidate: str, reference: str) -> bool:
    """Whether the candidate makes at least half of the reference's distinct calls."""
    wanted = set(reference.split())
    return 2 * len(wanted.intersection(candidate.split())) >= len(wanted)


class ApiPrecision(Metric):
    """Precision at k over calls: of the distinct calls of each of the k best answers, the share the reference makes."""

    name = "api_precision"
    title = f"API precision, {ANSWERS} best"
    phrase = "the precision of calls"
    signature = f"distinct calls of each of the {ANSWERS} best answers that the reference makes; a blank is a wrong one"
    candidates = ANSWERS

    def statistics(self, pairs: Sequence[Pair], candidates: Sequence[Sequence[str]]) -> np.ndarray:
        """Columns: calls that the reference makes too, calls."""
        rows = []
        for pair, ranked in zip(pairs, candidates, strict=True):
            wanted, made = set(pair.code.split()), [set(candidate.split()) for candidate in ranked[:ANSWERS]]
            rows.append((sum(len(calls & wanted) for calls in made), sum(len(calls) or 1 for calls in made)))
        return np.array(rows, float)

    def score(self, sums: Sequence[float]) -> float:
        """Calls in a hundred."""
        return percentage(sums)


class Relevancy(Metric):
    """Relevancy ratio: of the k best answers, or as many as there are, the share that is relevant."""

    name = "relevancy"
    title = f"Relevancy, {ANSWERS} best"
    phrase = "relevancy"
    signature = f"share of the {ANSWERS} best answers that is relevant; {_RELEVANT}"
    candidates = ANSWERS

    def statistics(self, pairs: Sequence[Pair], candidates: Sequence[Sequence[str]]) -> np.ndarray:
        """Columns: share of relevant answers, example."""
        rows = []
        for pair, ranked in zip(pairs, candidates, strict=True):
            relevant = [is_relevant(candidate, pair.code) for candidate in ranked[:ANSWERS]]
            rows.append((sum(relevant) / len(relevant), 1))
        return np.array(rows, float)

    def score(self, sums: Sequence[float]) -> float:
        """The mean share, in percent."""
        return percentage(sums)


class FRank(Metric):
    """Mean rank of the first relevant answer, k + 1 where none of the k best is; lower is better."""

    name = "frank"
    title = "FRank (lower is better)"
    phrase = "FRank"
    signature = f"mean rank of the first relevant answer, {ANSWERS + 1} without one; {_RELEVANT}"
    candidates = ANSWERS
    lower_is_better = True
    percent = False

    def statistics(self, pairs: Sequence[Pair], candidates: Sequence[Sequence[str]]) -> np.ndarray:
        """Columns: rank, example."""
        rows = []
        for pair, ranked in zip(pairs, candidates, strict=True):
            relevant = (rank for rank, answer in enumerate(ranked[:ANSWERS], 1) if is_relevant(answer, pair.code))
            rows.append((next(relevant, ANSWERS + 1), 1))
        return np.array(rows, float)

    def score(self, sums: Sequence[float]) -> float:
        """The mean rank; NaN without examples."""
        ranks, examples = sums
        return ranks / examples if examples else float("nan")
