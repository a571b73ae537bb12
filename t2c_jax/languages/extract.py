"""The seam for languages: what an extractor is, and which one reads which files.

An extractor is a function of a file's bytes. To add one, write its module and name it in ``_EXTRACTORS``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from t2c_jax.config import CorpusConfig


@dataclass(frozen=True, slots=True)
class Extract:
    """A pair as a file yields it; whoever mines the file knows its source."""

    text: str
    code: str
    language: str
    kind: str
    start_line: int
    end_line: int


@dataclass
class Extraction:
    """All that a file yields, in the order of its lines.

    Attributes:
      extracts: the pairs.
      left_out: (reason, line) for each thing that is no pair though it looked like one; line 0 is the whole file.
    """

    extracts: list[Extract] = field(default_factory=list)
    left_out: list[tuple[str, int]] = field(default_factory=list)


Extractor = Callable[[bytes, CorpusConfig], Extraction]

# Suffix to module and function: a worker imports the ones it meets.
_EXTRACTORS = {
    ".py": ("t2c_jax.languages.python.extractor", "extract_python"),
    ".md": ("t2c_jax.languages.markdown", "extract_markdown"),
    ".markdown": ("t2c_jax.languages.markdown", "extract_markdown"),
}


def is_readable(path: str) -> bool:
    """Whether some extractor reads files of this name."""
    return _suffix(path) in _EXTRACTORS


def extractor_for(path: str) -> Extractor:
    """The extractor for a file that ``is_readable``."""
    module, function = _EXTRACTORS[_suffix(path)]
    found: Any = getattr(importlib.import_module(module), function)
    return found


def _suffix(path: str) -> str:
    return PurePosixPath(path).suffix.lower()
