"""A (text, code) pair and its source."""

from __future__ import annotations

import dataclasses
import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from t2c_jax.languages.execution import Execution
from t2c_jax.languages.extractor import MODULE_KIND
from t2c_jax.workdir import digest

SPLITS = ("train", "dev", "test")
MINED_KINDS = (
    "function",
    "method",
    "class",
    "statement",
    "markdown",
    "notebook",
    "restructuredtext",
    "check",
    "comment",
    "example",
    "commit",
    "test",
)  # what config.corpus.kinds chooses from
CODE_ONLY_KINDS = ("function", "method", "class", MODULE_KIND)  # what config.corpus.code_only chooses from
FILE_KIND = "file-of-pairs"  # of the pairs that a file or a TFDS dataset brings along


_COMMIT = re.compile("[0-9a-f]{7,64}")  # of files as they were committed: not what ends with -dirty
_LINES = {
    "github.com": "blob/{0}/{1}#L{2}-L{3}",
    "gitlab.com": "-/blob/{0}/{1}#L{2}-{3}",
    "bitbucket.org": "src/{0}/{1}#lines-{2}:{3}",
    "codeberg.org": "src/commit/{0}/{1}#L{2}-L{3}",
}


@dataclass(frozen=True, slots=True)
class Source:
    """The lines of a file that a pair was made from.

    Attributes:
      repository: host/owner/name of a checkout's origin, else the directory's name (of a file of pairs: of the one
        it is in), or a dataset's.
      commit: the checked-out commit, with ``-dirty`` where tracked files differ from it; the version of what
        has no commits; or empty.
      path: relative to the repository's root, with forward slashes.
      start_line: first line, counted from 1.
      end_line: last line, included.
      licence: SPDX expression, or empty if it is unknown.
    """

    repository: str
    commit: str
    path: str
    start_line: int
    end_line: int
    licence: str

    def __str__(self) -> str:
        return f"{self.repository}/{self.path}:{self.start_line}"

    @property
    def url(self) -> str:
        """Of the lines, where the commit is known and the host is one of ``_LINES``; else empty."""
        host, separator, _ = self.repository.partition("/")
        if not separator or host not in _LINES or not _COMMIT.fullmatch(self.commit):
            return ""
        lines = _LINES[host].format(self.commit, urllib.parse.quote(self.path), self.start_line, self.end_line)
        return f"https://{urllib.parse.quote(self.repository)}/{lines}"


@dataclass(frozen=True, slots=True)
class Pair:
    """A training example: ``code`` is the answer to ``text``, or code alone to pre-train on.

    Attributes:
      id: digest of its origin, or the id that its file names; unique within a corpus.
      text: natural language, perhaps under a signature; empty where nothing documents the code.
      code: byte for byte as in the source, without the docstring and the common indentation; or what another form of
        code makes of it, such as names of API calls.
      language: of the code, in lower case, e.g. ``python``, ``apis`` for names of calls; empty where a file of pairs
        has none.
      kind: how the two were paired: one of ``MINED_KINDS``, ``MODULE_KIND`` or ``FILE_KIND``.
      source: its origin.
      split: one of ``SPLITS``, or empty before it is assigned.
      group: names what splits keep together (``splits``); empty before it is assigned, and in corpora that were
        written before it was kept.
      tests: how an answer is run, for metrics that run it; None where nothing is known.
    """

    id: str
    text: str
    code: str
    language: str
    kind: str
    source: Source
    split: str = ""
    group: str = ""
    tests: Execution | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, nested as in the TFDS features, and ``split``."""
        return dataclasses.asdict(self)

    @property
    def has_text(self) -> bool:
        """Whether the pair has a prompt. Code alone is for pre-training, never a prompt's answer, never retrieved."""
        return bool(self.text)

    def reverse(self) -> Pair:
        """The pair for a model that describes code: code as the prompt, text as the answer, of language ``text``."""
        return dataclasses.replace(self, text=self.code, code=self.text, language="text", tests=None)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Pair:
        """The inverse of ``to_dict``."""
        tests = values.get("tests")
        return cls(
            **{
                **values,
                "source": Source(**values["source"]),
                "tests": None if tests is None else Execution(**tests),
            }
        )


@dataclass(frozen=True, slots=True)
class Candidate:
    """A pair on its way into the corpus.

    Attributes:
      pair: as read; ``split`` only where its file names one.
      group: pairs of one group are in one split; empty for mined pairs, which ``splits`` groups by module.
    """

    pair: Pair
    group: str = ""


def origin_id(source: Source, kind: str) -> str:
    """The id of a pair: 16 hexadecimal digits over its repository, commit, path, lines and kind."""
    return digest(source.repository, source.commit, source.path, f"{source.start_line}-{source.end_line}", kind)
