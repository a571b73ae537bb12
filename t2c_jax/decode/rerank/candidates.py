"""The candidates among which the answer to a prompt is chosen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from t2c_jax.decode.generator import Answer, Hypothesis
from t2c_jax.retrieval.provenance import provenance

if TYPE_CHECKING:
    from t2c_jax.decode.scorer import Scorer


@dataclass(frozen=True)
class FoundText:
    """A text that the search found.

    Attributes:
      hypothesis: the one of this text with the highest score.
      probability: the share of the samples that are this text; of a beam, its hypotheses' share of the probability of
        all candidates. 0 for what was retrieved.
    """

    hypothesis: Hypothesis
    probability: float

    @property
    def text(self) -> str:
        """Its text."""
        return self.hypothesis.text


def candidates_of(answer: Answer, *, sampled: bool) -> list[FoundText]:
    """The distinct texts of an answer's finished hypotheses, best first; of all of them if none is finished.

    Those that were retrieved come last.

    Args:
      answer: as the generator gave it.
      sampled: its hypotheses were drawn from the model, so how often a text was drawn estimates its probability.
    """
    found = [each for each in answer.hypotheses if not each.retrieved]
    hypotheses = [each for each in found if each.finished] or found
    most = max(each.log_probability for each in hypotheses)
    masses: dict[str, float] = {}
    first: dict[str, Hypothesis] = {}
    for each in hypotheses:
        first.setdefault(each.text, each)
        masses[each.text] = masses.get(each.text, 0.0) + (1.0 if sampled else math.exp(each.log_probability - most))
    total = sum(masses.values())
    for each in answer.hypotheses:
        if each.retrieved:
            first.setdefault(each.text, each)
    return [FoundText(hypothesis, masses.get(text, 0.0) / total) for text, hypothesis in first.items()]


def with_neighbours(
    prompts: Sequence[str], answers: Sequence[Answer], scorer: Scorer, alpha: float, *, to_text: bool
) -> list[Answer]:
    """The answers with the targets of the neighbours that were read among their hypotheses.

    What already is one is not added again. A prompt like that of a training pair is often answered best by that
    pair's code as it is.

    Args:
      prompts: what was answered.
      answers: as the generator gave them.
      scorer: of the generator's own model.
      alpha: config.decode.length_penalty.
      to_text: targets are the texts of pairs, and otherwise their codes.
    """
    added = []
    for place, answer in enumerate(answers):
        known = {each.text for each in answer.hypotheses}
        targets = dict.fromkeys(each.text if to_text else each.code for each in answer.neighbours)
        added += [(place, target) for target in targets if target not in known]
    likelihoods = scorer.score([(prompts[place], target) for place, target in added])
    hypotheses = [list(answer.hypotheses) for answer in answers]
    for (place, target), found in zip(added, likelihoods, strict=True):
        score = found.log_probability / found.tokens**alpha
        hypotheses[place].append(Hypothesis(target, score, found.log_probability, True, found.tokens, retrieved=True))
    return [replace(answer, hypotheses=tuple(each)) for answer, each in zip(answers, hypotheses, strict=True)]


def reordered(prompt: str, answer: Answer, texts: Sequence[str], confidence: float) -> Answer:
    """The answer with its candidates in another order.

    Args:
      prompt: what was answered.
      answer: as the generator gave it.
      texts: those of its candidates, the best first.
      confidence: how likely the first one is right.
    """
    place = {text: number for number, text in enumerate(texts)}
    hypotheses = sorted(answer.hypotheses, key=lambda each: (place.get(each.text, len(texts)), not each.finished))
    best = hypotheses[0]
    copied = provenance(best.text, prompt, [text for each in answer.neighbours for text in each.texts])
    return replace(
        answer,
        best=best.text,
        score=best.score,
        finished=best.finished,
        candidates=tuple(texts) if best.finished else (best.text,),
        hypotheses=tuple(hypotheses),
        provenance=copied,
        confidence=confidence,
    )
