"""What of a beam becomes a prompt's candidates."""

from collections.abc import Iterator

import numpy as np

from t2c_jax.config import DecodeConfig
from t2c_jax.data.prompt_encoder import EncodedPrompt
from t2c_jax.decode.generator import Generator
from t2c_jax.decode.search import Hypotheses

LETTERS = " .abc"  # ids 0 and 1 are silent


class Letters:
    eos = 1

    def decode(self, ids: list[int], *, special_pieces: bool = False) -> str:
        return "".join(LETTERS[i] for i in ids if i > 1)


class Reader:
    def encode(self, sources: list[str], *, special_pieces: bool = False) -> list[EncodedPrompt]:
        return [EncodedPrompt(np.array([2]), 1, False) for _ in sources]


class Canned(Generator):
    """Answers every prompt with the same four hypotheses."""

    def __init__(self, finished: list[bool]) -> None:
        self.prompts, self.tokenizer, self.decode = Reader(), Letters(), DecodeConfig()
        tokens = np.array([[3, 1, 0], [3, 0, 1], [2, 2, 1], [4, 4, 4]])
        self._found = Hypotheses(
            tokens, np.array([-0.5, -0.6, -0.7, -0.8]), np.array(finished), np.array([2, 3, 3, 3]), None
        )

    def _answers(self, sources: list[str], read: object, settings: object) -> Iterator[tuple[int, int, Hypotheses]]:
        for row in range(len(sources)):
            yield row, 0, self._found


def test_finished_hypotheses_best_first_and_each_text_once():
    (answer,) = Canned([True, True, True, False]).generate(["x"])
    assert (answer.best, answer.finished, answer.score) == ("b", True, -0.5)
    assert answer.candidates == ("b", "aa")


def test_without_a_finished_hypothesis_the_best_one_is_the_answer():
    (answer,) = Canned([False] * 4).generate(["x"])
    assert (answer.best, answer.finished) == ("b", False)
    assert answer.candidates == ("b",)


def test_log_probabilities_are_over_each_hypothesis_own_length():
    """Whether it has ended or not: a beam that stops early leaves hypotheses shorter than the limit."""
    (answer,) = Canned([True, True, True, False]).generate(["x"])
    log_p = [each.log_probability for each in answer.hypotheses]
    np.testing.assert_allclose(log_p, [-0.5 * 2, -0.6 * 3, -0.7 * 3, -0.8 * 3])
