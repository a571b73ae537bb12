"""Windows of code for the tasks that need no text: code that is longer than a row is cut into windows of nearly the
same length that cover it.

Letters: N windows or sequences, K kept sequences.
"""

from __future__ import annotations

import numpy as np

from t2c_jax.data.permutation import mix


def windows(lengths_N: np.ndarray, most: int, least: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cuts sequences into the fewest windows of at most ``most`` tokens, of nearly the same length.

    Of lengths 5 and 3 and 4 at most: [0, 2) and [2, 5) of the first, [0, 3) of the second. Sequences under ``least``
    tokens are passed over.

    Returns:
      the sequence, begin and end of each window.
    """
    kept_K = np.flatnonzero(lengths_N >= least)
    counts_K = -(-lengths_N[kept_K] // most)
    sequences = np.repeat(kept_K, counts_K)
    number = np.arange(len(sequences)) - np.repeat(np.cumsum(counts_K) - counts_K, counts_K)
    lengths, counts = lengths_N[sequences], np.repeat(counts_K, counts_K)
    return sequences, lengths * number // counts, lengths * (number + 1) // counts


def uniform(records_N: np.ndarray, begins_N: np.ndarray, *key: int) -> np.ndarray:
    """A number in [0, 1) for each window, by ``key`` and the window's record and begin."""
    states_N = np.zeros(len(records_N), np.uint64)
    for number in key:
        states_N = mix(states_N ^ np.array([number % 2**64], np.uint64))
    for numbers_N in (records_N, begins_N):
        states_N = mix(states_N ^ numbers_N.astype(np.uint64))
    return (states_N >> np.uint64(11)) * 2.0**-53


def random_integers(counts_N: np.ndarray, records_N: np.ndarray, begins_N: np.ndarray, *key: int) -> np.ndarray:
    """A number from 0 to ``counts_N`` - 1 for each window, uniform."""
    return np.floor(uniform(records_N, begins_N, *key) * counts_N).astype(np.int64)
