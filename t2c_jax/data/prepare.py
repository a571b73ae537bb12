"""The tokens stage: every pair of every split, tokenised once, as memory-mapped arrays.

``tokens/SPLIT/`` holds three ragged columns, text, code and id, each as ``NAME.npy`` (all values end to end) and
``NAME.offsets.npy`` (item i is ``values[offsets[i]:offsets[i + 1]]``). Token ids are uint16 where the vocabulary
allows, else uint32; pair ids are UTF-8 bytes. Every pair is kept: which ones fit a row is the batch's affair, so
that other lengths, another prefix or another task need no new tokens. Where the encoder reads paths, they are columns
more (``path_columns``); where a task asks for identifiers, a column tells which tokens of code belong to which, and of
which tokens that is unknown (``objectives.occurrence_codes``). The manifest holds every file's digest; opening compares
them, so that a flipped byte never reaches training.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from t2c_jax import console
from t2c_jax.config import DataConfig
from t2c_jax.console import advancing
from t2c_jax.corpus.pairs import SPLITS
from t2c_jax.data.columns import Column, ColumnWriter
from t2c_jax.data.tasks.objectives import UNKNOWN, occurrence_codes
from t2c_jax.errors import UserError
from t2c_jax.languages.identifiers import aligned, spelt
from t2c_jax.languages.identifiers import identifiers as identifiers_of
from t2c_jax.papers.code2seq.columns import PathWriter, StoredPaths, stored_part
from t2c_jax.papers.code2seq.config import PathsConfig
from t2c_jax.tokenizers.base import Tokenizer
from t2c_jax.tokenizers.loading import Tokenizers
from t2c_jax.tokenizers.lossless import in_batches
from t2c_jax.workdir import StageResult, Workdir, digest

if TYPE_CHECKING:
    from t2c_jax.corpus.pairs import Pair

COLUMNS = ("text", "code", "id")
IDENTIFIERS = "identifiers"
_OF_IDENTIFIERS = ("masked_identifiers", "identifier_tagging")
_IDENTIFIERS_FORMAT = 2  # in 1 names were numbered by their text, and no token was unknown
_MOST_NAMES = 2**15 - 1  # that a uint16 has room for beside UNKNOWN, which further ones of a module are


class Tokens:
    """A split's tokenised pairs, by index.

    Attributes:
      text_lengths, code_lengths: tokens of each pair without eos, int64.
      tokenizer_digest: of the model that wrote them; empty where nobody said.
      paths: of each pair's code, where the stage made them.
    """

    def __init__(
        self,
        text: Column,
        code: Column,
        id_: Column,
        tokenizer_digest: str = "",
        paths: StoredPaths | None = None,
        identifiers: Column | None = None,
    ) -> None:
        self._text, self._code, self._id, self._identifiers = text, code, id_, identifiers
        self.paths = paths
        self.text_lengths, self.code_lengths = text.lengths, code.lengths
        self.tokenizer_digest = tokenizer_digest

    @classmethod
    def open(cls, directory: Path, split: str) -> Tokens:
        """Maps a split of a finished tokens stage and compares its files with their digests.

        Raises:
          UserError: the stage has not run there, or a file is missing or not what the stage wrote.
        """
        manifest = Workdir(directory.parent).manifest(directory.name)
        for name, expected in manifest["counts"]["files"].items():
            path = directory / name
            if path.parent.name == split and not (path.is_file() and digest(path) == expected):
                raise UserError(f"'{path}' is missing or damaged; delete '{directory}' and run again")
        text, code, id_ = (Column.open(directory / split, name) for name in COLUMNS)
        settings = manifest["config"].get("paths")
        paths = None if settings is None else StoredPaths.open(directory / split, settings)
        named = manifest["config"].get(IDENTIFIERS) == _IDENTIFIERS_FORMAT
        identifiers = Column.open(directory / split, IDENTIFIERS) if named else None
        return cls(text, code, id_, manifest["inputs"]["tokenizer"], paths, identifiers)

    @classmethod
    def of(
        cls,
        texts: Sequence[Sequence[int]],
        codes: Sequence[Sequence[int]],
        ids: Sequence[str],
        paths: StoredPaths | None = None,
        identifiers: Sequence[Sequence[int]] | None = None,
    ) -> Tokens:
        """Tokens in memory, from lists of ids."""
        names = Column.of([list(id_.encode("utf-8")) for id_ in ids], np.uint8)
        column = None if identifiers is None else Column.of(identifiers, np.uint16)
        return cls(Column.of(texts, np.uint32), Column.of(codes, np.uint32), names, paths=paths, identifiers=column)

    def __len__(self) -> int:
        return len(self._text)

    def text(self, i: int) -> np.ndarray:
        """Int32 tokens of pair i's text, without eos."""
        return self._text[i].astype(np.int32)

    def code(self, i: int) -> np.ndarray:
        """Int32 tokens of pair i's code, without eos."""
        return self._code[i].astype(np.int32)

    def identifiers(self, i: int) -> np.ndarray:
        """Int32 ``objectives.occurrence_codes`` of pair i's code.

        Raises:
          UserError: the stage was not asked for them.
        """
        if self._identifiers is None:
            raise UserError(
                "the tokens hold no identifiers, or those of an earlier version, and a task of config.data.tasks wants"
                " them; run t2c prepare"
            )
        return self._identifiers[i].astype(np.int32)

    @cached_property
    def ids(self) -> list[str]:
        """The pairs' ids."""
        return [self._id[i].tobytes().decode("utf-8") for i in range(len(self))]


