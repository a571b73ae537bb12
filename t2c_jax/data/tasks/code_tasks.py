"""Tasks over code alone, which pre-training takes, and over pairs of sources. Code that is longer than a task has room
for is cut into windows of nearly the same length that cover it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np

from t2c_jax.data.permutation import mix
from t2c_jax.data.prepare import Tokens
from t2c_jax.data.tasks import objectives
from t2c_jax.data.tasks.objectives import Example
from t2c_jax.data.tasks.task import Parts, Task

_NOTHING = np.zeros(0, np.int32)
_CODE = "code of two tokens"
_KNOWN = "code whose identifiers are known"
_PIVOT, _CUT, _OTHER_CUT, _MIDDLE = range(4)  # draws of one window that do not depend on each other
_RECORDS_AT_ONCE = 1 << 14  # whose tokens are in memory together, tens of megabytes


def windows(lengths_N: np.ndarray, most: int, least: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cuts sequences into the fewest windows of at most ``most`` tokens, of nearly the same length.

    Of lengths 5 and 3 and 4 at most: [0, 2) and [2, 5) of the first, [0, 3) of the second. Sequences under ``least``
    tokens are passed over.

    Returns:
      the sequence, begin and end of each window.
    """
    kept_K = np.flatnonzero(lengths_N >= least)
    counts_K = -(-lengths_N[kept_K] // most)
    sequences = np.repeat(kept_K, counts_K)
    number = np.arange(len(sequences)) - np.repeat(np.cumsum(counts_K) - counts_K, counts_K)
    lengths, counts = lengths_N[sequences], np.repeat(counts_K, counts_K)
    return sequences, lengths * number // counts, lengths * (number + 1) // counts


@dataclass(frozen=True)
class SpanCorruption(Task):
    """Code with spans to be restored, drawn afresh each epoch (``objectives.span_corruption``).

    Attributes:
      sentinels: ids.
      density, mean_span: share of noise, and tokens of a span.
      length: tokens of a window at most.
      begins_word, ends_word: for each id whether it can go on from, and into, another piece of a word; None for spans
        anywhere.
    """

    needs: ClassVar[str] = _CODE
    sentinels: tuple[int, ...] = ()
    density: float = 0.15
    mean_span: float = 3.0
    length: int = 0
    begins_word: np.ndarray | None = None
    ends_word: np.ndarray | None = None

    def parts(self, tokens: Tokens, seed: int) -> Parts:
        """Windows of all code of at least two tokens."""
        records_N, begins_N, ends_N = windows(tokens.code_lengths, self.length, least=2)
        lengths_N = ends_N - begins_N
        noise_N, spans_N = objectives.noise_counts(lengths_N, self.density, self.mean_span)
        return Parts(
            records_N,
            begins_N,
            ends_N,
            lengths_N - noise_N + spans_N + self.around_source,
            noise_N + spans_N + self.around_target,
        )

    def example(self, tokens: Tokens, record: int, begin: int, end: int, seed: int, epoch: int) -> Example:
        """A window with spans drawn anew in each epoch."""
        window = tokens.code(record)[begin:end]
        noise, spans = objectives.noise_counts(np.array([len(window)]), self.density, self.mean_span)
        spans_K2 = objectives.noise_spans(len(window), int(noise[0]), int(spans[0]), seed, epoch, record, begin)
        if self.begins_word is not None and self.ends_word is not None:
            inside = self.ends_word[window[:-1]] & self.begins_word[window[1:]]
            boundaries = np.concatenate([[0], np.flatnonzero(~inside) + 1, [len(window)]])
            spans_K2 = objectives.whole_words(spans_K2, len(window), boundaries)
        return self.framed(objectives.span_corruption(window, spans_K2, self.sentinels))


@dataclass(frozen=True)
class MaskedIdentifiers(Task):
    """Code whose identifiers are to be named (``objectives.masked_identifiers``).

    Attributes:
      sentinels: ids.
      length: tokens of a window at most.
      room: tokens of a target at most, what is around it not counted.
    """

    needs: ClassVar[str] = _KNOWN
    sentinels: tuple[int, ...] = ()
    length: int = 0
    room: int = 0

    def parts(self, tokens: Tokens, seed: int) -> Parts:
        """Windows that hold an identifier."""
        records_N, begins_N, ends_N = windows(tokens.code_lengths, self.length)
        lengths = [
            objectives.masked_lengths(codes, starts[is_first], starts, len(self.sentinels), self.room)
            for codes, starts, is_first in _codes_at_once(tokens, records_N, begins_N, ends_N)
        ]
        source_N, target_N = map(np.concatenate, zip((_NOTHING, _NOTHING), *lengths, strict=True))
        kept = target_N > 0
        source_N, target_N = source_N[kept] + self.around_source, target_N[kept] + self.around_target
        return Parts(records_N[kept], begins_N[kept], ends_N[kept], source_N, target_N)

    def _masked(self, tokens: Tokens, record: int, begin: int, end: int) -> Example:
        names = whole_occurrences(tokens.identifiers(record), begin, end)
        return objectives.masked_identifiers(tokens.code(record)[begin:end], names, self.sentinels, self.room)

    def example(self, tokens: Tokens, record: int, begin: int, end: int, seed: int, epoch: int) -> Example:
        """A window; nothing is drawn."""
        return self.framed(self._masked(tokens, record, begin, end))


def _codes_at_once(
    tokens: Tokens, records_N: np.ndarray, begins_N: np.ndarray, ends_N: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Of all code's windows, those of some records at a time: the records' occurrence codes end to end, where each
    window begins in them, and whether it is the first of its record."""
    firsts = np.flatnonzero(begins_N == 0)[::_RECORDS_AT_ONCE].tolist()
    for some in (slice(*ends) for ends in pairwise([*firsts, len(records_N)])):
        codes = np.concatenate([tokens.identifiers(record) for record in np.unique(records_N[some]).tolist()])
        lengths = ends_N[some] - begins_N[some]
        yield codes, np.cumsum(lengths) - lengths, begins_N[some] == 0


def whole_occurrences(codes_N: np.ndarray, begin: int, end: int) -> np.ndarray:
    """The window's occurrence codes, 0 for an identifier that the window cuts."""
    window = codes_N[begin:end].copy()
    if begin and len(window) and codes_N[begin - 1] == window[0]:
        window[: int(np.argmax(np.append(window != window[0], True)))] = 0
    if end < len(codes_N) and len(window) and codes_N[end] == window[-1]:
        window[len(window) - int(np.argmax(np.append(window[::-1] != window[-1], True))) :] = 0
    return window


@dataclass(frozen=True)
class IdentifierTagging(Task):
    """Code whose tokens are told to be identifiers or not, by the encoder's head; nothing is written.

    Attributes:
      length: tokens of a window at most.
    """

    needs: ClassVar[str] = _KNOWN
    length: int = 0

    def parts(self, tokens: Tokens, seed: int) -> Parts:
        """Windows of all code that something is known of."""
        records_N, begins_N, ends_N = windows(tokens.code_lengths, self.length)
        is_known = [
            np.logical_or.reduceat(codes != objectives.UNKNOWN, starts)
            for codes, starts, _ in _codes_at_once(tokens, records_N, begins_N, ends_N)
        ]
        kept = np.concatenate([np.zeros(0, bool), *is_known])
        records_N, begins_N, ends_N = records_N[kept], begins_N[kept], ends_N[kept]
        return Parts(records_N, begins_N, ends_N, ends_N - begins_N + self.around_source, np.zeros_like(records_N))

    def example(self, tokens: Tokens, record: int, begin: int, end: int, seed: int, epoch: int) -> Example:
        """A window and its tags; nothing is asked of what is around it."""
        tags = objectives.identifier_tags(tokens.identifiers(record)[begin:end])
        around = (np.full(len(ids), -1, np.int32) for ids in (self.before, self.after))
        source = self.source(tokens.code(record)[begin:end])
        return Example((source,), _NOTHING, np.concatenate([next(around), tags, next(around)]))


@dataclass(frozen=True)
class LanguageModel(Task):
    """Code to go on with: from nothing (causal) or from a prefix (``objectives.prefix_lm``).

    Where a prefix ends is drawn by the run's seed for each window, and is the same in every epoch: source and target
    have other lengths with another pivot, and rows are planned once.

    Attributes:
      length: tokens of a window at most.
      least, most: bounds of the prefix's share of a window; both 0 for none.
    """

    needs: ClassVar[str] = _CODE
    length: int = 0
    least: float = 0.0
    most: float = 0.0

    def parts(self, tokens: Tokens, seed: int) -> Parts:
        """Windows of all code of at least two tokens."""
        records_N, begins_N, ends_N = windows(tokens.code_lengths, self.length, least=2)
        pivots_N = self._pivots(records_N, begins_N, ends_N, seed)
        return Parts(
            records_N,
            begins_N,
            ends_N,
            pivots_N + self.around_source,
            ends_N - begins_N - pivots_N + self.around_target,
        )

    def _pivots(self, records_N: np.ndarray, begins_N: np.ndarray, ends_N: np.ndarray, seed: int) -> np.ndarray:
        lengths_N = ends_N - begins_N
        share_N = self.least + (self.most - self.least) * _uniform(records_N, begins_N, seed, _PIVOT)
        return np.minimum(np.rint(share_N * lengths_N).astype(np.int64), lengths_N - 1)

    def example(self, tokens: Tokens, record: int, begin: int, end: int, seed: int, epoch: int) -> Example:
        """A window, cut at its pivot."""
        records_N, begins_N, ends_N = (np.array([value]) for value in (record, begin, end))
        pivot = self._pivots(records_N, begins_N, ends_N, seed)[0]
        return self.framed(objectives.prefix_lm(tokens.code(record)[begin:end], int(pivot)))


@dataclass(frozen=True)
class FillInTheMiddle(Task):
    """Code with a middle to be written (``objectives.fill_in_the_middle``).

    The middle lies between two cuts that are uniform over the window (Bavarian et al. 2022, section 3; there between
    characters, here between tokens, so that source and target are the code's own). How long it is, is drawn by the
    run's seed for each window, since rows are planned once. Where it lies is drawn anew in each epoch: given their
    distance, two such cuts lie anywhere with the same chance.

    Attributes:
      sentinel: stands where the middle was.
      length: tokens of a window at most.
    """

    needs: ClassVar[str] = _CODE
    sentinel: int = 0
    length: int = 0

    def parts(self, tokens: Tokens, seed: int) -> Parts:
        """Windows of all code of at least two tokens."""
        records_N, begins_N, ends_N = windows(tokens.code_lengths, self.length, least=2)
        middle_N = self._middles(records_N, begins_N, ends_N, seed)
        source_N = ends_N - begins_N - middle_N + 1 + self.around_source
        return Parts(records_N, begins_N, ends_N, source_N, middle_N + self.around_target)

    def _middles(self, records_N: np.ndarray, begins_N: np.ndarray, ends_N: np.ndarray, seed: int) -> np.ndarray:
        """How far two cuts lie apart, at least a token."""
        places_N = ends_N - begins_N + 1
        cuts = [_drawn(places_N, records_N, begins_N, seed, which) for which in (_CUT, _OTHER_CUT)]
        return np.maximum(np.abs(cuts[0] - cuts[1]), 1)

    def example(self, tokens: Tokens, record: int, begin: int, end: int, seed: int, epoch: int) -> Example:
        """A window without its middle."""
        window = tokens.code(record)[begin:end]
        records_N, begins_N, ends_N = (np.array([value]) for value in (record, begin, end))
        middle_N = self._middles(records_N, begins_N, ends_N, seed)
        first_N = _drawn(len(window) - middle_N + 1, records_N, begins_N, seed, _MIDDLE, epoch)
        first, middle = int(first_N[0]), int(middle_N[0])
        return self.framed(objectives.fill_in_the_middle(window, first, first + middle, self.sentinel))


def _uniform(records_N: np.ndarray, begins_N: np.ndarray, *key: int) -> np.ndarray:
    """Numbers in [0, 1) for each window."""
    states_N = np.zeros(len(records_N), np.uint64)
    for number in key:
        states_N = mix(states_N ^ np.array([number % 2**64], np.uint64))
    for numbers_N in (records_N, begins_N):
        states_N = mix(states_N ^ numbers_N.astype(np.uint64))
    return (states_N >> np.uint64(11)) * 2.0**-53


def _drawn(counts_N: np.ndarray, records_N: np.ndarray, begins_N: np.ndarray, *key: int) -> np.ndarray:
    """Of each window one of 0 to ``counts_N`` - 1, any as likely as any other."""
    return np.floor(_uniform(records_N, begins_N, *key) * counts_N).astype(np.int64)


@dataclass(frozen=True)
class Contrast(Task):
    """Text and code of a pair as two sources, to be told to belong together (Wang et al. 2023, "CodeT5+", section 3.2).

    Nothing is written. A pair has its share of a row, so that a batch holds many: each is told from all others. What is
    longer is cut at its end, since an embedding is of a beginning too: half of the share is the text's and half the
    code's, and what one of them leaves goes to the other. With a share of 12 and 1 for eos, a text of 3 and code of 9
    tokens are read as 3 and 7, a text of 8 and code of 9 as 5 and 5.

    Attributes:
      length: tokens of both sources at most, those around them counted in.
    """

    needs: ClassVar[str] = "both text and code"
    length: int = 0

    def parts(self, tokens: Tokens, seed: int) -> Parts:
        """Every pair that has both."""
        records_N = np.flatnonzero((tokens.text_lengths > 0) & (tokens.code_lengths > 0))
        text_N, code_N = self._cut(tokens.text_lengths[records_N], tokens.code_lengths[records_N])
        nothing_N = np.zeros_like(records_N)
        return Parts(records_N, nothing_N, code_N, text_N + code_N + 2 * self.around_source, nothing_N)

    def _cut(self, text_N: np.ndarray, code_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        room = self.length - 2 * self.around_source
        text_N = np.minimum(text_N, np.maximum(room // 2, room - code_N))
        return text_N, np.minimum(code_N, room - text_N)

    def example(self, tokens: Tokens, record: int, begin: int, end: int, seed: int, epoch: int) -> Example:
        """Text, and code; nothing is drawn."""
        text, code = tokens.text(record), tokens.code(record)
        kept, _ = self._cut(np.array(len(text)), np.array(len(code)))
        return Example((self.source(text[: int(kept)]), self.source(code[:end])), _NOTHING)
