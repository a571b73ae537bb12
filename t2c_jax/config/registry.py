"""Registries: parts that a config chooses by name.

A part registers itself from its own module; ``t2c_jax/__init__.py`` imports those modules, so that every part is known
to whoever imports the package. This module knows none of them.

>>> shapes: Registry[type] = Registry("shape")
>>> @shapes.register("circle")
... class Circle:
...     pass
>>> shapes.names()
('circle',)
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from t2c_jax.errors import UserError, nearest

T = TypeVar("T")


class Registry(Generic[T]):
    """Entries by name, in the order in which they were registered."""

    def __init__(self, kind: str) -> None:
        """``kind`` is what an entry is, as messages say it: "encoder", "metric"."""
        self.kind = kind
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """A decorator that adds an entry.

        Raises:
          ValueError: the name is registered already.
        """

        def add(entry: T) -> T:
            if name in self._entries:
                raise ValueError(f"the {self.kind} '{name}' is registered twice")
            self._entries[name] = entry
            return entry

        return add

    def get(self, name: Any, key: str) -> T:
        """The entry of this name.

        Args:
          name: as the config has it.
          key: where the config has it, such as ``config.model.encoder.type``, for the message.

        Raises:
          UserError: there is no such entry; it names the nearest one.
        """
        if not isinstance(name, str) or name not in self._entries:
            raise UserError(
                f"{key}={name!r} must be one of {', '.join(self._entries)}{nearest(str(name), self._entries)}"
            )
        return self._entries[name]

    def names(self) -> tuple[str, ...]:
        """All names."""
        return tuple(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)


metrics: Registry[Any] = Registry("metric")
"""Scores of config.evaluate.metrics."""

objectives: Registry[Any] = Registry("objective")
"""What a task of config.data.tasks makes of the corpus (``data.tasks.objective.Objective``)."""

encoder_features: Registry[Any] = Registry("kind of encoder features")
"""What an encoder reads (``data.encoder_features.EncoderFeatures``), made from config.data and config.model."""

grammars: Registry[Any] = Registry("grammar")
"""Texts of the grammars that config.decode.grammar knows by name (``decode.grammar.grammar_sources``)."""


def lazy(path: str) -> Callable[..., Any]:
    """A class or function that is imported from ``module:name`` when it is called.

    Registering it keeps the registering module light.
    """

    def make(*arguments: Any) -> Any:
        module, _, name = path.partition(":")
        return getattr(importlib.import_module(module), name)(*arguments)

    return make
