r"""Equality of regular expressions: of the languages they describe, not of their letters.

The notation is dk.brics.automaton's, with ``&`` for intersection and ``~`` for complement, spaces around tokens left
out, and the placeholders of KB13 and NL-RX (Locascio et al. 2016): ``<VOW> <NUM> <LET> <CAP> <LOW>`` for classes,
``<M0>`` to ``<M3>`` for words of the text. The automata are ``regexbench``'s.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from regexbench import Dialect, Verdict, equivalent

from t2c_jax import console
from t2c_jax.corpus.pairs import Pair
from t2c_jax.evaluate.metrics.metric import Match, best
from t2c_jax.workers import Failure, cores, isolated_map

SECONDS = 30.0  # a pair; most take milliseconds, but a repetition of overlapping parts can take any time

# Locascio et al. 2016, section 3.2, and the words that their evaluation puts for <M0> to <M3>; any would do.
_PLACEHOLDERS = {
    "VOW": "AEIOUaeiou",
    "NUM": "0-9",
    "LET": "A-Za-z",
    "CAP": "A-Z",
    "LOW": "a-z",
    "M0": "(dog)",
    "M1": "(truck)",
    "M2": "(ring)",
    "M3": "(lake)",
}
_PLACEHOLDER = re.compile("<(" + "|".join(_PLACEHOLDERS) + ")>")


def plain_regex(text: str) -> str:
    """The expression without spaces and placeholders."""
    return _PLACEHOLDER.sub(lambda found: _PLACEHOLDERS[found[1]], text.replace(" ", ""))


def regex_match(prediction: str, reference: str) -> bool:
    """Whether both describe the same strings; expressions too large or broken to tell are other ones."""
    ours, wanted = plain_regex(prediction), plain_regex(reference)
    try:
        return equivalent(ours, wanted, dialect=Dialect.BRICS).verdict is Verdict.EQUIVALENT
    except RecursionError:
        return False


def _same(pair: tuple[str, str]) -> bool:
    return regex_match(*pair)


class RegexMatch(Match):
    """DFA-EQ, the share of expressions that match what the reference matches (Locascio et al. 2016, section 5.1).

    An answer that cannot be compared with its reference within ``SECONDS`` counts as wrong, with a warning.
    """

    name = "regex_match"
    title = "Regex match"
    phrase = "the match of regular languages"
    signature = f"equal languages, dk.brics.automaton's notation, by regexbench within {SECONDS:g} s"
    match = staticmethod(regex_match)

    def statistics(self, pairs: Sequence[Pair], candidates: Sequence[Sequence[str]]) -> np.ndarray:
        """Columns: hit, example. The pairs are compared by a process for each core."""
        items = [(answer, pair.code) for pair, answer in zip(pairs, best(candidates), strict=True)]
        results = list(isolated_map(_same, items, min(cores(), len(items)), SECONDS))
        if timeouts := sum(isinstance(result, Failure) for result in results):
            console.warn(
                f"{timeouts} of {len(items):,} regular expressions could not be compared within {SECONDS:g} s and count"
                " as wrong"
            )
        return np.array([(result is True, 1) for result in results], float)
