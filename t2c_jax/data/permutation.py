"""The order of the data: a stateless permutation, a pure function of (seed, epoch).

Every index gets a 64-bit key by SplitMix64 (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number
generators", figure 17); the permutation sorts by key. Nothing but integer arithmetic modulo 2^64 and a stable sort
goes in, so the order is the same on every machine and under every version of numpy, and it needs no state: a run
that resumes, or continues on other hosts, computes it from the two numbers.
"""

from __future__ import annotations

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def mix(values_N: np.ndarray) -> np.ndarray:
    """SplitMix64's output for each uint64 state: a bijection whose outputs look independent."""
    z_N = values_N + _GOLDEN  # uint64 arrays wrap silently, which is what is meant
    z_N = (z_N ^ (z_N >> np.uint64(30))) * _MIX_1
    z_N = (z_N ^ (z_N >> np.uint64(27))) * _MIX_2
    return z_N ^ (z_N >> np.uint64(31))


def permutation(size: int, *key: int) -> np.ndarray:
    """A permutation of ``range(size)`` as int64, a function of ``key``: (seed, epoch), or more numbers.

    The same key gives the same permutation; keys that differ anywhere give unrelated ones.
    """
    state_1 = np.zeros(1, np.uint64)
    for number in key:
        state_1 = mix(state_1 ^ np.array([number % 2**64], np.uint64))
    keys_N = mix(np.arange(size, dtype=np.uint64) + mix(state_1))
    return np.argsort(keys_N, kind="stable")
