"""Fits a reranker and its confidence on pairs with references. Everything here is a function of its arguments.

The order of candidates is learnt from pairs of candidates to one prompt (pairwise ranking, as in Hopkins & May 2011,
"Tuning as Ranking"): a logistic loss of the difference of their scores, weighted by how much the metric of the whole
set changes from one to the other. That depends on the answers to all other prompts, so it is measured in turns around
what the weights choose, and the weights with the best metric are kept (as Och 2003, "Minimum Error Rate Training",
optimises the corpus metric itself). Confidence is a logistic model (Platt 1999) of the chosen candidate's features.

Letters: N prompts, C candidates of a prompt, F features, K columns of a metric's statistics.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from t2c_jax.corpus.splits import hash64
from t2c_jax.decode.rerank.rerank_weights import RerankWeights
from t2c_jax.errors import UserError
from t2c_jax.evaluate.metrics.metric import Metric

FOLDS = 5
_DECAY = 1e-3  # of the weights of standardised features, against a mean loss
_TURNS = 10  # in which gains are measured


@dataclass(frozen=True)
class Judged:
    """The candidates of a prompt with what the references say of them.

    Attributes:
      values_CF: features.
      statistics_CK: of the metric, of each candidate as the only answer.
      right_C: what confidence is of: 0 to 1.
    """

    values_CF: np.ndarray
    statistics_CK: np.ndarray
    right_C: np.ndarray

    def only(self, columns: Sequence[int]) -> Judged:
        """With some of the features."""
        return Judged(self.values_CF[:, columns], self.statistics_CK, self.right_C)


@dataclass(frozen=True)
class Chosen:
    """What weights choose of a prompt.

    Attributes:
      order: the candidates' numbers, best first.
      confidence: of the first one.
      right: what confidence is of, of the first one.
    """

    order: list[int]
    confidence: float
    right: float


def fit(judged: Sequence[Judged], features: Sequence[str], metric: Metric) -> RerankWeights:
    """The weights that fit the prompts best. Those of the order are 0 where no others beat the search's own order.

    Args:
      judged: at least one prompt.
      features: names of the columns.
      metric: what the order maximises.
    """
    rows = np.concatenate([each.values_CF for each in judged])
    deviation_F = rows.std(axis=0)
    mean_F, deviation_F = rows.mean(axis=0), np.where(deviation_F > 1e-12, deviation_F, 1.0)
    none_F = np.zeros(len(features))
    blank = RerankWeights(tuple(features), mean_F, deviation_F, none_F, none_F, 0.0)
    standardised = [blank.standardised(each.values_CF) for each in judged]
    rank_F = _order_weights(judged, standardised, metric)
    best = _first(standardised, rank_F)
    chosen_NF = np.array([values[place] for values, place in zip(standardised, best, strict=True)])
    right_N = np.array([each.right_C[place] for each, place in zip(judged, best, strict=True)])
    confidence_F, bias = _calibration(chosen_NF, right_N)
    return RerankWeights(tuple(features), mean_F, deviation_F, rank_F, confidence_F, bias)


def choose(weights: RerankWeights, judged: Judged) -> Chosen:
    """What weights choose of a prompt."""
    order = weights.order(judged.values_CF)
    return Chosen(order, weights.confidence(judged.values_CF[order[0]]), float(judged.right_C[order[0]]))


def cross_validated(
    judged: Sequence[Judged], folds: Sequence[int], features: Sequence[str], metric: Metric
) -> list[Chosen]:
    """What is chosen of each prompt by weights that were fitted on the other folds.

    Args:
      judged: the prompts.
      folds: the fold of each.
      features: names of the columns.
      metric: what the order maximises.
    """
    fitted = {
        fold: fit([each for each, own in zip(judged, folds, strict=True) if own != fold], features, metric)
        for fold in sorted(set(folds))
    }
    return [choose(fitted[fold], each) for each, fold in zip(judged, folds, strict=True)]


def folds_of(groups: Sequence[str]) -> list[int]:
    """The fold of each item: those of one group are in one fold, and folds have about as many items.

    Raises:
      UserError: there are fewer groups than folds.
    """
    sizes: dict[str, int] = {}
    for group in groups:
        sizes[group] = sizes.get(group, 0) + 1
    if len(sizes) < FOLDS:
        raise UserError(f"{len(sizes)} groups of dev pairs are too few for cross-validation with {FOLDS} folds")
    filled, fold_of = [0] * FOLDS, {}
    for group in sorted(sizes, key=lambda group: (-sizes[group], hash64(group))):
        fold_of[group] = filled.index(min(filled))
        filled[fold_of[group]] += sizes[group]
    return [fold_of[group] for group in groups]


def best_of_all(judged: Sequence[Judged], metric: Metric) -> list[int]:
    """A candidate of each prompt: no other choice for a single prompt gives the set a better metric.

    Found by hill climbing from the first candidates. For a metric that is a mean over examples it is the best choice.
    """
    chosen = [0] * len(judged)
    total_K = _total(judged, chosen)
    for _ in range(_TURNS):
        before = list(chosen)
        for number, each in enumerate(judged):
            others_K = total_K - each.statistics_CK[chosen[number]]
            values = [_value(others_K + row_K, metric) for row_K in each.statistics_CK]
            if max(values) > values[chosen[number]] + 1e-12:
                chosen[number] = int(np.argmax(values))
            total_K = others_K + each.statistics_CK[chosen[number]]
        if chosen == before:
            break
    return chosen


def _order_weights(judged: Sequence[Judged], standardised: Sequence[np.ndarray], metric: Metric) -> np.ndarray:
    """The weights of the order, or zeros.

    Where each of many prompts gains from a longer answer, as by BLEU's brevity penalty, all of them together may lose.
    So gains are measured again around each choice. The mean of the weights so far is what the next turn begins with;
    the last weights alone would swing from too long to too short.
    """
    chosen = [0] * len(judged)
    mean_F = kept_F = np.zeros(standardised[0].shape[1])
    most = _value(_total(judged, chosen), metric)
    for turn in range(1, _TURNS + 1):
        found_F = _ranking(standardised, _gains(judged, chosen, metric))
        mean_F = mean_F + (found_F - mean_F) / turn
        for weights_F in (found_F, mean_F):
            value = _value(_total(judged, _first(standardised, weights_F)), metric)
            if value > most:
                kept_F, most = weights_F, value
        before, chosen = chosen, _first(standardised, mean_F)
        if chosen == before:
            break
    return kept_F


def _first(standardised: Sequence[np.ndarray], rank_F: np.ndarray) -> list[int]:
    """The candidate of each prompt that weights put first; of equals the first one, as ``RerankWeights.order`` does."""
    return [int(np.argmax(values_CF @ rank_F)) for values_CF in standardised]


def _total(judged: Sequence[Judged], chosen: Sequence[int]) -> np.ndarray:
    """The metric's statistics of the whole set."""
    total_K: np.ndarray = np.sum(
        [each.statistics_CK[place] for each, place in zip(judged, chosen, strict=True)], axis=0
    )
    return total_K


