"""Which settings must be those of the run that a run starts from, beside the shapes that ``partial_restore`` compares.

Under another activation the same numbers in the same places are another function. So a setting that differs is an
error, unless

- it changes nothing of what parameters compute, or no parameter that comes from the source is read under it;
- shapes and paths change with it, and ``partial_restore`` shows or refuses what follows;
- config.origin.take has shape: what differs then is an override, which is meant, and shown.

A field whose metadata does not say that it is about execution or a shape is compared.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from t2c_jax.config import DataConfig, ModelConfig, OriginConfig, field_names
from t2c_jax.errors import UserError


class Difference(NamedTuple):
    """A setting under which parameters of the source compute something else here.

    Attributes:
      key: dotted, without ``config``.
      here: this run's value.
      there: the source's value.
    """

    key: str
    here: Any
    there: Any


class Settings(NamedTuple):
    """The parts of a run's config under which its parameters are read."""

    model: ModelConfig
    data: DataConfig


def different_settings(ours: Settings, theirs: Settings, parts: Collection[str]) -> list[Difference]:
    """The settings that differ, in the order of their keys.

    Args:
      ours: this run's.
      theirs: the source's.
      parts: the parts of the model, such as ``encoder``, that get parameters of the source.
    """
    found = [
        Difference(f"model.{key}", here, there)
        for key, here, there in _settings(ours.model, theirs.model, parts)
        if here != there
    ]
    if "encoder" in parts and ours.data.reverse_source != theirs.data.reverse_source:
        found.append(Difference("data.reverse_source", ours.data.reverse_source, theirs.data.reverse_source))
    return sorted(found)


def check_settings(origin: OriginConfig, differing: Collection[Difference], where: str) -> None:
    """Refuses differences, unless they are overrides of an inherited shape.

    Raises:
      UserError: naming the first one, both values, and what to do.
    """
    if "shape" in origin.take:
        return
    for key, here, there in differing:
        raise UserError(
            f"config.origin.run: {where} was trained with config.{key}={there}, and here it is {here}, under which its"
            f" parameters compute something else; set it to {there}, or add shape to config.origin.take and override it"
        )


def _settings(ours: ModelConfig, theirs: ModelConfig, parts: Collection[str]) -> Iterator[tuple[str, Any, Any]]:
    """Each setting under which a parameter of the source is read: its key, and its value here and there."""
    for name in field_names(ours, execution=False, shape=False):
        here, there = getattr(ours, name), getattr(theirs, name)
        if name in ("encoder", "decoder"):
            if name in parts and there.type == here.type:
                for key in field_names(here, execution=False, shape=False):
                    yield f"{name}.{key}", getattr(here, key), getattr(there, key)
        elif name != "scale_tied_output" or ("embedding" in parts and ours.tied_embeddings and theirs.tied_embeddings):
            yield name, here, there
