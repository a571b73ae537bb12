"""What a config takes over from the configs of other runs: a shape to start from, and tasks to keep in mind."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from t2c_jax.config import (
    DataConfig,
    Experiment,
    ModelConfig,
    ReplayConfig,
    encoders,
    field_names,
    from_dict,
    objectives,
    output_head,
)
from t2c_jax.config.load import override, read_values
from t2c_jax.errors import UserError
from t2c_jax.workdir import Workdir, at_step


def _config_of(origin: str) -> Any:
    """What config.json holds of WORKDIR or WORKDIR@STEP."""
    return json.loads(Workdir(at_step(origin)[0]).config.read_text("utf-8"))


_OWN = ("copy", "output_heads", *field_names(ModelConfig, execution=True))


def load(path: str, overrides: Sequence[str] = ()) -> Experiment:
    """``config.load``, with what the config takes over from other runs.

    Raises:
      UserError: as ``config.load``; or another run that is named is damaged.
    """
    values = read_values(path)
    resolved = path.endswith(".json")  # it has taken over what it wanted
    if not resolved:
        inherit(values, _named(overrides))
    override(values, overrides)
    take_encoder_shape(values)
    if not resolved or any(item.startswith("data.replay.") for item in overrides):
        add_replay(values)
    return from_dict(values)


def _named(overrides: Sequence[str]) -> dict[str, Any]:
    """The overrides that say what to take over from another run."""
    named: dict[str, Any] = {key: value for key, _, value in (item.partition("=") for item in overrides)}
    if "inherit" in named:
        named["inherit"] = named["inherit"].lower() == "true"
    return {key: named[key] for key in ("inherit", "init_from") if key in named}


def inherit(values: dict[str, Any], asked: Mapping[str, Any]) -> None:
    """Where the config says so, the model and how sources are fed to it are those of the run it starts from.

    One that is missing changes nothing here: the run says so before it starts.

    Args:
      values: the config before its overrides, changed in place.
      asked: ``inherit`` and ``init_from``, where they are overridden.

    Raises:
      UserError: the config of the run to start from is damaged.
    """
    inherits, origin = (asked.get(key, values.get(key)) for key in ("inherit", "init_from"))
    if inherits is not True or not origin or not isinstance(origin, str):
        return
    try:
        theirs = _config_of(origin)
        shape = {key: value for key, value in theirs["model"].items() if key not in _OWN}
        fed = {"prefix": theirs["data"]["prefix"], "reverse_source": theirs["data"].get("reverse_source", False)}
    except OSError:
        return
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"config.init_from: '{origin}' is damaged; config.inherit takes its model") from None
    values["model"] = {**values.get("model", {}), **shape}
    values["data"] = {**values.get("data", {}), **fed}


def take_encoder_shape(values: dict[str, Any]) -> None:
    """Where init_from has the pre-trained encoder that the model names, the encoder's shape is the one it has there.

    How its layers are used is this run's own, and so is a longer table of positions that it asks for. A workdir that is
    missing or has another encoder changes nothing here: the run says so before it starts.
    """
    origin, model = values.get("init_from"), values.get("model")
    own = model.get("encoder") if isinstance(model, dict) else None
    if not isinstance(origin, str) or not origin or not isinstance(own, dict) or own.get("type") not in encoders:
        return
    kind = encoders.get(own["type"], "config.model.encoder.type")
    if not kind.shape_from_origin:
        return
    try:
        shape = dict(_config_of(origin)["model"]["encoder"])
        positions = int(shape.get("positions", 0))
    except (OSError, ValueError, KeyError, TypeError, UserError):
        return
    if shape.get("type") != kind.type:
        return
    for name in field_names(kind, own=True):
        shape.pop(name, None)
    asked = own.get("positions")
    if type(asked) is int and asked > positions and asked != kind().positions:  # type: ignore[attr-defined]
        shape["positions"] = asked
    own.update(shape)


_REPLAYED = "replayed_"


def add_replay(values: dict[str, Any]) -> None:
    """Puts the tasks of ``data.replay.workdir`` among the config's own, their weights scaled to ``data.replay.share``.

    Each keeps objective, prefix and settings, reads that run's tokens and is called ``replayed_NAME``. A run without
    tasks has one, of its direction and prefix, called ``own``. Heads that replayed tasks want are added to the model.
    With own weights of 1 and a share of 0.25, tasks of weights 2 and 1 come in with 2/9 and 1/9.

    Args:
      values: the config, its overrides applied; changed in place.

    Raises:
      UserError: there is no such run, it is damaged, or the share is none.
    """
    data = values.get("data")
    replay = data.get("replay") if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(replay, Mapping):
        return
    tasks = data.get("tasks") or {}
    if not isinstance(tasks, Mapping) or not all(isinstance(task, Mapping) for task in tasks.values()):
        return  # the schema says so
    workdir, share = replay.get("workdir", ""), replay.get("share", ReplayConfig().share)
    if not workdir or not isinstance(workdir, str):
        return
    if type(share) not in (int, float) or not 0 <= share < 1:
        raise UserError(f"config.data.replay.share={share!r} must lie in [0, 1)")
    if data.get("temperature"):
        raise UserError("config.data.replay.share is a share by weights alone: set config.data.temperature=0")
    workdir = at_step(workdir)[0]  # tokens are of no step
    own = {name: dict(task) for name, task in tasks.items() if not name.startswith(_REPLAYED)} or {"own": _only(data)}
    before = _tasks_of(workdir)
    ours, theirs = (sum(float(task.get("weight", 1.0)) for task in some.values()) for some in (own, before))
    scale = share / (1 - share) * ours / theirs
    data["tasks"] = own | {
        _REPLAYED + name: {
            **task,
            "weight": float(task.get("weight", 1.0)) * scale,
            "workdir": task.get("workdir") or workdir,
        }
        for name, task in before.items()
    }
    model = values.get("model")
    if isinstance(model, dict):
        heads = [output_head(task["objective"]) for task in before.values() if task.get("objective") in objectives]
        model["output_heads"] = tuple(dict.fromkeys([*model.get("output_heads", ()), *filter(None, heads)]))


def _tasks_of(workdir: str) -> dict[str, dict[str, Any]]:
    try:
        data = _config_of(workdir)["data"]
        return {name: dict(task) for name, task in data.get("tasks", {}).items()} or {"pairs": _only(data)}
    except OSError:
        raise UserError(f"config.data.replay.workdir: '{workdir}' is no workdir of a run") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"config.data.replay.workdir: '{workdir}' is damaged, its tasks cannot be read") from None


def _only(data: Mapping[str, Any]) -> dict[str, Any]:
    """The task of a run that names none."""
    default = DataConfig()
    return {"objective": data.get("direction", default.direction), "prefix": data.get("prefix", default.prefix)}
