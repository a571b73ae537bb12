"""Compares several runs on the pairs that all of them answered: differences, tests, wins and losses, by group."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from t2c_jax.corpus.pairs import Pair
from t2c_jax.errors import UserError
from t2c_jax.evaluate.breakdown import by_kind, by_language, by_length
from t2c_jax.evaluate.comparison import Verdict, listed, paired_by
from t2c_jax.evaluate.metrics.metric import Metric, metric_named
from t2c_jax.evaluate.saved_evaluation import SavedEvaluation
from t2c_jax.evaluate.significance import ALPHA, holm, sign_test

GROUP_RESAMPLES = 1_000  # of each group at most, of which there may be many
_TIED = 1e-9  # two scores of one example that differ by less are equal but for rounding


@dataclass(frozen=True)
class RunComparison:
    """Several runs against the first of them.

    Attributes:
      result: JSON values; ``compare_runs`` says which.
      metrics: those that all runs were scored by.
      pairs: those that all runs answered, in the first run's order.
      answers: of each run, by its label, in the pairs' order.
      alone: each metric's score of each example alone, by metric and label; NaN where it does not apply.
    """

    result: dict[str, Any]
    metrics: tuple[Metric, ...]
    pairs: Sequence[Pair]
    answers: Mapping[str, Sequence[str]]
    alone: Mapping[str, Mapping[str, np.ndarray]]

    @property
    def baseline(self) -> str:
        """The label of the first run."""
        return str(self.result["baseline"])

    @property
    def finest(self) -> Metric:
        """The metric by which single examples are ranked: chrF, or else the first that has more than two values."""
        graded = [metric for metric in self.metrics if not metric.right_or_wrong]
        return next((metric for metric in graded if metric.name == "chrf"), (graded or list(self.metrics))[0])

    def gains(self, metric: Metric, run: str) -> np.ndarray:
        """By how much the run's answer to each pair is better than the baseline's; NaN where that is not known."""
        return _gains(metric, self.alone[metric.name], self.baseline, run)


def compare_runs(evaluations: Sequence[SavedEvaluation], *, resamples: int, seed: int) -> RunComparison:
    """Compares runs with the first of them, on the pairs that all of them answered.

    Args:
      evaluations: at least two, of the same pairs.
      resamples: of the bootstrap.
      seed: of the resamples.

    Returns:
      ``result`` has ``split``, ``pairs``, ``baseline``, ``resamples``, ``seed``; ``runs``, what is known of each, with
      ``pairs_left_out``; ``metrics``, and ``metrics_left_out`` with the reason; ``scores`` by run and metric;
      and ``against_baseline``, for each other run ``summary``, ``metrics``, ``by_length``, ``by_kind``
      and ``by_language``. For each metric these have ``difference`` and its ``standard_error``, ``interval`` (95 %),
      and the ``wins``, ``losses`` and ``ties`` of single examples. For all pairs there is also ``test``, its
      ``p_value``, that ``corrected`` for the number of runs, and ``verdict``.

    Raises:
      UserError: the evaluations are not of the same pairs, or have no metric in common.
    """
    if len(evaluations) < 2:
        raise UserError("one run cannot be compared; name two or more, the baseline first")
    ids = shared_ids(evaluations)
    first = evaluations[0]
    named, left_out = _metrics(evaluations)
    pairs = [first.pairs[pair_id] for pair_id in ids]
    labels = [each.label for each in evaluations]
    statistics = {}
    for metric in named:
        if (found := _statistics(metric, evaluations, ids, pairs)) is None:
            left_out[metric.name] = "not scored alike"
        else:
            statistics[metric.name] = found
    alone = {
        metric.name: {
            label: np.array([metric.score(row) for row in rows.tolist()])
            for label, rows in statistics[metric.name].items()
        }
        for metric in named
        if metric.name in statistics
    }
    left_out |= {name: "applicable to no pair" for name, scores in alone.items() if not _applies(scores)}
    metrics = tuple(metric for metric in named if metric.name not in left_out)
    if not metrics:
        reasons = "; ".join(f"{reason}: {', '.join(names)}" for reason, names in by_reason(left_out).items())
        raise UserError(f"there is no metric to compare these by ({reasons}); set config.evaluate.metrics alike")
    every = np.arange(len(pairs))

    def differences(rows: np.ndarray, samples: int) -> dict[str, dict[str, Any]]:
        """By metric and run, what ``paired_by`` says, with wins, losses and ties."""
        chosen = {
            metric.name: {label: columns[rows] for label, columns in statistics[metric.name].items()}
            for metric in metrics
        }
        found = paired_by(metrics, chosen, first.label, samples, seed)
        for metric in metrics:
            for label in labels[1:]:
                gains = _gains(metric, alone[metric.name], first.label, label)[rows]
                wins, losses = int((gains > 0).sum()), int((gains < 0).sum())
                ties = int((gains == 0).sum())
                found[metric.name][label] |= {"wins": wins, "losses": losses, "ties": ties}
        return found

    overall = differences(every, resamples)
    tested = {metric.name: _tested(metric, overall[metric.name], labels[1:]) for metric in metrics}
    groups: dict[str, list[tuple[dict[str, Any], np.ndarray]]] = {
        "by_length": [({"code_tokens": span}, rows) for span, rows in by_length(pairs)],
        "by_kind": [({"kind": name}, rows) for name, rows in by_kind(pairs)],
        "by_language": [({"language": name}, rows) for name, rows in by_language(pairs)],
    }
    grouped = {
        axis: [
            (name | {"pairs": len(rows)}, differences(rows, min(resamples, GROUP_RESAMPLES))) for name, rows in found
        ]
        for axis, found in groups.items()
    }
    against = {}
    for label in labels[1:]:
        verdicts = {name: by_run[label]["verdict"] for name, by_run in tested.items()}
        against[label] = {
            "summary": _summary(metrics, verdicts, label, first.label),
            "metrics": {name: _difference(overall[name][label]) | tested[name][label] for name in overall},
            **{
                axis: [
                    name | {"metrics": {metric: _difference(by_run[label]) for metric, by_run in found.items()}}
                    for name, found in each
                ]
                for axis, each in grouped.items()
            },
        }
    result = {
        "split": first.split,
        "pairs": len(pairs),
        "baseline": first.label,
        "runs": [_run(each, len(ids)) for each in evaluations],
        "metrics": [metric.name for metric in metrics],
        "metrics_left_out": left_out,
        "scores": {
            label: {
                name: {key: by_run[label][key] for key in ("value", "standard_error")}
                for name, by_run in overall.items()
            }
            for label in labels
        },
        "against_baseline": against,
        "signatures": {metric.name: _signature(metric, evaluations) for metric in metrics},
        "resamples": resamples,
        "seed": seed,
    }
    answers = {each.label: [each.answer(pair_id) for pair_id in ids] for each in evaluations}
    return RunComparison(result, metrics, pairs, answers, alone)


def shared_ids(evaluations: Sequence[SavedEvaluation]) -> list[str]:
    """The ids of the pairs that all have, in the first one's order.

    Raises:
      UserError: they are of different splits or corpora.
    """
    first, *others = evaluations
    for other in others:
        if other.split != first.split:
            raise UserError(
                f"'{other.label}' was scored on {other.split} and '{first.label}' on {first.split}; evaluate both on"
                " one split"
            )
        both = [pair_id for pair_id in first.pairs if pair_id in other.pairs]
        if not both:
            raise UserError(
                f"'{other.label}' and '{first.label}' have no pair in common; evaluate both on the same corpus"
            )
        unequal = [
            pair_id
            for pair_id in both
            if (first.pairs[pair_id].text, first.pairs[pair_id].code)
            != (other.pairs[pair_id].text, other.pairs[pair_id].code)
        ]
        if unequal:
            raise UserError(
                f"{len(unequal):,} of {len(both):,} pairs have another text or reference in '{other.label}' than in"
                f" '{first.label}', the first is {unequal[0]}; evaluate both on the same corpus"
            )
    ids = [pair_id for pair_id in first.pairs if all(pair_id in other.pairs for other in others)]
    if not ids:
        raise UserError("there is no pair that all of these evaluations have; evaluate all on the same corpus")
    return ids


def _metrics(evaluations: Sequence[SavedEvaluation]) -> tuple[list[Metric], dict[str, str]]:
    """The metrics that all have, in the first one's order; and why others are left out."""
    names = dict.fromkeys(name for each in evaluations for name in each.scores["signatures"])
    common = [name for name in names if all(name in each.scores["signatures"] for each in evaluations)]
    return [metric_named(name) for name in common], {name: "not in all runs" for name in names if name not in common}


