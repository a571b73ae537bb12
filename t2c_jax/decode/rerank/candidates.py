"""The candidates among which the answer to a prompt is chosen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from t2c_jax.decode.generator import Answer, Hypothesis
from t2c_jax.retrieval.provenance import provenance


@dataclass(frozen=True)
class FoundText:
    """A text that the search found.

    Attributes:
      hypothesis: the one of this text with the highest score.
      probability: the share of the samples that are this text; of a beam, its hypotheses' share of the probability of
        all candidates.
    """

    hypothesis: Hypothesis
    probability: float

    @property
    def text(self) -> str:
        """Its text."""
        return self.hypothesis.text


def candidates_of(answer: Answer, *, sampled: bool) -> list[FoundText]:
    """The distinct texts of an answer's finished hypotheses, best first; of all of them if none is finished.

    Args:
      answer: as the generator gave it.
      sampled: its hypotheses were drawn from the model, so how often a text was drawn estimates its probability.
    """
    hypotheses = [each for each in answer.hypotheses if each.finished] or list(answer.hypotheses)
    most = max(each.log_probability for each in hypotheses)
    masses: dict[str, float] = {}
    first: dict[str, Hypothesis] = {}
    for each in hypotheses:
        first.setdefault(each.text, each)
        masses[each.text] = masses.get(each.text, 0.0) + (1.0 if sampled else math.exp(each.log_probability - most))
    total = sum(masses.values())
    return [FoundText(hypothesis, masses[text] / total) for text, hypothesis in first.items()]


def reordered(prompt: str, answer: Answer, texts: Sequence[str], confidence: float) -> Answer:
    """The answer with its candidates in another order.

    Args:
      prompt: what was answered.
      answer: as the generator gave it.
      texts: those of its candidates, the best first.
      confidence: how likely the first one is right.
    """
    place = {text: number for number, text in enumerate(texts)}
    hypotheses = sorted(answer.hypotheses, key=lambda each: (not each.finished, place.get(each.text, len(texts))))
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
