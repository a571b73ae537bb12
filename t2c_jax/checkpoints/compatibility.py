"""Which settings must be those of the run that a run starts from, beside the shapes that ``train.settle`` compares.

Under another activation, say, the same numbers in the same places are another function. So a setting that differs is an
error, unless

- it changes nothing of what parameters compute, or no parameter that is taken is read under it;
- shapes and paths change with it, and ``train.settle`` shows or refuses what follows;
- config.inherit takes the settings from there: what differs then is an override, meant as it is, and shown.

A setting that is not named here is compared.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from t2c_jax.config import Experiment, ModelConfig, field_names
from t2c_jax.errors import UserError


class Difference(NamedTuple):
    """A setting under which parameters that are taken compute something else.

    Attributes:
      key: dotted, without ``config``.
      here: this run's value.
      there: the value they were trained under.
    """

    key: str
    here: Any
    there: Any


def different_settings(ours: Experiment, theirs: Mapping[str, Any], taken: Collection[str]) -> list[Difference]:
    """The settings that differ, in the order of their keys.

    Args:
      ours: this run's config.
      theirs: the source's config.json; a key that it lacks, of a release before there was one, has its default.
      taken: the parts of the model, such as ``encoder``, that get parameters of the source.

    Under another base of wavelengths the same numbers are another function:

    >>> theirs = {"model": {"encoder": {"type": "transformer", "rope_theta": 1e6}}}
    >>> different_settings(Experiment(), theirs, {"encoder"})
    [Difference(key='model.encoder.rope_theta', here=10000.0, there=1000000.0)]
    """
    found = []
    for key, here, there in _settings(ours.model, theirs["model"], taken):
        if here != there:
            found.append(Difference(f"model.{key}", here, there))
    reversed_there = theirs.get("data", {}).get("reverse_source", False)
    if "encoder" in taken and ours.data.reverse_source != reversed_there:
        found.append(Difference("data.reverse_source", ours.data.reverse_source, reversed_there))
    return sorted(found)


def check_settings(ours: Experiment, differing: Collection[Difference], where: str) -> None:
    """Whether they are meant: config.inherit makes overrides of them.

    Raises:
      UserError: naming one that is not, both values, and what to do.
    """
    if ours.inherit:
        return
    for key, here, there in differing:
        raise UserError(
            f"config.init_from: {where} was trained with config.{key}={there}, and here it is {here}, under which its"
            f" parameters compute something else; set it to {there}, or set config.inherit=True and override it"
        )


def _settings(ours: ModelConfig, theirs: Mapping[str, Any], taken: Collection[str]) -> Iterator[tuple[str, Any, Any]]:
    """Each setting under which a parameter that is taken is read: its key, and its value here and there."""
    for name in field_names(ours, execution=False, shape=False):
        here, section = getattr(ours, name), theirs.get(name, {})
        if name in ("encoder", "decoder"):
            if name in taken and section.get("type") == here.type:
                for key in field_names(here, execution=False, shape=False):
                    default = getattr(type(here)(), key)
                    yield f"{name}.{key}", getattr(here, key), section.get(key, default)
        elif name != "scale_tied_output" or (
            "embedding" in taken and ours.tied_embeddings and theirs.get("tied_embeddings", True)
        ):
            yield name, here, theirs.get(name, getattr(ModelConfig(), name))
