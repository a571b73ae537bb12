"""Compares a model with its baseline: scores, standard errors by bootstrap, and a verdict in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from t2c_jax.evaluate.metrics.metric import Metric
from t2c_jax.evaluate.significance import bootstrap_test

Verdict = Literal["better", "worse", "no clear difference", "not applicable"]

CLEAR = 2.0
"""A paired difference counts from so many of its standard errors on; some 95 % of chance results are below."""


def bootstrap_sums(statistics: np.ndarray, samples: int, seed: int) -> np.ndarray:
    """Sums of the rows over resamples with replacement (Efron 1979): ``(examples, columns)`` to ``(samples, columns)``.

    The resamples depend on (examples, samples, seed) alone, so systems whose columns are concatenated are
    resampled together, and the spread of their difference is the paired one (Koehn 2004).
    """
    examples = len(statistics)
    generator = np.random.default_rng(seed)
    block = max(1, 1_000_000 // examples)  # resamples at a time, to bound the memory
    sums = [
        generator.multinomial(examples, np.full(examples, 1 / examples), size=min(block, samples - start)) @ statistics
        for start in range(0, samples, block)
    ]
    return np.concatenate(sums)


def compare(
    metrics: Sequence[Metric],
    model: Mapping[str, np.ndarray],
    baseline: Mapping[str, np.ndarray],
    samples: int,
    seed: int,
) -> dict[str, Any]:
    """Scores two systems on the same examples.

    Args:
      metrics: what to score by.
      model: each metric's statistics ``(examples, columns)``, by the metric's name.
      baseline: the same of the baseline.
      samples: bootstrap resamples.
      seed: of the resamples.

    Returns:
      ``examples``; ``model``, ``retrieval`` and ``difference``, for each metric ``value``, ``standard_error`` and the
      95 % ``interval`` of the resamples, in the metric's unit, None where it does not apply or cannot be known; and
      ``verdict`` by metric.
    """
    systems = {"model": model, "retrieval": baseline}
    widths = [side[metric.name].shape[1] for side in systems.values() for metric in metrics]
    statistics = np.concatenate([side[metric.name] for side in systems.values() for metric in metrics], axis=1)
    whole = iter(np.split(statistics.sum(axis=0, keepdims=True), np.cumsum(widths)[:-1], axis=1))
    resampled = iter(np.split(bootstrap_sums(statistics, samples, seed), np.cumsum(widths)[:-1], axis=1))
    values: dict[str, dict[str, float]] = {}
    spreads: dict[str, dict[str, np.ndarray]] = {}
    for system in systems:
        values[system] = {metric.name: _scores(metric, next(whole))[0] for metric in metrics}
        spreads[system] = {metric.name: _scores(metric, next(resampled)) for metric in metrics}
    values["difference"] = {name: value - values["retrieval"][name] for name, value in values["model"].items()}
    spreads["difference"] = {name: value - spreads["retrieval"][name] for name, value in spreads["model"].items()}
    scores: dict[str, Any] = {
        system: {
            name: {
                "value": _number(value),
                "standard_error": _standard_error(spreads[system][name], len(statistics)),
                "interval": _interval(spreads[system][name], len(statistics)),
            }
            for name, value in by_name.items()
        }
        for system, by_name in values.items()
    }
    verdicts = {
        metric.name: verdict(scores["difference"][metric.name], lower_is_better=metric.lower_is_better)
        for metric in metrics
    }
    return {"examples": len(statistics), **scores, "verdict": verdicts}


def paired(
    metric: Metric, systems: Mapping[str, np.ndarray], baseline: str, samples: int, seed: int
) -> dict[str, dict[str, Any]]:
    """Scores systems on the same examples, all against one of them.

    Args:
      metric: what to score by.
      systems: the metric's statistics ``(examples, columns)`` of each, by name.
      baseline: one of the names.
      samples: bootstrap resamples.
      seed: of the resamples.

    Returns:
      For each system ``value`` and ``standard_error``, the ``difference`` to the baseline with its
      ``difference_error``, 95 % ``interval`` over the paired resamples, ``p_value`` (``bootstrap_test``) and
      ``verdict``; the baseline's own have no difference.
    """
    return paired_by([metric], {metric.name: systems}, baseline, samples, seed)[metric.name]


def paired_by(
    metrics: Sequence[Metric],
    statistics: Mapping[str, Mapping[str, np.ndarray]],
    baseline: str,
    samples: int,
    seed: int,
) -> dict[str, dict[str, dict[str, Any]]]:
    """What ``paired`` says by each metric, whose ``statistics`` are by metric and system; resamples are drawn once."""
    columns = [rows for metric in metrics for rows in statistics[metric.name].values()]
    edges = np.cumsum([rows.shape[1] for rows in columns])[:-1]
    resampled = iter(np.split(bootstrap_sums(np.concatenate(columns, axis=1), samples, seed), edges, axis=1))
    return {
        metric.name: _against(
            metric, statistics[metric.name], {name: next(resampled) for name in statistics[metric.name]}, baseline
        )
        for metric in metrics
    }


def _against(
    metric: Metric, systems: Mapping[str, np.ndarray], resampled: Mapping[str, np.ndarray], baseline: str
) -> dict[str, dict[str, Any]]:
    examples = len(systems[baseline])
    values = {name: _scores(metric, rows.sum(axis=0, keepdims=True))[0] for name, rows in systems.items()}
    spreads = {name: _scores(metric, rows) for name, rows in resampled.items()}
    found: dict[str, dict[str, Any]] = {}
    for name in systems:
        spread = spreads[name] - spreads[baseline]
        difference = {
            "value": _number(values[name] - values[baseline]),
            "standard_error": _standard_error(spread, examples),
        }
        known = spread[~np.isnan(spread)]
        differing = int((systems[name] != systems[baseline]).any(axis=1).sum())
        is_baseline = name == baseline or not len(known)
        found[name] = {
            "value": _number(values[name]),
            "standard_error": _standard_error(spreads[name], examples),
            "difference": None if is_baseline else difference["value"],
            "difference_error": None if is_baseline else difference["standard_error"],
            "interval": None if is_baseline else _interval(spread, examples),
            "p_value": None if is_baseline else bootstrap_test(spread, values[name] - values[baseline], differing),
            "verdict": None if is_baseline else verdict(difference, lower_is_better=metric.lower_is_better),
        }
    return found


def verdict(difference: Mapping[str, float | None], *, lower_is_better: bool = False) -> Verdict:
    """What a paired difference says about the model: ``CLEAR`` standard errors make a difference."""
    value, error = difference["value"], difference["standard_error"]
    if value is None:
        return "not applicable"
    if error is None or value == 0 or abs(value) < CLEAR * error:
        return "no clear difference"
    return "better" if (value < 0) == lower_is_better else "worse"


def summary(metrics: Sequence[Metric], verdicts: Mapping[str, Verdict]) -> str:
    """Whether the model is better than its baseline, in a sentence or two."""
    named = {
        said: [metric.phrase for metric in metrics if verdicts[metric.name] == said and not metric.part_of]
        for said in ("better", "worse", "no clear difference")
    }
    better, worse, level = named.values()
    if better and not worse:
        text = f"The model beats copying the nearest training pair on {listed(better)}, and loses on nothing."
    elif better:
        text = (
            f"The model beats copying the nearest training pair on {listed(better)},"
            f" but is worse than copying on {listed(worse)}."
        )
    elif worse:
        text = f"The model does not beat copying the nearest training pair: it is worse on {listed(worse)}."
    elif level:
        text = "The model does not beat copying the nearest training pair."
    else:
        text = "No metric can be compared with copying the nearest training pair."
    return f"{text} No clear difference on {listed(level)}." if level else text


def score_table(metrics: Sequence[Metric], scores: Mapping[str, Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Columns and rows of the table of scores: a row for each metric, a column for each system."""
    systems = [name for name in ("model", "retrieval", "embedding_retrieval") if name in scores]
    rows: list[tuple[str, ...]] = [
        (
            metric.title,
            *(format_score(scores[system][metric.name]) for system in systems),
            scores["verdict"][metric.name],
        )
        for metric in metrics
    ]
    unit = ", %" if all(metric.percent for metric in metrics) else ""
    titles = {"embedding_retrieval": "by vectors"}
    return (f"score{unit}", *(titles.get(name, name) for name in systems), "model against retrieval"), rows


def format_score(score: Mapping[str, float | None]) -> str:
    """``12.3 ± 0.4``, without the error where there is none, and a dash where the metric does not apply."""
    value, error = score["value"], score["standard_error"]
    if value is None:
        return "-"
    return f"{value:.1f}" if error is None else f"{value:.1f} ± {error:.1f}"


def _scores(metric: Metric, sums: np.ndarray) -> np.ndarray:
    return np.array([metric.score(row) for row in sums.tolist()])


def _interval(spread: np.ndarray, examples: int) -> list[float] | None:
    """Where 95 % of the resamples are."""
    known = spread[~np.isnan(spread)]
    if examples < 2 or len(known) < 2:
        return None
    return [round(float(edge), 4) for edge in np.quantile(known, [0.025, 0.975])]


def _standard_error(spread: np.ndarray, examples: int) -> float | None:
    known = spread[~np.isnan(spread)]  # a resample may hold no example that the metric applies to
    if examples < 2 or len(known) < 2:
        return None
    return _number(known.std(ddof=1))


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(float(value), 4)


def listed(names: Sequence[str]) -> str:
    """``a, b and c``."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
