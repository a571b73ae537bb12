"""Language modelling over code: causal, with a prefix, and filling in the middle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from t2c_jax.data.tasks.task import CODE, Example, ExampleIndex, Task, TaskSetup
from t2c_jax.data.tasks.windows import random_integers, uniform, windows

if TYPE_CHECKING:
    from t2c_jax.data.tokens import Tokens

_PIVOT, _CUT, _OTHER_CUT, _MIDDLE = range(4)  # keys of independent samples of one window


def prefix_lm(tokens_N: np.ndarray, pivot: int) -> Example:
    """The source is what comes before the pivot, the target is the rest (Raffel et al. 2020, section 3.2.1; Wang et al.
    2023, "CodeT5+", section 3.1, "sequence-to-sequence causal LM").

    Of a b c d with the pivot 3: the source is a b c, the target d. With the pivot 0 the source is empty, which is
    causal language modelling.
    """
    return Example((tokens_N[:pivot].astype(np.int32),), tokens_N[pivot:].astype(np.int32))


def fill_in_the_middle(tokens_N: np.ndarray, begin: int, end: int, sentinel: int) -> Example:
    """The source is prefix and suffix with a sentinel between them, the target is the middle (Bavarian et al. 2022,
    "Efficient Training of Language Models to Fill in the Middle", section 3).

    The paper's decoder reads prefix, suffix, middle in a row; here the encoder reads the first two. Of a b c d e with
    the middle [1, 3): the source is a <0> d e, the target b c.
    """
    middle = np.array([sentinel], np.int32)
    source = np.concatenate([tokens_N[:begin], middle, tokens_N[end:]], dtype=np.int32, casting="unsafe")
    return Example((source,), tokens_N[begin:end].astype(np.int32))


@dataclass(frozen=True)
class LanguageModel(Task):
    """Code to continue, from nothing (causal) or from a prefix (``prefix_lm``).

    Where a prefix ends is sampled by the run's seed for each window and is the same in every epoch: another pivot would
    change the lengths of source and target, and rows are planned once.

    Attributes:
      length: tokens of a window at most.
      least, most: bounds of the prefix's share of a window; both 0 for none.
    """

    needs: ClassVar[str] = CODE
    length: int = 0
    least: float = 0.0
    most: float = 0.0

    def index(self, tokens: Tokens, seed: int) -> ExampleIndex:
        """Windows of all code of at least two tokens."""
        records_N, begins_N, ends_N = windows(tokens.code_lengths, self.length, least=2)
        pivots_N = self._pivots(records_N, begins_N, ends_N, seed)
        return ExampleIndex(
            records_N,
            begins_N,
            ends_N,
            pivots_N + self.source.extra_tokens,
            ends_N - begins_N - pivots_N + self.target.extra_tokens,
        )

    def _pivots(self, records_N: np.ndarray, begins_N: np.ndarray, ends_N: np.ndarray, seed: int) -> np.ndarray:
        lengths_N = ends_N - begins_N
        share_N = self.least + (self.most - self.least) * uniform(records_N, begins_N, seed, _PIVOT)
        return np.minimum(np.rint(share_N * lengths_N).astype(np.int64), lengths_N - 1)

    def example(self, tokens: Tokens, record: int, begin: int, end: int, seed: int, epoch: int) -> Example:
        """A window, cut at its pivot."""
        records_N, begins_N, ends_N = (np.array([value]) for value in (record, begin, end))
        pivot = self._pivots(records_N, begins_N, ends_N, seed)[0]
        return self.in_templates(prefix_lm(tokens.code(record)[begin:end], int(pivot)))


@dataclass(frozen=True)
class FillInTheMiddle(Task):
    """Code whose middle is to be written (``fill_in_the_middle``).

    The middle lies between two cuts that are uniform over the window (Bavarian et al. 2022, section 3; there between
    characters, here between tokens, so that source and target are the code's own tokens). Its length is sampled by the
    run's seed for each window, because rows are planned once. Its place is sampled anew in each epoch: given their
    distance, two such cuts are equally likely everywhere.

    Attributes:
      sentinel: takes the place of the middle.
      length: tokens of a window at most.
    """

    needs: ClassVar[str] = CODE
    sentinel: int = 0
    length: int = 0

    def index(self, tokens: Tokens, seed: int) -> ExampleIndex:
        """Windows of all code of at least two tokens."""
        records_N, begins_N, ends_N = windows(tokens.code_lengths, self.length, least=2)
        middle_N = self._middles(records_N, begins_N, ends_N, seed)
        source_N = ends_N - begins_N - middle_N + 1 + self.source.extra_tokens
        return ExampleIndex(records_N, begins_N, ends_N, source_N, middle_N + self.target.extra_tokens)

    def _middles(self, records_N: np.ndarray, begins_N: np.ndarray, ends_N: np.ndarray, seed: int) -> np.ndarray:
        """Distance of two cuts, at least one token."""
        places_N = ends_N - begins_N + 1
        cuts = [random_integers(places_N, records_N, begins_N, seed, which) for which in (_CUT, _OTHER_CUT)]
        return np.maximum(np.abs(cuts[0] - cuts[1]), 1)

    def example(self, tokens: Tokens, record: int, begin: int, end: int, seed: int, epoch: int) -> Example:
        """A window without its middle."""
        window = tokens.code(record)[begin:end]
        records_N, begins_N, ends_N = (np.array([value]) for value in (record, begin, end))
        middle_N = self._middles(records_N, begins_N, ends_N, seed)
        first_N = random_integers(len(window) - middle_N + 1, records_N, begins_N, seed, _MIDDLE, epoch)
        first, middle = int(first_N[0]), int(middle_N[0])
        return self.in_templates(fill_in_the_middle(window, first, first + middle, self.sentinel))


def build_causal_lm(setup: TaskSetup) -> LanguageModel:
    """The task of ``causal_lm``."""
    return LanguageModel(**setup.shared(), length=setup.room[1])


def build_prefix_lm(setup: TaskSetup) -> LanguageModel:
    """The task of ``prefix_lm``."""
    return LanguageModel(**setup.shared(), length=min(setup.room), least=0.1, most=0.9)  # Wang et al. 2023, section 3.1


def build_fill_in_the_middle(setup: TaskSetup) -> FillInTheMiddle:
    """The task of ``fill_in_the_middle``."""
    source, target = setup.room
    return FillInTheMiddle(**setup.shared(), sentinel=setup.sentinels[0], length=min(source - 1, target))
