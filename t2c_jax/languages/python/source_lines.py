"""Cuts statements out of a source file, byte for byte but for their common indentation."""

from __future__ import annotations

import ast
import token
import tokenize

from t2c_jax.languages.forms import NoPair

BLANK = b" \t\f"
_STRING_STARTS = {getattr(token, name) for name in ("FSTRING_START", "TSTRING_START") if hasattr(token, name)}
_STRING_ENDS = {getattr(token, name) for name in ("FSTRING_END", "TSTRING_END") if hasattr(token, name)}


def dedented(block: list[bytes], indent: bytes, *statements: ast.stmt) -> str:
    """The lines without the indentation. Raises ``NoPair`` if they are not the statements."""
    code = b"".join(_dedent(line, indent) for line in block).decode("utf-8")
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
