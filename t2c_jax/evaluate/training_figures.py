"""What answers repeat of their training data, and what leaked, as parts of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from t2c_jax.evaluate.comparison import format_score
from t2c_jax.pages.page import escape


def training_section(training: Mapping[str, Any], leakage: Mapping[str, Any]) -> str:
    """HTML of ``scores["training"]`` and ``scores["leakage"]``."""
    sides = (("answers", training["answers"]), ("references", training["references"]))
    orders, runs = training["answers"]["ngrams"], training["answers"]["runs"]
    rows = [
        (f"{order}-grams in training code", *(_share(side["ngrams"][order]) for _, side in sides)) for order in orders
    ]
    rows += [
        (f"verbatim runs of {run} tokens and more", *(f"{side['runs'][run]:.1f}" for _, side in sides)) for run in runs
    ]
    rows += [
        ("whole text in one training pair", *(f"{side['copies']:.1f}" for _, side in sides)),
        ("near-copies of a training pair", *(f"{side['near_copies']:.1f}" for _, side in sides)),
    ]
    lengths = [
        (
            _span(group["tokens"]),
            f"{group['texts']:,}",
            f"{group['longest_run']:.1f}",
            f"{group['longest_run_share']:.1f}",
        )
        for group in training["by_length"]
    ]
    licences = ", ".join(f"{escape(name)} {count:,}" for name, count in training["licences"].items()) or "none"
    return (
        '<h2>Where answers come from</h2><p class="faint">In percent. References are held out: what they share with the'
        f" {training['train_pairs']:,} training pairs is common to the code of this corpus, or has leaked.</p>"
        + _table(("share, %", "answers", "references"), rows)
        + '<p class="faint">Memorisation by length: the longest passage of an answer within one training pair.</p>'
        + _table(("tokens of the answer", "answers", "longest run", "of the answer, %"), lengths)
        + f'<p class="faint">Answers that repeat {training["licensed_run"]} tokens and more, by the licence of what'
        f" they repeat: {licences}.</p>" + _leaks(leakage)
    )


def training_fact(training: Mapping[str, Any]) -> str:
    """The longest verbatim run of one answer, in words; empty if there is none."""
    run = training["run_from"]
    if run is None:
        return ""
    return f"{training['longest_run']} tokens verbatim from {run['source']} ({run['licence'] or 'unknown licence'})"


def _leaks(leakage: Mapping[str, Any]) -> str:
    split = leakage["split"]
    lines = [
        f"{split['near_duplicates']:,} of {split['pairs']:,} held-out pairs are near-duplicates of a training pair"
        f" (similarity of at least {leakage['threshold']:g} over text and code)."
    ]
    lines += [
        f"Of {escape(name)}, {found['near_duplicates']:,} of {found['problems']:,} solutions are near-duplicates of"
        f" training code; {_share(found['ngrams']['8'])} % of their 8-grams occur there."
        for name, found in leakage["problems"].items()
    ]
    rows = [
        (escape(each["id"]), escape(each["source"]), escape(each["licence"] or "unknown"), f"{each['similarity']:.2f}")
        for each in split["found"]
    ]
    table = _table(("held-out pair", "training pair", "its licence", "similarity"), rows) if rows else ""
    return "<h2>Leakage</h2>" + "".join(f"<p>{line}</p>" for line in lines) + table


def _share(share: Mapping[str, float | None] | None) -> str:
    return "-" if share is None else format_score(share)


def _span(tokens: tuple[int, int | None]) -> str:
    low, high = tokens
    return f"{low} and more" if high is None else f"{low}-{high}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{top}</tr>{body}</table></div>'
