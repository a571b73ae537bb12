"""What programs read: results on standard output. (What people read is on standard error, see ``console``.)"""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Iterable, Mapping
from typing import Any


def print_result(options: Namespace, result: Any) -> None:
    """Prints the result as one JSON document if ``--json`` asks for it; only the first process prints."""
    from t2c_jax import runtime

    if options.json and runtime.is_primary():
        print(json.dumps(result, ensure_ascii=False))


def print_lines(rows: Iterable[Mapping[str, Any]]) -> None:
    """Prints a JSON object a line."""
    for row in rows:
        print(json.dumps(row, ensure_ascii=False))


def fail(message: str, status: int = 2) -> int:
    """Prints one line on standard error, and returns the exit status."""
    print(f"t2c: {message}", file=sys.stderr)
    return status
