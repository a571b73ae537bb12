"""The corpus card as one page: plots of what is in the corpus, and examples of what each rule dropped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from t2c_jax.corpus.tally import Tally
from t2c_jax.pages.page import document, escape, visible

_MOST_BARS = 20
_BINS = 24
_WIDTH, _HEIGHT, _AXIS = 480, 120, 18  # of a histogram, in its own units


def card_page(card: Mapping[str, Any], lengths: Mapping[str, NDArray[Any]], drops: Tally) -> str:
    """The page.

    Args:
      card: what ``card.json`` holds.
      lengths: the numbers of characters of all texts, and of all codes.
      drops: by cleaning, with what was dropped.
    """
    total = sum(card["splits"].values())
    found = sum(source["pairs"] for source in card["sources"])
    dropped = sum(rule["count"] for rule in card["dropped"].values())
    body = [
        f"<h1>{total:,} pairs of text and code</h1>",
        f"<p>{found:,} pairs were found in {len(card['sources']):,} sources; {dropped:,} of them were dropped.</p>",
        '<div class="plots">',
        _bars("Splits", card["splits"]),
        _bars("Languages", card["languages"]),
        _bars("Kinds", card["kinds"]),
        _bars("Licences, as far as they are known", card["licences"]),
        *(_histogram(f"Characters of {side}", values) for side, values in lengths.items()),
        "</div>",
        *_rules("Dropped", "Pairs that a rule dropped, the most frequent rule first.", card["dropped"], drops.shown),
        *_rules("Replaced", "Pairs in which something was replaced.", card["replaced"], {}),
        *_sources(card["sources"]),
    ]
    return document("Corpus card", body, styles=["card.css"], package=__package__)


def _bars(title: str, counts: Mapping[str, int]) -> str:
    """A horizontal bar for each of the most frequent values."""
    rows = sorted(counts.items(), key=lambda item: -item[1])
    if len(rows) > _MOST_BARS:
        rest = sum(count for _, count in rows[_MOST_BARS - 1 :])
        rows = [*rows[: _MOST_BARS - 1], (f"{len(rows) - _MOST_BARS + 1} others", rest)]
    most = max((count for _, count in rows), default=0) or 1
    cells = [
        f'<tr><td>{_text(name)}</td><td class="number">{count:,}</td>'
        f'<td><svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect width="{100 * count / most:.2f}" height="10"/></svg></td></tr>'
        for name, count in rows
    ]
    return f'<section><h2>{_text(title)}</h2><table class="bars">{"".join(cells)}</table></section>'


def _histogram(title: str, values: NDArray[Any]) -> str:
    """Bins of equal width on a logarithmic axis."""
    heading = f"<section><h2>{_text(title)}</h2>"
    values = values[values > 0]
    if not len(values):
        return f'{heading}<p class="faint">none</p></section>'
    low, high = np.log10(values.min()), np.log10(values.max() + 1)
    counts, edges = np.histogram(np.log10(values), _BINS, (low, max(high, low + 0.1)))
    step, most = _WIDTH / _BINS, counts.max()
    bars = []
    for place, count in enumerate(counts.tolist()):
        height = _HEIGHT * count / most
        span = f"{10 ** edges[place]:,.0f} to {10 ** edges[place + 1]:,.0f}: {count:,}"
        bars.append(
            f'<rect x="{place * step:.1f}" y="{_HEIGHT - height:.1f}" width="{step - 1:.1f}" height="{height:.1f}">'
            f"<title>{span}</title></rect>"
        )
    for place, anchor in ((0, "start"), (_BINS // 2, "middle"), (_BINS, "end")):
        bars.append(
            f'<text x="{place * step:.1f}" y="{_HEIGHT + 14}" text-anchor="{anchor}">{10 ** edges[place]:,.0f}</text>'
        )
    middle = f'<p class="faint">median {np.median(values):,.0f}</p>'
    label = f'role="img" aria-label="{_text(title)}"'
    box = f'viewBox="0 0 {_WIDTH} {_HEIGHT + _AXIS}"'
    return f'{heading}<svg class="histogram" {box} {label}>{"".join(bars)}</svg>{middle}</section>'


def _rules(title: str, what: str, rules: Mapping[str, Any], shown: Mapping[str, Sequence[str]]) -> Iterable[str]:
    """Each rule with its count and examples to open."""
    if not rules:
        return
    yield f'<h2>{title}</h2><p class="faint">{what}</p>'
    for rule, found in rules.items():
        examples = []
        contents = shown.get(rule, ())
        for number, place in enumerate(found["examples"]):
            examples.append(f"<h3><code>{_text(place)}</code></h3>")
            if number < len(contents) and contents[number]:
                examples.append(f"<pre>{_text(contents[number])}</pre>")
        summary = f"<b>{found['count']:,}</b> {_text(rule)}"
        yield f"<details><summary>{summary}</summary><div>{''.join(examples)}</div></details>"


def _sources(sources: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    """A table of the sources, and of each what was skipped."""
    columns = ("name", "commit", "licence", "files", "pairs")
    yield '<h2>Sources</h2><div class="scroll"><table><tr>'
    for name in (*columns, "skipped"):
        yield f"<th{_number(name in ('files', 'pairs', 'skipped'))}>{name}</th>"
    yield "</tr>"
    for source in sources:
        skipped = sum(reason["count"] for reason in source["skipped"].values())
        cells = [*(source[name] for name in columns), skipped]
        yield "<tr>"
        for cell in cells:
            text = f"{cell:,}" if isinstance(cell, int) else _text(str(cell)[:60])
            yield f"<td{_number(isinstance(cell, int))}>{text}</td>"
        yield "</tr>"
    yield "</table></div>"
    for source in sources:
        if source["skipped"]:
            yield from _rules(f"Skipped in {_text(source['name'])}", "Files and definitions.", source["skipped"], {})


def _number(is_number: bool) -> str:
    return ' class="number"' if is_number else ""


def _text(text: str) -> str:
    return escape(visible(text))
