"""One reviewer's way through the questions: what the page shows, and what it may send."""

from __future__ import annotations

import datetime
import math
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from t2c_jax.evaluate.review.questions import CHOICES, RATINGS, Question
from t2c_jax.evaluate.review.ratings import RatingsFile
from t2c_jax.pages.page import token_spans, visible

LONGEST_NOTE = 4000  # characters


class InvalidRating(ValueError):
    """What the page sent is no rating of a question."""


class ReviewSession:
    """The questions of one reviewer and the ratings so far; threads may share it.

    Nothing that it shows names a run.
    """

    def __init__(self, questions: Sequence[Question], reviewer: str, seed: int, file: RatingsFile) -> None:
        self._questions, self._reviewer, self._seed, self._file = questions, reviewer, seed, file
        self._places = {question.id: place for place, question in enumerate(questions)}
        self._lock = threading.Lock()

    def rated(self) -> int:
        """How many of the questions have a rating."""
        return sum(question.id in self._file.latest for question in self._questions)

    def state(self) -> dict[str, Any]:
        """Where the reviewer is: ``total``, ``rated`` and ``next``, the number of the first question without a rating;
        None if there is none."""
        unrated = (place for place, question in enumerate(self._questions) if question.id not in self._file.latest)
        return {
            "total": len(self._questions),
            "rated": self.rated(),
            "next": next(unrated, None),
            "reviewer": self._reviewer,
        }

    def question(self, number: int) -> dict[str, Any]:
        """A question as it is shown, with its latest rating.

        Raises:
          IndexError: there is no such question.
        """
        if not 0 <= number < len(self._questions):
            raise IndexError(number)
        question = self._questions[number]
        order = question.order(self._reviewer, self._seed)
        previous = self._file.latest.get(question.id)
        return {
            "number": number,
            "id": question.id,
            "mode": question.mode,
            "language": question.pair.language,
            "text": visible(question.pair.text),
            "answers": [self._code(question, question.answers[place]) for place in order],
            "reference": self._code(question, question.pair.code),
            "previous": None
            if previous is None
            else {"value": self._shown_value(previous, question, order), "note": str(previous.get("note", ""))},
        }

    def rate(self, values: Any) -> dict[str, Any]:
        """Keeps a rating and returns ``state``.

        Args:
          values: ``id`` of the question; ``value``, one of ``RATINGS`` or ``CHOICES``; and optionally ``note``,
            ``reference_seen`` and ``seconds``.

        Raises:
          InvalidRating: it is none.
          UserError: it cannot be written.
        """
        if not isinstance(values, Mapping):
            raise InvalidRating("not an object")
        identity = values.get("id")
        place = self._places.get(identity) if isinstance(identity, str) else None
        if place is None:
            raise InvalidRating("there is no such question")
        question = self._questions[place]
        value, note, seconds = values.get("value"), values.get("note", ""), values.get("seconds", 0)
        if isinstance(value, bool) or value not in (RATINGS if question.mode == "rating" else CHOICES):
            raise InvalidRating(f"{value!r} is no {question.mode}")
        if not isinstance(note, str) or len(note) > LONGEST_NOTE:
            raise InvalidRating(f"a note is a text of at most {LONGEST_NOTE:,} characters")
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
            raise InvalidRating("the seconds are no duration")
        order = question.order(self._reviewer, self._seed)
        record = {
            "question": question.id,
            "pair": question.pair.id,
            "runs": [question.runs[place] for place in order],
            "evaluations": [question.evaluations[place] for place in order],
            "rating" if question.mode == "rating" else "choice": value,
            "note": note,
            "reference_seen": values.get("reference_seen") is True,
            "seconds": round(seconds, 1),
            "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }
        with self._lock:
            self._file.add(record)
        return self.state()

    def _code(self, question: Question, code: str) -> tuple[str, str]:
        shown = visible(code)
        return shown, token_spans(shown, question.pair.language)

    def _shown_value(self, record: Mapping[str, Any], question: Question, order: Sequence[int]) -> Any:
        """The earlier choice on the sides of now: another seed may have exchanged them."""
        if question.mode == "rating":
            return record["rating"]
        if record["evaluations"] == [question.evaluations[place] for place in order]:
            return record["choice"]
        return {"left": "right", "right": "left", "tie": "tie"}[record["choice"]]
