"""Items of ``config.optimizer.rates``: which parameters, which layers of a stack, and what multiplies their rate."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from t2c_jax.errors import UserError

_FACTOR = r"(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?"
_ITEM = re.compile(rf"(?P<pattern>.*?)(\[(?P<start>-?\d+)?:(?P<stop>-?\d+)?\])?=(?P<factor>{_FACTOR})")


@dataclass(frozen=True)
class Rate:
    """A factor of the learning rate.

    Attributes:
      pattern: regular expression to find in a parameter's dotted path.
      layers: which layers of a stack it reaches, as Python slices a list; None for all parameters, stacked or not.
      factor: 0 freezes.
    """

    pattern: str
    layers: slice | None
    factor: float

    def reaches(self, path: str, layer: int | None, depth: int) -> bool:
        """Whether it is for layer ``layer`` of ``depth`` of this parameter; None is a parameter of no layer."""
        if self.layers is not None and (layer is None or layer not in range(depth)[self.layers]):
            return False
        return re.search(self.pattern, path) is not None


def parse_rates(items: Sequence[str]) -> list[Rate]:
    """The items in order.

    Raises:
      UserError: an item is not PATTERN=FACTOR or PATTERN[START:STOP]=FACTOR, or its pattern no regular expression.
    """
    rates = []
    for item in items:
        found = _ITEM.fullmatch(item)
        if found is None or not math.isfinite(float(found["factor"])):
            raise UserError(
                f"config.optimizer.rates: {item!r} must be PATTERN=FACTOR, such as '^encoder=0.1', or"
                " PATTERN[START:STOP]=FACTOR for some layers of a stack, such as '^encoder[:-2]=0'"
            )
        check_pattern(found["pattern"], "config.optimizer.rates")
        start, stop = (None if found[name] is None else int(found[name]) for name in ("start", "stop"))
        sliced = found[2] is not None
        rates.append(Rate(found["pattern"], slice(start, stop) if sliced else None, float(found["factor"])))
    return rates


def check_pattern(pattern: str, key: str) -> None:
    """Whether it is a regular expression.

    Raises:
      UserError: it is none.
    """
    try:
        re.compile(pattern)
    except re.error as error:
        raise UserError(f"{key}={pattern!r} is no regular expression: {error}") from None
