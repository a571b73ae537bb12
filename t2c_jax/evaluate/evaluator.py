"""Scores predictions and the retrieval baseline on the same pairs, and writes scores, examples and a report."""

from __future__ import annotations

import hashlib
import heapq
import json
import math
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from t2c_jax.config import EvaluateConfig
from t2c_jax.errors import UserError
from t2c_jax.evaluate.breakdown import by_kind, by_length
from t2c_jax.evaluate.comparison import compare, listed, summary
from t2c_jax.evaluate.execution.execution_report import execution_summary
from t2c_jax.evaluate.leakage import leakage
from t2c_jax.evaluate.metrics.exact_match import exact_match
from t2c_jax.evaluate.metrics.metric import Metric, evaluated_by, metric_named, metrics_named, statistics_of
from t2c_jax.evaluate.metrics.parses import answer_parses
from t2c_jax.evaluate.report import write_report
from t2c_jax.evaluate.training_overlap import (
    LICENSED_RUN,
    licences_of,
    memorised_by_length,
    summary_of,
    training_overlap,
)
from t2c_jax.languages.aliases import canonical
from t2c_jax.languages.syntax_trees import grammar_version
from t2c_jax.retrieval.neighbours import nearest_pairs
from t2c_jax.retrieval.term_index import TfidfIndex
from t2c_jax.retrieval.vectors import VectorIndex
from t2c_jax.workdir import write_json

if TYPE_CHECKING:
    from t2c_jax.corpus.pairs import Pair
    from t2c_jax.retrieval.neighbours import Neighbour

EMBEDDED = 10_000  # training pairs in the baseline by vectors at most, since embedding them takes time


@dataclass(frozen=True)
class Evaluation:
    """The scores of predictions.

    Attributes:
      metrics: those that were computed.
      scores: the content of scores.json, as JSON values.
      examples: the lines of predictions.jsonl, as JSON values.
    """

    metrics: tuple[Metric, ...]
    scores: dict[str, Any]
    examples: list[dict[str, Any]]


def select_pairs(pairs: Iterable[Pair], maximum: int) -> list[Pair]:
    """At most ``maximum`` pairs (0 for all), selected evenly by a hash of their ids, in their order.

    The selection depends on the ids alone, and a larger maximum adds pairs without dropping any.
    """
    if not maximum:
        return list(pairs)
    selected = heapq.nsmallest(maximum, enumerate(pairs), key=lambda item: hashlib.sha256(item[1].id.encode()).digest())
    return [pair for _, pair in sorted(selected, key=lambda item: item[0])]


def score_answers(metric: Metric, pairs: Sequence[Pair], candidates: Sequence[Sequence[str]]) -> float:
    """The metric's corpus score of the answers alone, in its unit.

    Raises:
      UserError: it does not apply to any of the pairs.
    """
    score = metric.score(metric.statistics(pairs, candidates).sum(axis=0).tolist())
    if not math.isfinite(score):
        raise UserError(f"{metric.name} applies to none of these {len(pairs)} pairs; choose another metric")
    return score


