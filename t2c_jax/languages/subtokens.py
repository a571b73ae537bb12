"""Names split into sub-tokens."""

from __future__ import annotations

import re

_RUN = re.compile(r"[^\W\d_]+|\d+")


def subtokens(name: str) -> list[str]:
    """The words and numbers of a name in lower case: ``getHTTPUrl_2`` gives get, http, url, 2."""
    parts = []
    for run in _RUN.findall(name):
        start = 0
        for i in range(1, len(run)):
            rises = run[i].isupper() and not run[i - 1].isupper()
            ends_acronym = run[i].isupper() and run[i + 1 : i + 2].islower()
            if rises or ends_acronym:
                parts.append(run[start:i])
                start = i
        parts.append(run[start:])
    return [part.lower() for part in parts]
