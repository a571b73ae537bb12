"""Predictions to an evaluation: scores beside the retrieval baseline, and every example with what became of it."""

from __future__ import annotations

import hashlib
import heapq
import json
import platform
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from t2c_jax.config import EvaluateConfig
from t2c_jax.errors import UserError
from t2c_jax.evaluate.comparison import compare, summary
from t2c_jax.evaluate.metrics import METRICS, code_tokens, exact_match, parses_as_python
from t2c_jax.evaluate.report import write_report
from t2c_jax.evaluate.retrieval import retrieve
from t2c_jax.workdir import write_json

if TYPE_CHECKING:
    from t2c_jax.corpus.pairs import Pair

LENGTH_GROUPS = 4


@dataclass(frozen=True)
class Evaluation:
    """``scores`` is what scores.json holds, ``examples`` the lines of predictions.jsonl; JSON values both."""

    scores: dict[str, Any]
    examples: list[dict[str, Any]]


def select_pairs(pairs: Iterable[Pair], maximum: int) -> list[Pair]:
    """At most ``maximum`` pairs (0 for all), drawn evenly by a hash of their ids, in the order they came.

    The draw depends on the ids alone, and a larger maximum adds pairs without dropping any.
    """
    if not maximum:
        return list(pairs)
    drawn = heapq.nsmallest(maximum, enumerate(pairs), key=lambda item: hashlib.sha256(item[1].id.encode()).digest())
    return [pair for _, pair in sorted(drawn, key=lambda item: item[0])]


def evaluate_predictions(
    pairs: Sequence[Pair],
    predictions: Sequence[str],
    train_pairs: Iterable[Pair],
    config: EvaluateConfig,
    seed: int,
) -> Evaluation:
    """Scores predictions, and the retrieval baseline beside them, against the pairs' code.

    Args:
      pairs: the held-out pairs.
      predictions: the model's answer to each pair's text, in the same order.
      train_pairs: what the baseline may copy from.
      config: says how many bootstrap resamples; its split is noted.
      seed: of the bootstrap.

    Returns:
      Scores as ``comparison.compare`` gives them, over all pairs and, under ``by_length`` and ``by_kind``, over
      groups of them; with ``summary`` in words, and under ``references`` the share of references that parse.

    Raises:
      UserError: there is nothing to score, or nothing to retrieve from.
    """
    if not pairs:
        raise UserError(f"the {config.split} split is empty; raise config.corpus.{config.split}_share or add sources")
    train = list(train_pairs)
    retrieved = retrieve(train, [pair.text for pair in pairs])
    model = {metric.name: metric.statistics(pairs, predictions) for metric in METRICS}
    copied = [near.pair.code for near in retrieved]
    baseline = {metric.name: metric.statistics(pairs, copied) for metric in METRICS}

    def scores_of(rows: np.ndarray) -> dict[str, Any]:
        ours, copying = ({name: columns[rows] for name, columns in side.items()} for side in (model, baseline))
        return compare(ours, copying, config.bootstrap_samples, seed)

    overall = scores_of(np.arange(len(pairs)))
    reference_parses = [parses_as_python(pair.code) for pair in pairs if pair.language == "python"]
    scores = {
        "split": config.split,
        **overall,
        "summary": summary(overall["verdict"]),
        "references": {"parses": round(100 * float(np.mean(reference_parses)), 4) if reference_parses else None},
        "by_length": [{"code_tokens": span, **scores_of(rows)} for span, rows in _by_length(pairs)],
        "by_kind": [{"kind": kind, **scores_of(rows)} for kind, rows in _by_kind(pairs)],
        "train_pairs": len(train),
        "bootstrap_samples": config.bootstrap_samples,
        "seed": seed,
        "signatures": {metric.name: metric.signature for metric in METRICS},
        "python": platform.python_version(),
    }
    (chrf,) = (metric for metric in METRICS if metric.name == "chrf")
    examples = [
        {
            **pair.to_dict(),
            "prediction": prediction,
            "exact": exact_match(prediction, pair.code),
            "parses": parses_as_python(prediction) if pair.language == "python" else None,
            "chrf": round(chrf.score(model["chrf"][row].tolist()), 2),
            "retrieved": near.pair.code,
            "retrieved_id": near.pair.id,
            "retrieved_similarity": round(near.similarity, 4),
            "retrieved_chrf": round(chrf.score(baseline["chrf"][row].tolist()), 2),
        }
        for row, (pair, prediction, near) in enumerate(zip(pairs, predictions, retrieved, strict=True))
    ]
    return Evaluation(scores, examples)


def write_evaluation(directory: Path, evaluation: Evaluation) -> None:
    """Writes ``scores.json``, ``predictions.jsonl`` and ``report.html`` into an existing directory."""
    write_json(directory / "scores.json", evaluation.scores)
    # A lone surrogate, which UTF-8 cannot hold, becomes the escape that JSON has for it.
    with (directory / "predictions.jsonl").open("w", encoding="utf-8", errors="backslashreplace") as file:
        for example in evaluation.examples:
            file.write(json.dumps(example, ensure_ascii=False) + "\n")
    write_report(directory / "report.html", evaluation.scores, evaluation.examples)


def _by_length(pairs: Sequence[Pair]) -> Iterator[tuple[list[int], np.ndarray]]:
    """Groups of about equal size by the reference's code tokens, shortest first: [least, most] and rows."""
    lengths = np.array([len(code_tokens(pair.code)) for pair in pairs])
    edges = np.unique(np.quantile(lengths, np.linspace(0, 1, LENGTH_GROUPS + 1), method="inverted_cdf"))
    group = np.searchsorted(edges[1:], lengths) if len(edges) > 1 else np.zeros(len(lengths), int)
    for index in np.unique(group):
        rows = np.flatnonzero(group == index)
        yield [int(lengths[rows].min()), int(lengths[rows].max())], rows


def _by_kind(pairs: Sequence[Pair]) -> Iterator[tuple[str, np.ndarray]]:
    kinds = np.array([pair.kind for pair in pairs])
    for kind in sorted(set(kinds.tolist())):
        yield kind, np.flatnonzero(kinds == kind)
