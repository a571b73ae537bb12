"""Which licence a directory of sources stands under, told from the files that usually say so."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

_HEAD_BYTES = 20_000
_FILES = re.compile(r"(?i)(?:un)?licen[cs]e(?:[.-].*)?\Z|copying(?:\..*)?\Z")
_IDENTIFIER = re.compile(r"SPDX-License-Identifier:\s*([\w.+() -]+?)\s*$", re.MULTILINE)

# The phrase that stands first in a file decides (others are quoted further down); of two there, the upper one.
_PHRASES = tuple(
    (licence, re.compile(phrase))
    for licence, phrase in (
        ("AGPL-3.0", "gnu affero general public license version 3"),
        ("LGPL-3.0", "gnu lesser general public license version 3"),
        ("LGPL-2.1", "gnu lesser general public license version 2.1"),
        ("GPL-3.0", "gnu general public license version 3"),
        ("GPL-2.0", "gnu general public license version 2"),
        ("Apache-2.0", "apache license version 2.0"),
        ("MPL-2.0", "mozilla public license version 2.0"),
        ("EPL-2.0", "eclipse public license - v 2.0"),
        ("PSF-2.0", "python software foundation license version 2"),
        ("BSL-1.0", "boost software license - version 1.0"),
        ("CC0-1.0", "cc0 1.0 universal"),
        ("CC-BY-SA-4.0", "attribution-sharealike 4.0 international"),
        ("CC-BY-4.0", "attribution 4.0 international"),
        ("Unlicense", "this is free and unencumbered software released into the public domain"),
        ("BSD-3-Clause", "redistribution and use in source and binary forms.*neither the name"),
        ("BSD-2-Clause", "redistribution and use in source and binary forms"),
        ("ISC", "permission to use copy modify and/or distribute this software for any purpose"),
        ("MIT", "permission is hereby granted free of charge to any person obtaining a copy"),
    )
)


def guess_licence(root: Path) -> str:
    """An SPDX identifier from LICENSE, COPYING or pyproject.toml in ``root``; empty where none can be told."""
    try:
        names = sorted(path.name for path in root.iterdir() if path.is_file())
    except OSError:
        return ""
    for name in names:
        if _FILES.match(name):
            found = _from_text(_head(root / name))
            if found:
                return found
    return _from_pyproject(root / "pyproject.toml") if "pyproject.toml" in names else ""


def _head(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


def _from_text(text: str) -> str:
    named = _IDENTIFIER.search(text)
    if named:
        return named.group(1)
    words = " ".join(text.lower().replace(",", " ").replace("*", " ").split())
    found = [(match.start(), licence) for licence, phrase in _PHRASES if (match := phrase.search(words))]
    return min(found, key=lambda item: item[0])[1] if found else ""


def _from_pyproject(path: Path) -> str:
    try:
        project: Any = tomllib.loads(path.read_text("utf-8")).get("project", {})
    except (OSError, ValueError):
        return ""
    licence = project.get("license") if isinstance(project, dict) else None
    if isinstance(licence, str):
        return licence
    if isinstance(licence, dict) and isinstance(licence.get("text"), str) and len(licence["text"]) < 40:
        return licence["text"]
    return ""
