"""The experiment in and out of its other forms: ``configs/*.py``, ConfigDict, JSON, overrides on the command line.

Loading reads the named file and nothing else; no other run is opened.
"""

from __future__ import annotations

import ast
import copy
import dataclasses
import importlib.util
import json
import math
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from t2c_jax.config.architectures import decoders, encoders
from t2c_jax.config.check import check
from t2c_jax.config.fields import UNSET, Variant
from t2c_jax.config.schema import Experiment
from t2c_jax.errors import UserError, nearest

if TYPE_CHECKING:
    from ml_collections import ConfigDict

Values = dict[str, Any]


def to_dict(config: Any) -> Values:
    """A (part of an) experiment as plain JSON values."""
    return json.loads(json.dumps(_values(config)))


def filled(section: Any, stored: Mapping[str, Any], *, execution: bool = True) -> Values:
    """A stored section with the fields that it lacks, since it was stored before they existed, or had another name.

    Each gets the value that reproduces what the code did then: ``before`` of the field, or its default. So a stored run
    is equal to what it was, whatever fields are new.

    Args:
      section: the section, or its class.
      stored: its stored values; what has no field is kept.
      execution: whether to add fields that say how something is computed.
    """
    kind = section if isinstance(section, type) or _element(section) else type(section)
    if element := _element(kind):
        return {name: filled(element, value, execution=execution) for name, value in stored.items()}
    values = dict(stored)
    if _is_variant(kind):
        values.setdefault("type", kind.default_type)
        kind = kind.registry.get(values["type"], "type")
    types = _fields(kind)
    for spec in dataclasses.fields(kind):
        name, inner = spec.name, types[spec.name]
        former = spec.metadata.get("formerly")
        if former and former in values:
            values.setdefault(name, values.pop(former))
        if spec.metadata.get("execution") and not execution:
            continue
        if _is_section(inner):
            value = stored.get(name, {})
            values[name] = filled(inner, value, execution=execution) if isinstance(value, Mapping) else value
        elif name not in values:
            before = spec.metadata.get("before", UNSET)
            values[name] = json.loads(json.dumps(spec.default if before is UNSET else before))
    return values


def from_stored(values: Values, path: str, *, complete: bool = True) -> Experiment:
    """The experiment of a run's config.json, of this version or of one with fewer fields.

    Args:
      values: what the file holds.
      path: names it in messages.
      complete: as in ``from_dict``.

    Raises:
      UserError: it was written before sections for the origin and the architectures existed; or as ``from_dict``.
    """
    return from_dict(_filled_config(values, path), complete=complete)


def _filled_config(values: Values, path: str) -> Values:
    model = values.get("model")
    if "init_from" in values or (isinstance(model, Mapping) and isinstance(model.get("encoder"), str)):
        raise UserError(
            f"'{path}' is of a run that an older, incompatible version made: train it anew in another --workdir, or use"
            " that version"
        )
    return filled(Experiment, values)


def compared(section: Any) -> Values:
    """A section as plain JSON values, without its execution fields: what two runs are compared by."""
    values = to_dict(section)
    for spec in dataclasses.fields(section):
        if spec.metadata.get("execution"):
            del values[spec.name]
        elif dataclasses.is_dataclass(value := getattr(section, spec.name)):
            values[spec.name] = compared(value)
    return values


def _values(config: Any) -> Any:
    if isinstance(config, Mapping):
        return {name: _values(value) for name, value in config.items()}
    if not dataclasses.is_dataclass(config):
        return config
    named: Values = {"type": config.type} if isinstance(config, Variant) else {}
    return named | {spec.name: _values(getattr(config, spec.name)) for spec in dataclasses.fields(config)}


def to_config_dict(config: Any) -> ConfigDict:
    """A (part of an) experiment as an ``ml_collections.ConfigDict``, locked and type-safe, for ``configs/*.py``."""
    from ml_collections import ConfigDict

    return ConfigDict(_values(config))


def default() -> ConfigDict:
    """What every ``configs/*.py`` starts from."""
    return to_config_dict(Experiment())


