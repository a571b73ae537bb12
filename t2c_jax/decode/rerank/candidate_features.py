"""What is known of a candidate, as numbers by which candidates are compared.

Letters: C candidates of a prompt, F features.

    log_probability   of the candidate given the prompt, in nats a token
    length            natural logarithm of its tokens
    parses            1 if its grammar accepts it, else 0
    reviewer          log-probability of the prompt given the candidate, in nats a token (Zhang et al. 2023,
                      "Coder Reviewer Reranking for Code Generation")
    consensus         its expected similarity to an answer, which the candidates' own probabilities estimate: minimum
                      Bayes risk (Kumar & Byrne 2004; for code, Shi et al. 2022). Similarity is chrF of beta 1
    neighbours        its similarity to the most similar target of the neighbours that were read
    retrieved         1 if it is the target of such a neighbour, else 0
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from t2c_jax.decode.generator import Answer
from t2c_jax.decode.rerank.candidates import FoundText, candidates_of, with_neighbours
from t2c_jax.languages.similarity import CharacterNgrams

if TYPE_CHECKING:
    from t2c_jax.data.retrieved import Retrieved
    from t2c_jax.decode.scorer import Scorer


@dataclass(frozen=True)
class CandidateSet:
    """The candidates of a prompt, in the order of the search.

    Attributes:
      texts: of the candidates.
      values_CF: their features.
    """

    texts: tuple[str, ...]
    values_CF: np.ndarray


class Features:
    """The features that a run's candidates have, and what they are computed with."""

    def __init__(
        self,
        *,
        sampled: bool,
        to_text: bool,
        parses: Callable[[str], bool] | None = None,
        reviewer: Scorer | None = None,
        scorer: Scorer | None = None,
        length_penalty: float = 0.0,
    ) -> None:
        """Computes nothing yet.

        Args:
          sampled: candidates are drawn from the model.
          to_text: answers are texts, and prompts code.
          parses: whether the grammar of the answers accepts a text; None without a grammar.
          reviewer: gives the likelihood of a prompt given a candidate; None without a model that does.
          scorer: of the model that answers, where it reads neighbours, whose targets are candidates too; None where it
            reads none.
          length_penalty: config.decode.length_penalty.
        """
        self._sampled, self._to_text, self._parses, self._reviewer = sampled, to_text, parses, reviewer
        self._scorer, self._length_penalty = scorer, length_penalty
        known = {"parses": parses is not None, "reviewer": reviewer is not None}
        known |= dict.fromkeys(("neighbours", "retrieved"), scorer is not None)
        order = ("log_probability", "length", "parses", "reviewer", "consensus", "neighbours", "retrieved")
        self.names = tuple(name for name in order if known.get(name, True))

    def candidates(self, prompts: Sequence[str], answers: Sequence[Answer]) -> list[Answer]:
        """The answers with all candidates among their hypotheses: also the targets of neighbours that were read."""
        if self._scorer is None:
            return list(answers)
        return with_neighbours(prompts, answers, self._scorer, self._length_penalty, to_text=self._to_text)

    def __call__(
        self, prompts: Sequence[str], answers: Sequence[Answer], *, advance: Callable[[int], object] = lambda _: None
    ) -> list[CandidateSet]:
        """The candidates of each prompt.

        Args:
          prompts: what was answered.
          answers: as ``candidates`` gave them.
          advance: called with the number of candidates that the reviewer has read since the last call.
        """
        found = [candidates_of(answer, sampled=self._sampled) for answer in answers]
        columns = {
            "log_probability": [
                each.hypothesis.log_probability / max(1, each.hypothesis.tokens) for each in _flat(found)
            ],
            "length": [np.log(max(1, each.hypothesis.tokens)) for each in _flat(found)],
            "consensus": [value for candidates in found for value in expected_similarities(candidates)],
        }
        if self._parses is not None:
            columns["parses"] = [float(self._parses(each.text)) for each in _flat(found)]
        if self._reviewer is not None:
            asked = [
                (each.text, prompt) for prompt, candidates in zip(prompts, found, strict=True) for each in candidates
            ]
            likelihoods = self._reviewer.score(asked, advance=advance)
            columns["reviewer"] = [each.log_probability / max(1, each.tokens) for each in likelihoods]
        if "neighbours" in self.names:
            columns["neighbours"] = [
                value
                for answer, candidates in zip(answers, found, strict=True)
                for value in self._agreements(candidates, answer.neighbours)
            ]
            columns["retrieved"] = [
                float(each.text in self._targets(answer.neighbours))
                for answer, candidates in zip(answers, found, strict=True)
                for each in candidates
            ]
        values = np.array([columns[name] for name in self.names], float).T.reshape(-1, len(self.names))
        ends = np.cumsum([len(candidates) for candidates in found])
        return [
            CandidateSet(tuple(each.text for each in candidates), rows)
            for candidates, rows in zip(found, np.split(values, ends[:-1]), strict=True)
        ]

    def _agreements(self, candidates: Sequence[FoundText], neighbours: Sequence[Retrieved]) -> list[float]:
        targets = [CharacterNgrams(target) for target in self._targets(neighbours)]
        return [
            max((CharacterNgrams(each.text).similarity(target) for target in targets), default=0.0)
            for each in candidates
        ]

    def _targets(self, neighbours: Sequence[Retrieved]) -> list[str]:
        return [each.text if self._to_text else each.code for each in neighbours]


def expected_similarities(candidates: Sequence[FoundText]) -> list[float]:
    """Of each candidate to all of them, itself included, weighted by their probabilities."""
    ngrams = [CharacterNgrams(each.text) for each in candidates]
    similarities = np.eye(len(candidates))
    for row, mine in enumerate(ngrams):
        for column in range(row):
            similarities[row, column] = similarities[column, row] = mine.similarity(ngrams[column])
    expected: list[float] = (similarities @ [each.probability for each in candidates]).tolist()
    return expected


def _flat(found: Sequence[Sequence[FoundText]]) -> list[FoundText]:
    return [each for candidates in found for each in candidates]
