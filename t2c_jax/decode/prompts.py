"""Prompts from a file or standard input: a line each, or of a ``.jsonl`` an object each.

A line ends at a newline and nowhere else: what else Unicode ends lines with (U+0085, U+2028 …) may stand in a text, and
JSON does not escape it.
"""

from __future__ import annotations

import codecs
import json
import sys
from pathlib import Path

from t2c_jax import runtime
from t2c_jax.errors import UserError


def read_prompts(source: str, key: str) -> list[str]:
    """The prompts of a source, in its order; blank lines are none.

    Args:
      source: a file's name, a pipe's too; ``-`` is standard input, which only the first process reads.
      key: what holds the prompt in the objects of a file named ``.jsonl``.

    Raises:
      UserError: it cannot be read, is not UTF-8, has a line without ``key``, or has no prompts.
    """
    if source == "-":
        name = "standard input"
        lines = runtime.from_primary(_lines(_standard_input(), name) if runtime.is_primary() else [])
    else:
        name, lines = source, _lines(_content(Path(source)), source)
    read = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    texts = [_value(line, key, f"{name}:{number}") if name.endswith(".jsonl") else line for number, line in read]
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


def _value(line: str, key: str, where: str) -> str:
    try:
        value = json.loads(line)[key]
        value.encode("utf-8")  # JSON can spell half a surrogate pair, which is no text
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UserError(f"{where}: not a JSON object with a '{key}'") from None
    return value
