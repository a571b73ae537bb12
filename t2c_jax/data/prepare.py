"""The tokens stage: every pair of every split, tokenised once, as memory-mapped arrays.

``tokens/SPLIT/`` holds three ragged columns, text, code and id, each as ``NAME.npy`` (all values end to end) and
``NAME.offsets.npy`` (item i is ``values[offsets[i]:offsets[i + 1]]``). Token ids are uint16 where the vocabulary
allows, else uint32; pair ids are UTF-8 bytes. Every pair is kept: which ones fit a row is the batch's affair, so
that other lengths, another prefix or another objective need no new tokens. The manifest holds every file's
digest; opening compares them, so that a flipped byte never reaches training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from t2c_jax import console
from t2c_jax.config import DataConfig
from t2c_jax.data.tokenizer import SPLITS, Tokenizers, advancing, in_batches
from t2c_jax.errors import UserError
from t2c_jax.workdir import StageResult, Workdir, digest

if TYPE_CHECKING:
    from t2c_jax.corpus.pairs import Pair

COLUMNS = ("text", "code", "id")


class Tokens:
    """A split's tokenised pairs, by index.

    Attributes:
      text_lengths, code_lengths: tokens of each pair without eos, int64.
      tokenizer_digest: of the model that wrote them; empty where nobody said.
    """

    def __init__(self, text: Column, code: Column, id_: Column, tokenizer_digest: str = "") -> None:
        self._text, self._code, self._id = text, code, id_
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
        return cls(text, code, id_, manifest["inputs"]["tokenizer"])

    @classmethod
    def of(cls, texts: Sequence[Sequence[int]], codes: Sequence[Sequence[int]], ids: Sequence[str]) -> Tokens:
        """Tokens in memory, from lists of ids."""
        names = [id_.encode("utf-8") for id_ in ids]
        return cls(Column.of(texts, np.uint32), Column.of(codes, np.uint32), Column.of(map(list, names), np.uint8))

    def __len__(self) -> int:
        return len(self._text)

    def text(self, i: int) -> np.ndarray:
        """Int32 tokens of pair i's text, without eos."""
        return self._text[i].astype(np.int32)

    def code(self, i: int) -> np.ndarray:
        """Int32 tokens of pair i's code, without eos."""
        return self._code[i].astype(np.int32)

    @cached_property
    def ids(self) -> list[str]:
        """The pairs' ids."""
        return [self._id[i].tobytes().decode("utf-8") for i in range(len(self))]


class Column:
    """A ragged array: item i is ``values[offsets[i]:offsets[i + 1]]``."""

    def __init__(self, values: np.ndarray, offsets: np.ndarray) -> None:
        self.values, self.offsets = values, offsets

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> np.ndarray:
        return self.values[self.offsets[i] : self.offsets[i + 1]]

    @property
    def lengths(self) -> np.ndarray:
        """Length of each item, int64."""
        return np.diff(self.offsets)

    @classmethod
    def of(cls, items: Iterable[Sequence[int]], dtype: type[np.unsignedinteger]) -> Column:
        """A column in memory."""
        arrays = [np.asarray(item, dtype) for item in items]
        return cls(np.concatenate([np.zeros(0, dtype), *arrays]), _offsets([len(array) for array in arrays]))

    @classmethod
    def open(cls, directory: Path, name: str) -> Column:
        """Maps ``directory/name.npy``; its offsets are read."""
        values = np.load(directory / f"{name}.npy", mmap_mode="r")
        return cls(values, np.load(directory / f"{name}.offsets.npy"))


class ColumnWriter:
    """Writes a column as it comes, in memory that does not grow with its values."""

    def __init__(self, directory: Path, name: str, dtype: type[np.unsignedinteger]) -> None:
        self._offsets_path = directory / f"{name}.offsets.npy"
        self._file = (directory / f"{name}.npy").open("wb")
        self._dtype, self._lengths = np.dtype(dtype), list[int]()
        self._write_header()

    def _write_header(self) -> None:  # numpy pads it, so that it keeps its size as the first axis grows
        header = {"descr": self._dtype.str, "fortran_order": False, "shape": (sum(self._lengths),)}
        np.lib.format.write_array_header_1_0(self._file, header)

    def extend(self, items: Iterable[np.ndarray]) -> None:
        """Appends items."""
        for item in items:
            self._file.write(item.astype(self._dtype).tobytes())
            self._lengths.append(len(item))

    def __enter__(self) -> ColumnWriter:
        return self

    def __exit__(self, *_: object) -> None:
        with self._file:
            self._file.seek(0)
            self._write_header()
        np.save(self._offsets_path, _offsets(self._lengths))


def _offsets(lengths: Sequence[int]) -> np.ndarray:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


def build_tokens(data: DataConfig, workdir: Workdir, pairs: Callable[[str], Iterable[Pair]]) -> StageResult:
    """The tokens stage. The corpus and the tokenizers decide it.

    Args:
      data: says which side an encoder's own tokenizer reads.
      workdir: holds the finished corpus and tokenizer; gets ``tokens/``.
      pairs: a split's pairs, in an order that is always the same.

    Raises:
      UserError: the corpus or the tokenizer is missing.
    """
    tokenizers = Tokenizers.load(workdir.tokenizer, data.direction)

    def build(directory: Path) -> dict[str, Any]:
        with console.progress("tokens", None, "pairs") as bar:
            splits = {
                split: write_split(directory / split, tokenizers, advancing(bar, pairs(split))) for split in SPLITS
            }
        files = sorted(path for path in directory.rglob("*.npy"))
        return {"splits": splits, "files": {str(path.relative_to(directory)): digest(path) for path in files}}

    return workdir.stage("tokens", {}, {"corpus": workdir.digest("corpus"), "tokenizer": tokenizers.digest}, build)


def write_split(directory: Path, tokenizers: Tokenizers, pairs: Iterable[Pair]) -> dict[str, int]:
    """Writes one split's columns; returns its counts of pairs and of tokens on both sides."""
    directory.mkdir()
    text, code = tokenizers.text, tokenizers.code
    token = np.uint16 if max(text.vocab_size, code.vocab_size) <= 2**16 else np.uint32
    counts = {"pairs": 0, "text_tokens": 0, "code_tokens": 0}
    with (
        ColumnWriter(directory, "text", token) as text_column,
        ColumnWriter(directory, "code", token) as code_column,
        ColumnWriter(directory, "id", np.uint8) as id_column,
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
    return counts


def inverse_frequency(tokens: Tokens, tokenizers: Tokenizers) -> np.ndarray:
    """log(N / n) for each target id, n of N targets having it (Gu et al. 2016, equation 7); 0 for those in none."""
    targets = tokens.code if tokenizers.direction == "text_to_code" else tokens.text
    found = np.zeros(tokenizers.target.vocab_size, np.int64)
    for i in range(len(tokens)):
        found[np.unique(targets(i))] += 1
    return np.where(found > 0, np.log(len(tokens) / np.maximum(found, 1)), 0.0).astype(np.float32)
