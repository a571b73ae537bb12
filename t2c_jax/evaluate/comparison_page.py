"""Several runs against the first of them as one page: scores, figures, and each pair with both answers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from t2c_jax.evaluate.metrics.metric import Metric
from t2c_jax.evaluate.run_comparison import RunComparison, by_reason, show_number, show_p
from t2c_jax.evaluate.significance import ALPHA
from t2c_jax.pages.page import data_block, document, escape, token_spans, visible
from t2c_jax.workdir.io import write_bytes

BARS = 21  # of a histogram, an odd number: ties have the one in the middle
FEWEST = 6  # examples that differ, without which no group is clear: an exact test of fewer is never below ``ALPHA``
_NICE = (1, 2, 2.5, 5, 10)  # times a power of ten: where an axis may end


def write_comparison(path: Path, comparison: RunComparison) -> None:
    """Writes the page, or leaves the one that was there."""
    # A lone surrogate in a label cannot be UTF-8; it becomes a question mark.
    page = render_comparison(comparison).encode("utf-8", "replace")
    if path.is_file() or not path.exists():
        write_bytes(path.resolve(), page)
    else:  # a device or a pipe, which must not be replaced by a file
        path.write_bytes(page)


def render_comparison(comparison: RunComparison) -> str:
    """The page as HTML."""
    result = comparison.result
    runs = [*result["against_baseline"]]
    pairs = f"{result['pairs']:,} {result['split']} pair{'s' if result['pairs'] != 1 else ''}"
    title = f"{runs[0] if len(runs) == 1 else f'{len(runs)} runs'} against {comparison.baseline}"
    body = [
        f"<h1>{escape(title)}</h1>",
        *(f'<p class="lead">{escape(found["summary"])}</p>' for found in result["against_baseline"].values()),
        f'<p class="faint">On the {pairs} that all of them answered. {_left_out(result)}</p>',
        "<h2>Scores</h2>",
        *(_against(comparison, run) for run in runs),
        '<h2 id="differences">Where they differ</h2>',
        _toolbar(comparison, runs),
        *(
            _figures(comparison, run, metric, shown=(run, metric) == (runs[0], comparison.finest))
            for run in runs
            for metric in comparison.metrics
        ),
        '<h2 id="examples">Examples</h2>',
        _filters(comparison),
        '<p id="count" class="faint" role="status"></p><div id="list"></div><div id="end"></div>',
        "<noscript><p>The list of examples needs JavaScript.</p></noscript>",
        _method(comparison),
        data_block("data", _data(comparison, runs)),
    ]
    return document(title, body, styles=["comparison.css"], scripts=["words.js", "comparison.js"], package=__package__)


def _left_out(result: Mapping[str, Any]) -> str:
    counts = [f"{run['pairs_left_out']:,} of {run['label']}" for run in result["runs"] if run["pairs_left_out"]]
    said = [f"Pairs left out, not in all runs: {', '.join(counts)}."] if counts else []
    for reason, names in by_reason(result["metrics_left_out"]).items():
        said.append(f"Metrics left out, {reason}: {', '.join(names)}.")
    return escape(" ".join(said))


def _against(comparison: RunComparison, run: str) -> str:
    """One run's scores beside the baseline's, as a table, and their differences as a figure."""
    result, baseline = comparison.result, comparison.baseline
    found = result["against_baseline"][run]["metrics"]
    several = len(result["against_baseline"]) > 1
    lines = []
    for metric in comparison.metrics:
        each = found[metric.name]
        ours, theirs = (result["scores"][label][metric.name] for label in (run, baseline))
        corrected = f" ({show_p(each['corrected'])})" if several else ""
        cells = (
            show_number(theirs["value"], theirs["standard_error"]),
            show_number(ours["value"], ours["standard_error"]),
            show_number(each["difference"], each["standard_error"], signed=True),
            f"{show_p(each['p_value'])}{corrected}",
            f"{each['wins']:,}",
            f"{each['losses']:,}",
            f"{each['ties']:,}",
        )
        lines.append(
            f'<tr><th scope="row">{escape(metric.title)}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in cells)}'
            f'<td class="words {each["verdict"].split()[0]}">{each["verdict"]}</td></tr>'
        )
    names = (baseline, run, "difference", "p (corrected)" if several else "p", "won", "lost", "tied")
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    rows = [
        _Row(metric.title, found[metric.name], metric.lower_is_better, found[metric.name]["verdict"])
        for metric in comparison.metrics
        if metric.percent
    ]
    title = f"<h3>{escape(run)} against {escape(baseline)}</h3>" if several else ""
    return (
        f'<section>{title}<div class="scroll"><table><thead><tr><th scope="col">score</th>{head}'
        f'<th scope="col" class="words">verdict</th></tr></thead><tbody>{"".join(lines)}</tbody></table></div>'
        + _forest(f"Difference to {baseline}, with its 95 % interval", rows)
        + "</section>"
    )


class _Row:
    """A line of a figure of differences."""

    def __init__(self, label: str, found: Mapping[str, Any], lower_is_better: bool, verdict: str = "") -> None:
        self.label, self.value, self.error = label, found["difference"], found["standard_error"]
        self.low, self.high = found["interval"] or (self.value, self.value)
        if not verdict:  # of a group: by its interval
            verdict = "not applicable" if self.value is None else "no clear difference"
            if found["wins"] + found["losses"] >= FEWEST and (self.low > 0 or self.high < 0):
                verdict = "better" if (self.value < 0) == lower_is_better else "worse"
        self.verdict = verdict

    def reach(self) -> float:
        """How far from zero it goes."""
        return 0.0 if self.value is None else max(abs(self.low), abs(self.high), abs(self.value))


def _forest(title: str, rows: Sequence[_Row]) -> str:
    """Differences with their intervals, below each other on one axis with zero in the middle."""
    if not rows:
        return ""
    end = _axis_end(max(row.reach() for row in rows))

    def place(value: float) -> str:
        return f"{50 + 44 * value / end:.2f}%"

    lines = []
    for row in rows:
        marks = '<line class="axis" x1="50%" x2="50%" y1="0" y2="100%"/>'
        if row.value is not None:
            marks += (
                f'<line class="range" x1="{place(row.low)}" x2="{place(row.high)}" y1="50%" y2="50%"/>'
                f'<circle cx="{place(row.value)}" cy="50%" r="4.5"/>'
            )
        lines.append(
            f'<tr><th scope="row">{escape(row.label)}</th>'
            f'<td class="track {row.verdict.split()[0]}"><svg aria-hidden="true">{marks}</svg></td>'
            f"<td>{show_number(row.value, row.error, signed=True)}</td></tr>"
        )
    scale = f"<span>{-end:g}</span><span>0</span><span>+{end:g}</span>"
    lines.append(f'<tr aria-hidden="true"><th></th><td><div class="scale">{scale}</div></td><td></td></tr>')
    return (
        f"<figure><figcaption>{escape(title)}</figcaption>"
        f'<table class="forest"><tbody>{"".join(lines)}</tbody></table></figure>'
    )


def _axis_end(reach: float) -> float:
    if not reach:
        return 1.0
    power = 10.0 ** math.floor(math.log10(reach))
    return next(nice * power for nice in _NICE if nice * power >= reach)


def _figures(comparison: RunComparison, run: str, metric: Metric, *, shown: bool) -> str:
    """What one metric says of one run: by group, and over examples."""
    found = comparison.result["against_baseline"][run]
    axes = (
        (
            "By length of the reference, in code tokens",
            "by_length",
            lambda group: "{}-{}".format(*group["code_tokens"]),
        ),
        ("By kind", "by_kind", lambda group: group["kind"]),
        ("By language", "by_language", lambda group: group["language"] or "unknown"),
    )
    figures = []
    for title, axis, name in axes:
        rows = [
            _Row(f"{name(group)} ({group['pairs']:,})", group["metrics"][metric.name], metric.lower_is_better)
            for group in found[axis]
        ]
        figures.append(_forest(f"{title} (pairs)", rows) if len(rows) > 1 or axis == "by_length" else "")
    figures.append(_outcomes(comparison, run, metric) if metric.right_or_wrong else _histogram(comparison, run, metric))
    number = [*comparison.result["against_baseline"]].index(run)
    return (
        f'<div class="view" data-run="{number}" data-metric="{escape(metric.name)}"{"" if shown else " hidden"}>'
        f"{''.join(figures)}</div>"
    )


def _histogram(comparison: RunComparison, run: str, metric: Metric) -> str:
    """How many examples gain or lose how much."""
    gains = comparison.gains(metric, run)
    gains = gains[~np.isnan(gains)]
    end = _axis_end(float(np.abs(gains).max(initial=0)))
    half = BARS // 2
    # The bar in the middle holds ties alone, each other one an equal part of the losses or wins.
    place = np.where(gains == 0, 0, np.sign(gains) * np.ceil(np.abs(gains) / end * half)).astype(int) + half
    counts = np.bincount(place, minlength=BARS)
    others = np.delete(counts, half)
    top = max(1, int(others.max()))  # ties may be most of all, so they do not scale the others
    bars = []
    for number, count in enumerate(counts.tolist()):
        height = min(100.0, 100 * count / top)
        side = "tie" if number == half else "worse" if number < half else "better"
        low, high = sorted((edge * end / half) for edge in _edges(number - half))
        what = "no difference" if number == half else f"{low:+.3g} to {high:+.3g}"
        bars.append(
            f'<rect class="{side}" x="{100 * number / BARS + 0.3:.2f}%" y="{100 - height:.2f}%"'
            f' width="{100 / BARS - 0.6:.2f}%" height="{height:.2f}%"><title>{what}: {count:,}</title></rect>'
        )
    scale = f"<span>lost {end:g}</span><span>tied: {counts[half]:,}</span><span>won {end:g}</span>"
    cut = " The bar of ties is cut off." if counts[half] > top else ""
    return (
        f"<figure><figcaption>{escape(metric.title)} of single examples: how much is won and lost</figcaption>"
        f'<svg class="histogram" role="img" aria-label="{counts[half + 1 :].sum():,} won, {counts[:half].sum():,} lost,'
        f' {counts[half]:,} tied">{"".join(bars)}</svg><div class="scale">{scale}</div>'
        f'<p class="faint">The highest bar beside ties is of {top:,} examples.{cut}</p></figure>'
    )


def _edges(step: int) -> tuple[int, int]:
    return (step - 1, step) if step > 0 else (step, step + 1)


def _outcomes(comparison: RunComparison, run: str, metric: Metric) -> str:
    """Of a right-or-wrong metric: how many examples both, one or neither has right."""
    theirs, ours = (comparison.alone[metric.name][label] > 50 for label in (comparison.baseline, run))
    known = ~np.isnan(comparison.alone[metric.name][run]) & ~np.isnan(
        comparison.alone[metric.name][comparison.baseline]
    )
    counts = (
        ("both", theirs & ours & known, "tie"),
        (f"{run} alone", ours & ~theirs & known, "better"),
        (f"{comparison.baseline} alone", theirs & ~ours & known, "worse"),
        ("neither", ~theirs & ~ours & known, "tie"),
    )
    lines = []
    for name, rows, side in counts:
        share = 100 * rows.sum() / max(1, known.sum())
        bar = f'<svg aria-hidden="true"><rect class="{side}" width="{share:.2f}%" height="100%"/></svg>'
        lines.append(
            f'<tr><th scope="row">{escape(name)}</th><td class="track">{bar}</td><td>{int(rows.sum()):,}</td></tr>'
        )
    return (
        f"<figure><figcaption>{escape(metric.title)}: who is right</figcaption>"
        f'<table class="forest"><tbody>{"".join(lines)}</tbody></table></figure>'
    )


def _toolbar(comparison: RunComparison, runs: Sequence[str]) -> str:
    run_options = "".join(f'<option value="{number}">{escape(run)}</option>' for number, run in enumerate(runs))
    metric_options = "".join(
        f'<option value="{escape(metric.name)}"{" selected" if metric == comparison.finest else ""}>'
        f"{escape(metric.title)}</option>"
        for metric in comparison.metrics
    )
    return (
        f'<div class="bar" id="toolbar"><label{"" if len(runs) > 1 else " hidden"}>Run'
        f' <select id="run" autocomplete="off">{run_options}</select></label>'
        f'<label>Metric <select id="metric" autocomplete="off">{metric_options}</select></label></div>'
    )


def _filters(comparison: RunComparison) -> str:
    def options(every: str, names: Sequence[str]) -> str:
        listed = "".join(f'<option value="{escape(name)}">{escape(name or "unknown")}</option>' for name in names)
        return f'<option value="*">{every}</option>{listed}'

    kinds = sorted({pair.kind for pair in comparison.pairs})
    languages = sorted({pair.language for pair in comparison.pairs})
    outcomes = "".join(
        f'<label class="chip"><input type="radio" name="outcome" value="{value}" autocomplete="off"'
        f'{" checked" if value == "all" else ""}><span>{name} <b data-count="{value}"></b></span></label>'
        for value, name in (("all", "All"), ("won", "Won"), ("lost", "Lost"), ("tied", "Tied"))
    )
    return (
        f'<div class="bar" id="filters"><fieldset><legend>Outcome</legend>{outcomes}</fieldset>'
        f"<label{'' if len(kinds) > 1 else ' hidden'}>Kind"
        f' <select id="kind" autocomplete="off">{options("all", kinds)}</select></label>'
        f"<label{'' if len(languages) > 1 else ' hidden'}>Language"
        f' <select id="language" autocomplete="off">{options("all", languages)}</select></label>'
        '<label>Order <select id="order" autocomplete="off"><option value="difference">largest difference</option>'
        '<option value="corpus">as in the corpus</option></select></label>'
        '<label>Mark <select id="mark" autocomplete="off"><option value="reference">words unlike the reference</option>'
        '<option value="answers">words unlike the other answer</option><option value="none">nothing</option></select>'
        '</label><label class="wide">Search <input type="search" id="search" autocomplete="off"'
        ' placeholder="text, code or answers"></label></div>'
        '<p class="faint keys"><kbd>j</kbd> next, <kbd>k</kbd> previous, <kbd>Enter</kbd> open or close,'
        " <kbd>/</kbd> search</p>"
    )


def _data(comparison: RunComparison, runs: Sequence[str]) -> dict[str, Any]:
    """What the script reads. A text comes with how it is highlighted."""
    labels = [comparison.baseline, *runs]
    scores = {
        metric.name: [
            [None if math.isnan(value) else round(value, 2) for value in comparison.alone[metric.name][label].tolist()]
            for label in labels
        ]
        for metric in comparison.metrics
    }
    gains = {
        metric.name: [
            [None if math.isnan(value) else round(value, 4) for value in comparison.gains(metric, run).tolist()]
            for run in runs
        ]
        for metric in comparison.metrics
    }
    examples = []
    for row, pair in enumerate(comparison.pairs):
        answers = [_text(comparison.answers[label][row], pair.language) for label in labels]
        examples.append(
            {
                "id": pair.id,
                "kind": pair.kind,
                "language": pair.language,
                "source": visible(str(pair.source)),
                "text": visible(pair.text),
                "code": _text(pair.code, pair.language),
                "answers": answers,
            }
        )
    return {"runs": labels, "scores": scores, "gains": gains, "examples": examples}


def _text(code: str, language: str) -> tuple[str, str]:
    shown = visible(code)
    return shown, token_spans(shown, language)


def _method(comparison: RunComparison) -> str:
    result = comparison.result
    runs = "".join(
        f"<li>{escape(run['label'])}: {escape(run['path'])}{escape(_answers(run))}, {run['pairs']:,} pairs</li>"
        for run in result["runs"]
    )
    signatures = "".join(
        f"<li>{escape(metric.title)}: {escape(result['signatures'][metric.name])}</li>" for metric in comparison.metrics
    )
    corrected = (
        " P-values in brackets are corrected for the number of runs, for each metric (Holm 1979)."
        if len(result["against_baseline"]) > 1
        else ""
    )
    return (
        f'<h2>How it was measured</h2><ul class="faint">{runs}{signatures}'
        f"<li>± is one standard error, intervals are of 95 %, over {result['resamples']:,} bootstrap resamples of the"
        f" pairs (at most 1,000 in a group), seed {result['seed']}; all runs are resampled together.</li>"
        "<li>Right-or-wrong metrics are tested with McNemar's exact test, others with the paired bootstrap. A"
        f" difference is clear where p is below {ALPHA:g}.{corrected} Groups are shown with their intervals and not"
        " tested.</li>"
        "<li>Won, lost and tied compare the scores of each example alone. Corpus scores such as BLEU are no means of"
        " these.</li></ul>"
    )


def _answers(run: Mapping[str, Any]) -> str:
    return f", {run['answers']}" if "answers" in run else ""
