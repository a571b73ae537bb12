"""Items of ``config.corpus.columns``: which columns of a file hold the parts of a pair."""

from __future__ import annotations

from collections.abc import Sequence

from t2c_jax.errors import UserError, nearest

PARTS = ("text", "code", "id", "split", "language", "group", "tests")


def parse_columns(items: Sequence[str]) -> dict[str, list[str]]:
    """The names of the columns of each part that has any, in their order.

    Raises:
      UserError: an item is not ``PART=COLUMN`` or names no part.
    """
    found: dict[str, list[str]] = {}
    for item in items:
        part, equals, column = item.partition("=")
        if not (part and equals and column):
            raise UserError(f"config.corpus.columns: '{item}' must be PART=COLUMN, such as 'text=docstring'")
        if part not in PARTS:
            hint = nearest(part, PARTS)
            raise UserError(f"config.corpus.columns: '{part}' is no part of a pair{hint}; parts are {', '.join(PARTS)}")
        found.setdefault(part, []).append(column)
    return found
