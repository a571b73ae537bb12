"""Counts by reason, with a few examples of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

EXAMPLES = 3
_SHOWN_CHARS = 800


def readable(name: str) -> str:
    """A file name that can be written as UTF-8, whatever bytes the file system holds."""
    return name.encode("utf-8", "replace").decode("utf-8")


@dataclass
class Tally:
    """How often each reason applied, with the first places."""

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)
    shown: dict[str, list[str]] = field(default_factory=dict)  # what is at the places of ``examples``

    def add(self, reason: str, example: str, shown: Callable[[], str] | None = None) -> None:
        """Counts one case of ``reason``; its place is kept while there are fewer than ``EXAMPLES``.

        Args:
          reason: why.
          example: the place.
          shown: gives what is there, for people; its beginning is kept.
        """
        self.counts[reason] = self.counts.get(reason, 0) + 1
        kept = self.examples.setdefault(reason, [])
        if len(kept) < EXAMPLES:
            kept.append(readable(example))
            if shown is not None:
                self.shown.setdefault(reason, []).append(readable(shown()[:_SHOWN_CHARS]))

    def update(self, other: Tally) -> None:
        """Adds the counts of another tally."""
        for reason, count in other.counts.items():
            self.counts[reason] = self.counts.get(reason, 0) + count
            kept = self.examples.setdefault(reason, [])
            room = EXAMPLES - len(kept)
            kept.extend(other.examples[reason][:room])
            if room and reason in other.shown:
                self.shown.setdefault(reason, []).extend(other.shown[reason][:room])

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
