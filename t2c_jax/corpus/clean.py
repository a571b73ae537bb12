"""Candidates to the corpus: limits, held-out lines, splits, duplicates.

In two passes, so that memory grows by some 40 bytes a pair and not by its text. The first applies the limits, writes
the pairs within them to a scratch file, and notes a few numbers of each. From these the splits are assigned and
duplicates found. The second reads the scratch file back in the same order.

A pair is a duplicate if its text and code are another's after ``normalised``. One is kept, byte for byte as its source
has it: that of test before dev before train, so that nothing held out is trained on and no named split loses to a
random one below it, and within a split the first. Code alone repeats no text, but it may be the answer of a pair in dev
or test: then it is dropped too.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import pickle
import re
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from t2c_jax.config import CorpusConfig
from t2c_jax.corpus import splits
from t2c_jax.corpus.held_out import SHARES_LINE, HeldOut
from t2c_jax.corpus.mine import Candidate
from t2c_jax.corpus.pairs import SPLITS, Pair
from t2c_jax.corpus.rules import PairRules
from t2c_jax.corpus.tally import Tally

_UNNAMED = _REPEAT = -1
_REPEAT_ACROSS = -2
_HELD_OUT_CODE = -3
_REPEATS = {
    _REPEAT: "duplicate",
    _REPEAT_ACROSS: "duplicate of a pair in another split",
    _HELD_OUT_CODE: "code alone that is the code of a pair in dev or test",
}


_LINE_END = re.compile(r"\r\n|\r|\n")


def normalised(text: str) -> str:
    """The text with line feeds only, without trailing space, and each line indented by its depth.

    Depth counts the enclosing lines that are indented less, so that tabs, two and four spaces are the same.
    """
    lines = []
    outer: list[int] = []  # the indentation of the enclosing lines, in columns
    for raw in _LINE_END.split(text.strip("\r\n")):
        line = raw.strip()
        if line:
            column = len(raw[: len(raw) - len(raw.lstrip())].expandtabs())
            while outer and outer[-1] >= column:
                outer.pop()
            line = "\t" * len(outer) + line
            outer.append(column)
        lines.append(line)
    return "\n".join(lines).strip("\n")


@dataclass
class Cleaned:
    """What cleaning decided.

    Attributes:
      scratch: the candidates that kept the limits, one pickle after the other.
      splits: for each of them its index in ``SPLITS``, or a key of ``_REPEATS``.
      groups: for each of them the hash of its group.
      repeated_ids: the positions of kept candidates with the id of one before them.
      id_hashes: of every candidate, sorted.
      drops: pairs dropped, by rule; duplicates are added by ``pairs``.
      counts: pairs in each split that has any.
    """

    scratch: Path
    splits: NDArray[np.int8]
    groups: NDArray[np.uint64]
    repeated_ids: frozenset[int]
    id_hashes: NDArray[np.uint64]
    drops: Tally
    counts: dict[str, int]

    def pairs(self) -> Iterator[Pair]:
        """The corpus, in the order of the sources; to be called once. A repeated id gets a number behind it."""
        given: set[str] = set()
        with self.scratch.open("rb") as file:
            for position, (split, group) in enumerate(zip(self.splits.tolist(), self.groups.tolist(), strict=True)):
                pair: Pair = pickle.load(file)
                if split < 0:
                    self.drops.add(_REPEATS[split], str(pair.source))
                    continue
                pair_id = pair.id
                if position in self.repeated_ids:
                    pair_id = next(name for name in _numbered(pair_id) if name not in given and self._is_free(name))
                    given.add(pair_id)
                yield dataclasses.replace(pair, id=pair_id, split=SPLITS[split], group=f"{group:016x}")

    def _is_free(self, pair_id: str) -> bool:
        wanted = np.uint64(splits.hash64(pair_id))
        place = int(np.searchsorted(self.id_hashes, wanted))
        return place == len(self.id_hashes) or self.id_hashes[place] != wanted


def _numbered(pair_id: str) -> Iterator[str]:
    return (f"{pair_id}#{number}" for number in itertools.count(2))


def clean(
    candidates: Iterable[Candidate], config: CorpusConfig, scratch: Path, held_out: HeldOut | None = None
) -> Cleaned:
    """Applies limits, drops held-out code, assigns splits and finds duplicates.

    Args:
      candidates: read once.
      config: limits and shares.
      scratch: a file to write the candidates to; the caller deletes it.
      held_out: lines that no candidate may hold.
    """
    drops, survey = Tally(), _Survey()
    rules = {mined: PairRules(config, mined) for mined in (True, False)}
    with scratch.open("wb") as file:
        for candidate in candidates:
            kept = rules[not candidate.group](candidate.pair)
            if not isinstance(kept, str) and held_out is not None and held_out.shares_line(kept.code):
                kept = SHARES_LINE
            if isinstance(kept, str):
                drops.add(kept, str(candidate.pair.source))
            else:
                survey.add(kept, candidate.group)
                pickle.dump(kept, file, protocol=5)
    groups = survey.groups_of(config)
    assigned = survey.splits(config, groups)
    if config.deduplicate:
        assigned = survey.without_held_out_code(survey.without_repeats(assigned))
    counts = {name: int((assigned == index).sum()) for index, name in enumerate(SPLITS) if (assigned == index).any()}
    id_hashes = np.sort(_view(survey.id_hashes, np.uint64))
    return Cleaned(scratch, assigned, groups, survey.repeated_ids(assigned), id_hashes, drops, counts)


class _Survey:
    """A few numbers for each candidate, in order."""

    def __init__(self) -> None:
        self.named = array("b")
        self.groups = array("Q")
        self.contents = array("Q")  # two for each
        self.codes = array("Q")
        self.id_hashes = array("Q")
        self.has_text = array("b")
        self.paths: dict[tuple[str, str], list[int]] = {}  # of mined pairs: how many without a text, and with one

    def add(self, pair: Pair, group: str) -> None:
        self.named.append(SPLITS.index(pair.split) if pair.split else _UNNAMED)
        if group:
            self.groups.append(splits.hash64(f"group {group}"))
        else:
            key = (pair.source.repository, pair.source.path)
            self.paths.setdefault(key, [0, 0])[pair.has_text] += 1
            self.groups.append(_path_hash(key))
        self.has_text.append(pair.has_text)
        code = normalised(pair.code)
        self.codes.append(splits.hash64(code))
        content = f"{normalised(pair.text)}\0{code}".encode()
        self.contents.frombytes(hashlib.blake2b(content, digest_size=16).digest())
        self.id_hashes.append(splits.hash64(pair.id))

    def groups_of(self, config: CorpusConfig) -> NDArray[np.uint64]:
        """The hash of each candidate's group."""
        modules = splits.mined_groups(self._sizes(), config.dev_share, config.test_share)
        of_path = {_path_hash(key): splits.hash64(module) for key, module in modules.items()}
        found, inverse = np.unique(_view(self.groups, np.uint64), return_inverse=True)
        return np.array([of_path.get(value, value) for value in found.tolist()], np.uint64)[inverse]

    def splits(self, config: CorpusConfig, groups: NDArray[np.uint64]) -> NDArray[np.int8]:
        """The split of each candidate: the named one, or its group's."""
        assigned = _view(self.named, np.int8).copy()
        unnamed = assigned == _UNNAMED
        hashes, inverse, counts = np.unique(groups[unnamed], return_inverse=True, return_counts=True)
        with_text = np.bincount(inverse, _view(self.has_text, np.int8)[unnamed], len(hashes)).astype(np.int64)
        sizes = with_text if with_text.any() else counts
        assigned[unnamed] = splits.assign(hashes, sizes, config.dev_share, config.test_share)[inverse]
        return assigned

    def _sizes(self) -> dict[tuple[str, str], int]:
        """Pairs with a text in each (repository, path); of a repository that has none, pairs."""
        documented = {repository for (repository, _), (_, texts) in self.paths.items() if texts}
        return {key: texts if key[0] in documented else alone for key, (alone, texts) in self.paths.items()}

    def without_repeats(self, assigned: NDArray[np.int8]) -> NDArray[np.int8]:
        """The splits, with ``_REPEAT`` or ``_REPEAT_ACROSS`` for candidates that repeat one that is kept."""
        high, low = _view(self.contents, np.uint64).reshape(-1, 2).T
        order = np.lexsort((np.arange(len(assigned)), -assigned, low, high))
        is_new = np.ones(len(order), bool)
        is_new[1:] = (high[order][1:] != high[order][:-1]) | (low[order][1:] != low[order][:-1])
        kept = assigned[order][is_new][np.cumsum(is_new) - 1]  # the split of the one that each repeats
        result = assigned.copy()
        result[order] = np.where(is_new, assigned[order], np.where(kept == assigned[order], _REPEAT, _REPEAT_ACROSS))
        return result

    def without_held_out_code(self, assigned: NDArray[np.int8]) -> NDArray[np.int8]:
        """The splits, with ``_HELD_OUT_CODE`` for code alone that a kept pair of dev or test has as its code."""
        codes, has_text = _view(self.codes, np.uint64), _view(self.has_text, np.bool_)
        answers = np.isin(codes, codes[(assigned >= splits.DEV) & has_text])
        return np.where((assigned >= 0) & ~has_text & answers, np.int8(_HELD_OUT_CODE), assigned)

    def repeated_ids(self, assigned: NDArray[np.int8]) -> frozenset[int]:
        """Positions of kept candidates whose id a kept one before them has."""
        kept = np.flatnonzero(assigned >= 0)
        _, first = np.unique(_view(self.id_hashes, np.uint64)[kept], return_index=True)
        return frozenset(np.delete(kept, first).tolist())


def _view(values: array[int], dtype: type[Any]) -> NDArray[Any]:
    return np.frombuffer(values, dtype) if values else np.zeros(0, dtype)


def _path_hash(key: tuple[str, str]) -> int:
    return splits.hash64(f"path {key[0]}\0{key[1]}")
