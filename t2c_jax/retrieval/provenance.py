"""Which part of an answer was copied from its prompt or from neighbours, and which was generated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from t2c_jax.languages.lexical_tokens import lexical_tokens

SHORTEST_COPY = 3
"""Tokens of a copied passage at least; shorter ones recur by chance."""


@dataclass(frozen=True)
class Provenance:
    """Shares of an answer's tokens; they add up to 1, and all are 0 where the answer has no token."""

    generated: float = 0.0
    prompt: float = 0.0
    neighbours: float = 0.0


def provenance(answer: str, prompt: str, neighbours: Sequence[str] = ()) -> Provenance:
    """Where the tokens of an answer come from.

    From its begin on, the answer is divided into the longest passages that also occur in the prompt or in a neighbour.
    A passage of at least ``SHORTEST_COPY`` tokens is copied; between equally long ones the prompt goes before
    neighbours. All other tokens were generated. Of the answer ``a b c d e f x`` with the prompt ``a b c`` and the
    neighbour ``c d e f``, 3/7 are of the prompt, 3/7 of the neighbour and 1/7 generated.

    Args:
      answer: the text to divide.
      prompt: without neighbours.
      neighbours: their texts and codes, each for itself: no passage runs over two of them.
    """
    tokens = lexical_tokens(answer)
    if not tokens:
        return Provenance()
    sources = [_occurrences(lexical_tokens(text)) for text in (prompt, *neighbours)]
    counts = [0, 0, 0]  # generated, prompt, neighbours
    place = 0
    while place < len(tokens):
        lengths = [_longest(tokens, place, *source) for source in sources]
        longest = max(lengths)
        if longest >= SHORTEST_COPY:
            counts[1 if lengths[0] == longest else 2] += longest
            place += longest
        else:
            counts[0] += 1
            place += 1
    return Provenance(*(count / len(tokens) for count in counts))


def _occurrences(tokens: Sequence[str]) -> tuple[Sequence[str], dict[str, list[int]]]:
    places: dict[str, list[int]] = {}
    for place, token in enumerate(tokens):
        places.setdefault(token, []).append(place)
    return tokens, places


def _longest(answer: Sequence[str], begin: int, source: Sequence[str], places: dict[str, list[int]]) -> int:
    """Tokens of the longest passage of the source that the answer has from ``begin`` on."""
    longest = 0
    for place in places.get(answer[begin], ()):
        length = 1
        while (
            begin + length < len(answer)
            and place + length < len(source)
            and answer[begin + length] == source[place + length]
        ):
            length += 1
        longest = max(longest, length)
    return longest
