"""What a metric is: a score that is a function of sums over examples.

A metric turns every example into a row of sufficient statistics, and the corpus score is a function of the rows' sum.
So the texts are compared once for the score, for every breakdown of it, and for any number of bootstrap resamples.
To add a metric, write its class and register it (``config.registry.metrics``), as ``t2c_jax.evaluate`` does.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from t2c_jax.config import metrics

if TYPE_CHECKING:
    from t2c_jax.corpus.pairs import Pair


class Metric(ABC):
    """A score of a corpus of answers.

    Attributes:
      name: in the config and in scores.json.
      title: in tables.
      phrase: within a sentence.
      signature: all that one needs to know to compute the score again.
      candidates: how many of an example's candidates it reads.
      lower_is_better: whether a lower score is better.
      percent: whether it is between 0 and 100.
      right_or_wrong: whether each example alone is 0 or 100, and the score of several is their mean.
      parts: names of the metrics that are its parts; who asks for it gets them too.
      part_of: the name of the metric whose statistics it scores, if they are not its own.
    """

    name: str
    title: str
    phrase: str
    signature: str
    candidates: int = 1
    lower_is_better: bool = False
    percent: bool = True
    right_or_wrong: bool = False
    parts: tuple[str, ...] = ()
    part_of: str = ""

    def fitted(self, train: Iterable[Pair]) -> Metric:
        """The metric, ready for a corpus with these training pairs; itself, if it needs none."""
        return self

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
    """Share of answers that equal their reference, in a sense that the subclass defines."""

    right_or_wrong = True

    @staticmethod
    @abstractmethod
    def match(prediction: str, reference: str) -> bool:
        """Whether the two count as the same."""

    def statistics(self, pairs: Sequence[Pair], candidates: Sequence[Sequence[str]]) -> np.ndarray:
        """Columns: hit, example."""
        rows = [(self.match(answer, pair.code), 1) for pair, answer in zip(pairs, best(candidates), strict=True)]
        return np.array(rows, float)

    def score(self, sums: Sequence[float]) -> float:
        """Hits, in percent."""
        return percentage(sums)


def percentage(sums: Sequence[float]) -> float:
    """The first of two sums in percent of the second; NaN where the second is 0."""
    hits, examples = sums
    return 100 * hits / examples if examples else float("nan")


@functools.cache
def _metric(name: str) -> Metric:
    metric: Metric = metrics.get(name, "config.evaluate.metrics")()
    return metric


def metric_named(name: str) -> Metric:
    """The metric of this name, without its parts.

    Raises:
      UserError: there is no such metric.
    """
    return _metric(name)


def metrics_named(names: Sequence[str]) -> tuple[Metric, ...]:
    """The metrics of these names, in their order, each before its parts.

    Raises:
      UserError: there is no such metric.
    """
    with_parts = dict.fromkeys(each for name in names for each in (name, *_metric(name).parts))
    return tuple(map(_metric, with_parts))


def statistics_of(
    metrics: Sequence[Metric], pairs: Sequence[Pair], candidates: Sequence[Sequence[str]]
) -> dict[str, np.ndarray]:
    """The statistics of each metric by its name; a metric and its parts share theirs."""
    found: dict[str, np.ndarray] = {}
    for metric in metrics:
        shared = found.get(metric.part_of)
        found[metric.name] = metric.statistics(pairs, candidates) if shared is None else shared
    return found
