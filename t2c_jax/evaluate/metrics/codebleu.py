"""CodeBLEU (Ren et al. 2020, "CodeBLEU: a Method for Automatic Evaluation of Code Synthesis"), and its four parts.

Where the published package differs from the paper, this follows the paper; ``codebleu_published`` follows the package:

- Code is split into ``code_tokens``, so that keywords are recognised in ``if(x)``.
- The weighted part is a precision, as its equation (2) says, and not a recall.
- A sub-tree of the reference is found once for each time that the answer has it.
- An answer without the reference's data flow gets 0 for it, and not 1. Where no reference has any data flow, the mean
  is that of the other three parts.
- The data flow does not depend on the order of a hash table.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from t2c_jax.evaluate.metrics.code_tokens import CODE_TOKEN, code_tokens
from t2c_jax.evaluate.metrics.metric import Metric, best
from t2c_jax.languages.aliases import canonical
from t2c_jax.languages.data_flow import FLOW_RULES, data_flow, normalised
from t2c_jax.languages.keywords import keywords
from t2c_jax.languages.subtrees import Subtrees
from t2c_jax.languages.syntax_trees import states_nothing, syntax_tree

if TYPE_CHECKING:
    from t2c_jax.corpus.pairs import Pair

ORDERS = 4
OTHER_WORDS = 0.2
"""The weight of a token that is no keyword: keywords count five times as much."""

# Columns of the statistics. Lengths and n-grams of orders 2 to 4 belong to both parts that compare n-grams.
LENGTHS, MATCHED, TOTAL = (0, 1), (2, 3, 4, 5), (6, 7, 8, 9)
WEIGHTED_MATCHED, WEIGHTED_TOTAL = (10, 3, 4, 5), (11, 7, 8, 9)
SYNTAX, FLOW = (12, 13), (14, 15)
COLUMNS = 16


def ngrams(tokens: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    """How often each n-gram of this order occurs."""
    return Counter(zip(*(tokens[start:] for start in range(order)), strict=False))


def bleu(lengths: Sequence[float], matched: Sequence[float], total: Sequence[float]) -> float:
    """BLEU of counts with any weights (Papineni et al. 2002), smoothed as ``bleu`` is: 0 to 1.

    Args:
      lengths: tokens of the answers and of the references.
      matched: weight of the matched n-grams, of order 1 first.
      total: weight of the answers' n-grams.
    """
    if not all(total) or not any(matched):
        return 0.0
    logarithms, halvings = 0.0, 0
    for hits, of in zip(matched, total, strict=True):
        halvings += not hits
        logarithms += math.log(hits / of if hits else 0.5**halvings / of)
    return brevity_penalty(*lengths) * math.exp(logarithms / len(matched))


def brevity_penalty(length: float, reference: float) -> float:
    """Less than 1 where the answers have fewer tokens than the references."""
    if not length:
        return 0.0
    return math.exp(min(0.0, 1 - reference / length))


class CodeBleuScore(Metric):
    """A CodeBLEU by its own rules of counting. Pairs in languages without such rules do not count.

    Attributes:
      columns: of the statistics.
      parts: n-grams, weighted n-grams, syntax, data flow.
    """

    columns: ClassVar[int] = COLUMNS

    @abstractmethod
    def counts(self, language: str, reference: str, answer: str) -> list[float] | None:
        """The columns of an example; None for a language without rules."""

    @abstractmethod
    def part(self, index: int, sums: Sequence[float]) -> float:
        """One of the four parts, 0 to 1; NaN where it does not apply."""

    def statistics(self, pairs: Sequence[Pair], candidates: Sequence[Sequence[str]]) -> np.ndarray:
        """Columns: tokens of both; n-grams, matched and in all; weights of unigrams; syntax; data flow."""
        rows = [
            self.counts(canonical(pair.language), pair.code, answer) or [0.0] * self.columns
            for pair, answer in zip(pairs, best(candidates), strict=True)
        ]
        return np.array(rows, float)

    def score(self, sums: Sequence[float]) -> float:
        """The mean of the parts that apply, in percent."""
        known = [value for value in (self.part(index, sums) for index in range(4)) if not math.isnan(value)]
        return 100 * sum(known) / len(known) if known else math.nan


class CodeBleuPart(Metric):
    """One of the four parts of a CodeBLEU, in percent."""

    index: ClassVar[int]
    whole: ClassVar[type[CodeBleuScore]]

    def __init__(self) -> None:
        self._whole = self.whole()
        self.part_of = self._whole.name
        self.name = self._whole.parts[self.index]
        self.title = f"{self._whole.title}: {self._what()}"
        self.phrase = f"{self._whole.phrase} by {self._what()}"
        self.signature = f"part of {self._whole.name}"

    def _what(self) -> str:
        return ("n-grams", "weighted n-grams", "syntax", "data flow")[self.index]

    def statistics(self, pairs: Sequence[Pair], candidates: Sequence[Sequence[str]]) -> np.ndarray:
        """Those of the whole."""
        return self._whole.statistics(pairs, candidates)

    def score(self, sums: Sequence[float]) -> float:
        """The part, in percent; NaN where it does not apply."""
        return 100 * self._whole.part(self.index, sums)


class CodeBleu(CodeBleuScore):
    """CodeBLEU by the definition of the paper."""

    name = "codebleu"
    title = "CodeBLEU"
    phrase = "CodeBLEU"
    parts = ("codebleu_ngram", "codebleu_weighted", "codebleu_syntax", "codebleu_dataflow")
    signature = (
        f"Ren et al. 2020, mean of the parts that apply; tokens:{CODE_TOKEN.pattern}; smooth:exp; weighted: precision,"
        f" keywords 1, other words {OTHER_WORDS}; syntax: clipped sub-trees without comments and docstrings; data flow:"
        " clipped items, variables numbered in the order of the code"
    )

    def counts(self, language: str, reference: str, answer: str) -> list[float] | None:
        """The columns of an example."""
        if language not in FLOW_RULES:
            return None
        texts = (answer, reference)
        ours, theirs = map(code_tokens, texts)
        weights = keywords(language)
        row = [float(len(ours)), float(len(theirs)), *[0.0] * (COLUMNS - 2)]
        for order in range(1, ORDERS + 1):
            counted = ngrams(ours, order)
            both = counted & ngrams(theirs, order)
            row[MATCHED[order - 1]], row[TOTAL[order - 1]] = both.total(), counted.total()
            if order == 1:
                row[WEIGHTED_MATCHED[0]], row[WEIGHTED_TOTAL[0]] = (
                    sum(count * (1 if word in weights else OTHER_WORDS) for (word,), count in each.items())
                    for each in (both, counted)
                )
        subtrees = Subtrees()
        parsed = [syntax_tree(text, language) for text in texts]
        trees = [subtrees.of(tree.root_node, states_nothing)[1] for tree in parsed if tree]
        row[SYNTAX[0]], row[SYNTAX[1]] = (trees[0] & trees[1]).total(), trees[1].total()
        flows = [normalised(data_flow(text, language) or []) for text in texts]
        row[FLOW[0]], row[FLOW[1]] = (flows[0] & flows[1]).total(), flows[1].total()
        return row

    def part(self, index: int, sums: Sequence[float]) -> float:
        """One of the four parts, 0 to 1; NaN where no reference has what it compares."""
        if not sums[LENGTHS[1]]:
            return math.nan
        lengths = [sums[column] for column in LENGTHS]
        if index == 0:
            return bleu(lengths, [sums[column] for column in MATCHED], [sums[column] for column in TOTAL])
        if index == 1:
            matched, total = ([sums[column] for column in each] for each in (WEIGHTED_MATCHED, WEIGHTED_TOTAL))
            return bleu(lengths, matched, total)
        hits, of = (sums[column] for column in (SYNTAX, FLOW)[index - 2])
        return hits / of if of else math.nan


class NgramPart(CodeBleuPart):
    """BLEU over tokens of code."""

    index, whole = 0, CodeBleu


class WeightedPart(CodeBleuPart):
    """BLEU whose keywords count five times as much as other words."""

    index, whole = 1, CodeBleu


class SyntaxPart(CodeBleuPart):
    """The share of the reference's sub-trees that the answer has."""

    index, whole = 2, CodeBleu


class DataFlowPart(CodeBleuPart):
    """The share of the reference's data flow that the answer has."""

    index, whole = 3, CodeBleu
