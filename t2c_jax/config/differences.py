"""Where two nested configs differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def differences(ours: Any, theirs: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    """Where two nested dicts differ: dotted path, value of the one, value of the other; None for a missing one.

    >>> differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}})
    [('a.c', 2, 3)]
    """
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        keys = sorted(ours.keys() | theirs.keys())
        parts = [differences(ours.get(key), theirs.get(key), f"{path}.{key}".lstrip(".")) for key in keys]
        return [difference for part in parts for difference in part]
    return [] if ours == theirs else [(path, ours, theirs)]
