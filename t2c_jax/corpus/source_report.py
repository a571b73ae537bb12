"""What was read of a source, for the card."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from t2c_jax.corpus.shards import ShardSummary
from t2c_jax.corpus.tally import Tally


@dataclass
class SourceReport:
    """What was read of one source.

    Attributes:
      name: as the config names it.
      split: of a file of pairs: that of lines that name none, by the file's name; empty if their splits are random.
      repository: see ``pairs.Source``; empty for files of pairs, as are the next two.
      commit: see ``pairs.Source``.
      licence: see ``pairs.Source``.
      files: files that an extractor read to their end.
      lines: of a file of pairs; examples of a dataset.
      malformed: lines among them that are not a pair.
      pairs: found, before cleaning.
      skipped: files and candidates that make no pair, by reason.
    """

    name: str
    split: str = ""
    repository: str = ""
    commit: str = ""
    licence: str = ""
    files: int = 0
    lines: int = 0
    malformed: int = 0
    pairs: int = 0
    skipped: Tally = field(default_factory=Tally)

    def add(self, summary: ShardSummary) -> None:
        """Adds what a shard of a mined source counted."""
        self.files += summary.files
        self.pairs += summary.pairs
        self.skipped.update(summary.skipped)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the card."""
        return {**vars(self), "skipped": self.skipped.to_dict()}
