"""The pairs of all shards to the corpus: splits and duplicates.

What is decided of a pair depends on all others, but only on a few numbers of each, its row (``shards.ROW``). So the
rows of all pairs are in memory, some 60 bytes each, and the pairs themselves stay in their shards until they are
written.

A pair is a duplicate if its text and code are another's after ``normalised``. One is kept, byte for byte as its source
has it: that of test before dev before train, so that nothing held out is trained on and no named split loses to a
random one below it, and within a split the first. Code alone repeats no text, but it may be the answer of a pair in dev
or test: then it is dropped too.

Then near-duplicates are dropped, by their code; see ``corpus.duplicates``.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from t2c_jax.config import CorpusConfig
from t2c_jax.corpus import splits
from t2c_jax.corpus.duplicates import LeadersOf, leaders_here, near_originals
from t2c_jax.corpus.families import fork_families
from t2c_jax.corpus.pairs import SPLITS, Pair
from t2c_jax.corpus.rules.redaction import shown_to_people
from t2c_jax.corpus.shards import UNNAMED, Rows, Shard, finds_near_duplicates, joined_paths, joined_rows, path_hash
from t2c_jax.corpus.tally import EXAMPLES, Tally

_REPEAT = -1
_REPEAT_ACROSS = -2
_HELD_OUT_CODE = -3
_NEAR = -4
_NEAR_ACROSS = -5
_REPEATS = {
    _REPEAT: "duplicate",
    _REPEAT_ACROSS: "duplicate of a pair in another split",
    _HELD_OUT_CODE: "code alone that is the code of a pair in dev or test",
    _NEAR: "near-duplicate",
    _NEAR_ACROSS: "near-duplicate of a pair in another split",
}


@dataclass
class Cleaned:
    """What cleaning decided.

    Attributes:
      shards: the pairs that kept the rules, in the order of the sources.
      splits: for each of them its index in ``SPLITS``, or a key of ``_REPEATS``.
      groups: for each of them the hash of its group.
      repeated_ids: the positions of kept pairs with the id of one before them.
      id_hashes: of all of them, sorted.
      originals: for some near-duplicates the place of the pair that each repeats.
      drops: pairs dropped, by rule; duplicates are added by ``pairs``.
      replaced: pairs in which something was replaced, by what it was.
      counts: pairs in each split that has any.
    """

    shards: Sequence[Shard]
    splits: NDArray[np.int8]
    groups: NDArray[np.uint64]
    repeated_ids: frozenset[int]
    id_hashes: NDArray[np.uint64]
    originals: Mapping[int, str]
    drops: Tally
    replaced: Tally
    counts: dict[str, int]

    def pairs(self) -> Iterator[Pair]:
        """The corpus, in the order of the sources; to be called once. A repeated id gets a number behind it."""
        given: set[str] = set()
        position = 0
        for shard in self.shards:
            for pair in shard.pairs():
                split = int(self.splits[position])
                if split < 0:
                    original = self.originals.get(position)
                    place = f"{pair.source} as {original}" if original else str(pair.source)
                    self.drops.add(_REPEATS[split], place, functools.partial(shown_to_people, pair))
                else:
                    pair_id = pair.id
                    if position in self.repeated_ids:
                        pair_id = next(name for name in _numbered(pair_id) if name not in given and self._is_free(name))
                        given.add(pair_id)
                    group = f"{int(self.groups[position]):016x}"
                    yield dataclasses.replace(pair, id=pair_id, split=SPLITS[split], group=group)
                position += 1

    def _is_free(self, pair_id: str) -> bool:
        wanted = np.uint64(splits.hash64(pair_id))
        place = int(np.searchsorted(self.id_hashes, wanted))
        return place == len(self.id_hashes) or self.id_hashes[place] != wanted


def _numbered(pair_id: str) -> Iterator[str]:
    return (f"{pair_id}#{number}" for number in itertools.count(2))


def clean(shards: Sequence[Shard], config: CorpusConfig, leaders_of: LeadersOf = leaders_here) -> Cleaned:
    """Assigns splits and finds duplicates.

    Args:
      shards: the pairs that kept the rules, in the order of the sources.
      config: the shares of the splits, and whether duplicates are dropped.
      leaders_of: finds near-duplicates.
    """
    drops, replaced = Tally(), Tally()
    for shard in shards:
        drops.update(shard.summary.dropped)
        replaced.update(shard.summary.replaced)
    rows = joined_rows(shards)
    groups = _groups(rows, joined_paths(shards), config)
    assigned = _splits(rows, groups, config)
    if config.deduplicate:
        assigned = _without_held_out_code(rows, _without_repeats(rows, assigned))
    originals: dict[int, str] = {}
    if finds_near_duplicates(config):
        leaders = near_originals(shards, rows, assigned, config, leaders_of)
        assigned, originals = _without_near_duplicates(shards, assigned, leaders)
    counts = {name: int((assigned == index).sum()) for index, name in enumerate(SPLITS) if (assigned == index).any()}
    return Cleaned(
        shards, assigned, groups, _repeated_ids(rows, assigned), np.sort(rows["id"]), originals, drops, replaced, counts
    )


def _groups(rows: Rows, paths: Mapping[tuple[str, str], Sequence[int]], config: CorpusConfig) -> NDArray[np.uint64]:
    """The hash of each pair's group."""
    # Sizes are pairs with a text; of a repository that has none, pairs.
    documented = {repository for (repository, _), (_, texts) in paths.items() if texts}
    sizes = {key: texts if key[0] in documented else alone for key, (alone, texts) in paths.items()}
    families = fork_families(rows, paths)
    in_family: dict[tuple[str, str], int] = {}
    for (repository, path), size in sizes.items():
        key = (families[repository], path)
        in_family[key] = in_family.get(key, 0) + size
    modules = splits.mined_groups(in_family, config.dev_share, config.test_share)
    of_path = {path_hash(key): splits.hash64(modules[families[key[0]], key[1]]) for key in sizes}
    found, inverse = np.unique(rows["group"], return_inverse=True)
    return np.array([of_path.get(value, value) for value in found.tolist()], np.uint64)[inverse]


