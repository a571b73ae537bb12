"""Decontamination: code that must not be in the corpus, since a model is going to be scored on it.

config.corpus.held_out names files of pairs and public sets. The answers of a benchmark occur in many repositories,
inside other functions and under other names, so a pair is dropped if its code

- shares a line of more than ``held_out_line_chars`` characters with a held-out code, or ``held_out_ngram`` tokens in a
  row: so much is seldom written twice by chance;
- has the same tokens as a held-out code;
- is a near-duplicate of one: their Jaccard similarity is ``held_out_similarity`` or more.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from t2c_jax.config import CorpusConfig
from t2c_jax.corpus.pairs_file.file_formats import SUFFIXES, is_pairs_file
from t2c_jax.corpus.pairs_file.pair_reader import read_codes
from t2c_jax.corpus.sources import PairsFile
from t2c_jax.corpus.splits import hash64
from t2c_jax.corpus.tfds_source import describe_dataset, read_examples
from t2c_jax.errors import UserError
from t2c_jax.languages.hashed_tokens import Ngrams, TokenHasher, contains
from t2c_jax.languages.lexical_tokens import lexical_tokens
from t2c_jax.languages.near_duplicates import NearDuplicates, TokenSets
from t2c_jax.workdir import digest
from t2c_jax.workdir.remote import is_remote, local_file

SHARES_LINE = "shares a line with config.corpus.held_out"
SAME_CODE = "same code as in config.corpus.held_out"
SHARES_NGRAM = "shares held_out_ngram tokens in a row with config.corpus.held_out"
NEAR_COPY = "near-duplicate of config.corpus.held_out"
HELD_OUT_RULES = (SHARES_LINE, SAME_CODE, SHARES_NGRAM, NEAR_COPY)
_SET = "tfds:"


class HeldOut:
    """Codes that pairs are compared with."""

    def __init__(self, codes: Iterable[str], line_chars: int, ngram: int = 0, similarity: float = 0.0) -> None:
        """Indexes the codes.

        Args:
          codes: what is held out.
          line_chars: see ``CorpusConfig.held_out_line_chars``.
          ngram: see ``CorpusConfig.held_out_ngram``.
          similarity: see ``CorpusConfig.held_out_similarity``.
        """
        codes = list(codes)
        self._line_chars, self._ngram = line_chars, ngram
        self._lines = {line for code in codes for line in self._long_lines(code)}
        self._whole = {_tokens_hash(code) for code in codes if code.strip()}
        hashed = TokenHasher()(codes)
        self._ngrams = np.unique(Ngrams(hashed, ngram).hashes) if ngram else np.zeros(0, np.uint64)
        self._near = NearDuplicates(TokenSets.of_hashed(hashed), similarity) if similarity else None

    @classmethod
    def read(cls, files: Iterable[PairsFile], config: CorpusConfig) -> HeldOut:
        """All code in the files.

        Raises:
          UserError: a file is damaged, or has a line without code.
        """
        return cls(
            (
                code
                for file in files
                for code in read_codes(
                    file, "config.corpus.held_out", () if file.name.startswith(_SET) else config.columns
                )
            ),
            config.held_out_line_chars,
            config.held_out_ngram,
            config.held_out_similarity,
        )

    def rules(self, codes: Sequence[str]) -> list[str]:
        """For each code the first of ``HELD_OUT_RULES`` that drops it; empty if none does."""
        hashed = TokenHasher()(codes)
        found = [""] * len(codes)
        if self._near is not None:
            for row in self._near.of(TokenSets.of_hashed(hashed)).rows.tolist():
                found[row] = NEAR_COPY
        if self._ngram:
            ngrams = Ngrams(hashed, self._ngram)
            shared = ngrams.places[contains(self._ngrams, ngrams.hashes)]
            for row in np.unique(hashed.owners[shared]).tolist():
                found[row] = SHARES_NGRAM
        for row, code in enumerate(codes):
            if self.shares_line(code):
                found[row] = SHARES_LINE
            elif _tokens_hash(code) in self._whole:
                found[row] = SAME_CODE
        return found

    def shares_line(self, code: str) -> bool:
        """Whether a line of the code, stripped and of more than ``line_chars`` characters, is held out."""
        return not self._lines.isdisjoint(self._long_lines(code))

    def _long_lines(self, code: str) -> list[str]:
        return [line for raw in code.splitlines() if len(line := raw.strip()) > self._line_chars]


def _tokens_hash(code: str) -> int:
    return hash64(" ".join(lexical_tokens(code)))


def find_held_out(config: CorpusConfig, directory: Path) -> list[PairsFile]:
    """What config.corpus.held_out names, digested.

    Args:
      config: of the corpus.
      directory: where ``write_sets`` puts public sets; the caller deletes it.

    Raises:
      UserError: a file or set is missing, cannot be read, or is not of pairs.
    """
    found = []
    for name in config.held_out:
        if name.startswith(_SET):
            version = describe_dataset(name.removeprefix(_SET), config.set_files, config.accept_counts).digest
            found.append(PairsFile(name, directory / f"{digest(name)}.jsonl", version, "", name))
        else:
            found += find_problems([name], "config.corpus.held_out")
    return found


def write_sets(files: Iterable[PairsFile], config: CorpusConfig) -> None:
    """Writes the codes of public sets to the files that ``find_held_out`` named, for mining workers.

    Raises:
      UserError: a set cannot be read.
    """
    for file in files:
        if file.name.startswith(_SET):
            dataset = file.name.removeprefix(_SET)
            file.path.parent.mkdir(parents=True, exist_ok=True)
            with file.path.open("w", encoding="utf-8") as out:
                for split in describe_dataset(dataset, config.set_files, config.accept_counts).splits:
                    for example in read_examples(dataset, split):
                        out.write(json.dumps({"code": example["code"]}) + "\n")


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
