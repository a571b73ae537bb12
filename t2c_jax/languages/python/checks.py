"""Checks of functions: statements that only raise an error, and what the error says.

A check is an ``if`` without ``else`` whose whole body raises an error with a message, or an ``assert`` with a message.
The message is written by people, for people, and mostly says what is checked: ``timeout must be positive``. What an
f-string or a ``+`` puts into it stands in braces, as in an f-string. Other ways to format keep their fields as they are
written, such as ``%r``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import NamedTuple

KIND = "check"
_FEWEST_WORDS = 2  # of a message; a single word mostly is a name or a key

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Check(NamedTuple):
    """A check, the innermost function that holds it, and the error as a traceback shows it: ``ValueError: message``."""

    statement: ast.If | ast.Assert
    function: Function
    error: str


def find_checks(tree: ast.Module) -> Iterator[Check]:
    """The checks in functions, in the order of their lines. An ``elif`` is one too; it cannot stand alone."""
    stack: list[tuple[ast.AST, Function | None]] = [(tree, None)]
    while stack:
        node, function = stack.pop()
        if function is not None and isinstance(node, ast.If | ast.Assert) and (error := _error(node)):
            yield Check(node, function, error)
        if isinstance(node, Function):
            function = node
        blocks = (ast.stmt, ast.excepthandler, ast.match_case)  # statements are in no expression
        children = [(child, function) for child in ast.iter_child_nodes(node) if isinstance(child, blocks)]
        stack.extend(reversed(children))


def _error(node: ast.If | ast.Assert) -> str:
    """The error that a check raises; empty if the statement is none."""
    match node:
        case ast.If(body=[ast.Raise(exc=ast.Call(func=function, args=[argument, *_]))], orelse=[]):
            kind = ast.unparse(function)
        case ast.Assert(msg=ast.expr() as argument):
            kind = "AssertionError"
        case _:
            return ""
    words = _message(argument).split()
    return f"{kind}: {' '.join(words)}" if len(words) >= _FEWEST_WORDS else ""


def _message(node: ast.expr) -> str:
    """The text of a message, as far as the code holds it."""
    match node:
        case ast.Constant(value=str() as text):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(_message(part) for part in parts)
        case ast.FormattedValue(value=value):
            return f"{{{ast.unparse(value)}}}"
        case ast.BinOp(left=left, op=ast.Mod()):
            return _message(left)
        case ast.Call(func=ast.Attribute(value=value, attr="format")):
            return _message(value)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            texts = [(_message(side), side) for side in (left, right)]
            if any(text for text, _ in texts):
                return "".join(text or f"{{{ast.unparse(side)}}}" for text, side in texts)
    return ""
