"""The pages of the documentation, and the code blocks in them."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


class Block(NamedTuple):
    """A fenced code block of a page; one under the comment ``run`` is executed."""

    language: str
    text: str
    line: int
    runs: bool


def blocks(path: Path) -> Iterator[Block]:
    """All fenced code blocks of a page."""
    lines = path.read_text("utf-8").splitlines()
    start = None
    for number, line in enumerate(lines):
        if line.startswith("```"):
            if start is None:
                start = number
            else:
                text = "\n".join(lines[start + 1 : number]) + "\n"
                yield Block(lines[start][3:].strip(), text, start + 2, start > 0 and lines[start - 1] == "<!-- run -->")
                start = None
    assert start is None, f"{path}: the fence of line {start} is not closed"
