"""Fits the reranker of a checkpoint and a search on the dev split, and says what it gains there."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from t2c_jax import console, runtime
from t2c_jax.config import DecodeConfig, EvaluateConfig, MeshConfig, RerankConfig
from t2c_jax.decode.rerank.candidates import candidates_of
from t2c_jax.decode.rerank.reranker import (
    RERANKERS,
    Parser,
    identity,
    make_features,
    reranker_name,
    save_reranker,
)
from t2c_jax.decode.rerank.reviewer import load_reviewer
from t2c_jax.decode.search_names import search_name
from t2c_jax.errors import UserError
from t2c_jax.evaluate.calibration import calibration, rightness
from t2c_jax.evaluate.comparison import format_score, paired
from t2c_jax.evaluate.confidence_figures import confidence_section
from t2c_jax.evaluate.evaluator import select_pairs
from t2c_jax.evaluate.metrics.metric import Metric, metric_named, statistics_of
from t2c_jax.evaluate.prompt_pairs import prompt_pairs
from t2c_jax.evaluate.rerank_fit import FOLDS, Judged, best_of_all, cross_validated, fit, folds_of
from t2c_jax.pages.page import document
from t2c_jax.workdir import write_json

if TYPE_CHECKING:
    from t2c_jax.checkpoints.saved_run import SavedRun
    from t2c_jax.corpus.pairs import Pair
    from t2c_jax.decode.rerank.candidate_features import CandidateSet

FIRST, RERANKED, ORACLE = "first candidate", "reranked", "oracle"


def fit_reranker(
    run: SavedRun,
    rerank: RerankConfig,
    evaluate: EvaluateConfig,
    decode: DecodeConfig,
    mesh: MeshConfig,
    *,
    seed: int,
    step: int | None = None,
    others: Sequence[str] = (),
    average: int = 1,
    risk_accepted: bool = False,
) -> dict[str, Any]:
    """Fits the reranker of a checkpoint, the best one by default, for one search; keeps it in the workdir.

    Args:
      run: its workdir gets the reranker.
      rerank: metric, reviewer and grammar.
      evaluate: ``max_examples`` and ``bootstrap_samples``, and the metric where ``rerank`` names none.
      decode: the search.
      mesh: of the devices that answer.
      seed: of the bootstrap.
      step, others, average: the checkpoint, as in ``load_generator``.
      risk_accepted: as for ``evaluate_checkpoint``.

    Returns:
      The content of ``scores.json``; on all processes but the first one, nothing.

    Raises:
      UserError: the search finds one candidate, there are too few dev pairs, or no candidate is better than another.
    """
    from t2c_jax.decode.loading import load_generator

    decode.check_candidates("t2c rerank chooses")
    workdir, direction = run.workdir, run.data.direction
    metric = metric_named(rerank.metric or evaluate.metrics[0], evaluate, risk_accepted=risk_accepted)
    metric.check(max(decode.samples, decode.beam_size))
    metric = metric.fitted(prompt_pairs(workdir, "train", direction))
    pairs = select_pairs(prompt_pairs(workdir, "dev", direction), evaluate.max_examples)
    if not pairs:
        raise UserError(
            "t2c rerank fits weights on dev pairs, and the dev split is empty; raise config.corpus.dev_share or add"
            " sources"
        )
    folds = folds_of([pair.group or pair.id for pair in pairs])
    members, generator = load_generator(run, decode, mesh, step, others, average)
    stage = f"{RERANKERS}/{reranker_name(members, average, decode)}"
    own = identity(run, generator, decode)
    parser = Parser(Counter(pair.language for pair in pairs).most_common(1)[0][0], rerank.grammar)
    reviewer = load_reviewer(run, generator, decode, mesh, rerank.reviewer)
    features = make_features(run, generator, decode, parser, None if reviewer is None else reviewer.scorer)
    read = {
        "metric": metric.name,
        "features": list(features.names),
        "max_examples": evaluate.max_examples,
        "bootstrap_samples": evaluate.bootstrap_samples,
        "grammar": rerank.grammar,
        "seed": [seed, decode.seed],
    }
    reviewed_by = "none" if reviewer is None else json.dumps(reviewer.identity)
    inputs = {"corpus": workdir.digest("corpus"), **own, "reviewer": reviewed_by}
    done = workdir.finished(stage, read, inputs)
    if runtime.agreed(int(done is None)):  # all processes decode, or none does
        with console.progress("candidates", len(pairs), "pairs") as bar:
            answers = generator.generate([pair.text for pair in pairs], advance=bar.advance)
        answers = features.candidates([pair.text for pair in pairs], answers)
        total = sum(len(candidates_of(answer, sampled=decode.temperature > 0)) for answer in answers)
        with console.progress("features", total if reviewer is not None else None, "candidates") as bar:
            sets = features([pair.text for pair in pairs], answers, advance=bar.advance)
        judged = _judged(metric, pairs, sets)
        if max(len(found.texts) for found in sets) == 1:
            raise UserError(
                "t2c rerank: no prompt has a second candidate that is finished; raise config.decode.max_tokens"
            )
        if all((each.statistics_CK == each.statistics_CK[0]).all() for each in judged):
            raise UserError(f"t2c rerank: no candidate is better than another by {metric.name}; choose another metric")
        weights = fit(judged, features.names, metric)
        scores = _scores(metric, pairs, sets, judged, folds, features.names, evaluate.bootstrap_samples, seed)
        scores |= {
            "step": int(members[0]),
            "members": members,
            **({"average": average} if average > 1 else {}),
            "search": search_name(decode),
            "weights": {
                name: round(float(weight), 4) for name, weight in zip(features.names, weights.rank_F, strict=True)
            },
        }
        fitted = {
            "identity": own,
            "parser": {"language": parser.language, "grammar": parser.grammar},
            "reviewer": None if reviewer is None else reviewer.identity,
            "weights": weights.to_dict(),
            "metric": metric.name,
            "confidence": scores["confidence"]["of"],
        }

        def build(directory: Path) -> dict[str, Any]:
            scores["name"] = stage.removeprefix(f"{RERANKERS}/")
            save_reranker(directory, fitted)
            write_json(directory / "scores.json", scores)
            (directory / "report.html").write_text(_page(metric, scores), "utf-8")
            return {"examples": len(pairs), "candidates": sum(len(found.texts) for found in sets)}

        if runtime.is_primary():
            with workdir.locked(RERANKERS):
                done = workdir.stage(stage, read, inputs, build)
    if not runtime.is_primary() or done is None:
        return {}
    found = json.loads((done.path / "scores.json").read_text("utf-8"))
    _show(metric, found, done.path)
    return found


def _judged(metric: Metric, pairs: Sequence[Pair], sets: Sequence[CandidateSet]) -> list[Judged]:
    """Each candidate alone by the metric; all at once, since a metric may run them."""
    each = [pair for pair, found in zip(pairs, sets, strict=True) for _ in found.texts]
    texts = [text for found in sets for text in found.texts]
    ends = np.cumsum([len(found.texts) for found in sets])[:-1]
    rows = np.split(metric.statistics(each, [[text] for text in texts]), ends)
    right = np.split(rightness(_confidence_of(metric), each, texts), ends)
    return [Judged(found.values_CF, *own) for found, *own in zip(sets, rows, right, strict=True)]


def _confidence_of(metric: Metric) -> Metric:
    """What confidence is of: the metric, or exact match where that is not between 0 and 100."""
    return metric if metric.percent else metric_named("exact_match")


def _scores(
    metric: Metric,
    pairs: Sequence[Pair],
    sets: Sequence[CandidateSet],
    judged: Sequence[Judged],
    folds: Sequence[int],
    features: Sequence[str],
    samples: int,
    seed: int,
) -> dict[str, Any]:
    """Of each system on all pairs; what is fitted is fitted on the other folds."""

    def statistics(orders: Sequence[Sequence[int]]) -> np.ndarray:
        ordered = [[found.texts[place] for place in order] for found, order in zip(sets, orders, strict=True)]
        return statistics_of([metric], pairs, ordered)[metric.name]

    def with_best(place: int, found: CandidateSet) -> list[int]:
        return [place, *(other for other in range(len(found.texts)) if other != place)]

    whole = cross_validated(judged, folds, features, metric)
    systems = {
        FIRST: statistics([range(len(found.texts)) for found in sets]),
        RERANKED: statistics([chosen.order for chosen in whole]),
    }
    for number, name in enumerate(features):
        alone = cross_validated([each.only([number]) for each in judged], folds, [name], metric)
        systems[name] = statistics([chosen.order for chosen in alone])
    best = best_of_all(judged, metric)
    systems[ORACLE] = statistics([with_best(*each) for each in zip(best, sets, strict=True)])
    return {
        "metric": metric.name,
        "examples": len(pairs),
        "candidates": round(float(np.mean([len(found.texts) for found in sets])), 2),
        "folds": FOLDS,
        "bootstrap_samples": samples,
        "seed": seed,
        "systems": paired(metric, systems, FIRST, samples, seed),
        "confidence": {
            "of": _confidence_of(metric).name,
            **calibration([chosen.confidence for chosen in whole], [chosen.right for chosen in whole]),
        },
    }


def _table(metric: Metric, scores: Mapping[str, Any]) -> tuple[str, tuple[str, ...], list[tuple[str, ...]]]:
    names = {FIRST: FIRST, RERANKED: f"{RERANKED}, cross-validated", ORACLE: f"{ORACLE}: the best candidate"}
    rows: list[tuple[str, ...]] = []
    for name, found in scores["systems"].items():
        low, high = found["interval"] or (None, None)
        by = "" if low is None else f"{found['difference']:+.2f}  ({low:+.2f} to {high:+.2f})"
        rows.append((names.get(name, f"{name} alone"), format_score(found), by))
    title = f"Step {scores['step']}, {scores['candidates']:g} candidates to each of {scores['examples']:,} dev pairs"
    return title, ("answer", metric.title, "difference (95 %)"), rows


def _weights(scores: Mapping[str, Any]) -> str:
    weights = ", ".join(f"{name} {weight:+.2f}" for name, weight in scores["weights"].items())
    return f"weights of standardised features: {weights}"


def _page(metric: Metric, scores: Mapping[str, Any]) -> str:
    title, columns, rows = _table(metric, scores)
    lines = ["".join(f"<th>{column}</th>" for column in columns)]
    lines += ["".join(f"<td>{cell}</td>" for cell in row) for row in rows]
    table = "".join(f"<tr>{line}</tr>" for line in lines)
    body = (
        f"<h1>Reranking</h1><p>{title}.</p>",
        f'<div class="scroll"><table>{table}</table></div>',
        f'<p class="faint">Cross-validated with {scores["folds"]} folds. Intervals are of the paired difference to the'
        f" first candidate, over {scores['bootstrap_samples']:,} bootstrap resamples. The {_weights(scores)}.</p>",
        confidence_section(scores["confidence"]),
    )
    return document("Reranking", body)


def _show(metric: Metric, scores: Mapping[str, Any], directory: Path) -> None:
    console.table(*_table(metric, scores))
    console.say(_weights(scores))
    if not any(scores["weights"].values()):
        console.say("no weights give a better order on all dev pairs; the search's own order stays")
    elif (found := scores["systems"][RERANKED]["verdict"]) != "better":
        console.warn(
            f"reranked answers are not better than first candidates ({found}); answer without config.decode.rerank"
        )
    confidence = scores["confidence"]
    console.say(
        f"confidence is that of {confidence['of']}: expected calibration error"
        f" {confidence['expected_calibration_error']:.3f} ({confidence['bins']} bins of equal width, cross-validated)"
    )
    console.say(f"reranker: {directory}; answers use it with --config.decode.rerank=True and the same search")
