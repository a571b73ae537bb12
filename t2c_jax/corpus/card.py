"""The corpus card: what was read, what was dropped and why, what is left, and how to load it."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from t2c_jax.corpus.card_page import card_page
from t2c_jax.corpus.dataset import NAME
from t2c_jax.corpus.pairs import SPLITS, Pair
from t2c_jax.corpus.source_report import SourceReport
from t2c_jax.corpus.tally import Tally
from t2c_jax.workdir import write_json

_PERCENTILES = (0, 5, 25, 50, 75, 95, 99, 100)


@dataclass
class Census:
    """What the card counts of the pairs that were kept: ``text_chars`` of those with a text, ``tests`` by split."""

    splits: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    licences: Counter[str] = field(default_factory=Counter)
    tests: Counter[str] = field(default_factory=Counter)
    text_chars: array[int] = field(default_factory=lambda: array("L"))
    code_chars: array[int] = field(default_factory=lambda: array("L"))

    @property
    def code_only(self) -> int:
        """Pairs without a text."""
        return len(self.code_chars) - len(self.text_chars)

    def watch(self, pairs: Iterable[Pair], advance: Callable[[], object]) -> Iterator[Pair]:
        """Passes the pairs on, counting them and calling ``advance`` for each."""
        for pair in pairs:
            self.splits[pair.split] += 1
            self.kinds[pair.kind] += 1
            self.languages[pair.language or "unknown"] += 1
            self.licences[pair.source.licence or "unknown"] += 1
            self.tests[pair.split] += pair.tests is not None
            if pair.has_text:
                self.text_chars.append(len(pair.text))
            self.code_chars.append(len(pair.code))
            advance()
            yield pair


def write_card(
    directory: Path, reports: Sequence[SourceReport], drops: Tally, replaced: Tally, renamed: int, census: Census
) -> None:
    """Writes ``card.json``, and the same for people as ``card.md`` and, with plots and examples, ``card.html``.

    Args:
      directory: the corpus.
      reports: one for each source.
      drops: by cleaning.
      replaced: pairs with replaced parts, by what was replaced.
      renamed: pairs whose id was another's before.
      census: of the kept pairs.
    """
    card = {
        "splits": {split: census.splits.get(split, 0) for split in SPLITS},
        "kinds": dict(census.kinds.most_common()),
        "code_only": census.code_only,
        "with_tests": {split: census.tests[split] for split in SPLITS if census.tests[split]},
        "languages": dict(census.languages.most_common()),
        "licences": dict(census.licences.most_common()),
        "characters": {"text": _percentiles(census.text_chars), "code": _percentiles(census.code_chars)},
        "sources": [report.to_dict() for report in reports],
        "dropped": drops.to_dict(),
        "replaced": replaced.to_dict(),
        "renamed_ids": renamed,
    }
    write_json(directory / "card.json", card)
    (directory / "card.md").write_text(_markdown(card), "utf-8")
    lengths = {"texts": _numbers(census.text_chars), "codes": _numbers(census.code_chars)}
    (directory / "card.html").write_text(card_page(card, lengths, drops), "utf-8")


def _numbers(values: array[int]) -> np.ndarray:
    return np.frombuffer(values, np.dtype(values.typecode)) if values else np.zeros(0)


def _percentiles(values: array[int]) -> dict[str, int]:
    if not values:
        return dict.fromkeys((f"p{share}" for share in _PERCENTILES), 0)
    found = np.percentile(_numbers(values), _PERCENTILES, method="nearest")
    return {f"p{share}": int(value) for share, value in zip(_PERCENTILES, found, strict=True)}


def _markdown(card: dict[str, Any]) -> str:
    total = sum(card["splits"].values())
    alone = f", {card['code_only']:,} of code alone" if card["code_only"] else ""
    lines = [
        f"# {total - card['code_only']:,} pairs of text and code" + alone,
        "",
        "```python",
        "import tensorflow_datasets as tfds",
        f'train = tfds.load("{NAME}", data_dir="DIRECTORY_OF_THIS_CARD", split="train")',
        "```",
        "",
        *_table("Splits", ("split", "pairs"), card["splits"].items()),
        *_table("Kinds", ("kind", "pairs"), card["kinds"].items()),
        *_table("With tests", ("split", "pairs"), card["with_tests"].items()),
        *_table("Languages", ("language", "pairs"), card["languages"].items()),
        *_table("Licences, as far as they are known", ("licence", "pairs"), card["licences"].items()),
        *_table(
            "Characters, by percentile",
            ("", *card["characters"]["text"]),
            [(side, *values.values()) for side, values in card["characters"].items()],
        ),
        *_table(
            "Sources",
            ("source", "split", "repository", "commit", "licence", "files", "lines", "malformed", "pairs found"),
            [
                tuple(source[key] for key in ("name", "split", "repository", "commit", "licence"))
                + tuple(source[key] for key in ("files", "lines", "malformed", "pairs"))
                for source in card["sources"]
            ],
        ),
    ]
    for source in card["sources"]:
        lines += _reasons(f"Skipped in {source['name']}", source["skipped"])
    lines += _reasons("Dropped in cleaning", card["dropped"])
    lines += _reasons("Replaced in pairs", card["replaced"])
    if card["renamed_ids"]:
        lines += [f"{card['renamed_ids']:,} pairs had the id of another pair and got a number behind it.", ""]
    return "\n".join(lines)


def _reasons(title: str, reasons: dict[str, Any]) -> list[str]:
    rows = [
        (reason, found["count"], ", ".join(f"`{example}`" for example in found["examples"]))
        for reason, found in reasons.items()
    ]
    return _table(title, ("reason", "count", "for example"), rows)


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    body = [[f"{cell:,}" if isinstance(cell, int) else _cell(cell) for cell in row] for row in rows]
    if not body:
        return []
    rules = ["---" if index == 0 else "---:" if isinstance(cell, int) else "---" for index, cell in enumerate(columns)]
    grid = [list(columns), rules, *body]
    return [f"## {title}", "", *("| " + " | ".join(row) + " |" for row in grid), ""]


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
