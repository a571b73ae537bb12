"""A JSON object that is written before all of its values are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


class LazyJson(dict[str, Any]):
    """A dict some of whose values are still being computed; ``items`` waits for them.

    Orbax calls ``items`` in its background thread, as it writes the object.
    """

    def __init__(self, known: Mapping[str, Any], **lazy: Callable[[], Any]) -> None:
        # With every name from the start: json writes a dict that is empty without asking for its items.
        super().__init__({**known, **dict.fromkeys(lazy)})
        self._lazy = lazy

    def items(self) -> Any:
        """All values."""
        return {**self, **{name: value() for name, value in self._lazy.items()}}.items()
