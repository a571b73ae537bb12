"""What an extractor is, and which one reads which files.

To add a language, write a class with the attributes of ``Extractor`` and register it in its package's ``__init__``.
That module must stay light: every process that mines imports it. Import parsers inside ``extract``.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Protocol

from t2c_jax.config import CorpusConfig
from t2c_jax.config.registry import Registry
from t2c_jax.languages.execution import Execution

MODULE_KIND = "module"  # a whole file, without a text


@dataclass(frozen=True, slots=True)
class Extract:
    """A pair as a file yields it. The caller adds its source; ``tests`` say how an answer is run, if that is known."""

    text: str
    code: str
    language: str
    kind: str
    start_line: int
    end_line: int
    tests: Execution | None = None


@dataclass
class Extraction:
    """All that a file yields, in the order of its lines.

    Attributes:
      extracts: the pairs.
      skipped: (reason, line) for each candidate that makes no pair; line 0 means the whole file.
    """

    extracts: list[Extract] = field(default_factory=list)
    skipped: list[tuple[str, int]] = field(default_factory=list)


class Extractor(Protocol):
    """Makes pairs of the files of one format.

    Attributes:
      suffixes: of the file names that it reads, in lower case, e.g. ``.py``.
      version: enters the key of the corpus stage. Change it when the same file gives other pairs.
    """

    suffixes: tuple[str, ...]

    @property
    def version(self) -> str:
        """Part of the corpus stage's key."""
        ...

    def extract(self, data: bytes, path: str, config: CorpusConfig) -> Extraction:
        """The pairs of a file's bytes; it raises nothing, whatever they are.

        Args:
          data: the whole file.
          path: relative to the root of its source, with forward slashes. Its name may select a dialect.
          config: which pairs, and in which form.
        """
        ...


extractors: Registry[Extractor] = Registry("extractor")
"""By the names that config.corpus.extractors uses."""


def chosen_extractors(names: Collection[str]) -> dict[str, Extractor]:
    """The extractors of these names; without names, all of them.

    Raises:
      UserError: there is no extractor of a name.
    """
    return {name: extractors.get(name, "config.corpus.extractors") for name in names or extractors}


def extractor_for(path: str, names: Collection[str]) -> Extractor | None:
    """The first of ``chosen_extractors`` that reads files of this name, if there is one."""
    suffix = PurePosixPath(path).suffix.lower()
    found = chosen_extractors(names).values()
    return next((extractor for extractor in found if suffix in extractor.suffixes), None)
