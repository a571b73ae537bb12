"""Where the bytes of a file look like comments that may document something, before the file is parsed."""

from __future__ import annotations

from t2c_jax.languages.definitions.language_table import CommentRules

_LONGEST_GAP = 400  # bytes; what is behind longer space counts as right below


class CommentRuns:
    """Comments of a file that may document what follows them, line comments one below the other together.

    The inside of a literal may look like a comment. The end of a block is a guess where such comments nest. Ordinary
    comments are left out where they are behind code on their line, and where no definition can follow.
    """

    def __init__(self, data: bytes, rules: CommentRules) -> None:
        self._data, self._rules = data, rules
        self._last_block_end = data.rfind(rules.syntax.block_end)

    def after(self, position: int) -> tuple[int, int] | None:
        """The first run that begins at a position or behind it: its start, and where the space behind it ends."""
        data, rules, syntax = self._data, self._rules, self._rules.syntax
        while begin := rules.begin.search(data, position):
            start, position = begin.span()
            is_block = data.startswith(syntax.block, start)
            if is_block and start > self._last_block_end:  # it does not end
                continue
            if rules.plain and not is_block:
                line = data.rfind(b"\n", 0, start) + 1
                if line != start and not data[line:start].isspace():
                    continue
            end = self._block_end(start) if is_block else self._lines_end(start)
            if not rules.plain or self._may_document(start, end):
                return start, end
            position = end
        return None

    def _lines_end(self, start: int) -> int:
        lines = self._rules.syntax.lines.match(self._data, start)
        return start if lines is None else lines.end()

    def _block_end(self, start: int) -> int:
        syntax = self._rules.syntax
        end = self._data.find(syntax.block_end, start + len(syntax.block)) + len(syntax.block_end)
        space = syntax.space.match(self._data, end)
        return end if space is None else space.end()

    def _may_document(self, start: int, end: int) -> bool:
        """Whether a definition may follow ordinary comments: right below, and no statement that is none."""
        data, rules = self._data, self._rules
        if rules.doc.search(data, start, end):
            return True
        gap = data[max(start, end - _LONGEST_GAP) : end]
        return gap.count(b"\n", len(gap.rstrip())) < 2 and not rules.statement.match(data, end)
