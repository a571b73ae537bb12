"""One evaluation as one static page: no script, nothing loaded from elsewhere, light and dark, wide and narrow."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from t2c_jax.evaluate.comparison import CLEAR, format_score, score_table
from t2c_jax.evaluate.confidence_figures import confidence_section
from t2c_jax.evaluate.execution.execution_report import execution_fact, execution_section
from t2c_jax.evaluate.metrics.metric import Metric
from t2c_jax.evaluate.training_figures import training_fact, training_section
from t2c_jax.pages.page import code_block, document, escape, visible

SHOWN = 12
"""Examples shown of each kind: random, best, worst."""


def write_report(
    path: Path, metrics: Sequence[Metric], scores: Mapping[str, Any], examples: Sequence[Mapping[str, Any]]
) -> None:
    """Writes the page; what it shows is that of an ``evaluator.Evaluation``."""
    # A lone surrogate in what a model wrote cannot be UTF-8; it becomes a question mark.
    path.write_text(render(metrics, scores, examples), encoding="utf-8", errors="replace")


def render(metrics: Sequence[Metric], scores: Mapping[str, Any], examples: Sequence[Mapping[str, Any]]) -> str:
    """The page as HTML."""
    title = f"Evaluation on {scores['examples']:,} {scores['split']} pairs"
    by_chrf = sorted(examples, key=lambda example: (example["chrf"], example["id"]))
    sampled = random.Random(scores["seed"]).sample(list(examples), min(SHOWN, len(examples)))
    sections = (
        ("random", "Random", "What to expect: nobody selected these.", sampled),
        ("best", "Best", "Highest chrF against the reference.", by_chrf[::-1][:SHOWN]),
        ("worst", "Worst", "Lowest chrF against the reference.", by_chrf[:SHOWN]),
    )
    body = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="lead">{escape(scores["summary"])}</p>',
        _scores(metrics, scores),
        confidence_section(scores["confidence"]) if "confidence" in scores else "",
        execution_section(scores["execution"], _intervals(metrics, scores), examples) if "execution" in scores else "",
        training_section(scores["training"], scores["leakage"]) if "training" in scores else "",
        _groups("By length", "code tokens", metrics, scores["by_length"], _span),
        _groups("By kind", "kind", metrics, scores["by_kind"], lambda group: group["kind"]),
        "<h2>Examples</h2><nav>",
        *(f'<a href="#{anchor}">{name}</a>' for anchor, name, _, _ in sections),
        '</nav><p class="faint">Every pair is in predictions.jsonl.</p>',
        *(
            f'<h2 id="{anchor}">{name}</h2><p class="faint">{note}</p>' + "".join(map(_example, shown))
            for anchor, name, note, shown in sections
        ),
        _method(metrics, scores),
    ]
    return document(title, body)


def _intervals(metrics: Sequence[Metric], scores: Mapping[str, Any]) -> list[str]:
    """The scores that come of running answers, with their intervals."""
    found = ((metric.title, scores["model"][metric.name]) for metric in metrics if metric.runs_code)
    return [
        f"{title} {score['value']:.1f}, 95 % interval {score['interval'][0]:.1f} to {score['interval'][1]:.1f}"
        for title, score in found
        if score["interval"]
    ]


def _scores(metrics: Sequence[Metric], scores: Mapping[str, Any]) -> str:
    columns, rows = score_table(metrics, scores)
    *head, last = (escape(column) for column in columns)
    lines = []
    for metric, row in zip(metrics, rows, strict=True):
        *cells, verdict = (escape(cell) for cell in row)
        difference = scores["difference"][metric.name]
        by = (
            ""
            if difference["value"] is None
            else f" ({'+' if difference['value'] > 0 else ''}{format_score(difference)})"
        )
        plot = _plot(scores, metric.name) if metric.percent and difference["value"] is not None else ""
        lines.append(
            f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}"
            f'<td class="words {verdict.split()[0]}">{verdict}{by}</td>'
            f'<td class="plot">{plot}</td></tr>'
        )
    references = scores["references"]["parses"]
    note = (
        f"Retrieval answers with the code of the nearest text's pair, out of {scores['train_pairs']:,} training pairs."
        f" ± is one standard error; a difference counts from {CLEAR:g} of its own, paired, standard errors on."
    )
    if references is not None:
        note += f" Of the references themselves {references:.1f} % parse."
    top = "".join(f"<th>{column}</th>" for column in head)
    return (
        f'<div class="scroll"><table><tr>{top}<th class="words">{last}</th><th class="plot">'
        f"0 to 100; dot: model, ring: retrieval, ±{CLEAR:g} s.e.</th></tr>{''.join(lines)}</table></div>"
        f'<p class="faint">{note}</p>'
    )


def _plot(scores: Mapping[str, Any], name: str) -> str:
    marks = []
    for system, height in (("retrieval", 20), ("model", 8)):
        value, error = scores[system][name]["value"], scores[system][name]["standard_error"] or 0
        if value is not None:
            low, high = max(0, value - CLEAR * error), min(100, value + CLEAR * error)
            marks.append(
                f'<g class="{system}"><line x1="{2 * low:.1f}" x2="{2 * high:.1f}" y1="{height}" y2="{height}"'
                f' stroke-width="2"/><circle cx="{2 * value:.1f}" cy="{height}" r="4" stroke-width="2"/></g>'
            )
    axis = '<path class="axis" d="M0 14H200M0 8V20M100 10V18M200 8V20"/>'
    return f'<svg viewBox="-6 0 212 28" aria-hidden="true">{axis}{"".join(marks)}</svg>'


def _span(group: Mapping[str, Any]) -> str:
    return "{}-{}".format(*group["code_tokens"])


def _groups(
    title: str,
    column: str,
    metrics: Sequence[Metric],
    groups: Sequence[Mapping[str, Any]],
    label: Callable[[Mapping[str, Any]], str],
) -> str:
    shown = [
        metric
        for metric in metrics
        if not metric.part_of and any(group["model"][metric.name]["value"] is not None for group in groups)
    ]
    head = "".join(f"<th>{escape(metric.title)}</th><th>retrieval</th>" for metric in shown)
    rows = []
    for group in groups:
        cells = "".join(
            f'<td class="{group["verdict"][metric.name].split()[0]}">{format_score(group["model"][metric.name])}</td>'
            f"<td>{format_score(group['retrieval'][metric.name])}</td>"
            for metric in shown
        )
        rows.append(f"<tr><td>{escape(label(group))}</td><td>{group['examples']:,}</td>{cells}</tr>")
    return (
        f'<h2>{title}</h2><div class="scroll"><table><tr><th>{column}</th><th>pairs</th>{head}</tr>'
        f"{''.join(rows)}</table></div>"
    )


def _example(example: Mapping[str, Any]) -> str:
    source = example["source"]
    facts = [
        "exact match" if example["exact"] else f"chrF {example['chrf']:.1f}",
        f"retrieval {example['retrieved_chrf']:.1f}",
        *(["does not parse"] if example["parses"] is False else []),
        *([execution_fact(example["execution"])] if "execution" in example else []),
        *([training_fact(example["training"])] if example.get("training", {}).get("run_from") else []),
        example["kind"],
        f"{source['repository']}/{source['path']}:{source['start_line']}",
    ]
    first_line = next(iter(example["text"].strip().splitlines()), "")
    retrieved = f"cosine {example['retrieved_similarity']:.2f}"
    codes = (("Model", "", "prediction"), ("Reference", "", "code"), ("Retrieved", retrieved, "retrieved"))
    return (
        f'<details><summary><span class="line">{escape(visible(first_line))}</span>'
        f'<span class="faint">{escape(visible(" · ".join(facts)))}</span></summary><div>'
        f'<h3>Text</h3><pre class="text">{escape(visible(example["text"]))}</pre><div class="codes">'
        + "".join(
            f"<div><h3>{name} <span>{note}</span></h3>{code_block(example[key], example['language'])}</div>"
            for name, note, key in codes
        )
        + "</div></div></details>"
    )


def _method(metrics: Sequence[Metric], scores: Mapping[str, Any]) -> str:
    signatures = "".join(
        f"<li>{escape(metric.title)}: {escape(scores['signatures'][metric.name])}</li>" for metric in metrics
    )
    # Answers from elsewhere come without the search that found them.
    answers = f"<li>Scored answers: {escape(scores['answers'])}.</li>" if "answers" in scores else ""
    run = "" if "execution" in scores else "; nothing was run"
    grammars = "".join(
        f", {escape(name)} by tree-sitter's grammar {escape(version)}"
        for name, version in scores.get("grammars", {}).items()
    )
    return (
        f'<h2>How it was measured</h2><ul class="faint">{answers}{signatures}'
        f"<li>± is one standard error over {scores['bootstrap_samples']:,} bootstrap resamples of the pairs, seed"
        f" {scores['seed']}; the model and retrieval are resampled together.</li>"
        f"<li>Parsed by Python {escape(scores['python'])}{grammars}{run}.</li></ul>"
    )