def build_tokens(
    data: DataConfig, workdir: Workdir, pairs: Callable[[str], Iterable[Pair]], *, paths: PathsConfig | None = None
) -> StageResult:
    """The tokens stage. The corpus and the tokenizers decide it, and what the encoder and the tasks want beside tokens.

    Args:
      data: says which side an encoder's own tokenizer reads, and the tasks.
      workdir: holds the finished corpus and tokenizer; gets ``tokens/``.
      pairs: a split's pairs, in an order that is always the same.
      paths: which paths of the code to keep, where the encoder reads them.

    Raises:
      UserError: the corpus or the tokenizer is missing.
    """
    tokenizers = Tokenizers.load(workdir.tokenizer, data.direction)
    identifiers = any(task.objective in _OF_IDENTIFIERS for task in data.tasks.values())

    def build(directory: Path) -> dict[str, Any]:
        with console.progress("tokens", None, "pairs") as bar:
            splits = {
                split: write_split(
                    directory / split, tokenizers, advancing(bar, pairs(split)), paths, identifiers=identifiers
                )
                for split in SPLITS
            }
        files = sorted(path for path in directory.rglob("*.npy"))
        return {"splits": splits, "files": {str(path.relative_to(directory)): digest(path) for path in files}}

    read: dict[str, Any] = {} if paths is None else {"paths": stored_part(paths)}
    if identifiers:
        read[IDENTIFIERS] = _IDENTIFIERS_FORMAT
    inputs = {"corpus": workdir.digest("corpus"), "tokenizer": tokenizers.digest}
    result = workdir.stage("tokens", read, inputs, build)
    if identifiers:
        _tell_unknown(result.manifest["counts"]["splits"].values())
    return result


def _tell_unknown(splits: Iterable[Mapping[str, Any]]) -> None:
    """Warns of the pairs that tasks over identifiers pass over."""
    unknown, partly = Counter[str](), Counter[str]()
    for counts in splits:
        unknown.update(counts["unknown_identifiers"])
        partly.update(counts["partly_unknown_identifiers"])
    found = {"all code of": unknown, "parts of the code of": partly}
    if told := [f"{what} {_by_language(counts)}" for what, counts in found.items() if counts]:
        console.warn(
            f"identifiers are unknown in {' and in '.join(told)}: they are known in languages that Pygments reads, up"
            " to what it cannot read, where the tokens are the code byte for byte"
        )


