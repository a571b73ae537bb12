"""Cuts statements out of a source file, byte for byte but for their common indentation."""

from __future__ import annotations

import ast
import re
import sys
import token
import tokenize

from t2c_jax.languages.forms import NoPair

BLANK = b" \t\f"
_STRING_STARTS = {getattr(token, name) for name in ("FSTRING_START", "TSTRING_START") if hasattr(token, name)}
_STRING_ENDS = {getattr(token, name) for name in ("FSTRING_END", "TSTRING_END") if hasattr(token, name)}


def dedented(block: list[bytes], indent: bytes, *statements: ast.stmt, whole: bool = False) -> str:
    """The lines without the indentation. Raises ``NoPair`` if they are not the statements.

    Args:
      block: the lines of the statements.
      indent: of the first of them.
      statements: what the code must parse to.
      whole: whether the block is known to be the whole logical lines of the statements.
    """
    code = b"".join(_dedent(line, indent) for line in block).decode("utf-8")
    if whole and dedents_safely(block, indent):
        return code
    if not is_code_of(code, *statements):
        if not indent:
            raise NoPair("not reproducible")
        inside = _lines_inside_strings(block)
        code = b"".join(line if i in inside else _dedent(line, indent) for i, line in enumerate(block)).decode("utf-8")
        if not is_code_of(code, *statements):
            raise NoPair("not reproducible")
    return code


def _dedent(line: bytes, indent: bytes) -> bytes:
    if line.startswith(indent):
        return line[len(indent) :]
    if not line.strip():
        return line.lstrip(BLANK)
    return line  # a comment or a continuation to the left of the definition


def dedents_safely(block: list[bytes], indent: bytes) -> bool:
    """Whether the lines are the same tokens without the indentation, so that they need not be parsed to know it.

    A uniform indentation takes part in no token: Python compares the indentation of lines, and ignores it in brackets
    and in blank lines. It does take part in a token that begins on one line and ends on another: a string, or an
    f-string from Python 3.12 on. A tab stands for another number of columns behind fewer spaces. Where any of these may
    be, the answer is False.

    Args:
      block: whole logical lines of a file that parses, the first of them indented as ``indent``.
      indent: of the first line, behind its last form feed.
    """
    code = b"".join(block)
    if b"\f" in code or code.endswith(b"\\"):
        return False
    if not indent:
        return True
    if _MAY_SPAN_LINES.search(code) or (b" " in indent and b"\t" in code):
        return False
    return all(line.startswith(indent) or not line.strip() for line in block)


_MAY_SPAN_LINES = re.compile(
    rb"\\[\r\n]|\"\"\"|'''" + (rb"|[fFtT][rR]?[\"']|[rR][fFtT][\"']" if sys.version_info >= (3, 12) else b"")
)


def is_code_of(code: str, *statements: ast.stmt) -> bool:
    """Whether the code parses to the statements, and to nothing else."""
    try:
        body = ast.parse(code).body
    except (SyntaxError, ValueError, MemoryError):
        return False
    return _same_tree(body, list(statements))


def _same_tree(left: object, right: object) -> bool:
    """Equality of what ``ast.dump`` shows, without building the texts and without recursion."""
    stack = [(left, right)]
    while stack:
        a, b = stack.pop()
        if type(a) is not type(b):
            return False
        if isinstance(a, ast.AST):
            stack.extend((getattr(a, name, None), getattr(b, name, None)) for name in a._fields)
        elif isinstance(a, list):
            assert isinstance(b, list)
            if len(a) != len(b):
                return False
            stack.extend(zip(a, b, strict=True))
        elif a != b:
            return False
    return True


def _lines_inside_strings(block: list[bytes]) -> set[int]:
    """Which lines of the block begin inside a string."""
    inside: set[int] = set()
    starts: list[int] = []
    texts = iter([line.decode("utf-8") for line in block])
    try:
        for item in tokenize.generate_tokens(lambda: next(texts, "")):
            first, last = item.start[0], item.end[0]
            if item.type in _STRING_STARTS:
                starts.append(first)
            elif item.type in _STRING_ENDS:
                inside.update(range(starts.pop(), last))
            elif item.type == token.STRING:
                inside.update(range(first, last))
    except (tokenize.TokenError, SyntaxError):
        raise NoPair("not reproducible") from None
    return inside
