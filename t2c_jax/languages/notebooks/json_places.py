"""Reads JSON and keeps where each value stands in the text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()


class JsonValue(NamedTuple):
    """A value and the range of the text that spells it."""

    value: Any
    start: int
    end: int


def value_at(text: str, start: int) -> JsonValue:
    """The value that begins at ``start``, after white space.

    Raises:
      ValueError: there is none, or it has no end.
      RecursionError: it is nested too deeply.
    """
    start = _after_space(text, start)
    value, end = _DECODER.raw_decode(text, start)
    return JsonValue(value, start, end)


def members(text: str, place: JsonValue) -> Iterator[tuple[str, JsonValue]]:
    """The members of an object in their order; those of another value are none."""
    if isinstance(place.value, dict):
        position = _after_space(text, place.start + 1)
        while position < place.end and text[position] == '"':
            key = value_at(text, position)
            value = value_at(text, _after_space(text, key.end) + 1)  # behind the colon
            yield key.value, value
            position = _after_space(text, _after_space(text, value.end) + 1)  # behind the comma


def elements(text: str, place: JsonValue) -> Iterator[JsonValue]:
    """The elements of an array in their order; those of another value are none."""
    if isinstance(place.value, list):
        position = _after_space(text, place.start + 1)
        while position < place.end - 1:
            value = value_at(text, position)
            yield value
            position = _after_space(text, _after_space(text, value.end) + 1)


def _after_space(text: str, start: int) -> int:
    found = _SPACE.match(text, start)
    assert found is not None
    return found.end()
