"""Which columns of a file hold the parts of a pair: config.corpus.columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from t2c_jax.config.pair_columns import PARTS, parse_columns
from t2c_jax.corpus.execution_fields import KEYS


class Columns:
    """Renames the columns of a row.

    Attributes:
      needed: the columns that say anything of a pair.
    """

    def __init__(self, entries: Sequence[str]) -> None:
        """Reads config.corpus.columns."""
        self._map = parse_columns(entries)
        named = [name for names in self._map.values() for name in names]
        self.needed = frozenset([*PARTS, "partition", *KEYS, *named, *(name.partition(".")[0] for name in named)])

    def renamed(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The row with the parts of a pair under their own names; a part whose columns are all missing is as it was."""
        result = dict(values)
        for part, names in self._map.items():
            for name in names:
                value = _value(values, name)
                if value is not None:
                    result[part] = value
                    break
        return result


def _value(values: Mapping[str, Any], name: str) -> Any:
    """A column, or with dots a field of a nested one, or an element of a list."""
    if name in values:
        return values[name]
    found: Any = values
    for key in name.split("."):
        if isinstance(found, Mapping):
            found = found.get(key)
        elif isinstance(found, Sequence) and not isinstance(found, str | bytes) and key.isdecimal():
            found = found[int(key)] if int(key) < len(found) else None
        else:
            return None
    return found
