"""Which settings must be those of the run that a run starts from, beside the shapes that ``train.settle`` compares.

Under another activation, say, the same numbers in the same places are another function. So a setting that differs is an
error, unless

- it changes nothing of what parameters compute, or no parameter that is taken is read under it;
- shapes and paths change with it, and ``train.settle`` shows or refuses what follows;
- config.inherit takes the settings from there: what differs then is an override, meant as it is, and shown.

A setting that is not named here is compared.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from t2c_jax import config as configs
from t2c_jax.checkpoints.pytrees import differences
from t2c_jax.config import PRETRAINED, Experiment, ModelConfig
from t2c_jax.errors import UserError

_EXECUTION = ("attention", "scan", "remat", "dtype", "dropout", "uniform_init")
_TOLD_BY_SHAPES = (
    *("encoder", "decoder", "copy", "width", "encoder_layers", "decoder_layers", "heads", "head_width"),
    *("feed_forward", "position", "relative_buckets", "tied_embeddings", "encoder_heads", "embedding_width"),
    *(f"recurrent.{key}" for key in ("width", "bidirectional", "attention", "input_feeding", "bridge")),
    *(f"pretrained.{key}" for key in ("vocab_size", "width", "layers", "heads", "feed_forward", "positions")),
    *(f"pretrained.{key}" for key in ("token_types", "mix_layers")),
)
_OF_TRANSFORMERS = ("activation", "scale_attention", "norm_epsilon", "rope_theta", "relative_max_distance")
_OF_POSITIONS = {"rope_theta": "rope", "relative_max_distance": "t5"}


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

    An imported T5 divides no attention score, and the default does:

    >>> different_settings(Experiment(), {"model": {"scale_attention": False}}, {"encoder"})
    [Difference(key='model.scale_attention', here=True, there=False)]
    """
    model = configs.to_dict(ours.model)
    there = _filled(configs.to_dict(ModelConfig()), theirs["model"])
    found = [
        Difference(f"model.{key}", here, other)
        for key, here, other in differences(model, there)
        if key not in _EXECUTION and key not in _TOLD_BY_SHAPES and _reads(key, model, there, taken)
    ]
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


def _filled(defaults: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    sections = {key: _filled(value, values.get(key, {})) for key, value in defaults.items() if isinstance(value, dict)}
    return {**defaults, **values, **sections}


def _reads(key: str, ours: Mapping[str, Any], theirs: Mapping[str, Any], taken: Collection[str]) -> bool:
    """Whether a parameter that is taken is read under the setting."""
    if key.startswith("pretrained."):
        return "encoder" in taken and ours["encoder"] in PRETRAINED
    if key == "scale_tied_output":
        return "embedding" in taken and ours["tied_embeddings"] and theirs["tied_embeddings"]
    if key in _OF_TRANSFORMERS:
        transformers = any(side in taken and ours[side] == "transformer" for side in ("encoder", "decoder"))
        return transformers and _OF_POSITIONS.get(key, ours["position"]) == ours["position"]
    return bool(taken)
