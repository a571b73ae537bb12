"""Prompts from a file or standard input: plain text with a prompt a line, or JSON.

A line ends at a newline and nowhere else. Other characters at which Unicode ends lines (U+0085, U+2028 …) may occur in
a text, and JSON does not escape them.
"""

from __future__ import annotations

import codecs
import json
import sys
from collections.abc import Sequence
from pathlib import Path, PurePath

from t2c_jax import console, runtime
from t2c_jax.errors import UserError

JSON_LINES = (".jsonl", ".ndjson", ".jsonlines", ".ldjson")
"""File names of these endings, in any case, hold a JSON object a line."""
_NOT_TEXT = (
    ".csv",
    ".tsv",
    ".xml",
    ".yaml",
    ".yml",
    ".parquet",
    ".arrow",
    ".xlsx",
    ".gz",
    ".bz2",
    ".xz",
    ".zst",
    ".zip",
)


def read_prompts(source: str, key: str) -> list[str]:
    """The prompts of a source, in its order; blank lines are none.

    A file of ``JSON_LINES`` has a JSON object with ``key`` a line. A ``.json`` file has an array of such objects or of
    strings, one such object, or an object a line. Everything else is text with a prompt a line. Text whose lines are
    all JSON objects with ``key`` is read as such, and a message says so.

    Args:
      source: a file's name, also a pipe's; ``-`` is standard input, which only the first process reads.
      key: holds the prompt in a JSON object.

    Raises:
      UserError: it cannot be read, is of another format, is not UTF-8, has an object without ``key``, or no prompts.
    """
    suffix = PurePath(source).suffix.lower()
    if source == "-":
        name = "standard input"
        lines = runtime.from_primary(_lines(_standard_input(), name) if runtime.is_primary() else [])
    elif suffix in _NOT_TEXT:
        raise UserError(f"input file '{source}' is neither plain text nor JSON; convert it to .jsonl or .txt")
    else:
        name, lines = source, _lines(_content(Path(source)), source)
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if suffix in JSON_LINES:
        texts = _objects(numbered, key, name)
    elif suffix == ".json":
        texts = _json(lines, numbered, key, name)
    else:
        texts = [line for _, line in numbered]
        if texts and all(_value(line, key) is not None for line in texts):
            console.say(f"{name}: every line is a JSON object with a '{key}', so that is read as the prompt")
            texts = _objects(numbered, key, name)
    if not texts:
        raise UserError(f"no prompts in {name}")
    return texts


def _standard_input() -> bytes:
    return b"" if sys.stdin is None else sys.stdin.buffer.read()  # None where it is closed


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"input file '{path}' does not exist") from None
    except OSError as error:
        raise UserError(f"input file '{path}' cannot be read: {error.strerror}") from None


def _lines(content: bytes, name: str) -> list[str]:
    lines = []
    for number, raw in enumerate(content.removeprefix(codecs.BOM_UTF8).split(b"\n"), 1):
        try:
            lines.append(raw.removesuffix(b"\r").decode("utf-8"))
        except UnicodeDecodeError:
            raise UserError(f"{name}:{number}: not UTF-8; convert it") from None
    return lines


def _json(lines: Sequence[str], numbered: Sequence[tuple[int, str]], key: str, name: str) -> list[str]:
    try:
        values = json.loads("\n".join(lines))
    except (ValueError, RecursionError):
        if not numbered or _value(numbered[0][1], key) is None:
            raise UserError(
                f"{name}: not JSON; it may hold an array of objects with a '{key}', or such an object a line"
            ) from None
        return _objects(numbered, key, name)
    texts = []
    for number, value in enumerate(values if isinstance(values, list) else [values], 1):
        text = _text(value if isinstance(value, str) else value.get(key) if isinstance(value, dict) else None)
        if text is None:
            raise UserError(f"{name}: item {number} is neither an object with a '{key}' nor a string of valid Unicode")
        texts.append(text)
    return texts


def _objects(numbered: Sequence[tuple[int, str]], key: str, name: str) -> list[str]:
    texts = []
    for number, line in numbered:
        text = _value(line, key)
        if text is None:
            raise UserError(f"{name}:{number}: not a JSON object with a '{key}'")
        texts.append(text)
    return texts


def _value(line: str, key: str) -> str | None:
    """What the line, if it is a JSON object, has under ``key``."""
    if not line.lstrip().startswith("{"):
        return None
    try:
        return _text(json.loads(line).get(key))
    except (ValueError, RecursionError):
        return None


def _text(value: object) -> str | None:
    try:
        return value if isinstance(value, str) and value.encode("utf-8") is not None else None
    except UnicodeEncodeError:  # JSON can spell half a surrogate pair, which is no text
        return None
