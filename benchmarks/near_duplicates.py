"""Near-duplicates of Python functions: this package against datasketch, and the recall of both.

    python benchmarks/near_duplicates.py --functions 200000 --rounds 3

Functions are those of the standard library and of site-packages, files in a random order, equal ones once. Both sides
start from the same sets of hashed shingles and end with the pairs whose true Jaccard similarity reaches the threshold,
or with what is kept. Recall is measured on ``--brute`` of the functions, where brute force compares every two, by the
number of their tokens.

datasketch runs as its documentation advises: signatures in bulk, and ``MinHashLSH`` with bands that are chosen by the
threshold, or by weights of false positives and false negatives; and with 16 bands of 8, which reach a recall of 0.97.
"""

import argparse
import functools
import itertools
import json
import resource
import statistics
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _functions import python_functions

from t2c_jax.languages.hashed_tokens import TokenHasher
from t2c_jax.languages.lexical_tokens import lexical_tokens
from t2c_jax.languages.near_duplicates import NearDuplicates, TokenSets, jaccard

THRESHOLD = 0.8
PERMUTATIONS = 128
LENGTHS = (0, 20, 40, 80, 160, 10**9)  # tokens of a function
Pairs = set[tuple[int, int]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--functions", type=int, default=200_000)
    parser.add_argument("--brute", type=int, default=5_000, help="functions that brute force compares")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--without-datasketch", action="store_true")
    parser.add_argument(
        "roots", nargs="*", type=Path, help="directories with Python files, instead of the default ones"
    )
    options = parser.parse_args()
    paths = sysconfig.get_paths()
    texts = functions(options.roots or [Path(paths["stdlib"]), Path(paths["purelib"])], options.functions)
    started = time.perf_counter()
    sets = TokenSets.of(texts, TokenHasher())
    hashing = time.perf_counter() - started
    result: dict[str, Any] = {
        "functions": len(texts),
        "shingles": len(sets.values),
        "seconds_of_hashing": round(hashing, 2),
    }
    sides: dict[str, Callable[[TokenSets], Any]] = {"t2c_jax, what is kept": kept, "t2c_jax, all pairs": ours}
    finders: dict[str, Callable[[TokenSets], Pairs]] = {"t2c_jax, all pairs": ours}
    if not options.without_datasketch:
        for name, settings in PEERS.items():
            sides[name] = finders[name] = functools.partial(datasketch, settings=settings)
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(options.rounds):
        for name, side in sides.items():
            started = time.perf_counter()
            side(sets)
            seconds[name].append(time.perf_counter() - started)
    result["seconds"] = {name: [round(value, 2) for value in values] for name, values in seconds.items()}
    first = seconds["t2c_jax, what is kept"]
    result["times_as_fast"] = {
        name: round(statistics.median(theirs / our for theirs, our in zip(values, first, strict=True)), 2)
        for name, values in seconds.items()
    }
    result["peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    result["recall"] = recalls(texts[: options.brute], finders)
    json.dump(result, sys.stdout, indent=1)
    print()


def functions(roots: list[Path], most: int) -> list[str]:
    """Functions, nested ones too, equal ones once."""
    found: dict[str, None] = {}
    for text in python_functions(roots):
        found[text] = None
        if len(found) == most:
            break
    return list(found)


def kept(sets: TokenSets) -> np.ndarray:
    """What a corpus keeps."""
    ranks = np.random.default_rng(0).permutation(len(sets.ends))
    return NearDuplicates(sets, THRESHOLD).leaders(ranks)


def ours(sets: TokenSets) -> Pairs:
    """All pairs of near-duplicates."""
    found = NearDuplicates(sets, THRESHOLD).of(sets)
    once = found.rows < found.others
    return set(zip(found.rows[once].tolist(), found.others[once].tolist(), strict=True))


PEERS: dict[str, dict[str, Any]] = {
    "datasketch, threshold alone": {},
    "datasketch, weights (.1, .9)": {"weights": (0.1, 0.9)},
    "datasketch, 16 bands of 8": {"params": (16, 8)},
}


def datasketch(sets: TokenSets, settings: dict[str, Any]) -> Pairs:
    """The pairs that datasketch proposes, verified."""
    from datasketch import MinHash, MinHashLSH

    starts = (sets.ends - sets.sizes).tolist()
    values = sets.values >> np.uint64(32)  # its fastest and default scheme takes 32 bits
    members = (values[start:end].tolist() for start, end in zip(starts, sets.ends.tolist(), strict=True))
    signatures = MinHash.bulk(members, num_perm=PERMUTATIONS, hashfunc=int)
    index = MinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS, **settings)
    proposed = []
    for row, (signature, size) in enumerate(zip(signatures, sets.sizes.tolist(), strict=True)):
        if size:
            proposed += [(other, row) for other in index.query(signature)]
            index.insert(row, signature, check_duplication=False)
    rows, others = np.array(proposed, np.int64).reshape(-1, 2).T
    reached = jaccard(sets, rows, sets, others) >= THRESHOLD
    return set(zip(rows[reached].tolist(), others[reached].tolist(), strict=True))


def recalls(texts: list[str], finders: dict[str, Callable[[TokenSets], Pairs]]) -> list[dict[str, Any]]:
    """For functions of each length the pairs that brute force finds, and the share of them that others find."""
    sets = TokenSets.of(texts, TokenHasher())
    true = brute_force(sets)
    found = {name: finder(sets) for name, finder in finders.items()}
    tokens = [len(lexical_tokens(text)) for text in texts]
    rows = []
    for low, high in [*itertools.pairwise(LENGTHS), (LENGTHS[0], LENGTHS[-1])]:
        chosen = {pair for pair in true if low <= min(tokens[pair[0]], tokens[pair[1]]) < high}
        row: dict[str, Any] = {"tokens_from": low, "to": high - 1, "pairs": len(chosen)}
        if chosen:
            row |= {name: round(len(chosen & pairs) / len(chosen), 4) for name, pairs in found.items()}
        rows.append(row)
    for name, pairs in found.items():
        rows[-1][f"{name}: below the threshold"] = len(pairs - true)
    return rows


def brute_force(sets: TokenSets) -> Pairs:
    """Every two sets compared, by a product of sparse matrices."""
    from scipy.sparse import csr_array

    _, columns = np.unique(sets.values, return_inverse=True)
    matrix = csr_array((np.ones(len(columns), np.int32), columns, np.concatenate([[0], sets.ends])))
    both = (matrix @ matrix.T).tocoo()
    once = both.row < both.col
    rows, others, shared = both.row[once], both.col[once], both.data[once]
    reached = shared / (sets.sizes[rows] + sets.sizes[others] - shared) >= THRESHOLD
    return set(zip(rows[reached].tolist(), others[reached].tolist(), strict=True))


if __name__ == "__main__":
    main()
