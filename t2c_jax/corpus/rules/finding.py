"""What a rule finds in a text, and its replacement."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple


class Finding(NamedTuple):
    """A part of a text that does not belong in a corpus: what it is, and where."""

    kind: str
    start: int
    end: int


def without_overlaps(findings: Iterable[Finding]) -> list[Finding]:
    """The findings in the order of the text; of two that overlap the one that begins first, then the longer one."""
    kept: list[Finding] = []
    for finding in sorted(findings, key=lambda each: (each.start, -each.end)):
        if not kept or finding.start >= kept[-1].end:
            kept.append(finding)
    return kept


def replaced(text: str, findings: Iterable[Finding], replacement: Callable[[str, str], str]) -> str:
    """The text with each finding replaced.

    Args:
      text: what was searched.
      findings: in its order, without overlaps.
      replacement: of a kind and the found part.
    """
    parts, end = [], 0
    for finding in findings:
        parts += [text[end : finding.start], replacement(finding.kind, text[finding.start : finding.end])]
        end = finding.end
    return "".join([*parts, text[end:]])
