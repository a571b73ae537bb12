"""Which pairs are near-copies of each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from t2c_jax.languages.lexical_tokens import lexical_tokens

if TYPE_CHECKING:
    from t2c_jax.corpus.pairs import Pair


class NearCopies:
    """Compares pairs by their tokens: two are near-copies if they share a given part of them.

    The part is the Jaccard similarity of the sets of tokens of text and code together; white space is no token.
    """

    def __init__(self, pairs: Sequence[Pair], threshold: float) -> None:
        """Reads nothing yet.

        Args:
          pairs: to compare by their indices.
          threshold: the part from which on two are near-copies. 0: none are.
        """
        self._pairs, self._threshold = pairs, threshold
        self._tokens: dict[int, frozenset[str]] = {}

    def __call__(self, one: int, other: int) -> bool:
        """Whether these two are near-copies."""
        if not self._threshold:
            return False
        ours, theirs = self._of(one), self._of(other)
        both = len(ours & theirs)
        return both >= self._threshold * (len(ours) + len(theirs) - both)

    def _of(self, index: int) -> frozenset[str]:
        if index not in self._tokens:
            pair = self._pairs[index]
            self._tokens[index] = frozenset(lexical_tokens(f"{pair.text}\n{pair.code}"))
        return self._tokens[index]
