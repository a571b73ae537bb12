"""Which comments document a definition, by their positions in the file.

The tree alone does not say it: depending on the language, attributes are between, a wrapper holds the definition, or
the first comment of a body is elsewhere. So a comment documents the definition that begins where the comment ends,
with nothing but space, other comments and attributes between.
"""

from __future__ import annotations

import itertools
import re
import sys
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from t2c_jax.languages.definitions.language_table import CommentRules

_BLANK_LINE = re.compile(rb"\n[ \t\r\f\v]*\n")
_SPACE = b" \t\r\n\f\v"
_NEAR = 100  # bytes


class Item(NamedTuple):
    """A comment or an attribute, by its bytes without the line end."""

    start: int
    end: int
    is_comment: bool


@dataclass
class Attached:
    """What belongs to a definition of the lines above it.

    Attributes:
      start: of the first attribute, else that of the definition.
      docs: documentation comments, in their order.
      plain: whether they are ordinary comments.
    """

    start: int
    docs: list[Item] = field(default_factory=list)
    plain: bool = False


class Comments:
    """The comments and attributes of a file, in the order of their ends."""

    def __init__(self, data: bytes, items: Sequence[Item], rules: CommentRules) -> None:
        self._data, self._rules = data, rules
        self._items = sorted(items, key=lambda item: (item.end, item.start))  # of nested attributes the inner one last
        self._ends = [item.end for item in self._items]
        self._docs: dict[int, bool] = {}

    def attached_to(self, start: int) -> Attached:
        """What belongs to the definition that begins at ``start``."""
        data, position = self._data, start
        found = Attached(start)
        comments: list[Item] = []  # last one first
        index = bisect_right(self._ends, start) - 1
        while index >= 0:
            item = self._items[index]
            index -= 1
            if item.end > position:  # within the attribute that comes next
                continue
            if data[max(item.end, position - _NEAR) : position].strip(_SPACE):  # what is far away is not copied
                break
            gap = data[item.end : position]
            if gap.strip(_SPACE):
                break
            if not item.is_comment:
                found.start = position = item.start
                continue
            if self._follows_code(item, gap):
                break
            if self._rules.plain and _BLANK_LINE.search(gap) and not self.is_doc(item):
                break
            comments.append(item)
            position = item.start
        docs = [item for item in comments if self.is_doc(item)]
        if docs:
            found.docs = docs[::-1] if self._rules.joins else self._last_run(docs)
        elif self._rules.plain:
            found.docs = self._plain_run(comments, found.start)
            found.plain = bool(found.docs)
        return found

    def next_start(self, position: int) -> int:
        """Where the next comment or attribute behind a position begins; far away if there is none."""
        index = bisect_right(self._ends, position)
        return self._items[index].start if index < len(self._items) else sys.maxsize

    def all(self) -> Iterator[Item]:
        """Every comment."""
        return (item for item in self._items if item.is_comment)

    def end_of_line_comment(self, position: int) -> int:
        """The end of the comment that follows on the line of a position; the position itself if there is none."""
        start = self.next_start(position)
        if start < len(self._data) and not self._data[position:start].strip(b" \t"):
            return self._items[bisect_right(self._ends, position)].end
        return position

    def is_directive(self, item: Item) -> bool:
        """Whether a comment is an instruction to a tool."""
        directive = self._rules.directive
        return directive is not None and directive.match(self._data, item.start, item.end) is not None

    def within(self, start: int, end: int) -> list[Item]:
        """The documentation comments between two positions, as between an annotation and the name."""
        return [item for item in self.between(start, end) if item.is_comment and self.is_doc(item)]

    def between(self, start: int, end: int) -> list[Item]:
        """All comments and attributes between two positions."""
        first, last = bisect_right(self._ends, start), bisect_right(self._ends, end)
        return [item for item in self._items[first:last] if item.start >= start]

    def inner(self, body_start: int) -> list[Item]:
        """The documentation comments at the start of a body, after its first character."""
        if self._rules.inner is None:
            return []
        found: list[Item] = []
        position = body_start + 1
        for item in self._items[bisect_right(self._ends, position) :]:
            if self._data[position : item.start].strip(_SPACE) or not self._rules.inner.match(self._data, item.start):
                break
            found.append(item)
            position = item.end
        return found

    def documented(self) -> Iterator[int]:
        """Where something begins that a documentation comment is right above of."""
        for item, following in itertools.pairwise([*self._items, None]):
            assert item is not None
            if item.is_comment and self.is_doc(item):
                position = item.end
                while self._data[position : position + 1].isspace():
                    position += 1
                if position < len(self._data) and (following is None or following.start != position):
                    yield position

    def is_doc(self, item: Item) -> bool:
        """Whether a comment is documentation by its first characters."""
        if item.start not in self._docs:
            matches = self._rules.doc.match(self._data, item.start, item.end) is not None
            self._docs[item.start] = matches and not self._is_not_doc(item)
        return self._docs[item.start]

    def _follows_code(self, item: Item, gap: bytes) -> bool:
        """Whether the comment belongs to code before it on its line. On the definition's own line it does not."""
        if b"\n" not in gap:
            return False
        line, position = self._data.rfind(b"\n", 0, item.start) + 1, item.start
        while self._data[line:position].strip(_SPACE):
            before = bisect_right(self._ends, position) - 1
            if before < 0 or self._data[self._ends[before] : position].strip(_SPACE):
                return True
            position = self._items[before].start
        return False

    def _last_run(self, docs: list[Item]) -> list[Item]:
        """The last documentation comment with the lines above that continue it. ``docs`` has the last one first."""
        run = docs[:1]
        for item in docs[1:]:
            if self._is_block(item) or self._is_block(run[-1]) or not self._touch(item, run[-1]):
                break
            run.append(item)
        return run[::-1]

    def _plain_run(self, comments: list[Item], start: int) -> list[Item]:
        run: list[Item] = []
        follows = Item(start, start, False)
        for item in comments:
            if not self._touch(item, follows):
                break
            follows = item
            if self.is_directive(item):
                continue
            if run and not self._rules.joins and (self._is_block(item) or self._is_block(run[-1])):
                break
            run.append(item)
        if any(self._is_not_doc(item) for item in run):
            return []
        return run[::-1]

    def _is_not_doc(self, item: Item) -> bool:
        not_doc = self._rules.not_doc
        return not_doc is not None and not_doc.match(self._data, item.start, item.end) is not None

    def _touch(self, item: Item, follows: Item) -> bool:
        return self._data.count(b"\n", item.end, follows.start) < 2

    def _is_block(self, item: Item) -> bool:
        return self._data.startswith(b"/*", item.start)
