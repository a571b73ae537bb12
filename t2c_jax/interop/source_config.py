"""A Hugging Face config.json's values, checked as they are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from t2c_jax.errors import UserError

_LARGEST = 2**31 - 1


class Fields:
    """Values by name, with the defaults that ``transformers`` gives those that a file leaves out."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def integer(self, name: str, default: int | None = None, *, least: int = 1) -> int:
        """A whole number from ``least`` on.

        Raises:
          UserError: it is another thing, or missing without a default.
        """
        value = self._values.get(name)
        value = default if value is None else value
        if type(value) is not int or not least <= value <= _LARGEST:
            raise UserError(f"config.json: {name}={value!r} must be a whole number from {least} to {_LARGEST}")
        return value

    def positive(self, name: str, default: float) -> float:
        """A number above 0.

        Raises:
          UserError: it is another thing.
        """
        value = self._values.get(name, default)
        if type(value) not in (int, float) or not 0 < value < float("inf"):
            raise UserError(f"config.json: {name}={value!r} must be a number above 0")
        return float(value)

    def choice(self, name: str, default: str, known: Mapping[str, str]) -> str:
        """What ``known`` has for a name.

        Raises:
          UserError: it has nothing for it.
        """
        value = self._values.get(name, default)
        if not isinstance(value, str) or value not in known:
            raise UserError(f"config.json: {name}={value!r} is not supported; {', '.join(known)} are")
        return known[value]

    def must_be(self, name: str, wanted: Any) -> None:
        """Refuses a variant of the architecture that is not built here; a missing value is ``wanted``.

        Raises:
          UserError: the value is another one.
        """
        value = self._values.get(name, wanted)
        if value != wanted:
            raise UserError(f"config.json: {name}={value!r} is not supported; {wanted!r} is")