def _splits(rows: Rows, groups: NDArray[np.uint64], config: CorpusConfig) -> NDArray[np.int8]:
    """The split of each pair: the named one, or its group's."""
    assigned = rows["named"].copy()
    unnamed = assigned == UNNAMED
    hashes, inverse, counts = np.unique(groups[unnamed], return_inverse=True, return_counts=True)
    with_text = np.bincount(inverse, rows["has_text"][unnamed], len(hashes)).astype(np.int64)
    sizes = with_text if with_text.any() else counts
    assigned[unnamed] = splits.assign(hashes, sizes, config.dev_share, config.test_share)[inverse]
    return assigned


def _without_repeats(rows: Rows, assigned: NDArray[np.int8]) -> NDArray[np.int8]:
    """The splits, with ``_REPEAT`` or ``_REPEAT_ACROSS`` for pairs that repeat one that is kept."""
    high, low = rows["content"].T
    order = np.lexsort((np.arange(len(assigned)), -assigned, low, high))
    is_new = np.ones(len(order), bool)
    is_new[1:] = (high[order][1:] != high[order][:-1]) | (low[order][1:] != low[order][:-1])
    kept = assigned[order][is_new][np.cumsum(is_new) - 1]  # the split of the one that each repeats
    result = assigned.copy()
    result[order] = np.where(is_new, assigned[order], np.where(kept == assigned[order], _REPEAT, _REPEAT_ACROSS))
    return result


def _without_held_out_code(rows: Rows, assigned: NDArray[np.int8]) -> NDArray[np.int8]:
    """The splits, with ``_HELD_OUT_CODE`` for code alone that a kept pair of dev or test has as its code."""
    codes, has_text = rows["code"], rows["has_text"]
    answers = np.isin(codes, codes[(assigned >= splits.DEV) & has_text])
    return np.where((assigned >= 0) & ~has_text & answers, np.int8(_HELD_OUT_CODE), assigned)


def _without_near_duplicates(
    shards: Sequence[Shard], assigned: NDArray[np.int8], leaders: NDArray[np.int64]
) -> tuple[NDArray[np.int8], dict[int, str]]:
    """The splits, with ``_NEAR`` or ``_NEAR_ACROSS``; and the places of what the first ones of each repeat."""
    result, originals = assigned.copy(), {}
    positions = np.flatnonzero(leaders != np.arange(len(leaders)))
    same = assigned[positions] == assigned[leaders[positions]]
    for chosen, key in ((positions[same], _NEAR), (positions[~same], _NEAR_ACROSS)):
        result[chosen] = key
        for position in chosen[:EXAMPLES].tolist():
            originals[position] = str(_pair_at(shards, int(leaders[position])).source)
    return result, originals


def _pair_at(shards: Sequence[Shard], position: int) -> Pair:
    for shard in shards:
        if position < len(shard.rows):
            return shard.pairs()[position]
        position -= len(shard.rows)
    raise IndexError(position)


def _repeated_ids(rows: Rows, assigned: NDArray[np.int8]) -> frozenset[int]:
    """Positions of kept pairs whose id a kept one before them has."""
    kept = np.flatnonzero(assigned >= 0)
    _, first = np.unique(rows["id"][kept], return_index=True)
    return frozenset(np.delete(kept, first).tolist())
