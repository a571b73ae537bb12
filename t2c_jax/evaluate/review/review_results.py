"""What the ratings of all reviewers say: win rates, mean ratings, and how far the reviewers agree."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from t2c_jax.errors import UserError
from t2c_jax.evaluate.comparison import bootstrap_sums
from t2c_jax.evaluate.review.agreement import agreement
from t2c_jax.evaluate.review.questions import RATINGS
from t2c_jax.evaluate.review.ratings import DIRECTORY, read_ratings
from t2c_jax.evaluate.saved_evaluation import SavedEvaluation
from t2c_jax.evaluate.significance import sign_test

Record = Mapping[str, Any]
_PREFERENCES = (-1, 0, 1)  # the first run is better, a tie, the second one is


def review_results(
    directory: Path, evaluations: Sequence[SavedEvaluation], *, resamples: int, seed: int
) -> dict[str, Any]:
    """Summarises the ratings of some evaluations.

    Args:
      directory: of the run that keeps the ratings.
      evaluations: those whose ratings are counted.
      resamples: of the bootstrap over pairs.
      seed: of the resamples.

    Returns:
      ``reviewers`` with how many questions each has judged; ``other_ratings``, those of other evaluations;
      ``preferences``, for each two runs ``first`` and ``second`` the ``wins``, ``losses`` and ``ties`` of the second
      one and its ``win_rate`` (ties count half) with ``interval`` and ``p_value``; ``ratings`` of each run, ``mean``
      with ``interval``, and ``counts`` of each value; ``left``, the share of choices of the answer on the left, ties
      left out; and ``agreement`` of preferences and of ratings.

    Raises:
      UserError: there are no ratings of these evaluations.
    """
    files = sorted((directory / DIRECTORY).glob("*.jsonl"))
    labels = {each.digest(): each.label for each in evaluations}
    by_reviewer = {path.stem: [*read_ratings(path).values()] for path in files}
    known = {
        reviewer: [record for record in records if all(of in labels for of in record["evaluations"])]
        for reviewer, records in by_reviewer.items()
    }
    records = [record for each in known.values() for record in each]
    others = sum(map(len, by_reviewer.values())) - len(records)
    if not records:
        aside = f" ({others:,} are of other evaluations)" if others else ""
        raise UserError(f"'{directory / DIRECTORY}' has no ratings of these evaluations{aside}; run t2c review first")
    chosen = [record for record in records if len(record["evaluations"]) == 2]
    rated = [record for record in records if len(record["evaluations"]) == 1]
    order = [each.digest() for each in evaluations]
    sides = Counter(record["choice"] for record in chosen)
    decided = sides["left"] + sides["right"]
    return {
        "reviewers": {reviewer: len(each) for reviewer, each in known.items() if each},
        "other_ratings": others,
        "preferences": [
            {"first": labels[first], "second": labels[second], **found}
            for first, second in itertools.combinations(order, 2)
            if (found := _preferences(chosen, first, second, resamples, seed)) is not None
        ],
        "ratings": [
            {"run": labels[of], **found} for of in order if (found := _ratings(rated, of, resamples, seed)) is not None
        ],
        "left": round(sides["left"] / decided, 4) if decided else None,
        "agreement": {
            "preferences": agreement(_units(chosen, order), _PREFERENCES, "nominal", resamples, seed),
            "ratings": agreement(_units(rated, order), RATINGS, "ordinal", resamples, seed),
        },
        "resamples": resamples,
        "seed": seed,
    }


def _value(record: Record, order: Sequence[str]) -> int:
    """A rating; or which run was chosen, the earlier one in the order (-1), none (0) or the later one (1)."""
    if len(record["evaluations"]) == 1:
        return int(record["rating"])
    side = {"left": -1, "tie": 0, "right": 1}[record["choice"]]
    left, right = map(order.index, record["evaluations"])
    return side if left < right else -side


def _units(records: Sequence[Record], order: Sequence[str]) -> list[list[int]]:
    units = defaultdict(list)
    for record in records:
        units[record["question"]].append(_value(record, order))
    return [*units.values()]


def _preferences(
    records: Sequence[Record], first: str, second: str, resamples: int, seed: int
) -> dict[str, Any] | None:
    by_pair: defaultdict[str, list[int]] = defaultdict(list)
    for record in records:
        if {*record["evaluations"]} == {first, second}:
            by_pair[record["pair"]].append(_value(record, (first, second)))
    if not by_pair:
        return None
    # Pairs are resampled, with all that reviewers said of them: several opinions of one pair are no independent ones.
    counts = np.array([[each.count(value) for value in (1, 0, -1)] for each in by_pair.values()], float)

    def rate(sums: np.ndarray) -> np.ndarray:
        return (sums[..., 0] + sums[..., 1] / 2) / sums.sum(axis=-1)

    wins, ties, losses = counts.sum(axis=0).astype(int).tolist()
    majorities = [sum(each) for each in by_pair.values()]
    spread = rate(bootstrap_sums(counts, resamples, seed))
    return {
        "pairs": len(by_pair),
        "wins": wins,
        "losses": losses,
        "ties": ties,
        "win_rate": round(float(rate(counts.sum(axis=0))), 4),
        "interval": _interval(spread),
        "p_value": round(sign_test(sum(each > 0 for each in majorities), sum(each < 0 for each in majorities)), 6),
    }


def _ratings(records: Sequence[Record], of: str, resamples: int, seed: int) -> dict[str, Any] | None:
    by_pair: defaultdict[str, list[int]] = defaultdict(list)
    for record in records:
        if record["evaluations"] == [of]:
            by_pair[record["pair"]].append(int(record["rating"]))
    if not by_pair:
        return None
    sums = np.array([(sum(each), len(each)) for each in by_pair.values()], float)
    resampled = bootstrap_sums(sums, resamples, seed)
    every = [rating for each in by_pair.values() for rating in each]
    return {
        "pairs": len(by_pair),
        "mean": round(float(np.mean(every)), 4),
        "interval": _interval(resampled[:, 0] / resampled[:, 1]),
        "counts": {str(value): every.count(value) for value in RATINGS},
    }


def _interval(spread: np.ndarray) -> list[float]:
    return [round(float(edge), 4) for edge in np.quantile(spread, [0.025, 0.975])]