def _by_language(counts: Counter[str]) -> str:
    named = ", ".join(f"{language or 'no language'} {count:,}" for language, count in counts.most_common())
    return f"{counts.total():,} pairs ({named})"


def write_split(
    directory: Path,
    tokenizers: Tokenizers,
    pairs: Iterable[Pair],
    paths: PathsConfig | None = None,
    *,
    identifiers: bool = False,
) -> dict[str, Any]:
    """Writes one split's columns; returns its counts of pairs, of tokens on both sides, and of paths if wanted.

    Where identifiers are wanted, ``unknown_identifiers`` and ``partly_unknown_identifiers`` count by language the pairs
    of whose code nothing, or not all, is known.
    """
    directory.mkdir()
    text, code = tokenizers.text, tokenizers.code
    token = np.uint16 if max(text.vocab_size, code.vocab_size) <= 2**16 else np.uint32
    counts: dict[str, Any] = {"pairs": 0, "text_tokens": 0, "code_tokens": 0}
    unknown, partly = Counter[str](), Counter[str]()
    with (
        ColumnWriter(directory, "text", token) as text_column,
        ColumnWriter(directory, "code", token) as code_column,
        ColumnWriter(directory, "id", np.uint8) as id_column,
        contextlib.nullcontext() if paths is None else PathWriter(directory, code, paths) as path_columns,
        ColumnWriter(directory, IDENTIFIERS, np.uint16) if identifiers else contextlib.nullcontext() as names,
    ):
        for batch in in_batches(pairs):
            texts = text.encode_batch([pair.text for pair in batch])
            codes = code.encode_batch([pair.code for pair in batch])
            text_column.extend(texts)
            code_column.extend(codes)
            id_column.extend(np.frombuffer(pair.id.encode("utf-8"), np.uint8) for pair in batch)
            counts["pairs"] += len(batch)
            counts["text_tokens"] += sum(map(len, texts))
            counts["code_tokens"] += sum(map(len, codes))
            if path_columns is not None:
                path_columns.extend([pair.code for pair in batch])
            if names is not None:
                kept = identifier_codes(batch, codes, code)
                names.extend(kept)
                for pair, is_unknown in zip(batch, (codes == UNKNOWN for codes in kept), strict=True):
                    unknown[pair.language] += len(is_unknown) > 0 and bool(is_unknown.all())
                    partly[pair.language] += bool(is_unknown.any() and not is_unknown.all())
    if identifiers:
        counts |= {"unknown_identifiers": dict(+unknown), "partly_unknown_identifiers": dict(+partly)}
    return counts if path_columns is None else {**counts, **path_columns.counts}


def identifier_codes(pairs: Sequence[Pair], codes: Sequence[np.ndarray], tokenizer: Tokenizer) -> list[np.ndarray]:
    """``objectives.occurrence_codes`` of each pair's code; unknown without lexer or where tokens are not its bytes."""
    sizes = np.array([len(surface) for surface in tokenizer.surfaces])
    made = []
    for pair, ids in zip(pairs, codes, strict=True):
        found = identifiers_of(pair.code, pair.language)
        kept = occurrence_codes(*spelt(aligned(pair.code, found, sizes[ids].tolist()), ids))
        made.append(np.where(kept <= 2 * _MOST_NAMES, kept, UNKNOWN))
    return made


def inverse_frequency(tokens: Tokens, tokenizers: Tokenizers) -> np.ndarray:
    """log(N / n) for each target id, n of N targets having it (Gu et al. 2016, equation 7); 0 for those in none."""
    targets = tokens.code if tokenizers.direction == "text_to_code" else tokens.text
    found = np.zeros(tokenizers.target.vocab_size, np.int64)
    for i in range(len(tokens)):
        found[np.unique(targets(i))] += 1
    return np.where(found > 0, np.log(len(tokens) / np.maximum(found, 1)), 0.0).astype(np.float32)
