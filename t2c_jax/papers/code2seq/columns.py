"""Paths as arrays: terminals tokenised, kept as memory-mapped columns, and laid out in batches.

``tokens/SPLIT/`` holds three columns more for the paths encoder, of the widths that the manifest's config states:
``path_nodes`` (P x M ids an example), ``path_ends`` (P x 2 indices into its terminals) and ``path_terminals`` (U x N
tokens, 0 padded).

Letters: B rows, K paths of a row, P paths of an example, M nodes of a path, U terminals of an example, N tokens of one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from t2c_jax.data.columns import Column, ColumnWriter
from t2c_jax.data.permutation import permutation
from t2c_jax.papers.code2seq.config import PathsConfig
from t2c_jax.papers.code2seq.syntax_paths import Paths, extract
from t2c_jax.tokenizers.base import Tokenizer

_COLUMNS = ("path_nodes", "path_ends", "path_terminals")
_DRAW = 2  # tells the draws of paths from those that ``packing`` makes with the same seed and epoch


class EncodedPaths(NamedTuple):
    """An example's paths.

    Attributes:
      nodes_PM: node ids, 0 after the last.
      ends_P2: the terminals of the first and the last leaf.
      terminals_UN: tokens of each terminal, 0 after the last.
    """

    nodes_PM: np.ndarray
    ends_P2: np.ndarray
    terminals_UN: np.ndarray

    def take(self, limit: int, *key: int) -> EncodedPaths:
        """``limit`` of the paths, drawn by ``key`` without replacement; all of them where there are no more."""
        chosen = np.sort(permutation(len(self.ends_P2), *key, _DRAW)[:limit])
        return EncodedPaths(self.nodes_PM[chosen], self.ends_P2[chosen], self.terminals_UN)


def encode(codes: Sequence[str], tokenizer: Tokenizer, config: PathsConfig) -> tuple[list[EncodedPaths], int]:
    """The paths of each code, and how many codes do not parse (those have no path)."""
    found = [extract(code, config) for code in codes]
    nothing = Paths(np.zeros((0, config.max_length), np.uint16), np.zeros((0, 2), np.int32), [])
    paths = [nothing if one is None else one for one in found]
    words = list(dict.fromkeys(terminal for one in paths for terminal in one.terminals))
    tokens_UN = np.zeros((len(words), config.terminal_tokens), np.int32)
    for row, ids in enumerate(tokenizer.encode_batch(words)):
        cut = ids[: config.terminal_tokens]
        tokens_UN[row, : len(cut)] = cut
    number = {word: row for row, word in enumerate(words)}
    encoded = [
        EncodedPaths(one.nodes_PM, one.ends_P2, tokens_UN[[number[terminal] for terminal in one.terminals]])
        for one in paths
    ]
    return encoded, sum(one is None for one in found)


def stored_part(config: PathsConfig) -> dict[str, Any]:
    """The settings that decide what is stored; how many a batch draws of it does not."""
    return {name: getattr(config, name) for name in ("stored", "max_length", "max_width", "terminal_tokens")}


class PathWriter(contextlib.ExitStack):
    """Writes a split's paths as its pairs come."""

    def __init__(self, directory: Path, tokenizer: Tokenizer, config: PathsConfig) -> None:
        super().__init__()
        self._tokenizer, self._config = tokenizer, config
        token = np.uint16 if tokenizer.vocab_size <= 2**16 else np.uint32
        end = np.uint16 if 2 * config.stored <= 2**16 else np.uint32
        dtypes = (np.uint16, end, token)
        columns = zip(_COLUMNS, dtypes, strict=True)
        self._columns = [self.enter_context(ColumnWriter(directory, name, dtype)) for name, dtype in columns]
        self.counts = {"paths": 0, "without_paths": 0, "unparsable": 0}

    def extend(self, codes: Sequence[str]) -> None:
        """Appends the paths of each code."""
        encoded, unparsable = encode(codes, self._tokenizer, self._config)
        for column, arrays in zip(self._columns, zip(*encoded, strict=True), strict=True):
            column.extend(array.ravel() for array in arrays)
        counts = [len(one.ends_P2) for one in encoded]
        self.counts["paths"] += sum(counts)
        self.counts["without_paths"] += counts.count(0)
        self.counts["unparsable"] += unparsable


class StoredPaths:
    """A split's paths, by index.

    Attributes:
      counts: paths of each example, int64.
      settings: what ``stored_part`` gave when they were made.
    """

    def __init__(self, nodes: Column, ends: Column, terminals: Column, settings: dict[str, Any]) -> None:
        self._nodes, self._ends, self._terminals = nodes, ends, terminals
        self.settings = settings
        self.counts = ends.lengths // 2

    @classmethod
    def open(cls, directory: Path, settings: dict[str, Any]) -> StoredPaths:
        """Maps the columns of a split's directory."""
        nodes, ends, terminals = (Column.open(directory, name) for name in _COLUMNS)
        return cls(nodes, ends, terminals, settings)

    @classmethod
    def of(cls, codes: Sequence[str], tokenizer: Tokenizer, config: PathsConfig) -> StoredPaths:
        """Paths in memory."""
        encoded, _ = encode(codes, tokenizer, config)
        nodes, ends, terminals = (
            Column.of([array.ravel().tolist() for array in arrays], np.uint32) for arrays in zip(*encoded, strict=True)
        )
        return cls(nodes, ends, terminals, stored_part(config))

    def __getitem__(self, i: int) -> EncodedPaths:
        return EncodedPaths(
            self._nodes[i].reshape(-1, self.settings["max_length"]),
            self._ends[i].reshape(-1, 2),
            self._terminals[i].reshape(-1, self.settings["terminal_tokens"]),
        )


def shapes(config: PathsConfig, paths: int) -> dict[str, tuple[int, ...]]:
    """Shape of a row of each array that ``lay_out`` gives; all are int32."""
    return {
        "path_start_tokens": (paths, config.terminal_tokens),
        "path_nodes": (paths, config.max_length),
        "path_end_tokens": (paths, config.terminal_tokens),
        "encoder_segment_ids": (paths,),
    }


def lay_out(examples: Iterable[EncodedPaths], rows: int, paths: int, config: PathsConfig) -> dict[str, np.ndarray]:
    """The encoder's part of a batch: an example a row, with no more paths than ``paths``; then empty rows."""
    batch = {name: np.zeros((rows, *shape), np.int32) for name, shape in shapes(config, paths).items()}
    for row, example in enumerate(examples):
        count = len(example.ends_P2)
        batch["path_nodes"][row, :count] = example.nodes_PM
        batch["path_start_tokens"][row, :count] = example.terminals_UN[example.ends_P2[:, 0]]
        batch["path_end_tokens"][row, :count] = example.terminals_UN[example.ends_P2[:, 1]]
        batch["encoder_segment_ids"][row, :count] = 1
    return batch
