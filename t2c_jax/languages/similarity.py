"""How similar two texts are, by the character n-grams that they share."""

from __future__ import annotations

from collections import Counter

_LONGEST = 6  # characters of an n-gram, as in chrF


class CharacterNgrams:
    """The n-grams of a text, white space left out, for many comparisons with it."""

    def __init__(self, text: str) -> None:
        characters = "".join(text.split())
        self._counts = [
            Counter(characters[start : start + size] for start in range(len(characters) - size + 1))
            for size in range(1, _LONGEST + 1)
        ]
        self._totals = [max(0, len(characters) - size + 1) for size in range(1, _LONGEST + 1)]

    def similarity(self, other: CharacterNgrams) -> float:
        """chrF with precision and recall weighed alike (Popovic 2015, beta = 1): 0 to 1, the same in both directions.

        The mean over n = 1 to 6, as far as one of the two has such n-grams; 1 where both are empty.
        """
        shares = [
            2 * (mine & theirs).total() / (mine_total + their_total)
            for mine, theirs, mine_total, their_total in zip(
                self._counts, other._counts, self._totals, other._totals, strict=True
            )
            if mine_total + their_total
        ]
        return sum(shares) / len(shares) if shares else 1.0