def evaluate_predictions(
    pairs: Sequence[Pair],
    candidates: Sequence[Sequence[str]],
    train_pairs: Iterable[Pair],
    config: EvaluateConfig,
    seed: int,
    embed: Callable[[Sequence[str]], np.ndarray] | None = None,
    *,
    metrics: Sequence[Metric] | None = None,
    samples: Sequence[Sequence[str]] | None = None,
    trained_on: Iterable[Pair] | None = None,
    problems: Mapping[str, Sequence[str]] | None = None,
) -> Evaluation:
    """Scores predictions and the retrieval baseline against the pairs' code.

    Args:
      pairs: the held-out pairs.
      candidates: the model's answers to each pair's text, best first, in the pairs' order. The first one is the
        prediction; some metrics read more.
      train_pairs: the pairs that the baseline copies from.
      config: names the metrics, the split and the number of bootstrap resamples.
      seed: of the bootstrap.
      embed: gives the run's own vectors of texts and code, if it has learnt them. A second baseline,
        ``embedding_retrieval``, then answers with the code nearest to the text, of at most ``EMBEDDED`` training pairs.
      metrics: those of the config, if they are made already.
      samples: of each pair, for metrics that read every sample; the predictions by default.
      trained_on: all training pairs, code without a text included; ``train_pairs`` by default.
      problems: solutions of benchmarks by the names of their files, to be looked for in the training pairs.

    Returns:
      Scores as ``comparison.compare`` gives them, over all pairs and, under ``by_length`` and ``by_kind``, over
      groups of them; with ``summary`` in words, and under ``references`` the share of references that parse. Where
      a metric runs the answers, ``execution`` says what came of the problems (``execution_report``). ``training`` says
      what answers and references have in common with the training pairs, ``leakage`` what these had of the held-out
      pairs and of the problems.

    Raises:
      UserError: there is nothing to score, or nothing to retrieve from.
    """
    if not pairs:
        raise UserError(
            f"the {config.split} split is empty, code without a text not counted; raise"
            f" config.corpus.{config.split}_share or add sources"
        )
    train = list(train_pairs)
    if not train:
        raise UserError(
            "no training pair has a text, so the retrieval baseline has nothing to copy; add sources with texts and run"
            " t2c mine again"
        )
    metrics = metrics_named(config.metrics, config) if metrics is None else metrics
    metrics = tuple(metric.fitted(train) for metric in metrics)
    samples = [ranking[:1] for ranking in candidates] if samples is None else samples
    ranked = max(metric.candidates for metric in metrics)
    retrieved = TfidfIndex(train).nearest([pair.text for pair in pairs], ranked, _code)
    copied = [_codes(neighbours) for neighbours in retrieved]
    model, details = evaluated_by(metrics, pairs, candidates, samples)
    baseline = statistics_of(metrics, pairs, copied)

    def scores_of(rows: np.ndarray) -> dict[str, Any]:
        ours, copying = ({name: columns[rows] for name, columns in side.items()} for side in (model, baseline))
        return compare(metrics, ours, copying, config.bootstrap_samples, seed)

    overall = scores_of(np.arange(len(pairs)))
    if embed is not None:
        shown = select_pairs(train, EMBEDDED)
        codes, texts = embed([pair.code for pair in shown]), embed([pair.text for pair in pairs])
        found = nearest_pairs(shown, len(pairs), VectorIndex(codes).similarities(texts), ranked, _code)
        nearest = [_codes(neighbours) for neighbours in found]
        compared = compare(metrics, model, statistics_of(metrics, pairs, nearest), config.bootstrap_samples, seed)
        overall["embedding_retrieval"] = {**compared["retrieval"], "train_pairs": len(shown)}
    parsed = [answer_parses(pair, pair.code) for pair in pairs]
    reference_parses = [found for found in parsed if found is not None]
    languages = sorted({canonical(pair.language) for pair in pairs} - {"python"})
    scores = {
        "split": config.split,
        **overall,
        "summary": summary(metrics, overall["verdict"]) + _inapplicable(metrics, overall["model"], pairs),
        "references": {"parses": round(100 * float(np.mean(reference_parses)), 4) if reference_parses else None},
        "by_length": [{"code_tokens": span, **scores_of(rows)} for span, rows in by_length(pairs)],
        "by_kind": [{"kind": kind, **scores_of(rows)} for kind, rows in by_kind(pairs)],
        "train_pairs": len(train),
        "bootstrap_samples": config.bootstrap_samples,
        "seed": seed,
        "signatures": {metric.name: metric.signature for metric in metrics},
        "python": platform.python_version(),
        "grammars": {name: version for name in languages if (version := grammar_version(name))},
    }
    # Examples are ranked by chrF, the finest of the metrics on a single one, whichever metrics are asked for.
    chrf = metric_named("chrf")
    our_chrf, copied_chrf = (
        [round(chrf.score(row), 2) for row in chrf.statistics(pairs, answers).tolist()]
        for answers in (candidates, copied)
    )
    kept = {metric.name: model[metric.name] for metric in metrics if metric.part_of not in model}
    examples = [
        {
            **pair.to_dict(),
            "prediction": ours[0],
            **({"candidates": list(ours[:ranked])} if ranked > 1 else {}),
            "exact": exact_match(ours[0], pair.code),
            "parses": answer_parses(pair, ours[0]),
            "chrf": our_chrf[row],
            "retrieved": near.pair.code,
            "retrieved_id": near.pair.id,
            "retrieved_similarity": round(near.similarity, 4),
            "retrieved_chrf": copied_chrf[row],
            # So that a later comparison scores what was scored here, without running answers again.
            "statistics": {name: columns[row].tolist() for name, columns in kept.items()},
            **details[row],
        }
        for row, (pair, ours, (near, *_)) in enumerate(zip(pairs, candidates, retrieved, strict=True))
    ]
    seen = train if trained_on is None else list(trained_on)
    overlaps = training_overlap([*(ours[0] for ours in candidates), *(pair.code for pair in pairs)], seen)
    ours, references = overlaps[: len(pairs)], overlaps[len(pairs) :]
    for example, overlap in zip(examples, ours, strict=True):
        example["training"] = overlap.to_dict()
    scores["training"] = {
        "train_pairs": len(seen),
        "answers": summary_of(ours),
        "references": summary_of(references),
        "by_length": memorised_by_length(ours),
        "licensed_run": LICENSED_RUN,
        "licences": licences_of(ours),
    }
    scores["leakage"] = leakage(pairs, seen, problems)
    if any(metric.runs_code for metric in metrics):
        scores["execution"] = execution_summary(examples)
    return Evaluation(tuple(metrics), scores, examples)


def _inapplicable(metrics: Sequence[Metric], scores: Mapping[str, Any], pairs: Sequence[Pair]) -> str:
    """A sentence about metrics without a score, most of which read certain languages; else empty.

    What metrics that run code lack is said with the execution.
    """
    without = [
        metric.phrase
        for metric in metrics
        if scores[metric.name]["value"] is None and not metric.part_of and not metric.runs_code
    ]
    languages = ", ".join(sorted({pair.language or "unknown" for pair in pairs}))
    return f" Not applicable to these pairs (language: {languages}): {listed(without)}." if without else ""


def _code(pair: Pair) -> str:
    return pair.code


def _codes(neighbours: Sequence[Neighbour]) -> list[str]:
    return [neighbour.pair.code for neighbour in neighbours]


def write_evaluation(directory: Path, evaluation: Evaluation) -> None:
    """Writes ``scores.json``, ``predictions.jsonl`` and ``report.html`` into an existing directory."""
    write_json(directory / "scores.json", evaluation.scores)
    # A lone surrogate, which UTF-8 cannot hold, becomes the escape that JSON has for it.
    with (directory / "predictions.jsonl").open("w", encoding="utf-8", errors="backslashreplace") as file:
        for example in evaluation.examples:
            file.write(json.dumps(example, ensure_ascii=False) + "\n")
    write_report(directory / "report.html", evaluation.metrics, evaluation.scores, evaluation.examples)
