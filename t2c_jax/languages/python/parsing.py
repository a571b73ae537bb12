"""Whether code is Python, by the grammar of the running interpreter."""

from __future__ import annotations

import ast
import warnings


def parses_as_python(code: str) -> bool:
    """Whether the running Python's grammar accepts the code, and it holds at least one statement.

    Nothing is compiled or run. Blank code and bare comments do not count.
    """
    return bool(statements(code))


def statements(code: str) -> list[ast.stmt] | None:
    """The statements of the code; None where the running Python's grammar does not accept it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd escapes and literals are a matter of style here
        try:
            return ast.parse(code).body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            # ValueError: null bytes, lone surrogates. The last two: nesting beyond the parser's stack.
            return None