def _value(total_K: np.ndarray, metric: Metric) -> float:
    """The metric of the whole set, larger where it is better."""
    value = metric.score(total_K.tolist())
    if not math.isfinite(value):
        return -math.inf
    return -value if metric.lower_is_better else value


def _gains(judged: Sequence[Judged], chosen: Sequence[int], metric: Metric) -> list[np.ndarray]:
    """How much each candidate raises the metric of the whole set over the chosen one, times the number of prompts.

    All other prompts keep what is chosen, so for a metric that is a mean over examples this is the difference of the
    two examples' scores.
    """
    total_K = _total(judged, chosen)
    base = _value(total_K, metric)

    def gain(changed_K: np.ndarray) -> float:
        value = len(judged) * (_value(total_K + changed_K, metric) - base)
        return value if math.isfinite(value) else 0.0

    return [
        np.array([gain(row_K - each.statistics_CK[place]) for row_K in each.statistics_CK])
        for each, place in zip(judged, chosen, strict=True)
    ]


def _ranking(standardised: Sequence[np.ndarray], gains: Sequence[np.ndarray]) -> np.ndarray:
    differences, weights = [], []
    for values_CF, gain_C in zip(standardised, gains, strict=True):
        better, worse = np.nonzero(gain_C[:, None] > gain_C[None, :] + 1e-9)
        differences.append(values_CF[better] - values_CF[worse])
        weights.append(gain_C[better] - gain_C[worse])
    rows_PF, weight_P = np.concatenate(differences), np.concatenate(weights)
    if not len(weight_P):
        return np.zeros(rows_PF.shape[1])
    return _logistic(rows_PF, np.ones(len(rows_PF)), weight_P / weight_P.sum())


def _calibration(values_NF: np.ndarray, right_N: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights and bias of a logistic model; targets are those of Platt (1999, section 2.2), so that it is finite."""
    hits = right_N.sum()
    misses = len(right_N) - hits
    target_N = right_N * (hits + 1) / (hits + 2) + (1 - right_N) / (misses + 2)
    rows_NF = np.concatenate([values_NF, np.ones((len(values_NF), 1))], axis=1)
    found = _logistic(rows_NF, target_N, np.full(len(right_N), 1 / len(right_N)), free=1)
    return found[:-1], float(found[-1])


def _logistic(rows_NF: np.ndarray, target_N: np.ndarray, weight_N: np.ndarray, free: int = 0) -> np.ndarray:
    """Logistic regression by Newton's method; the last ``free`` weights do not decay.

    (L-BFGS-B calls LAPACK in every iteration, whose threads wait for each other longer than all of this takes.)
    """
    decay_F = np.full(rows_NF.shape[1], _DECAY)
    decay_F[rows_NF.shape[1] - free :] = 0

    def probability(weights_F: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-np.clip(rows_NF @ weights_F, -500, 500)))

    def loss(weights_F: np.ndarray) -> tuple[float, np.ndarray]:
        logit_N = rows_NF @ weights_F
        value = weight_N @ (np.logaddexp(0, logit_N) - target_N * logit_N) + decay_F @ weights_F**2 / 2
        return float(value), (weight_N * (probability(weights_F) - target_N)) @ rows_NF + decay_F * weights_F

    def curvature(weights_F: np.ndarray) -> np.ndarray:
        p_N = probability(weights_F)
        return (rows_NF.T * (weight_N * p_N * (1 - p_N))) @ rows_NF + np.diag(decay_F)

    start_F = np.zeros(rows_NF.shape[1])
    options = {"xtol": 1e-9, "maxiter": 1000}
    found: np.ndarray = minimize(loss, start_F, jac=True, hess=curvature, method="Newton-CG", options=options).x
    return found
