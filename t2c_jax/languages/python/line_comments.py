"""Comments within functions, and the statements that they are about.

A comment is one or more lines of ``#`` right above a statement and indented as it is. It is about that statement and
those that follow it, up to the next blank line or comment in the same block. ``text`` is what the comment says, below
the function's signature where the form of text has one; ``code`` is the statements without their common indentation.

Comments that say nothing in words are left out: instructions to tools, notes such as TODO, rulers, code.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from t2c_jax.languages.comment_prose import comment_text
from t2c_jax.languages.forms import NoPair
from t2c_jax.languages.python.source_lines import BLANK, dedented

_LINE_END = re.compile(rb"(?:\r\n|\r|\n)\Z")

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Commented(NamedTuple):
    """Statements under a comment, and the innermost function that holds them.

    Attributes:
      function: around them.
      statements: at least one, all of one block.
      text: what the comment says; empty if that is nothing in words.
      first_line: of the comment.
    """

    function: Function
    statements: Sequence[ast.stmt]
    text: str
    first_line: int


def find_commented(tree: ast.Module, lines: Sequence[bytes]) -> Iterator[Commented]:
    """The commented statements in functions, in the order of their blocks."""
    stack: list[tuple[ast.AST, Function | None]] = [(tree, None)]
    while stack:
        node, function = stack.pop()
        if isinstance(node, Function):
            function = node
        for block in _blocks(node):
            if function is not None:
                yield from _commented(node, block, function, lines)
            stack.extend((statement, function) for statement in reversed(block))
        if isinstance(node, ast.Try | ast.TryStar | ast.Match):
            others: Sequence[ast.AST] = node.cases if isinstance(node, ast.Match) else node.handlers
            stack.extend((other, function) for other in reversed(others))


def statements_code(commented: Commented, lines: Sequence[bytes]) -> str:
    """The statements' own lines without their common indentation.

    Raises:
      NoPair: they do not stand alone on their lines, or the comment is no prose.
    """
    if not commented.text:
        raise NoPair("comment that is no prose")
    first, last = commented.statements[0], commented.statements[-1]
    assert last.end_lineno is not None
    start = _first_line(first)
    block = list(lines[start - 1 : last.end_lineno])
    margin = block[0][: len(block[0]) - len(block[0].lstrip(BLANK))]
    block[-1] = _LINE_END.sub(b"", block[-1])
    return dedented(block, margin, *commented.statements)


def _blocks(node: ast.AST) -> Iterator[list[ast.stmt]]:
    for name in ("body", "orelse", "finalbody"):
        block = getattr(node, name, None)
        if isinstance(block, list) and block and isinstance(block[0], ast.stmt):
            yield block


def _commented(
    parent: ast.AST, block: Sequence[ast.stmt], function: Function, lines: Sequence[bytes]
) -> Iterator[Commented]:
    position = 0
    before = getattr(parent, "lineno", 0)
    while position < len(block):
        statement = block[position]
        first = _first_line(statement)
        comment = _comment_above(statement, first, before, lines)
        end = position + 1
        if comment:
            while end < len(block) and _first_line(block[end]) == (block[end - 1].end_lineno or 0) + 1:
                end += 1
            if not isinstance(statement, ast.Pass) and not _is_string(statement):
                text = comment_text([_words(line) for line in comment])
                yield Commented(function, block[position:end], text, first - len(comment))
        before = block[end - 1].end_lineno or before
        position = end


def _comment_above(statement: ast.stmt, first: int, before: int, lines: Sequence[bytes]) -> list[bytes]:
    """The lines of comment right above a statement that begins its line; ``before`` is the last line of other code."""
    line = lines[first - 1]
    indent = line[: len(line) - len(line.lstrip(BLANK))]
    if line.startswith((b"elif", b"else"), len(indent)) or (
        statement.lineno == first and len(indent) != statement.col_offset
    ):
        return []
    number = first - 1
    while number > before and lines[number - 1].startswith(indent + b"#"):
        number -= 1
    return list(lines[number : first - 1])


def _is_string(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _first_line(statement: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
    return decorators[0].lineno if decorators else statement.lineno


def _words(line: bytes) -> str:
    return line.decode("utf-8").strip().lstrip("#").removeprefix(":")
