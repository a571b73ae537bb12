"""What a metric is: a score that is a function of sums over examples.

A metric turns every example into a row of sufficient statistics, and the corpus score is a function of the rows' sum.
So the texts are compared once for the score, for every breakdown of it, and for any number of bootstrap resamples.
To add a metric, write its class and register it (``config.registry.metrics``), as ``t2c_jax.evaluate`` does.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from t2c_jax.config import DecodeConfig, EvaluateConfig, metrics
from t2c_jax.evaluate.samples import sample_count

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
      every_sample: whether it reads all samples of a search (``evaluate.samples``), not its distinct finished answers.
      runs_code: whether it runs the answers.
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
    every_sample: bool = False
    runs_code: bool = False
    right_or_wrong: bool = False
    parts: tuple[str, ...] = ()
    part_of: str = ""

    def fitted(self, train: Iterable[Pair]) -> Metric:
        """The metric, ready for a corpus with these training pairs; itself, if it needs none."""
        return self

    def configured(self, config: EvaluateConfig, *, risk_accepted: bool = False) -> Metric:
        """The metric as the config has it; most read nothing of it.

        Args:
          config: config.evaluate.
          risk_accepted: whether answers may run without isolation.
        """
        return self

    def check(self, samples: int) -> None:
        """Whether the metric can be computed, before anything is decoded.

        Args:
          samples: how many samples there will be to a prompt.

        Raises:
          UserError: it cannot.
        """
        return

    def evaluated(
        self, pairs: Sequence[Pair], candidates: Sequence[Sequence[str]]
    ) -> tuple[np.ndarray, Sequence[Mapping[str, Any]]]:
        """The statistics, and what else the lines of predictions.jsonl hold of this metric.

        Args:
          pairs, candidates: as for ``statistics``.
        """
        return self.statistics(pairs, candidates), [{} for _ in pairs]

    @abstractmethod
    def statistics(self, pairs: Sequence[Pair], candidates: Sequence[Sequence[str]]) -> np.ndarray:
        """Sufficient statistics, one row an example: float64 ``(examples, columns)``.

        Args:
          pairs: their ``code`` is the reference.
          candidates: for each pair one answer or more, best first; ``candidates[i][0]`` is the answer. Samples, for a
            metric that reads ``every_sample``.
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


def metric_named(name: str, config: EvaluateConfig | None = None, *, risk_accepted: bool = False) -> Metric:
    """The metric of this name, without its parts.

    Args:
      name: as config.evaluate.metrics has it.
      config, risk_accepted: as for ``Metric.configured``; the default config if None.

    Raises:
      UserError: there is no such metric.
    """
    return _metric(name).configured(config or EvaluateConfig(), risk_accepted=risk_accepted)


def metrics_named(
    names: Sequence[str], config: EvaluateConfig | None = None, *, risk_accepted: bool = False
) -> tuple[Metric, ...]:
    """The metrics of these names, in their order, each before its parts.

    Args:
      names: as config.evaluate.metrics has them.
      config, risk_accepted: as for ``Metric.configured``; the default config if None.

    Raises:
      UserError: there is no such metric.
    """
    with_parts = dict.fromkeys(each for name in names for each in (name, *_metric(name).parts))
    return tuple(metric_named(name, config, risk_accepted=risk_accepted) for name in with_parts)


def checked_metrics(
    names: Sequence[str], config: EvaluateConfig, decode: DecodeConfig, *, risk_accepted: bool = False
) -> tuple[Metric, ...]:
    """The metrics of these names, for a search that each of them can score.

    Args:
      names, config, risk_accepted: as for ``metrics_named``.
      decode: the search.

    Raises:
      UserError: a metric is unknown, or cannot be computed.
    """
    found = metrics_named(names, config, risk_accepted=risk_accepted)
    for metric in found:
        metric.check(sample_count(decode))
    return found


def evaluated_by(
    metrics: Sequence[Metric],
    pairs: Sequence[Pair],
    candidates: Sequence[Sequence[str]],
    samples: Sequence[Sequence[str]],
) -> tuple[dict[str, np.ndarray], list[dict[str, Any]]]:
    """The statistics of each metric by its name, and what all of them say of each pair (``Metric.evaluated``).

    A metric and its parts share their statistics. Metrics that read every sample get the samples.
    """
    found: dict[str, np.ndarray] = {}
    details: list[dict[str, Any]] = [{} for _ in pairs]
    for metric in metrics:
        if metric.part_of in found:
            found[metric.name] = found[metric.part_of]
            continue
        found[metric.name], own = metric.evaluated(pairs, samples if metric.every_sample else candidates)
        for each, new in zip(details, own, strict=True):
            each.update({name: value for name, value in new.items() if name not in each})
    return found, details


def statistics_of(
    metrics: Sequence[Metric], pairs: Sequence[Pair], candidates: Sequence[Sequence[str]]
) -> dict[str, np.ndarray]:
    """The statistics of each metric by its name, of the best candidates that it reads.

    So a metric of k samples tries the best k, where the candidates are no samples.
    """
    found: dict[str, np.ndarray] = {}
    for metric in metrics:
        first = [ranked[: metric.candidates] for ranked in candidates]
        shared = found.get(metric.part_of)
        found[metric.name] = metric.statistics(pairs, first) if shared is None else shared
    return found
