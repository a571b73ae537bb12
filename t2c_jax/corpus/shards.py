"""A shard: the pairs of a part of the sources that kept the rules, on disk, with what whole-corpus steps need.

A shard is one ``.npz`` file with these arrays:

- ``rows``: one row of ``ROW`` for each pair: a few numbers, from which splits are assigned and duplicates found;
- ``shingles``: the sets of shingles of all pairs, end to end, from which near-duplicates are found; empty where these
  are kept;
- ``summary``: JSON of the counts, for the card;
- ``pairs``: the pickled pairs.

It is written under another name and then renamed, so a shard that has its name is whole.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pickle
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from t2c_jax.config import CorpusConfig
from t2c_jax.corpus.normal_form import normalised
from t2c_jax.corpus.pairs import SPLITS, Pair
from t2c_jax.corpus.splits import hash64
from t2c_jax.corpus.tally import Tally
from t2c_jax.errors import UserError
from t2c_jax.languages.hashed_tokens import TokenHasher
from t2c_jax.languages.near_duplicates import TokenSets

SHORT_CODE = 120
"""Characters. Shorter codes are near-duplicates only under equal texts."""

UNNAMED = -1  # the split of a pair whose source names none

ROW = np.dtype(
    [
        ("named", np.int8),  # the index in SPLITS of the split that the source names, or UNNAMED
        ("has_text", np.bool_),
        ("mined", np.bool_),  # from a file of code or documents, not from a file of pairs or a dataset
        ("text_chars", np.uint32),
        ("shingles", np.uint32),  # how many of the shard's ``shingles`` are this pair's
        ("group", np.uint64),  # hash of the group that a file of pairs names, or of a mined file's path
        ("content", np.uint64, 2),  # hash of the normalised text and code
        ("code", np.uint64),  # hash of the normalised code
        ("id", np.uint64),  # hash of the id
    ]
)
Rows = NDArray[np.void]


@dataclass
class ShardSummary:
    """What was counted while a shard was made.

    Attributes:
      files: files that an extractor read to their end.
      pairs: found, before the rules.
      skipped: files and candidates that make no pair, by reason.
      dropped: pairs that break a rule, by rule.
      replaced: pairs in which something was replaced, by what it was.
      paths: of mined pairs that kept the rules, for each (repository, path): how many without a text, and with one.
    """

    files: int = 0
    pairs: int = 0
    skipped: Tally = field(default_factory=Tally)
    dropped: Tally = field(default_factory=Tally)
    replaced: Tally = field(default_factory=Tally)
    paths: dict[tuple[str, str], list[int]] = field(default_factory=dict)

    def to_json(self) -> str:
        """The inverse of ``from_json``."""
        paths = [[*key, *counts] for key, counts in self.paths.items()]
        return json.dumps(dataclasses.asdict(self) | {"paths": paths})

    @classmethod
    def from_json(cls, text: str | bytes) -> ShardSummary:
        """The inverse of ``to_json``."""
        values = json.loads(text)
        paths = {(repository, path): [alone, texts] for repository, path, alone, texts in values.pop("paths")}
        skipped, dropped, replaced = (Tally(**values.pop(name)) for name in ("skipped", "dropped", "replaced"))
        return cls(**values, skipped=skipped, dropped=dropped, replaced=replaced, paths=paths)


class ShardPairs:
    """Collects the pairs of one shard, and their rows."""

    def __init__(self, config: CorpusConfig) -> None:
        """Starts empty."""
        self.summary = ShardSummary()
        self._has_shingles = finds_near_duplicates(config)
        self._pairs: list[Pair] = []
        self._rows: list[tuple[Any, ...]] = []

    def add(self, pair: Pair, group: str) -> None:
        """Adds a pair that kept the rules; ``group`` is empty for mined pairs."""
        if group:
            group_hash = hash64(f"group {group}")
        else:
            key = (pair.source.repository, pair.source.path)
            self.summary.paths.setdefault(key, [0, 0])[pair.has_text] += 1
            group_hash = path_hash(key)
        code = normalised(pair.code)
        content = hashlib.blake2b(f"{normalised(pair.text)}\0{code}".encode(), digest_size=16).digest()
        self._rows.append(
            (
                SPLITS.index(pair.split) if pair.split else UNNAMED,
                pair.has_text,
                not group,
                len(pair.text),
                0,
                group_hash,
                np.frombuffer(content, np.uint64),
                hash64(code),
                hash64(pair.id),
            )
        )
        self._pairs.append(pair)

    def write(self, path: Path) -> None:
        """Writes the shard to ``path``, whole or not at all."""
        rows, shingles = np.array(self._rows, ROW), np.zeros(0, np.uint64)
        if self._has_shingles:
            sets = _shingles(self._pairs)
            rows["shingles"], shingles = sets.sizes, sets.values
        arrays = {
            "rows": rows,
            "shingles": shingles,
            "summary": np.frombuffer(self.summary.to_json().encode("utf-8"), np.uint8),
            "pairs": np.frombuffer(pickle.dumps(self._pairs, protocol=5), np.uint8),
        }
        # A worker outlives a killed parent by a shard, which the next run may be making too.
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        with partial.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        partial.replace(path)


@dataclass(frozen=True)
class Shard:
    """A finished shard without its pairs."""

    path: Path
    rows: Rows
    summary: ShardSummary

    @classmethod
    def open(cls, path: Path) -> Shard | None:
        """The shard of that name; None if there is none, or it is damaged."""
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                return cls(path, arrays["rows"], ShardSummary.from_json(arrays["summary"].tobytes()))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None

    def pairs(self) -> list[Pair]:
        """The pairs, in the order of ``rows``.

        Raises:
          UserError: the file is damaged.
        """
        data = self._array("pairs").tobytes()
        try:
            pairs: list[Pair] = pickle.loads(data)
        except (ValueError, EOFError, pickle.UnpicklingError) as error:
            raise self._damaged(error) from None
        return pairs

    def shingles(self) -> NDArray[np.uint64]:
        """The shingles of all codes, in the order of ``rows``.

        Raises:
          UserError: the file is damaged.
        """
        return self._array("shingles")

    def _array(self, name: str) -> NDArray[Any]:
        try:
            with self.path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                return arrays[name]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise self._damaged(error) from None

    def _damaged(self, error: Exception) -> UserError:
        return UserError(
            f"'{self.path}' is damaged ({type(error).__name__}); delete that file and run the same command again"
        )


def _shingles(pairs: Sequence[Pair]) -> TokenSets:
    """The shingles of the codes; those of short code are others under another text."""
    sets = TokenSets.of((pair.code for pair in pairs), TokenHasher())
    values, begin = sets.values.copy(), 0
    for pair, end in zip(pairs, sets.ends.tolist(), strict=True):
        if len(pair.code) < SHORT_CODE:
            values[begin:end] = np.sort(values[begin:end] ^ np.uint64(hash64(normalised(pair.text))))
        begin = end
    return TokenSets(values, sets.ends)


def finds_near_duplicates(config: CorpusConfig) -> bool:
    """Whether the config asks for it."""
    return config.deduplicate and config.near_duplicates > 0


def joined_rows(shards: Sequence[Shard]) -> Rows:
    """The rows of all shards, in order."""
    return np.concatenate([np.zeros(0, ROW), *(shard.rows for shard in shards)])


def joined_paths(shards: Iterable[Shard]) -> dict[tuple[str, str], list[int]]:
    """``ShardSummary.paths`` of all shards together."""
    paths: dict[tuple[str, str], list[int]] = {}
    for shard in shards:
        for key, (alone, texts) in shard.summary.paths.items():
            counts = paths.setdefault(key, [0, 0])
            counts[0] += alone
            counts[1] += texts
    return paths


def path_hash(key: tuple[str, str]) -> int:
    """The group of a mined pair before groups are assigned: the hash of its (repository, path)."""
    return hash64(f"path {key[0]}\0{key[1]}")