def by_reason(left_out: Mapping[str, str]) -> dict[str, list[str]]:
    """The names of ``metrics_left_out`` by their reason."""
    found: dict[str, list[str]] = {}
    for name, reason in left_out.items():
        found.setdefault(reason, []).append(name)
    return found


def _signature(metric: Metric, evaluations: Sequence[SavedEvaluation]) -> str:
    """How the compared statistics were computed."""
    return metric.signature if _is_function_of_texts(metric) else evaluations[0].signature(metric)


def _is_function_of_texts(metric: Metric) -> bool:
    """Whether statistics can be computed from pairs and answers alone, without running code or training pairs."""
    return not metric.runs_code and type(metric).fitted is Metric.fitted


def _applies(alone: Mapping[str, np.ndarray]) -> bool:
    """Whether there is an example that all runs have a score of."""
    return bool(np.all([~np.isnan(scores) for scores in alone.values()], axis=0).any())


def _statistics(
    metric: Metric, evaluations: Sequence[SavedEvaluation], ids: Sequence[str], pairs: Sequence[Pair]
) -> dict[str, np.ndarray] | None:
    """By run, as they were written; computed anew for all runs where one has none or those of an older definition.

    Returns:
      None if they would have to be computed anew and cannot be.
    """
    signatures = {each.signature(metric) for each in evaluations}
    from_texts = _is_function_of_texts(metric)
    if len(signatures) == 1 and (not from_texts or metric.signature in signatures):
        found = {each.label: each.statistics(metric, ids) for each in evaluations}
        kept = {label: rows for label, rows in found.items() if rows is not None}
        if len(kept) == len(found) and len({rows.shape[1] for rows in kept.values()}) == 1:
            return kept
    if not from_texts:
        return None
    return {each.label: metric.statistics(pairs, [each.candidates[pair_id] for pair_id in ids]) for each in evaluations}


