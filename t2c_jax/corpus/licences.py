"""Guesses the licence of a directory of sources from the files that usually name it.

A licence is what its title says. A grant without a title, such as MIT's, counts only if nothing but titles, copyright
lines and harmless prose comes before it: proprietary texts quote the licences of third parties. Where a text restricts
what an open licence grants (Commons Clause), or reserves all rights, the licence is unknown.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

_HEAD_BYTES = 20_000
_FILE = re.compile(
    r"(?i)(?:(?:un)?licen[cs]es?|copying(?P<lesser>[.-](?:lesser|lib))?)"
    r"(?:[._-](?P<which>[\w.+-]+?))?(?:\.(?:txt|md|rst|html))?\Z"
)
# What follows LICENSE- where it is the name of a licence, and not of a part of the sources (LICENSE-3RD-PARTY).
_NAMED = re.compile(
    r"(?i)(?:apache|asl|mit|expat|bsd|isc|zlib|mpl|[al]?gpl|unlicen[cs]e|cc0|boost|bsl|epl|psf|eupl)(?![a-z])"
)
_SUFFIXES = {"txt", "md", "rst", "html"}
_IDENTIFIER = re.compile(r"SPDX-License-Identifier:[ \t]*([\w.+() -]+?)[ \t]*$", re.MULTILINE)

# Titles and grants, in lower case, without commas and with single spaces; a version is at most some words behind.
_V = r"(?:(?:the )?(?:v\.? ?|version ?|- ?v ?)?)"
_TITLES = tuple(
    (licence, re.compile(phrase))
    for licence, phrase in (
        ("BUSL-1.1", rf"business source licen[cs]e(?:.*business source licen[cs]e)? {_V}1\.1"),
        ("", r"business source licen[cs]e"),
        ("FSL-1.1-MIT", rf"functional source licen[cs]e {_V}1\.1 mit|fsl-1\.1-mit"),
        ("FSL-1.1-ALv2", rf"functional source licen[cs]e {_V}1\.1 (?:apache|alv2)|fsl-1\.1-(?:apache-2\.0|alv2)"),
        ("", r"functional source licen[cs]e|fair source licen[cs]e"),
        ("SSPL-1.0", r"server side public licen[cs]e"),
        ("Elastic-2.0", rf"elastic licen[cs]e {_V}2\.0"),
        ("PolyForm-Noncommercial-1.0.0", rf"polyform noncommercial licen[cs]e {_V}1\.0\.0"),
        ("", r"polyform \w+|elastic licen[cs]e|sustainable use licen[cs]e|community licen[cs]e agreement"),
        ("AGPL-3.0", rf"gnu affero general public licen[cs]e {_V}3"),
        ("LGPL-3.0", rf"gnu lesser general public licen[cs]e {_V}3"),
        ("LGPL-2.1", rf"gnu lesser general public licen[cs]e {_V}2\.1"),
        ("LGPL-2.0", rf"gnu library general public licen[cs]e {_V}2"),
        ("GPL-3.0", rf"gnu general public licen[cs]e {_V}3"),
        ("GPL-2.0", rf"gnu general public licen[cs]e {_V}2"),
        ("Apache-2.0", rf"apache licen[cs]e {_V}2\.0"),
        ("MPL-2.0", rf"mozilla public licen[cs]e {_V}2\.0"),
        ("EPL-2.0", rf"eclipse public licen[cs]e {_V}2\.0"),
        ("PSF-2.0", rf"python software foundation licen[cs]e {_V}2"),
        ("BSL-1.0", rf"boost software licen[cs]e {_V}1\.0"),
        ("CC0-1.0", r"cc0 1\.0 universal"),
        ("CC-BY-SA-4.0", r"attribution-sharealike 4\.0 international"),
        ("CC-BY-NC-4.0", r"attribution-noncommercial 4\.0 international"),
        ("BlueOak-1.0.0", rf"blue oak model licen[cs]e {_V}1\.0\.0"),
        ("Artistic-2.0", rf"artistic licen[cs]e {_V}2\.0"),
        ("CC-BY-4.0", r"attribution 4\.0 international"),
    )
)
_ISC = "permission to use copy modify and/or distribute this software for any purpose"
_MIT = "permission is hereby granted free of charge to any person obtaining a copy"
_NOTICE = "redistribute it and/or modify it under the terms of the"
_PUBLISHED = " as published by the free software foundation;? (?:either )?version"
_GRANTS = tuple(
    (licence, re.compile(phrase))
    for licence, phrase in (
        ("Unlicense", "this is free and unencumbered software released into the public domain"),
        ("BSD-3-Clause", "redistribution and use in source and binary forms.*neither the name"),
        ("BSD-2-Clause", "redistribution and use in source and binary forms"),
        ("ISC", f"{_ISC}.*provided that the above copyright"),
        ("0BSD", f"{_ISC}.*the software is provided"),
        ("ISC", _ISC),
        ("MIT", f"{_MIT}.*the above copyright notice and this permission"),
        ("MIT-0", f"{_MIT}.*the software is provided"),
        ("MIT", _MIT),
        ("Zlib", "this software is provided 'as-is' without any express or implied warranty"),
        (
            "PostgreSQL",
            "permission to use copy modify and distribute this software and its documentation for any purpose"
            " without fee and without a written agreement is hereby granted",
        ),
        *(
            (f"{short}-{version}", rf"{_NOTICE} gnu {name}general public licen[cs]e{_PUBLISHED} {number}\b")
            for short, name, version, number in (
                ("GPL", "", "2.0", "2"),
                ("GPL", "", "3.0", "3"),
                ("LGPL", "lesser ", "2.1", r"2\.1"),
                ("LGPL", "lesser ", "3.0", "3"),
                ("AGPL", "affero ", "3.0", "3"),
            )
        ),
    )
)
_RESTRICTED = re.compile(r"commons clause")
# In the prose before a grant: it is of something else, or not for everybody.
_NOT_OURS = re.compile(
    r"third[- ]part|following (?:components|libraries|packages|software)|portions of|proprietary|confidential|"
    r"prohibited|unauthori[sz]ed|(?:may|must|shall) not|without (?:the )?(?:\w+ ){0,2}(?:permission|consent)|"
    r"not (?:be )?(?:permitted|allowed|licen[cs]ed)|no licen[cs]e|includes? (?:software|code)|evaluation|"
    r"commercial licen[cs]e|end[- ]user"
)
_RESERVED = re.compile(r"all rights reserved")
_COPYRIGHT = re.compile(r"copyright|\(c\)|©|all rights reserved|https?://|@|^\W*$")
_TITLE_WORDS = re.compile(
    r"\b(?:the|an?|of|for|software|licen[cs]es?|agreement|terms|mit|expat|x11|bsd|isc|zlib|libpng|simplified|new|revised|"
    r"modified|original|clause|open|source|public|version|template|and|txt|md|file|style|unlicense|zero|\d[\d.]*)\b|[^\w]"
)

_OTHER_TITLE = re.compile(r"\blicen[cs]e(?: agreement)?(?: (?:v|version)? ?[\d.]+)?\W*$")
_SENTENCE = re.compile(r"\b(?:is|are|was|under|see|this|applies)\b")


_FILE_IDENTIFIER = re.compile(rb"SPDX-License-Identifier:[ \t]*([A-Za-z0-9][\w.+ ()-]*[\w+)])")
_FILE_HEAD_BYTES = 3_000


def file_licence(data: bytes) -> str:
    """The SPDX expression that a file states near its top; empty if it states none."""
    found = _FILE_IDENTIFIER.search(data, 0, _FILE_HEAD_BYTES)
    return found[1].decode("ascii").replace(" and ", " AND ").replace(" or ", " OR ") if found else ""


def guess_licence(root: Path) -> str:
    """An SPDX expression from the licence files or pyproject.toml in ``root``; empty if the licence is unknown.

    Several licences side by side (LICENSE-APACHE, LICENSE-MIT) are alternatives: ``Apache-2.0 OR MIT``.
    """
    try:
        names = sorted(path.name for path in root.iterdir() if path.is_file())
    except OSError:
        return ""
    found: list[str] = []
    reserved = False
    for name in names:
        file = _FILE.match(name)
        which = file["which"] if file else None
        if not file or (which and which.lower() not in _SUFFIXES and not _NAMED.match(which) and not file["lesser"]):
            continue
        licence, is_reserved = _from_text(_head(root / name))
        reserved = reserved or is_reserved
        if licence and licence not in found:
            found.append(licence)
    if reserved:
        return ""
    if any(licence.startswith("LGPL") for licence in found):  # it comes with the GPL that it adds permissions to
        found = [licence for licence in found if not licence.startswith("GPL")]
    if found:
        return " OR ".join(found)
    return _from_pyproject(root / "pyproject.toml") if "pyproject.toml" in names else ""


def _head(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


def _from_text(text: str) -> tuple[str, bool]:
    """The licence of a text, and whether it says that there is none for everybody."""
    words = _words(text)
    if _RESTRICTED.search(words):
        return "", True
    candidates = []
    if named := _IDENTIFIER.search(text):
        candidates.append((len(_words(text[: named.start()])), 0, named[1], False))
    for is_grant, table in enumerate((_TITLES, _GRANTS)):
        for rank, (licence, phrase) in enumerate(table, start=1):
            if found := phrase.search(words):
                candidates.append((found.start(), rank, licence, bool(is_grant)))
    if not candidates:
        return "", bool(_RESERVED.search(words))
    start, _, licence, is_grant = min(candidates)
    before = _lines_before(text, start)
    if not licence or _NOT_OURS.search(" ".join(before)):
        return "", True
    reserved = next((i for i, line in enumerate(before) if _RESERVED.search(line)), None)
    prose = [line for line in before if not _COPYRIGHT.search(line) and _TITLE_WORDS.sub("", line)]
    if reserved is not None and any(line in prose for line in before[reserved + 1 :]):
        return "", True
    if any(_names_another(line) for line in prose):
        return "", True
    return licence, False


def _words(text: str) -> str:
    return " ".join(re.sub(r"[,*#=_\"“”`]", " ", text.lower()).split())


def _lines_before(text: str, start: int) -> list[str]:
    """The lines of the text, in words, that end before a place in its words."""
    lines, length = [], 0
    for raw in text.splitlines():
        line = _words(raw)
        length += len(line) + bool(line)
        if length > start:
            break
        if line:
            lines.append(line)
    return lines


def _names_another(line: str) -> bool:
    """Whether a line is the title of a licence of its own, such as "Acme Source License 1.0"."""
    return len(line.split()) <= 8 and bool(_OTHER_TITLE.search(line)) and not _SENTENCE.search(line)


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
