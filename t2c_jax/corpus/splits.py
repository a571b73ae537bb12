"""Groups of pairs, and the split that each group belongs to.

Nearly equal pairs must not be in different splits, so whole groups are assigned, not single pairs:

- Mined pairs are grouped by repository if there are enough repositories for the shares, that is if the smaller share is
  at least one of them. Otherwise they are grouped by module: the first component of the path. While one module holds
  more than half of its repository's pairs, it is split into its parts (``src/`` into ``src/a/``, ``src/b.py`` …).
- A family of forks counts as one repository; see ``families``.
- Pairs of files are grouped by the group that their line names, or by their id.
- Pairs whose line names a split are in that split, whatever their group.
- Code without a text belongs to the same groups, but groups are made and measured by pairs with a text. So adding code
  to pre-train on does not move the pairs to test on.

The group's name is hashed to a number in [0, 1): below ``test_share`` the group is in test, below ``test_share +
dev_share`` in dev, otherwise in train. So adding or removing groups leaves the others where they are. There are two
exceptions for corpora of few groups. The largest group is always in train. With three groups or more, a split with a
share is never empty: it gets train's group with the lowest hash, the largest excepted, or else one of the other
held-out split's.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

TRAIN, DEV, TEST = 0, 1, 2  # indices of pairs.SPLITS; of a pair in several splits the highest is kept


def hash64(name: str) -> int:
    """A stable 64-bit hash."""
    return int.from_bytes(hashlib.blake2b(name.encode("utf-8"), digest_size=8).digest(), "little")


def mined_groups(
    paths: Mapping[tuple[str, str], int], dev_share: float, test_share: float
) -> dict[tuple[str, str], str]:
    """The group's name for each (repository, path).

    Args:
      paths: the size of each (repository, path), in pairs.
      dev_share: of groups in dev.
      test_share: of groups in test.
    """
    repositories = {repository for repository, _ in paths}
    shares = [share for share in (dev_share, test_share) if share > 0]
    if shares and len(repositories) * min(shares) >= 1:
        return {key: key[0] for key in paths}
    groups: dict[tuple[str, str], str] = {}
    for repository in repositories:
        counts = {path: count for (owner, path), count in paths.items() if owner == repository}
        groups |= {(repository, path): f"{repository}/{module}" for path, module in _modules(counts).items()}
    return groups


def _modules(counts: Mapping[str, int]) -> dict[str, str]:
    """The module of each path: a directory, ending in "/", or the file itself."""
    modules = {path: _part(path, 1) for path in counts}
    while True:
        sizes: Counter[str] = Counter()
        for path, module in modules.items():
            sizes[module] += counts[path]
        largest, size = max(sizes.items(), key=lambda item: (item[1], item[0]))
        if 2 * size <= sum(sizes.values()) or not largest.endswith("/"):
            return modules
        depth = largest.count("/") + 1
        modules = {path: _part(path, depth) if module == largest else module for path, module in modules.items()}


def _part(path: str, depth: int) -> str:
    parts = path.split("/")
    return path if len(parts) <= depth else "/".join(parts[:depth]) + "/"


def assign(
    hashes: NDArray[np.uint64], sizes: NDArray[np.int64], dev_share: float, test_share: float
) -> NDArray[np.int8]:
    """The split of each group: ``TRAIN``, ``DEV`` or ``TEST``; see the module's docstring.

    Args:
      hashes: ``hash64`` of the groups' names, ascending, each once.
      sizes: of each group, in pairs.
      dev_share: of groups in dev.
      test_share: of groups in test.
    """
    splits = np.full(len(hashes), TRAIN, np.int8)
    if not len(hashes):
        return splits
    places = hashes / 2.0**64
    splits[places < test_share + dev_share] = DEV
    splits[places < test_share] = TEST
    largest = int(np.argmax(sizes))
    splits[largest] = TRAIN
    if len(hashes) >= 3:
        for split, other, share in ((TEST, DEV, test_share), (DEV, TEST, dev_share)):
            if share > 0 and not (splits == split).any():
                train = np.flatnonzero(splits == TRAIN)
                donors = train[train != largest]
                if not len(donors):
                    donors = np.flatnonzero(splits == other)
                splits[donors[0]] = split
    return splits
