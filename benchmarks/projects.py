"""What each project gives: a corpus of each directory alone, with the default config, as a table in Markdown.

    python benchmarks/projects.py ../projects/flask ../projects/gson …

A project that gives no corpus is in the table with the reason. Seconds are wall-clock times of the whole stage.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from t2c_jax.config import CorpusConfig
from t2c_jax.corpus.build import build_corpus
from t2c_jax.errors import UserError
from t2c_jax.workdir import Workdir

COLUMNS = ("project", "commit", "files", "found", "kept", "languages of those kept", "not mined", "dropped", "s")
_SHOWN = 4  # languages and reasons in a cell


def row_of(source: str, config: CorpusConfig) -> list[str]:
    """The cells of a project."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        workdir = Workdir(Path(scratch))
        try:
            build_corpus(dataclasses.replace(config, sources=(source,)), workdir)
        except UserError as error:
            return [Path(source).name, "", "", "0", "0", str(error).replace("|", "\\|"), "", "", _seconds(started)]
        card = json.loads((workdir.corpus / "card.json").read_text("utf-8"))
    found = card["sources"][0]
    skipped = {reason: about["count"] for each in card["sources"] for reason, about in each["skipped"].items()}
    dropped = {reason: about["count"] for reason, about in card["dropped"].items()}
    return [
        Path(source).name,
        found["commit"][:8],
        f"{sum(each['files'] for each in card['sources']):,}",
        f"{sum(each['pairs'] for each in card['sources']):,}",
        f"{sum(card['splits'].values()):,}",
        _counts(card["languages"]),
        _counts(skipped),
        _counts(dropped),
        _seconds(started),
    ]


def _counts(counts: dict[str, Any]) -> str:
    ranked = sorted(counts.items(), key=lambda item: -item[1])
    cells = [f"{name} {count:,}" for name, count in ranked[:_SHOWN]]
    others = sum(count for _, count in ranked[_SHOWN:])
    return ", ".join([*cells, *([f"others {others:,}"] if others else [])])


def _seconds(started: float) -> str:
    return f"{time.monotonic() - started:.1f}"


def table(rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; columns of numbers are aligned to the right."""
    rule = ["---:" if name in ("files", "found", "kept", "s") else "---" for name in COLUMNS]
    return "\n".join("| " + " | ".join(row) + " |" for row in (COLUMNS, rule, *rows))


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("projects", nargs="+", help="directories, git checkouts or archives")
    options = parser.parse_args()
    config = CorpusConfig()
    print(table([row_of(project, config) for project in options.projects]))


if __name__ == "__main__":
    main()
