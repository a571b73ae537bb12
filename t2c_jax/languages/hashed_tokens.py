"""Texts as hashes of their tokens, to compare many n-grams at once.

Two n-grams with the same hash are taken for equal: a chance of 2^-64 for each two that differ.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from t2c_jax.languages.lexical_tokens import lexical_tokens

_BASE = np.uint64(0x9E3779B97F4A7C15 | 1)  # odd, so that no token's hash is lost by multiplying

Hashes = NDArray[np.uint64]
Places = NDArray[np.int64]


class HashedTexts(NamedTuple):
    """Texts end to end.

    Attributes:
      tokens: the hash of each token of all texts.
      ends: where each text ends in ``tokens``; it begins where the one before it ends.
    """

    tokens: Hashes
    ends: Places

    @property
    def lengths(self) -> Places:
        """Tokens of each text."""
        return np.diff(self.ends, prepend=0)

    @property
    def owners(self) -> Places:
        """The text of each token, by its index."""
        return np.repeat(np.arange(len(self.ends)), self.lengths)


class _Table(dict[str, int]):
    def __missing__(self, token: str) -> int:
        value = int.from_bytes(
            hashlib.blake2b(token.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little"
        )
        self[token] = value
        return value


class TokenHasher:
    """Hashes texts; the same token has the same hash in every process. It remembers the tokens that it has seen."""

    def __init__(self) -> None:
        self._table = _Table()

    def __call__(self, texts: Iterable[str]) -> HashedTexts:
        """The texts as hashes of their ``lexical_tokens``."""
        table, parts, ends = self._table, [], [0]
        for text in texts:
            tokens = lexical_tokens(text)
            parts.append(np.fromiter(map(table.__getitem__, tokens), np.uint64, len(tokens)))
            ends.append(ends[-1] + len(tokens))
        return HashedTexts(np.concatenate([np.zeros(0, np.uint64), *parts]), np.array(ends[1:], np.int64))


class Ngrams:
    """The n-grams of some texts that begin at some places. They grow by a token at a time.

    Attributes:
      order: their length.
      places: where each begins in the texts' tokens, ascending.
      hashes: of each.
    """

    def __init__(self, texts: HashedTexts, order: int) -> None:
        """All n-grams of this length."""
        self._tokens = texts.tokens
        self._limits = np.repeat(texts.ends, texts.lengths)  # behind the last token of the text of each place
        self.order, self._power = 0, np.uint64(1)
        self.places: Places = np.arange(len(texts.tokens))
        self.hashes: Hashes = np.zeros(len(texts.tokens), np.uint64)
        for _ in range(order):
            self.grow()

    def keep(self, chosen: NDArray[np.bool_]) -> None:
        """Forgets the others."""
        self.places, self.hashes = self.places[chosen], self.hashes[chosen]

    def grow(self) -> None:
        """Adds to each its next token. Those that reach the end of their text are forgotten."""
        fits = self.places + self.order < self._limits[self.places]
        if not fits.all():
            self.keep(fits)
        with np.errstate(over="ignore"):
            self.hashes = self.hashes + self._tokens[self.places + self.order] * self._power
            self._power = self._power * _BASE
        self.order += 1


def contains(sorted_values: Hashes, wanted: Hashes) -> NDArray[np.bool_]:
    """Which of the wanted values are among the sorted ones."""
    if not len(sorted_values):
        return np.zeros(len(wanted), bool)
    places = np.minimum(np.searchsorted(sorted_values, wanted), len(sorted_values) - 1)
    return sorted_values[places] == wanted
