"""Sections and fields of a config: each field declares its meaning and bounds, and one function checks them all."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

from t2c_jax.config.rates import check_pattern
from t2c_jax.config.registry import Registry
from t2c_jax.errors import UserError

T = TypeVar("T")
UNSET: Any = type("Unset", (), {"__repr__": lambda self: "UNSET"})()


def field(
    default: Any = UNSET,
    doc: str = "",
    *,
    default_factory: Any = UNSET,
    execution: bool = False,
    shape: bool = False,
    own: bool = False,
    before: Any = UNSET,
    formerly: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    below: float | None = None,
    pattern: bool = False,
) -> Any:
    """A config field.

    Args:
      default: its value where a config says nothing.
      doc: what it is, its unit and, where it is not obvious, the reason.
      default_factory: makes the default, where that is no constant.
      execution: it says how something is computed, not what; runs are never compared by it.
      shape: names or shapes of parameters change with it, so a partial restore reports the difference by itself.
      own: a run that starts from another one keeps its own value, even where it takes that run's shape.
      before: the value that reproduces what the code did before the field existed, where the default does not.
      formerly: its name in configs that were stored before it was renamed.
      minimum, maximum, above, below: bounds of a number; above and below exclude the bound itself.
      pattern: it is a regular expression.
    """
    metadata = {
        "doc": doc,
        "execution": execution,
        "shape": shape,
        "own": own,
        "before": before,
        "formerly": formerly,
        "bounds": (minimum, maximum, above, below),
        "pattern": pattern,
    }
    if default_factory is not UNSET:
        return dataclasses.field(default_factory=default_factory, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


class Section:
    """A part of a config: a frozen dataclass of fields and of further sections."""

    def check(self, key: str) -> None:
        """Whether its values go together.

        Args:
          key: its dotted name, such as ``config.corpus``, for messages.

        Raises:
          UserError: naming the keys and what to do.
        """


class VariantRegistry(Registry[T]):
    """A registry of sections' classes, which learn their name from it."""

    def register(self, name: str) -> Callable[[T], T]:
        """A decorator that adds a class, and sets its ``type``."""
        add = super().register(name)

        def add_named(entry: T) -> T:
            entry.type = name  # type: ignore[attr-defined]
            return add(entry)

        return add_named


class Variant(Section):
    """A section whose class its key ``type`` chooses from a registry.

    Attributes:
      registry: of the classes; each of them gets its name as ``type``.
      default_type: the type of a section that names none.
    """

    registry: ClassVar[Registry[Any]]
    default_type: ClassVar[str]
    type: ClassVar[str]

    @classmethod
    def of_type(cls, name: Any, key: str) -> Any:
        """The class of this name.

        Raises:
          UserError: there is none.
        """
        return cls.registry.get(name, f"{key}.type")

    @classmethod
    def default(cls) -> Any:
        """The default type with its default values."""
        return cls.registry.get(cls.default_type, "type")()


def field_names(section: Any, **wanted: Any) -> list[str]:
    """Fields of a section, or of its class, whose metadata has these values: ``field_names(model, execution=True)``."""
    return [
        spec.name
        for spec in dataclasses.fields(section)
        if all(spec.metadata.get(name) == value for name, value in wanted.items())
    ]


def check_section(section: Any, key: str) -> None:
    """Checks the bounds of every field, then every section's own rules, the innermost first.

    Raises:
      UserError: naming the key.
    """
    for spec in dataclasses.fields(section):
        value, name = getattr(section, spec.name), f"{key}.{spec.name}"
        if dataclasses.is_dataclass(value):
            check_section(value, name)
        elif isinstance(value, Mapping):
            for own_name, own in value.items():
                check_section(own, f"{name}.{own_name}")
        elif spec.metadata.get("pattern"):
            check_pattern(value, name)
        else:
            _check_bounds(value, name, *spec.metadata.get("bounds", (None,) * 4))
    section.check(key)


def _check_bounds(
    value: Any, key: str, minimum: float | None, maximum: float | None, above: float | None, below: float | None
) -> None:
    low, high = (minimum if above is None else above), (maximum if below is None else below)
    too_low = low is not None and (value < low or (above is not None and value == low))
    too_high = high is not None and (value > high or (below is not None and value == high))
    if not (too_low or too_high):
        return
    if high is None:
        raise UserError(f"{key} must be {'at least' if above is None else 'above'} {low}")
    if low is None:
        raise UserError(f"{key} must be {'at most' if below is None else 'below'} {high}")
    opening, closing = "[" if above is None else "(", "]" if below is None else ")"
    raise UserError(f"{key}={value} must lie in {opening}{low}, {high}{closing}")
