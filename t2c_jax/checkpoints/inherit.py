"""What a config takes from the config of its origin: the model's shape, the prefix, and tasks to replay.

``load`` is ``config.load`` for whoever starts a run. It reads JSON alone and imports no jax.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from t2c_jax import config as configs
from t2c_jax.config import (
    DataConfig,
    EncoderConfig,
    Experiment,
    ModelConfig,
    OriginConfig,
    encoders,
    field_names,
    objectives,
    output_head,
)
from t2c_jax.errors import UserError
from t2c_jax.workdir import Workdir

Values = dict[str, Any]

# Of config.model, what a run chooses for itself: its heads, and how the model is computed.
_OWN = {*field_names(ModelConfig, own=True), *field_names(ModelConfig, execution=True)}
_REPLAYED = "replayed_"


def load(path: str, overrides: Sequence[str] = ()) -> Experiment:
    """The experiment of a config file, with what config.origin.take names of the origin's config.

    Overrides come after the shape and the prefix, and before the tasks.

    Raises:
      UserError: as ``config.load``; or the origin is missing or damaged.
    """
    return configs.load(path, overrides, before_overrides=inherit, after_overrides=replay)


def inherit(values: Values) -> None:
    """Puts the origin's shape and prefix in the place of the config's own, where config.origin.take names them.

    Of an imported encoder the shape is the encoder's alone.

    Raises:
      UserError: the origin's config is missing or damaged, or its encoder is of another type.
    """
    origin = _Origin.of(values)
    if origin is None:
        return
    if "shape" in origin.take:
        theirs, ours = origin.section("model"), values.setdefault("model", {})
        if not isinstance(ours, dict):
            return  # ``config.from_dict`` refuses it
        if origin.is_encoder:
            _take_encoder(ours, theirs, origin.run)
        else:
            ours |= {key: value for key, value in theirs.items() if key not in _OWN}
    if "prefix" in origin.take:
        theirs = origin.section("data")
        read = {key: theirs[key] for key in ("prefix", "reverse_source", "placeholders") if key in theirs}
        values.setdefault("data", {}).update(read)


def _take_encoder(ours: Values, theirs: Values, run: str) -> None:
    own, their = ours.get("encoder"), dict(theirs["encoder"])
    kind = own.get("type", EncoderConfig.default_type) if isinstance(own, dict) else EncoderConfig.default_type
    if their["type"] != kind:
        raise UserError(
            f"config.origin.run: '{run}' holds an encoder of type {their['type']}, and config.model.encoder is of type"
            f" {kind}; set config.model.encoder={their['type']}, or name another run"
        )
    for name in field_names(encoders.get(kind, "config.model.encoder.type"), own=True):
        their.pop(name, None)
    ours["encoder"] = {**(own or {}), **their}


def replay(values: Values) -> None:
    """Adds the origin's tasks to the config's own, where config.origin.take names them.

    Each keeps objective, prefix and settings, reads the origin's tokens and is called ``replayed_NAME``. Their weights
    are scaled so that together they get config.origin.replay_share of the rows: with own weights of 1 and a share of
    0.25, tasks of weights 2 and 1 get 2/9 and 1/9. A run without tasks has one, of its direction and prefix, called
    ``own`` here. The output heads that replayed tasks need are added to the model.

    Args:
      values: the config, its overrides applied; changed in place.

    Raises:
      UserError: the origin's config is missing or damaged.
    """
    origin, data = _Origin.of(values), values.get("data")
    if not isinstance(data, dict):
        return
    tasks = data.get("tasks") or {}
    if not isinstance(tasks, Mapping) or not all(isinstance(task, Mapping) for task in tasks.values()):
        return  # ``config.from_dict`` refuses it
    own = {name: dict(task) for name, task in tasks.items() if not name.startswith(_REPLAYED)}
    if origin is None or "tasks" not in origin.take:
        if len(own) < len(tasks):  # replayed by an earlier override, and no longer
            data["tasks"] = own
        return
    share = values["origin"].get("replay_share", OriginConfig().replay_share)
    if type(share) not in (int, float) or not 0 <= share < 1:
        return  # ``config.check`` refuses it
    own = own or {"own": _only(data)}
    their_data = origin.section("data")
    theirs = {name: dict(task) for name, task in their_data["tasks"].items()} or {"pairs": _only(their_data)}
    ours, before = (sum(float(task.get("weight", 1.0)) for task in some.values()) for some in (own, theirs))
    scale = share / (1 - share) * ours / before
    data["tasks"] = own | {
        _REPLAYED + name: {
            **task,
            "weight": float(task.get("weight", 1.0)) * scale,
            "workdir": task.get("workdir") or origin.run,
        }
        for name, task in theirs.items()
    }
    model = values.setdefault("model", {})
    heads = [output_head(task["objective"]) for task in theirs.values() if task.get("objective") in objectives]
    model["output_heads"] = tuple(dict.fromkeys([*model.get("output_heads", ()), *filter(None, heads)]))


def _only(data: Mapping[str, Any]) -> Values:
    """The task of a run that names none."""
    default = DataConfig()
    return {"objective": data.get("direction", default.direction), "prefix": data.get("prefix", default.prefix)}


class _Origin:
    """The config of the run that config.origin names, read at most once."""

    def __init__(self, run: str, take: Sequence[str]) -> None:
        self.run, self.take = run, take

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> _Origin | None:
        """None where the config names none."""
        section = values.get("origin")
        run = section.get("run") if isinstance(section, Mapping) else None
        if not isinstance(section, Mapping) or not isinstance(run, str) or not run:
            return None
        take = section.get("take", OriginConfig().take)
        OriginConfig(run).check("config.origin")
        return cls(run, take if isinstance(take, (tuple, list)) else ())

    @functools.cached_property
    def _config(self) -> Values:
        path = Workdir(self.run).config
        try:
            if not path.is_file():
                raise FileNotFoundError
            values = configs.read_values(str(path))
            return {name: dict(values[name]) for name in ("model", "data")}
        except OSError:
            raise UserError(
                f"config.origin.run: '{self.run}' is not the workdir of an import or of a run; make it with"
                f" t2c import --from DIR --workdir {self.run}, or name another"
            ) from None
        except (ValueError, KeyError, TypeError):
            raise UserError(f"config.origin.run: '{path}' is damaged; name another run") from None

    def section(self, name: str) -> Values:
        """A section of the origin's config."""
        return self._config[name]

    @property
    def is_encoder(self) -> bool:
        """Whether it is an imported encoder, which has no decoder."""
        return Workdir(self.run).manifest("tokenizer")["counts"].get("whole_model") is False
