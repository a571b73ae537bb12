"""Near-duplicates over the whole corpus: of pairs with nearly the same code the best copy is kept.

Code of less than ``SHORT_CODE`` characters recurs under other texts, such as a check of the same argument. Then the
texts have to be equal.

The best copy is, in this order: one of a file of pairs, which is kept whatever it repeats unless
config.corpus.rules_for is "all"; of test before dev before train, so that no near-duplicate of what is held out is
trained on; with a text; with the longest text. The order of the sources makes no difference.

All shingles are in one file, 8 bytes each. In memory are some 100 bytes for each pair, and the shingles
that several pairs may share.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from t2c_jax.config import CorpusConfig
from t2c_jax.corpus.shards import Rows, Shard
from t2c_jax.languages.near_duplicates import NearDuplicates, TokenSets


class LeadersOf(Protocol):
    """Finds near-duplicates among the kept pairs of shards."""

    def __call__(
        self,
        shards: Sequence[Shard],
        kept: NDArray[np.bool_],
        ranks: NDArray[np.int64],
        spared: NDArray[np.bool_],
        threshold: float,
    ) -> NDArray[np.int64]:
        """For each kept pair, by its place among them, the pair that it repeats; see ``NearDuplicates.leaders``.

        Args:
          shards: of all pairs, with shingles.
          kept: for all pairs, whether they are kept so far.
          ranks: of the kept ones; the best copy has the lowest.
          spared: of the kept ones, whether they are kept whatever they repeat.
          threshold: Jaccard similarity.
        """


def leaders_here(
    shards: Sequence[Shard],
    kept: NDArray[np.bool_],
    ranks: NDArray[np.int64],
    spared: NDArray[np.bool_],
    threshold: float,
) -> NDArray[np.int64]:
    """``LeadersOf`` in this process."""
    scratch = shards[0].path.with_name(".shingles")
    try:
        return NearDuplicates(_kept_sets(shards, kept, scratch), threshold).leaders(ranks, spared)
    finally:
        scratch.unlink(missing_ok=True)


def near_originals(
    shards: Sequence[Shard],
    rows: Rows,
    splits: NDArray[np.int8],
    config: CorpusConfig,
    leaders_of: LeadersOf = leaders_here,
) -> NDArray[np.int64]:
    """For each pair the position of the pair that it nearly repeats; its own if it is kept, or was dropped before.

    Args:
      shards: of all pairs, with shingles.
      rows: of all pairs.
      splits: of all pairs; negative where a pair was dropped.
      config: the threshold, and which pairs may be dropped.
      leaders_of: finds near-duplicates.
    """
    leaders = np.arange(len(rows))
    kept = np.flatnonzero(splits >= 0)
    if not len(kept):
        return leaders
    spared = np.zeros(len(rows), bool) if config.rules_for == "all" else ~rows["mined"]
    order = np.lexsort(
        (*rows["content"].T, -rows["text_chars"].astype(np.int64), ~rows["has_text"], -splits.astype(np.int64), ~spared)
    )
    ranks = np.empty(len(rows), np.int64)
    ranks[order] = np.arange(len(rows))
    found = leaders_of(shards, splits >= 0, ranks[kept], spared[kept], config.near_duplicates)
    leaders[kept] = kept[found]
    return leaders


def _kept_sets(shards: Sequence[Shard], kept: NDArray[np.bool_], scratch: Path) -> TokenSets:
    """The sets of the pairs that are kept, with their values in a file."""
    sizes = [np.zeros(0, np.int64)]
    position = 0
    with scratch.open("wb") as file:
        for shard in shards:
            chosen = kept[position : position + len(shard.rows)]
            position += len(shard.rows)
            counts = shard.rows["shingles"].astype(np.int64)
            shard.shingles()[np.repeat(chosen, counts)].tofile(file)
            sizes.append(counts[chosen])
    ends = np.cumsum(np.concatenate(sizes))
    values = np.memmap(scratch, np.uint64, "r") if ends[-1] else np.zeros(0, np.uint64)
    return TokenSets(values, ends)
