"""The experiment in and out of its other forms: ``configs/*.py``, ConfigDict, JSON, overrides on the command line."""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import json
import math
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from t2c_jax.checkpoints.inherit import add_replay, inherit, take_encoder_shape
from t2c_jax.config.check import check
from t2c_jax.config.schema import Experiment
from t2c_jax.errors import UserError, nearest

if TYPE_CHECKING:
    from ml_collections import ConfigDict


def to_dict(config: Any) -> dict[str, Any]:
    """A (part of an) experiment as plain JSON values."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def to_config_dict(experiment: Experiment) -> ConfigDict:
    """The experiment as an ``ml_collections.ConfigDict``, locked and type-safe, for ``configs/*.py`` to change."""
    from ml_collections import ConfigDict

    return ConfigDict(dataclasses.asdict(experiment))


def default() -> ConfigDict:
    """What every ``configs/*.py`` starts from."""
    return to_config_dict(Experiment())


def from_dict(values: Mapping[str, Any] | ConfigDict) -> Experiment:
    """The typed experiment from nested mappings (a ConfigDict, a config.json); unknown keys and wrong types fail."""
    if not isinstance(values, Mapping):
        values = values.to_dict()
    experiment = _build(Experiment, values, "config")
    check(experiment)
    return experiment


def load(path: str, overrides: Sequence[str] = ()) -> Experiment:
    """Reads ``configs/x.py`` (or ``configs/x.py:ARGUMENT``, or a config.json), applies overrides, checks.

    Args:
      path: a Python file with ``get_config()``, or ``get_config(argument)``; or a JSON file of a resolved config.
      overrides: ``a.b=value`` items, values in Python or plain notation (``sources=a,b`` is a tuple of two).

    Raises:
      UserError: missing file, unknown key, wrong type, impossible combination.
    """
    file, found, argument = path.partition(".py:")  # any other colon is the path's own
    file += ".py" if found else ""
    if not Path(file).is_file():
        raise UserError(f"config file '{file}' does not exist; see configs/ for examples")
    if file.endswith(".json"):
        try:
            values = json.loads(Path(file).read_text("utf-8"))
        except ValueError as error:
            raise UserError(f"config file '{file}' is not JSON: {error}") from None
        if not isinstance(values, dict):
            raise UserError(f"config file '{file}' must hold a JSON object, as a workdir's config.json does")
    else:
        values = _get_config(file, argument)
    resolved = file.endswith(".json")  # it has taken over what it wanted
    if not resolved:
        inherit(values, _named(overrides))
    for item in overrides:
        _override(values, item)
    take_encoder_shape(values)
    if not resolved or any(item.startswith("data.replay.") for item in overrides):
        add_replay(values)
    return from_dict(values)


def _named(overrides: Sequence[str]) -> dict[str, Any]:
    """The overrides that say what to take over from another run."""
    named = {key: value for key, _, value in (item.partition("=") for item in overrides)}
    if "inherit" in named:
        named["inherit"] = _parse(named["inherit"], bool)
    return {key: named[key] for key in ("inherit", "init_from") if key in named}


def _get_config(file: str, argument: str) -> dict[str, Any]:
    spec = importlib.util.spec_from_file_location("t2c_experiment", file)
    if spec is None or spec.loader is None:
        raise UserError(f"config file '{file}' must be a .py file with get_config(), or a .json file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        if not hasattr(module, "get_config"):
            raise UserError(f"config file '{file}' has no get_config()")
        config = module.get_config(argument) if argument else module.get_config()
        if not hasattr(config, "to_dict"):
            raise UserError(f"get_config() in '{file}' must return a ConfigDict, not {type(config).__name__}")
        return config.to_dict()
    except UserError:
        raise
    except Exception as error:  # the file is the user's own code: whatever it raises is told in one line
        raise UserError(f"config file '{file}' failed: {type(error).__name__}: {error}") from error


def _override(values: dict[str, Any], item: str) -> None:
    key, separator, text = item.partition("=")
    if not separator:
        raise UserError(f"override '{item}' has no value; write --config.{key}=VALUE")
    *parents, name = key.split(".")
    schema: Any = Experiment
    for depth, parent in enumerate(parents):
        if element := _element(schema):
            if not parent.isidentifier():
                raise UserError(f"'{parent}' in config.{'.'.join(parents[:depth])} is no name")
            schema, values = element, values.setdefault(parent, {})
            continue
        fields = _fields(schema)
        if parent not in fields or not _is_section(fields[parent]):
            sections = [name for name, kind in fields.items() if _is_section(kind)]
            where = ".".join(["config", *parents[:depth]])
            raise UserError(f"unknown key '{parent}' in {where}{nearest(parent, sections)}")
        schema, values = fields[parent], values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise UserError(f"{'.'.join(['config', *parents[: depth + 1]])} is a section, not {values!r}")
    if element := _element(schema):
        raise UserError(f"config.{key} is a section; set one of its keys: {', '.join(_fields(element))}")
    fields = _fields(schema)
    if name not in fields:
        raise UserError(f"unknown key '{name}' in {'.'.join(['config', *parents])}{nearest(name, fields)}")
    if _is_section(fields[name]):
        raise UserError(f"config.{key} is a section; set one of its keys: {', '.join(_fields(fields[name]))}")
    values[name] = _parse(text, fields[name])


def _parse(text: str, kind: Any) -> Any:
    """Text from the command line as a value of ``kind``; what does not parse stays text for ``_convert`` to refuse."""
    if kind is str or typing.get_origin(kind) is Literal:
        return text
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        value = text
    if typing.get_origin(kind) is tuple and not text.lstrip().startswith(("(", "[", "'", '"')):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if kind is bool and isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    return value


def _fields(schema: Any) -> dict[str, Any]:
    return {} if _element(schema) else typing.get_type_hints(schema)


def _element(kind: Any) -> Any:
    """The dataclass of each value, where ``kind`` is a section whose keys are names that the user gives."""
    return typing.get_args(kind)[1] if typing.get_origin(kind) is Mapping else None


def _is_section(kind: Any) -> bool:
    return dataclasses.is_dataclass(kind) or _element(kind) is not None


def _build(schema: Any, values: Mapping[str, Any], where: str) -> Any:
    if element := _element(schema):
        for name, value in values.items():
            if not isinstance(value, Mapping):
                raise UserError(f"{where}.{name} is a section, not {value!r}")
        return {str(name): _build(element, value, f"{where}.{name}") for name, value in values.items()}
    fields = _fields(schema)
    arguments = {}
    for key, value in values.items():
        if key not in fields:
            raise UserError(f"unknown key '{key}' in {where}{nearest(key, fields)}")
        kind = fields[key]
        if _is_section(kind):
            if not isinstance(value, Mapping):
                raise UserError(f"{where}.{key} is a section, not {value!r}")
            arguments[key] = _build(kind, value, f"{where}.{key}")
        else:
            arguments[key] = _convert(value, kind, f"{where}.{key}")
    return schema(**arguments)


def _convert(value: Any, kind: Any, where: str) -> Any:
    if typing.get_origin(kind) is Literal:
        choices = typing.get_args(kind)
        if value not in choices:
            raise UserError(f"{where}={value!r} must be one of {', '.join(choices)}{nearest(str(value), choices)}")
        return value
    if typing.get_origin(kind) is tuple:
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise UserError(f"{where}={value!r} must be a list of strings")
        return tuple(_convert(item, typing.get_args(kind)[0], where) for item in value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not kind:
        raise UserError(f"{where}={value!r} must be of type {kind.__name__}")
    if kind is float and not math.isfinite(value):
        raise UserError(f"{where}={value!r} must be a finite number")
    return value
