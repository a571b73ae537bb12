"""Reads what the tokens stage (``prepare``) wrote: a split's tokenised pairs, by index.

``tokens/SPLIT/`` holds ragged arrays (``ragged``): ``text``, ``code`` and ``id`` of every pair, ``identifiers`` where a
task needs them, and whatever the encoder reads beside tokens. Token ids are uint16 where the vocabulary allows, else
uint32; pair ids are UTF-8 bytes.

The manifest holds every file's digest, and ``stamps.json`` its size and time of change when it was written. Opening
compares digests wherever size or time differ, so that a flipped byte never reaches training and a start does not read
gigabytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from t2c_jax.data.ragged import RaggedArray
from t2c_jax.data.templates import TargetTemplate
from t2c_jax.errors import UserError
from t2c_jax.tokenizers.loading import Tokenizers
from t2c_jax.workdir import Workdir, digest, write_json

COLUMNS = ("text", "code", "id")
IDENTIFIERS = "identifiers"
IDENTIFIERS_FORMAT = 2
"""In format 1 names were numbered by their text, and no token was unknown."""

_STAMPS = "stamps.json"


class Tokens:
    """A split's tokenised pairs.

    Attributes:
      columns: every ragged array by name.
      text_lengths, code_lengths: tokens of each pair without eos, int64.
      tokenizer_digest: of the tokenizers that wrote them; empty in memory.
      features: settings of the encoder features that are stored beside the tokens; empty where there are none.
    """

    def __init__(
        self,
        columns: Mapping[str, RaggedArray],
        tokenizer_digest: str = "",
        features: Mapping[str, Any] | None = None,
    ) -> None:
        self.columns, self.tokenizer_digest, self.features = dict(columns), tokenizer_digest, dict(features or {})
        self._text, self._code, self._id = (columns[name] for name in COLUMNS)
        self.text_lengths, self.code_lengths = self._text.lengths, self._code.lengths

    @classmethod
    def open(cls, directory: Path, split: str) -> Tokens:
        """Memory-maps a split of a finished tokens stage.

        Raises:
          UserError: the stage has not run there, or a file is missing or differs from what the stage wrote.
        """
        manifest = Workdir(directory.parent).manifest(directory.name)
        files: dict[str, str] = manifest["counts"]["files"]
        check_files(directory, {name: value for name, value in files.items() if Path(name).parent.name == split})
        names = {Path(name).name.split(".")[0] for name in files if Path(name).parent.name == split}
        columns = {name: RaggedArray.open(directory / split, name) for name in sorted(names)}
        if manifest["config"].get(IDENTIFIERS) != IDENTIFIERS_FORMAT:
            columns.pop(IDENTIFIERS, None)
        return cls(columns, manifest["inputs"]["tokenizer"], manifest["config"].get("features"))

    @classmethod
    def of(
        cls,
        texts: Iterable[Sequence[int] | np.ndarray],
        codes: Iterable[Sequence[int] | np.ndarray],
        ids: Iterable[str],
        identifiers: Iterable[Sequence[int] | np.ndarray] | None = None,
        columns: Mapping[str, RaggedArray] | None = None,
        features: Mapping[str, Any] | None = None,
    ) -> Tokens:
        """Tokens in memory, from lists of ids."""
        made = {
            "text": RaggedArray.of(texts, np.uint32),
            "code": RaggedArray.of(codes, np.uint32),
            "id": RaggedArray.of([list(id_.encode("utf-8")) for id_ in ids], np.uint8),
        }
        if identifiers is not None:
            made[IDENTIFIERS] = RaggedArray.of(identifiers, np.uint16)
        return cls({**made, **(columns or {})}, features=features)

    def __len__(self) -> int:
        return len(self._text)

    def text(self, i: int) -> np.ndarray:
        """Int32 tokens of pair i's text, without eos."""
        return self._text[i].astype(np.int32)

    def code(self, i: int) -> np.ndarray:
        """Int32 tokens of pair i's code, without eos."""
        return self._code[i].astype(np.int32)

    def identifiers(self, i: int) -> np.ndarray:
        """Int32 ``tasks.identifiers.occurrence_codes`` of pair i's code.

        Raises:
          UserError: the stage did not write them.
        """
        if IDENTIFIERS not in self.columns:
            raise UserError(
                "the tokens hold no identifiers, or those of an earlier version, and a task of config.data.tasks needs"
                " them; run t2c prepare"
            )
        return self.columns[IDENTIFIERS][i].astype(np.int32)

    @cached_property
    def ids(self) -> list[str]:
        """The pairs' ids."""
        return [self._id[i].tobytes().decode("utf-8") for i in range(len(self))]


def open_tokens(workdir: Workdir, split: str, tokenizers: Tokenizers) -> Tokens:
    """``Tokens.open``, of this run's tokenizers.

    Raises:
      UserError: the tokens are missing, damaged, or were made by another tokenizer.
    """
    tokens = Tokens.open(workdir.tokens, split)
    if tokens.tokenizer_digest != tokenizers.digest:
        raise UserError(
            f"the tokens in '{workdir.name}' were made by another tokenizer than this run's; run t2c prepare, or name a"
            " workdir that shares its tokenizer"
        )
    return tokens


def inverse_frequency(tokens: Tokens, tokenizers: Tokenizers) -> np.ndarray:
    """log(N / n) for each target id, where n of N targets contain it (Gu et al. 2016, equation 7); 0 where n is 0."""
    targets = tokens.code if tokenizers.direction == "text_to_code" else tokens.text
    counts_V = np.zeros(tokenizers.target.vocab_size, np.int64)
    for i in range(len(tokens)):
        counts_V[np.unique(targets(i))] += 1
    return np.where(counts_V > 0, np.log(len(tokens) / np.maximum(counts_V, 1)), 0.0).astype(np.float32)


def training_targets(tokens: Tokens, tokenizers: Tokenizers, most: int) -> Iterator[np.ndarray]:
    """What the decoder is fed, and the end, of about ``most`` tokens of targets at most, evenly spread."""
    is_code = tokenizers.direction == "text_to_code"
    targets, lengths = (tokens.code, tokens.code_lengths) if is_code else (tokens.text, tokens.text_lengths)
    template = TargetTemplate.of(tokenizers)
    for i in range(0, len(tokens), max(1, -(-int(lengths.sum()) // most))):
        yield np.concatenate([[template.start], template(targets(i))])


def write_stamps(directory: Path, files: Iterable[str]) -> None:
    """Records size and time of change of files that have just been written; a rename of ``directory`` keeps both."""
    write_json(directory / _STAMPS, {name: _stamp(directory / name) for name in files})


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def check_files(directory: Path, digests: Mapping[str, str]) -> None:
    """Compares files of a stage with the digests in its manifest.

    Raises:
      UserError: one is missing or differs.
    """
    try:
        stamps = json.loads((directory / _STAMPS).read_text("utf-8"))
    except (OSError, ValueError):
        stamps = {}
    for name, expected in digests.items():
        path = directory / name
        if not (path.is_file() and (_stamp(path) == stamps.get(name) or digest(path) == expected)):
            raise UserError(f"'{path}' is missing or damaged; delete '{directory}' and run again")
