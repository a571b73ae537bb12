"""CrystalBLEU: BLEU without the n-grams that all code shares."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from t2c_jax.errors import UserError
from t2c_jax.evaluate.metrics.code_tokens import CODE_TOKEN, code_tokens
from t2c_jax.evaluate.metrics.codebleu import ORDERS, bleu, ngrams
from t2c_jax.evaluate.metrics.metric import Metric, best
from t2c_jax.languages.aliases import canonical

if TYPE_CHECKING:
    from t2c_jax.corpus.pairs import Pair

SHARED = 500
"""N-grams that are left out (Eghbali & Pradel 2022, section IV-D)."""

RARER = 100
"""At most one distinct n-gram in so many is left out: of a small corpus, 500 would be most of what there is."""

READ = 10_000
"""Training pairs that are counted at most, evenly spread; the most frequent n-grams of more are the same."""

Ngram = tuple[str, ...]


class CrystalBleu(Metric):
    """BLEU-4 over code tokens without the most frequent n-grams of the training code (Eghbali & Pradel 2022).

    What all code of a language shares, such as ``) :``, says nothing about an answer. N-grams are counted for each
    language of the training pairs alone. Lengths, and so the brevity penalty, count all tokens.
    """

    name = "crystal_bleu"
    title = "CrystalBLEU"
    phrase = "CrystalBLEU"
    signature = (
        f"Eghbali & Pradel 2022; tokens:{CODE_TOKEN.pattern}; smooth:exp; without the {SHARED} most frequent n-grams of"
        f" the training code in the pair's language, 1 in {RARER} of the distinct ones at most"
    )

    def __init__(self, shared: Mapping[str, frozenset[Ngram]] | None = None) -> None:
        """``shared``: by language, the n-grams to leave out; None before ``fitted``."""
        self._shared = shared
        if shared is not None:
            self.signature = f"{CrystalBleu.signature}; these are {_digest(shared)}"

    def fitted(self, train: Iterable[Pair]) -> CrystalBleu:
        """The metric that leaves out what these pairs' code shares."""
        pairs = list(train)
        by_language: dict[str, Counter[Ngram]] = {}
        for pair in pairs[:: -(-len(pairs) // READ) or 1]:
            tokens = code_tokens(pair.code)
            counts = by_language.setdefault(canonical(pair.language), Counter())
            for order in range(1, ORDERS + 1):
                counts.update(ngrams(tokens, order))
        return CrystalBleu({language: _most_frequent(counts) for language, counts in by_language.items()})

    def statistics(self, pairs: Sequence[Pair], candidates: Sequence[Sequence[str]]) -> np.ndarray:
        """Columns: tokens of the answer, of the reference; matched 1- to 4-grams, the answer's 1- to 4-grams.

        Raises:
          UserError: it was not fitted to training pairs.
        """
        if self._shared is None:
            raise UserError(
                f"{self.name} needs training pairs, which are not known here; choose another metric, such as bleu"
            )
        rows = []
        for pair, answer in zip(pairs, best(candidates), strict=True):
            shared = self._shared.get(canonical(pair.language), frozenset())
            ours, theirs = code_tokens(answer), code_tokens(pair.code)
            counted = [(_without(ngrams(ours, order), shared), ngrams(theirs, order)) for order in range(1, ORDERS + 1)]
            matched = [(own & wanted).total() for own, wanted in counted]
            rows.append([len(ours), len(theirs), *matched, *(own.total() for own, _ in counted)])
        return np.array(rows, float)

    def score(self, sums: Sequence[float]) -> float:
        """BLEU, in percent."""
        return 100 * bleu(sums[:2], sums[2 : 2 + ORDERS], sums[2 + ORDERS :])


def _without(counts: Counter[Ngram], shared: frozenset[Ngram]) -> Counter[Ngram]:
    return Counter({ngram: count for ngram, count in counts.items() if ngram not in shared})


def _most_frequent(counts: Counter[Ngram]) -> frozenset[Ngram]:
    """The most frequent n-grams; of equally frequent ones the first in the order of their tokens."""
    size = min(SHARED, len(counts) // RARER)
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return frozenset(ngram for ngram, _ in itertools.islice(ranked, size))


def _digest(shared: Mapping[str, frozenset[Ngram]]) -> str:
    """8 hexadecimal digits that tell sets of n-grams apart."""
    listed = repr([(language, sorted(shared[language])) for language in sorted(shared)])
    return hashlib.sha256(listed.encode("utf-8", "backslashreplace")).hexdigest()[:8]
