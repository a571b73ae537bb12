"""Real functions for benchmarks."""

from __future__ import annotations

import ast
import random
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path


def python_functions(roots: Sequence[Path], most_columns: int | None = None) -> Iterator[str]:
    """Functions of the Python files below some directories, files in a random order that is always the same.

    Args:
      roots: the directories.
      most_columns: of indentation; 4 gives functions and methods, None nested functions too.
    """
    warnings.simplefilter("ignore")
    paths = sorted({path for root in roots for path in root.rglob("*.py")})
    random.Random(0).shuffle(paths)
    for path in paths:
        try:
            source = path.read_text("utf-8")
            tree = ast.parse(source)
        except (OSError, ValueError, SyntaxError):
            continue
        lines = source.splitlines(keepends=True)
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (
                most_columns is None or node.col_offset <= most_columns
            ):
                yield "".join(lines[node.lineno - 1 : node.end_lineno])
