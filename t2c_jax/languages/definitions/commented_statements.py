"""Comments within functions, and the statements that they are about.

As in Python (``python.line_comments``): a comment alone on its lines right above a statement. Comments right below each
other are one, whatever their delimiters. The comment is about that statement and those that follow it, up to the next
blank line or comment.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from t2c_jax.languages.comment_prose import comment_text
from t2c_jax.languages.definitions.attached_comments import Comments, Item
from t2c_jax.languages.doc_comments.delimiters import comment_lines

if TYPE_CHECKING:
    from tree_sitter import Node

# Types of nodes whose children are statements, in all grammars.
_BLOCKS = frozenset(
    [
        *("block", "statement_block", "compound_statement", "statement_list", "body_statement", "statements", "then"),
        *("do_group", "do", "function_body", "constructor_body", "switch_block_statement_group", "case_statement"),
        *("switch_case", "expression_case", "default_case", "else", "lambda_literal"),
    ]
)
_SPACE = b" \t\r\n\f\v"


@dataclass(frozen=True)
class CommentedStatements:
    """Statements under a comment.

    Attributes:
      comment_start: where the comment begins.
      start: where the first statement begins.
      end: where the last one ends, with a comment behind it on its line.
      text: what the comment says; empty if that is no prose.
      has_error: whether a statement is broken.
    """

    comment_start: int
    start: int
    end: int
    text: str
    has_error: bool


def find_commented_statements(data: bytes, root: Node, comments: Comments) -> Iterator[CommentedStatements]:
    """All commented statements of a file, in and out of functions, in the order of the file."""
    for run in _runs(data, comments):
        start = run[-1].end
        while start < len(data) and data[start] in _SPACE:
            start += 1
        if start == len(data) or data.count(b"\n", run[-1].end, start) != 1:
            continue
        statements = _statements(data, root, start)
        if not statements:
            continue
        end = comments.end_of_line_comment(statements[-1].end_byte)
        text = "" if any(map(comments.is_directive, run)) else comment_text(_lines(data, run))
        has_error = any(node.has_error for node in statements)
        yield CommentedStatements(run[0].start, start, end, text, has_error)


def _runs(data: bytes, comments: Comments) -> Iterator[list[Item]]:
    """Comments that are alone on their lines, those right below each other together. Documentation is left out."""
    run: list[Item] = []
    for item in comments.all():
        line = data.rfind(b"\n", 0, item.start) + 1
        alone = not data[line : item.start].strip(_SPACE) and not comments.is_doc(item)
        if run and (not alone or data.count(b"\n", run[-1].end, item.start) != 1):
            yield run
            run = []
        if alone:
            run.append(item)
    if run:
        yield run


def _lines(data: bytes, run: Sequence[Item]) -> list[str]:
    """What the lines of a comment say. Blocks of one line each are no paragraphs."""
    raw = [data[item.start : item.end].decode("utf-8") for item in run]
    if not any(comment.startswith("/*") for comment in raw):
        return comment_lines("\n".join(raw))
    return [line for comment in raw for line in "\n".join(comment_lines(comment)).strip().split("\n")]


def _statements(data: bytes, root: Node, start: int) -> list[Node]:
    """The statement that begins here, and those on the lines right below it."""
    node = root.descendant_for_byte_range(start, start + 1)
    while node is not None and (parent := node.parent) is not None and parent.type not in _BLOCKS:
        if parent.start_byte != start:
            return []
        node = parent
    if node is None or node.parent is None or not node.is_named or node.is_extra or node.start_byte != start:
        return []
    found = [node]
    end, sibling = node.end_byte, node.next_named_sibling
    while sibling is not None and data.count(b"\n", end, sibling.start_byte) < 2:
        if not sibling.is_extra:
            found.append(sibling)
        elif b"\n" in data[end : sibling.start_byte]:
            break
        end, sibling = sibling.end_byte, sibling.next_named_sibling
    return found
