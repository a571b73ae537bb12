"""Families of repositories: forks and copies, which hold much of each other's code and belong in one split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from t2c_jax.corpus.shards import Rows, path_hash

SHARED = 0.3
"""The share of its codes that the smaller of two repositories has in common with the larger, from which on they are one
family. Repositories that vendor the same library share less."""

_FEWEST = 5  # codes in common


def fork_families(rows: Rows, paths: Mapping[tuple[str, str], Sequence[int]]) -> dict[str, str]:
    """The name of each repository's family: its first repository by name; of most it is the repository itself.

    Args:
      rows: of all pairs.
      paths: the (repository, path) of all mined pairs.
    """
    names = sorted({repository for repository, _ in paths})
    if len(names) < 2:
        return {name: name for name in names}
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    index = {name: number for number, name in enumerate(names)}
    hashes = np.array([path_hash(key) for key in paths], np.uint64)
    owners = np.array([index[repository] for repository, _ in paths], np.int64)
    order = np.argsort(hashes)
    mined = rows[rows["mined"]]
    _, codes = np.unique(mined["code"], return_inverse=True)
    holders = owners[order][np.searchsorted(hashes[order], mined["group"])]
    held = np.unique(np.stack([holders, codes], 1), axis=0)  # each code once a repository
    matrix = csr_array((np.ones(len(held), np.int64), (held[:, 0], held[:, 1])), (len(names), codes.max(initial=0) + 1))
    common = (matrix @ matrix.T).tocoo()
    sizes = np.bincount(held[:, 0], minlength=len(names))
    smaller = np.minimum(sizes[common.row], sizes[common.col])
    alike: NDArray[np.bool_] = (common.data >= _FEWEST) & (common.data >= SHARED * smaller)
    graph = csr_array((alike[alike], (common.row[alike], common.col[alike])), (len(names), len(names)))
    _, families = connected_components(graph, directed=False)
    first = {family: name for name, family in reversed(list(zip(names, families.tolist(), strict=True)))}
    return {name: first[family] for name, family in zip(names, families.tolist(), strict=True)}