def architecture(kind: Literal["encoder", "decoder"], type: str, **fields: Any) -> ConfigDict:
    """The section of an encoder or a decoder, for ``configs/*.py``.

    ``config.model.encoder = architecture("encoder", "lstm", layers=2)`` leaves the other fields at their defaults.

    Args:
      kind: ``encoder`` or ``decoder``.
      type: a registered name.
      fields: values of its fields.

    Raises:
      UserError: there is no such type or field.
    """
    registry: Any = {"encoder": encoders, "decoder": decoders}[kind]
    return to_config_dict(_build(registry.get(type, f"{kind} type"), fields, f"architecture({kind!r}, {type!r})"))


def from_dict(values: Mapping[str, Any] | ConfigDict, *, complete: bool = True) -> Experiment:
    """The typed experiment from nested mappings (a ConfigDict, a config.json); unknown keys and wrong types fail.

    ``complete=False`` allows combinations that could not run, as in the config of an imported encoder.
    """
    if not isinstance(values, Mapping):
        values = values.to_dict()
    experiment: Experiment = _build(Experiment, values, "config")
    if complete:
        check(experiment)
    return experiment


def load(
    path: str,
    overrides: Sequence[str] = (),
    before_overrides: Callable[[Values], None] | None = None,
    after_overrides: Callable[[Values], None] | None = None,
) -> Experiment:
    """Reads ``configs/x.py`` (or ``configs/x.py:ARGUMENT``, or a config.json), applies overrides, checks.

    Args:
      path: a Python file with ``get_config()``, or ``get_config(argument)``; or a JSON file of a resolved config.
      overrides: ``a.b=value`` items, values in Python or plain notation (``sources=a,b`` is a tuple of two).
      before_overrides: changes the nested values in place, with the overrides of ``origin`` and of types applied and
        no others. A resolved config holds its effect already, so there it is called only where an override changes
        ``origin``.
      after_overrides: the same, once all overrides are applied.

    Raises:
      UserError: missing file, unknown key, wrong type, impossible combination.
    """
    values = read_values(path)
    stored = copy.deepcopy(values.get("origin")) if path.endswith(".json") else None
    first = [item for item in overrides if item.startswith("origin.") or _chooses_type(item)]
    override(values, first)
    inherits = stored is None or values.get("origin") != stored
    if inherits and before_overrides is not None:
        before_overrides(values)
    override(values, [item for item in overrides if item not in first])
    if inherits and after_overrides is not None:
        after_overrides(values)
    return from_dict(values)


