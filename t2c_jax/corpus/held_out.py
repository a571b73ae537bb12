"""Code that must not be in the corpus: the lines of the files in config.corpus.held_out.

The answers of a benchmark occur in many repositories, inside other functions and under other indentation, so whole
pairs are not compared. A line of more than ``held_out_line_chars`` characters is seldom written twice by chance, and
comparing such lines is one look-up each, however large the corpus.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from t2c_jax.config import CorpusConfig
from t2c_jax.corpus.pairs_file.file_formats import SUFFIXES, is_pairs_file
from t2c_jax.corpus.pairs_file.pair_reader import read_codes
from t2c_jax.corpus.sources import PairsFile
from t2c_jax.errors import UserError
from t2c_jax.workdir.remote import is_remote, local_file

SHARES_LINE = "shares a line with config.corpus.held_out"


class HeldOut:
    """The long lines of some code, stripped."""

    def __init__(self, codes: Iterable[str], line_chars: int) -> None:
        self._line_chars = line_chars
        self._lines = {line for code in codes for line in self._long_lines(code)}

    @classmethod
    def read(cls, files: Iterable[PairsFile], config: CorpusConfig) -> HeldOut:
        """The lines of all code in the files.

        Raises:
          UserError: a file is damaged, or has a line without code.
        """
        return cls(
            (code for file in files for code in read_codes(file, "config.corpus.held_out", config.columns)),
            config.held_out_line_chars,
        )

    def shares_line(self, code: str) -> bool:
        """Whether a line of the code, stripped and of more than ``line_chars`` characters, is held out."""
        return not self._lines.isdisjoint(self._long_lines(code))

    def _long_lines(self, code: str) -> list[str]:
        return [line for raw in code.splitlines() if len(line := raw.strip()) > self._line_chars]


def find_held_out(config: CorpusConfig) -> list[PairsFile]:
    """The files that config.corpus.held_out names, digested.

    Raises:
      UserError: one is missing, cannot be read, or is not a file of pairs.
    """
    return find_problems(config.held_out, "config.corpus.held_out")


def find_problems(names: Iterable[str], key: str) -> list[PairsFile]:
    """The files of a benchmark, digested.

    Args:
      names: paths or URLs.
      key: of the config that names them, for messages.

    Raises:
      UserError: one is missing, cannot be read, or is not a file of pairs.
    """
    files = []
    for name in names:
        if not is_pairs_file(name):
            raise UserError(f"{key}: '{name}' is no file of pairs; convert it to one of {', '.join(SUFFIXES)}")
        path = local_file(name) if is_remote(name) else Path(name).expanduser()
        try:
            files.append(PairsFile.of(name, path))
        except OSError as error:
            raise UserError(f"{key}: '{name}' cannot be read: {error.strerror}; correct the path") from None
    return files
