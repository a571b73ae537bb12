"""What reviewers are asked: to rate one answer, or to choose between two."""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from t2c_jax.corpus.pairs import Pair
from t2c_jax.errors import UserError
from t2c_jax.evaluate.evaluator import select_pairs
from t2c_jax.evaluate.run_comparison import shared_ids
from t2c_jax.evaluate.saved_evaluation import SavedEvaluation
from t2c_jax.workdir import digest

Mode = Literal["rating", "preference"]
RATINGS = (1, 2, 3, 4, 5)
CHOICES = ("left", "tie", "right")


@dataclass(frozen=True)
class Question:
    """One thing to judge.

    Attributes:
      id: a digest of what is shown, so that ratings outlive a new name of a run.
      pair: the prompt and its reference.
      evaluations: digests of what the answers are from, in the order of the command line: one to rate, or two.
      runs: the labels of these.
      answers: the answers of these.
    """

    id: str
    pair: Pair
    evaluations: tuple[str, ...]
    runs: tuple[str, ...]
    answers: tuple[str, ...]

    @property
    def mode(self) -> Mode:
        """How it is answered."""
        return "rating" if len(self.answers) == 1 else "preference"

    def order(self, reviewer: str, seed: int) -> tuple[int, ...]:
        """The places of the answers from left to right, which are drawn anew for each reviewer and question."""
        drawn = hashlib.sha256(f"{seed}\0{reviewer}\0{self.id}".encode()).digest()[0] % 2
        return tuple(range(len(self.answers)))[:: -1 if drawn else 1]


def questions_of(evaluations: Sequence[SavedEvaluation], mode: Mode, pairs: int, seed: int) -> list[Question]:
    """The questions about some evaluations, in random order.

    All reviewers get the same order, so that those who stop early have judged the same questions. Two equal answers are
    not asked about.

    Args:
      evaluations: one or more.
      mode: rate each answer alone, or choose between the answers of each two runs.
      pairs: how many pairs are asked about at most, selected evenly by id.
      seed: of the order.

    Raises:
      UserError: the evaluations are not of the same pairs, or leave nothing to ask.
    """
    ids = shared_ids(evaluations)
    if mode == "preference" and len(evaluations) < 2:
        raise UserError("a preference needs two runs; name another one, or rate this one with --mode rating")
    selected = select_pairs([evaluations[0].pairs[pair_id] for pair_id in ids], pairs)
    digests = {each.label: each.digest() for each in evaluations}
    asked: dict[str, Question] = {}
    for pair in selected:
        for shown in itertools.combinations(evaluations, 1 if mode == "rating" else 2):
            answers = tuple(each.answer(pair.id) for each in shown)
            if len(answers) == 2 and answers[0].strip() == answers[1].strip():
                continue
            of = tuple(digests[each.label] for each in shown)
            parts = sorted(zip(of, answers, strict=True))  # whatever the order on the command line
            texts = [part for pairing in parts for part in pairing]
            identity = digest(*(part.encode("utf-8", "replace") for part in (mode, pair.id, pair.text, *texts)))
            asked[identity] = Question(identity, pair, of, tuple(each.label for each in shown), answers)
    if not asked:
        raise UserError(f"all answers to these {len(selected):,} pairs are equal; there is nothing to choose between")
    questions = [*asked.values()]
    random.Random(seed).shuffle(questions)
    return questions


def equal_answers(evaluations: Sequence[SavedEvaluation]) -> int:
    """To how many pairs the first two runs have the same answer."""
    first, second = evaluations[:2]
    return sum(first.answer(pair_id).strip() == second.answer(pair_id).strip() for pair_id in shared_ids(evaluations))
