"""The tests that a line of a file of pairs carries, in this project's form or in that of a published set.

``tests`` is an object with the fields of ``Execution``, or the JSON text of one. The published forms have keys of their
own:

- HumanEval has ``prompt``, code that the answer completes, ``test``, which defines ``check``, and ``entry_point``, the
  argument of ``check``.
- ODEX also has ``suffix``, text after the answer, and ``test_start`` and a list ``test``, which define ``check``
  together.
- MBPP has a list of assertions, ``test_list``, and lines before the answer, ``test_setup_code`` and ``test_imports``.
  Its ``prompt`` is a text: a prompt is read as code only beside an ``entry_point``.

A line of these forms may also have ``setup``, lines before the answer. ``tests`` may be a list of assertions as well.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from t2c_jax.languages.execution import Execution

KEYS = (
    *("entry_point", "prompt", "setup", "suffix", "test", "test_imports", "test_list", "test_setup_code", "test_start"),
    "tests",
)
"""What of a line says how its answer is run."""
_CHECK = re.compile(r"^def check\(", re.MULTILINE)
_TEXTS = [spec.name for spec in dataclasses.fields(Execution) if spec.name != "files"]


def execution_of(values: Mapping[str, Any]) -> Execution | None:
    """How the answer of a line is run; None where the line says nothing of it.

    Raises:
      ValueError: a field has another type, or a file is outside the working directory.
    """
    given = values.get("tests")
    if isinstance(given, str) and given.lstrip().startswith("{"):
        try:
            given = json.loads(given)
        except ValueError:
            raise ValueError("'tests' is not JSON") from None
    if isinstance(given, Mapping):
        return _own(given)
    completes = bool(values.get("entry_point")) and "test" in values
    if not (completes or values.get("test_list") or given):
        return None
    test = "\n".join(filter(None, (_text(values, "test_list"), _text(values, "tests"))))
    if completes:
        entry_point = _text(values, "entry_point")
        test = "\n".join(filter(None, (_text(values, "test_start") + _text(values, "test", join=""), test)))
        if _CHECK.search(test):
            test = f"{test.rstrip()}\n\ncheck({entry_point})\n"
    setup = (_text(values, name) for name in ("setup", "test_imports", "test_setup_code"))
    found = Execution(
        setup="\n".join(filter(None, setup)),
        prefix=_text(values, "prompt") if completes else "",
        suffix=_text(values, "suffix") if completes else "",
        test=test,
    )
    return found if found.has_tests else None


def _own(given: Mapping[str, Any]) -> Execution | None:
    for name in given:
        if name not in (*_TEXTS, "files"):
            raise ValueError(f"'tests' has the unknown field '{name}'")
    found = Execution(**{name: _text(given, name) for name in _TEXTS}, files=_files(given.get("files")))
    return found if found != Execution() else None


def _text(values: Mapping[str, Any], name: str, join: str = "\n") -> str:
    """A text, or the lines of a list of texts."""
    value = values.get(name)
    if value is None:
        return ""
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        value = join.join(value)
    if not isinstance(value, str):
        raise ValueError(f"'{name}' is neither a string nor a list of strings")
    return value


def _files(files: Any) -> dict[str, str]:
    if files is None:
        return {}
    if not (isinstance(files, Mapping) and all(isinstance(text, str) for text in files.values())):
        raise ValueError("'files' is not an object of strings")
    for path in files:
        parts = PurePosixPath(path).parts
        if not parts or path.startswith("/") or ".." in parts or "\0" in path:
            raise ValueError("'files' has a path outside the working directory")
    return dict(files)
