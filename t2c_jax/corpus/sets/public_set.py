"""What is known of a published set of pairs: its files, its splits, and how it is cited."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from t2c_jax.corpus.sets.published_files import Files, PublishedFile
from t2c_jax.errors import UserError, nearest

Row = dict[str, Any]  # text and code; id, group and tests (Execution) where the set has them
Reader = Callable[[Files, str], Iterator[Row]]  # the rows of a split


@dataclass(frozen=True)
class Part:
    """A part of a set that is read on its own, such as a language.

    Attributes:
      name: as in ``tfds:SET/PART``; empty for a set of one part.
      files: what is read.
      splits: how many pairs each has, as published.
      read: reads a split.
      language: of the code.
    """

    name: str
    files: tuple[PublishedFile, ...]
    splits: Mapping[str, int]
    read: Reader
    language: str


@dataclass(frozen=True)
class PublicSet:
    """A set.

    Attributes:
      name: as in ``tfds:NAME``.
      title: what it holds, in a phrase.
      homepage: where it is described.
      licence: SPDX expression, or the name of the terms.
      citation: the publication.
      metric: what the literature reports, in words.
      kind: what one code is: a function, a line, a command …
      parts: the first one is the default.
    """

    name: str
    title: str
    homepage: str
    licence: str
    citation: str
    metric: str
    kind: str
    parts: tuple[Part, ...]

    def part(self, name: str) -> Part:
        """A part by its name; the first one for an empty name.

        Raises:
          UserError: there is none of this name.
        """
        if not name:
            return self.parts[0]
        for part in self.parts:
            if part.name == name:
                return part
        names = [part.name for part in self.parts if part.name]
        known = f"its parts are {', '.join(names)}" if names else "it has no parts"
        raise UserError(f"source 'tfds:{self.name}/{name}' is unknown{nearest(name, names)}; {known}")