def read_values(path: str) -> Values:
    """The nested values of a config file; a run's config.json gets the fields that it lacks (``filled``).

    Raises:
      UserError: the file is missing or not a config.
    """
    file, found, argument = path.partition(".py:")  # any other colon is the path's own
    file += ".py" if found else ""
    if not Path(file).is_file():
        raise UserError(f"config file '{file}' does not exist; see configs/ for examples")
    if not file.endswith(".json"):
        return _get_config(file, argument)
    try:
        values = json.loads(Path(file).read_text("utf-8"))
    except ValueError as error:
        raise UserError(f"config file '{file}' is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise UserError(f"config file '{file}' must hold a JSON object, as a workdir's config.json does")
    return _filled_config(values, file)


def override(values: Values, items: Sequence[str]) -> None:
    """Applies ``a.b=value`` items in place: first those that choose a type, then the others, each in their order.

    Raises:
      UserError: an unknown key, or an item without a value.
    """
    types = [item for item in items if _chooses_type(item)]
    for item in types + [item for item in items if not _chooses_type(item)]:
        _override(values, item)


def _chooses_type(item: str) -> bool:
    key = item.partition("=")[0].removesuffix(".type").split(".")
    schema: Any = Experiment
    for name in key:
        schema = typing.get_type_hints(schema).get(name) if dataclasses.is_dataclass(schema) else None
    return _is_variant(schema)


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
    except Exception as error:  # the user's own code may raise anything; it is reported in one line
        raise UserError(f"config file '{file}' failed: {type(error).__name__}: {error}") from error


def _override(values: Values, item: str) -> None:
    key, separator, text = item.partition("=")
    if not separator:
        raise UserError(f"override '{item}' has no value; write --config.{key}=VALUE")
    *parents, name = key.removesuffix(".type").split(".") if _chooses_type(item) else key.split(".")
    schema: Any = Experiment
    for depth, parent in enumerate(parents):
        where = ".".join(["config", *parents[:depth]])
        if element := _element(schema):
            if not parent.isidentifier():
                raise UserError(f"'{parent}' in {where} is no name")
            schema, values = element, values.setdefault(parent, {})
            continue
        fields = _fields(schema)
        if parent not in fields or not _is_section(fields[parent]):
            sections = [name for name, kind in fields.items() if _is_section(kind)]
            raise UserError(f"unknown key '{parent}' in {where}{nearest(parent, sections)}")
        schema, values = fields[parent], values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise UserError(f"{where}.{parent} is a section, not {values!r}")
        if _is_variant(schema):
            schema = _variant_class(schema, values, f"{where}.{parent}")
    if element := _element(schema):
        raise UserError(f"config.{key} is a section; set one of its keys: {', '.join(_fields(element))}")
    fields = _fields(schema)
    if name not in fields:
        raise UserError(f"unknown key '{name}' in {'.'.join(['config', *parents])}{nearest(name, fields)}")
    if _is_variant(fields[name]):
        fields[name].registry.get(text, f"config.{key}")
        values[name] = {"type": text}
        return
    if _is_section(fields[name]):
        raise UserError(f"config.{key} is a section; set one of its keys: {', '.join(_fields(fields[name]))}")
    values[name] = _parse(text, fields[name])


def _is_variant(kind: Any) -> bool:
    """Whether the section's class is chosen by its key ``type``."""
    return isinstance(kind, type) and issubclass(kind, Variant)


def _variant_class(kind: Any, values: Mapping[str, Any], where: str) -> Any:
    return kind.registry.get(values.get("type", kind.default_type), f"{where}.type")


def _parse(text: str, kind: Any) -> Any:
    """Text from the command line as a value of ``kind``; what does not parse stays text for ``_convert`` to refuse."""
    if kind is str or typing.get_origin(kind) is Literal:
        return text
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        value = text
    if typing.get_origin(kind) is tuple and (isinstance(value, str) or not text.lstrip().startswith(tuple("([\"'"))):
        return _items(text)
    if kind is bool and isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    return value


def _items(text: str) -> tuple[str, ...]:
    """``a,b`` and ``'a','b'`` as two items; a comma within brackets or quotes divides nothing.

    So ``(encoder|decoder)\\.norm=0,x{1,2}=1``, a list of regular expressions, is two items.
    """
    if text[:1] + text[-1:] in ("()", "[]") and len(inner := _items(text[1:-1])) > 1:
        return inner
    items, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'" and not items[-1].strip():
            quote = character
        elif character in "([{":
            depth += 1
        elif character in ")]}":
            depth = max(depth - 1, 0)
        if character == "," and not depth and not quote:
            items.append("")
        else:
            items[-1] += character
    if depth:  # a bracket that is never closed groups nothing
        items = text.split(",")
    stripped = (item.strip() for item in items)
    return tuple(_unquoted(item) for item in stripped if item)


def _unquoted(item: str) -> str:
    quoted = len(item) > 1 and item[0] == item[-1] and item[0] in "\"'"
    return item[1:-1] if quoted else item


def _fields(schema: Any) -> Values:
    """Types by field name, of a section's class."""
    if _element(schema):
        return {}
    hints = typing.get_type_hints(schema)
    return {spec.name: hints[spec.name] for spec in dataclasses.fields(schema)}


def _element(kind: Any) -> Any:
    """The dataclass of each value, where ``kind`` is a section whose keys are names that the user gives."""
    return typing.get_args(kind)[1] if typing.get_origin(kind) is Mapping else None


def _is_section(kind: Any) -> bool:
    return dataclasses.is_dataclass(kind) or _is_variant(kind) or _element(kind) is not None


def _build(schema: Any, values: Mapping[str, Any], where: str) -> Any:
    if element := _element(schema):
        for name, value in values.items():
            if not isinstance(value, Mapping):
                raise UserError(f"{where}.{name} is a section, not {value!r}")
        return {str(name): _build(element, value, f"{where}.{name}") for name, value in values.items()}
    if _is_variant(schema):
        schema = _variant_class(schema, values, where) if not dataclasses.is_dataclass(schema) else schema
        values = {key: value for key, value in values.items() if key != "type"}
        where_unknown = f"{where} of type {schema.type}"
    else:
        where_unknown = where
    fields = _fields(schema)
    arguments = {}
    for key, value in values.items():
        if key not in fields:
            raise UserError(f"unknown key '{key}' in {where_unknown}{nearest(key, fields)}")
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
