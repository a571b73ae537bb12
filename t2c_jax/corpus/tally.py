"""Counts by reason, with a few examples of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

EXAMPLES = 3


def readable(name: str) -> str:
    """A file name that can be written as UTF-8, whatever bytes the file system holds."""
    return name.encode("utf-8", "replace").decode("utf-8")


@dataclass
class Tally:
    """How often each reason applied, with the first places."""

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, example: str) -> None:
        """Counts one case of ``reason``; its place is kept while there are fewer than ``EXAMPLES``."""
        self.counts[reason] = self.counts.get(reason, 0) + 1
        kept = self.examples.setdefault(reason, [])
        if len(kept) < EXAMPLES:
            kept.append(readable(example))

    def update(self, other: Tally) -> None:
        """Adds the counts of another tally."""
        for reason, count in other.counts.items():
            self.counts[reason] = self.counts.get(reason, 0) + count
            kept = self.examples.setdefault(reason, [])
            kept.extend(other.examples[reason][: EXAMPLES - len(kept)])

    def total(self) -> int:
        """All cases together."""
        return sum(self.counts.values())

    def ranked(self) -> list[tuple[str, int, list[str]]]:
        """(reason, count, examples), the most frequent first."""
        rows = [(reason, count, self.examples[reason]) for reason, count in self.counts.items()]
        return sorted(rows, key=lambda row: (-row[1], row[0]))

    def to_dict(self) -> dict[str, Any]:
        """``{reason: {count, examples}}``, the most frequent first."""
        return {reason: {"count": count, "examples": examples} for reason, count, examples in self.ranked()}
