"""Ratings on disk: ``reviews/NAME.jsonl``, a line for each time that the reviewer NAME judged a question."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from t2c_jax import console
from t2c_jax.errors import UserError
from t2c_jax.evaluate.review.questions import CHOICES, RATINGS
from t2c_jax.workdir import disk_errors

DIRECTORY = "reviews"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def ratings_path(directory: Path, reviewer: str) -> Path:
    """The file of a reviewer.

    Raises:
      UserError: the name is no plain word.
    """
    if not _NAME.fullmatch(reviewer):
        raise UserError(
            f"reviewer {reviewer!r} is no name for a file; use letters, digits, '.', '_' and '-', as in --reviewer ada"
        )
    return directory / DIRECTORY / f"{reviewer}.jsonl"


def read_ratings(path: Path) -> dict[str, dict[str, Any]]:
    """A reviewer's latest rating of each question, by the question's id.

    A last line without a newline is what a killed process left of a rating that it had not confirmed. It is ignored.

    Raises:
      UserError: a line is malformed.
    """
    try:
        *lines, rest = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UserError(f"'{path}' cannot be read: {error.strerror}") from None
    if rest:
        console.warn(f"'{path}' ends in the middle of a line, which is ignored; that rating has to be made again")
    found: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            _check(record)
        except (ValueError, TypeError, KeyError) as error:
            what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise UserError(f"'{path}' line {number} is malformed ({what}); correct or delete the line") from None
        found[record["question"]] = record
    return found


def _check(record: Any) -> None:
    if not isinstance(record, dict):
        raise ValueError("not an object")
    for name in ("question", "pair"):
        if not isinstance(record[name], str):
            raise ValueError(f"{name!r} is no string")
    shown = record["evaluations"]
    if not isinstance(shown, list) or not all(isinstance(each, str) for each in shown) or len(shown) not in (1, 2):
        raise ValueError("'evaluations' is no list of one or two digests")
    name, known = ("rating", RATINGS) if len(shown) == 1 else ("choice", CHOICES)
    value = record[name]
    if isinstance(value, bool) or value not in known:
        raise ValueError(f"{name!r} is {value!r}, not one of {', '.join(map(str, known))}")


class RatingsFile:
    """A reviewer's file, open for more ratings; one process at a time holds it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self.latest = read_ratings(path)
            if path.is_file() and not (content := path.read_bytes()).endswith(b"\n"):
                os.truncate(path, content.rfind(b"\n") + 1)

    def add(self, record: Mapping[str, Any]) -> None:
        """Appends a rating; when this returns, the disk has it.

        Raises:
          UserError: it cannot be written. The file is as it was before.
        """
        line = json.dumps(record, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
        with disk_errors(self.path), self.path.open("ab", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            try:
                if file.write(line) != len(line):
                    raise OSError(28, "No space left on device", str(self.path))
                os.fsync(file.fileno())
            except OSError:
                file.truncate(size)
                raise
        self.latest[str(record["question"])] = dict(record)