def _gains(metric: Metric, alone: Mapping[str, np.ndarray], baseline: str, run: str) -> np.ndarray:
    gains = (alone[run] - alone[baseline]) * (-1 if metric.lower_is_better else 1)
    return np.where(np.abs(gains) < _TIED, 0.0, gains)


def _tested(metric: Metric, by_run: Mapping[str, Mapping[str, Any]], runs: Sequence[str]) -> dict[str, dict[str, Any]]:
    """For each run the test, its p-value, that corrected for the number of runs, and the verdict."""
    p_values = {
        run: sign_test(by_run[run]["wins"], by_run[run]["losses"]) if metric.right_or_wrong else by_run[run]["p_value"]
        for run in runs
        if by_run[run]["difference"] is not None
    }
    corrected = dict(zip(p_values, holm([*p_values.values()]), strict=True))
    found: dict[str, dict[str, Any]] = {}
    for run in runs:
        if run not in p_values:
            found[run] = {"test": None, "p_value": None, "corrected": None, "verdict": "not applicable"}
            continue
        difference = by_run[run]["difference"]
        verdict: Verdict = "no clear difference"
        if corrected[run] < ALPHA and difference:
            verdict = "better" if (difference < 0) == metric.lower_is_better else "worse"
        found[run] = {
            "test": "exact McNemar" if metric.right_or_wrong else "paired bootstrap",
            "p_value": round(p_values[run], 6),
            "corrected": round(corrected[run], 6),
            "verdict": verdict,
        }
    return found


def _difference(found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "difference": found["difference"],
        "standard_error": found["difference_error"],
        **{key: found[key] for key in ("interval", "wins", "losses", "ties")},
    }


def _run(evaluation: SavedEvaluation, shared: int) -> dict[str, Any]:
    known = ("name", "step", "members", "average", "search", "answers")
    return {
        "label": evaluation.label,
        "path": str(evaluation.path),
        **{key: evaluation.scores[key] for key in known if key in evaluation.scores},
        "pairs": len(evaluation.pairs),
        "pairs_left_out": len(evaluation.pairs) - shared,
    }


def _summary(metrics: Sequence[Metric], verdicts: Mapping[str, Verdict], run: str, baseline: str) -> str:
    """What a run's differences to the baseline say, in a sentence or two."""
    named = {
        verdict: [metric.phrase for metric in metrics if verdicts[metric.name] == verdict]
        for verdict in ("better", "worse", "no clear difference")
    }
    better, worse, level = named.values()
    said = [f"{word} on {listed(names)}" for word, names in (("better", better), ("worse", worse)) if names]
    if not said:
        return f"There is no clear difference between {run} and {baseline}."
    text = f"{run} is {' and '.join(said)} than {baseline}."
    return f"{text} No clear difference on {listed(level)}." if level else text


def show_number(value: float | None, error: float | None = None, *, signed: bool = False) -> str:
    """``12.3 ± 0.4`` or ``+1.2 ± 0.4``; without the error where there is none, a dash where there is no value."""
    if value is None or math.isnan(value):
        return "-"
    text = f"{value:+.1f}" if signed else f"{value:.1f}"
    text = {"-0.0": "0.0", "+0.0": "0.0"}.get(text, text)
    return text if error is None else f"{text} ± {error:.1f}"


def show_p(value: float | None) -> str:
    """A p-value to three digits."""
    if value is None:
        return "-"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
