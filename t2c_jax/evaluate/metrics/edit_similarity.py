"""How few edits turn an answer into its reference."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from rapidfuzz.distance import Levenshtein

from t2c_jax.evaluate.metrics.code_tokens import CODE_TOKEN, code_tokens
from t2c_jax.evaluate.metrics.metric import Metric, best, percentage

if TYPE_CHECKING:
    from t2c_jax.corpus.pairs import Pair


class EditDistance(Metric):
    """The mean over answers of 1 - Levenshtein distance / length of the longer one."""

    @abstractmethod
    def units(self, text: str) -> Sequence[str]:
        """What is inserted, deleted and replaced."""

    def statistics(self, pairs: Sequence[Pair], candidates: Sequence[Sequence[str]]) -> np.ndarray:
        """Columns: similarity, example."""
        rows = [
            (Levenshtein.normalized_similarity(self.units(answer), self.units(pair.code)), 1)
            for pair, answer in zip(pairs, best(candidates), strict=True)
        ]
        return np.array(rows, float)

    def score(self, sums: Sequence[float]) -> float:
        """The mean, in percent."""
        return percentage(sums)


class EditSimilarity(EditDistance):
    """By characters; white space around the texts is ignored, inside them it counts."""

    name = "edit_similarity"
    title = "Edit similarity"
    phrase = "edit similarity"
    signature = "1 - Levenshtein distance / longer length, in characters after stripping surrounding whitespace; mean"

    def units(self, text: str) -> str:
        """Characters."""
        return text.strip()


class TokenEditSimilarity(EditDistance):
    """By tokens of code, so layout does not count and a long name weighs as much as a short one."""

    name = "token_edit_similarity"
    title = "Edit similarity of tokens"
    phrase = "edit similarity of tokens"
    signature = f"1 - Levenshtein distance / longer length, in tokens:{CODE_TOKEN.pattern}; mean"

    def units(self, text: str) -> list[str]:
        """``code_tokens``."""
        return code_tokens(text)
