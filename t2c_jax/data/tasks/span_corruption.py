"""Span corruption (Raffel et al. 2020, section 3.1.4), with spans of whole words (Wang et al. 2021, section 3.2)."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from t2c_jax.data.permutation import permutation
from t2c_jax.data.tasks.task import CODE, Example, ExampleIndex, Task, TaskSetup
from t2c_jax.data.tasks.windows import windows

if TYPE_CHECKING:
    from t2c_jax.data.tokens import Tokens

_NOISE, _CLEAN = 3, 4  # keys: ``packing`` and ``papers.code2seq`` use 0 to 2 with the same seed and epoch


def noise_counts(lengths_N: np.ndarray, density: float, mean_span: float) -> tuple[np.ndarray, np.ndarray]:
    """How many tokens of a sequence are noise, and in how many spans (Raffel et al. 2020, section 3.3.4).

    Of 20 tokens at a density of 0.15 and a mean span of 3 there are 3, in 1 span; of 100, 15 in 5. Both are at least 1,
    and something is left for each span. Lengths are at least 2.
    """
    noise_N = np.clip(np.rint(lengths_N * density), 1, lengths_N - 1).astype(np.int64)
    spans_N = np.clip(np.rint(noise_N / mean_span), 1, np.minimum(noise_N, lengths_N - noise_N)).astype(np.int64)
    return noise_N, spans_N


def noise_spans(length: int, noise: int, spans: int, *key: int) -> np.ndarray:
    """(spans, 2) begins and ends of spans that are sampled by ``key``; no two touch.

    Noise is cut into ``spans`` parts and the rest into one more, any cut as likely as any other (Raffel et al. 2020,
    section 3.3.4, and their code); the rest's first and last part may be empty. (Their code has no last part, so that a
    sequence always ends in noise, and a short one has no other.) Of 20 tokens with 6 of noise in 2 spans, the key
    (0, 0) draws [1, 3) and [6, 10), the key (0, 1) [10, 14) and [16, 18).
    """
    noise_K = _cut(noise, spans, *key, _NOISE)
    rest_K = _cut(length - noise + 2, spans + 1, *key, _CLEAN)[:-1]
    ends_K = np.cumsum(rest_K + noise_K) - 1
    return np.stack([ends_K - noise_K, ends_K], axis=1)


def _cut(size: int, parts: int, *key: int) -> np.ndarray:
    """Lengths of ``parts`` parts of at least 1."""
    cuts = np.sort(permutation(size - 1, *key)[: parts - 1]) + 1
    return np.diff(np.concatenate([[0], cuts, [size]]))


def whole_words(spans_K2: np.ndarray, length: int, boundaries: np.ndarray) -> np.ndarray:
    """Spans that begin and end where words do, as many of them and with as much noise in all.

    Wang et al. 2021, "CodeT5", section 3.2, sample spans of words, before words are cut into tokens. Here the lengths
    of source and target stay those of the sampled spans. Each span moves to the nearest start of a word and ends at the
    end of a word that is nearest to its length; the next span makes up for the difference. The last one takes what
    is left, at the nearest place where that is whole words. A span ends inside a word where no words are as
    long as what is left, or a word is longer than there is room. With words that begin at 0, 3, 4, 6 and 9, the spans
    [2, 4) and [6, 8) of 10 tokens become [3, 6) and [9, 10).

    Args:
      spans_K2: begins and ends.
      length: tokens in all.
      boundaries: where words begin, in order, ``length`` counted in.
    """
    places = boundaries.tolist()
    wanted_K = (spans_K2[:, 1] - spans_K2[:, 0]).tolist()
    begins_K = spans_K2[:, 0].tolist()
    left, owed, least = sum(wanted_K), 0, 0
    moved = []
    for later, begin, wanted in zip(range(len(begins_K) - 1, 0, -1), begins_K, wanted_K, strict=False):
        start = _nearest(places, begin, least, length - left - later)  # later spans need a token each, and a gap
        end = _nearest(places, start + wanted + owed, start + 1, start + left - later)
        owed += wanted - (end - start)
        left -= end - start
        least = end + 1
        moved.append((start, end))
    is_place_N = np.zeros(length + 1, bool)
    is_place_N[boundaries] = True
    starts = least + np.flatnonzero(is_place_N[least : length - left + 1] & is_place_N[least + left :])
    if len(starts):
        start = int(starts[np.argmin(np.abs(starts - begins_K[-1]))])
    else:
        start = _nearest(places, begins_K[-1], least, length - left)
    return np.array([*moved, (start, start + left)])


def _nearest(places: Sequence[int], wanted: int, least: int, most: int) -> int:
    """The place nearest to ``wanted`` from ``least`` to ``most``; where there is none, what lies nearest to it."""
    first, last = bisect_left(places, least), bisect_right(places, most)
    if first == last:
        return min(max(wanted, least), most)
    here = min(bisect_left(places, wanted, first, last), last - 1)
    before = max(here - 1, first)
    return places[before] if wanted - places[before] < places[here] - wanted else places[here]


def span_corruption(tokens_N: np.ndarray, spans_K2: np.ndarray, sentinels: Sequence[int]) -> Example:
    """Sentinels replace spans in the source; the target holds the spans (Raffel et al. 2020, section 3.1.4, figure 2).

    Of a b c d e f with the spans [1, 3) and [4, 5): the source is a <0> d <1> f and the target <0> b c <1> e. The
    figure closes targets with one more sentinel. It would say no more than the eos that follows, cost a token of every
    target, and be the only sentinel of a target that its source does not hold.
    """
    begins_K, ends_K = spans_K2[:, 0], spans_K2[:, 1]
    steps = np.zeros(len(tokens_N) + 1, np.int64)
    steps[begins_K] += 1
    steps[ends_K] -= 1
    is_noise_N = np.cumsum(steps)[:-1] > 0
    names_K = np.asarray(sentinels, np.int32)[: len(spans_K2)]
    source_N = tokens_N.astype(np.int32)
    source_N[begins_K] = names_K
    keeps_N = ~is_noise_N
    keeps_N[begins_K] = True
    lengths_K = ends_K - begins_K
    target = np.insert(tokens_N[is_noise_N].astype(np.int32), np.cumsum(lengths_K) - lengths_K, names_K)
    return Example((source_N[keeps_N],), target)


@dataclass(frozen=True)
class SpanCorruption(Task):
    """Code with spans to be restored, sampled anew in each epoch (``span_corruption``).

    Attributes:
      sentinels: ids.
      density, mean_span: share of noise, and tokens of a span.
      length: tokens of a window at most.
      begins_word, ends_word: for each id whether its first, and its last, byte may lie inside a word; None where spans
        need not be whole words.
    """

    needs: ClassVar[str] = CODE
    sentinels: tuple[int, ...] = ()
    density: float = 0.15
    mean_span: float = 3.0
    length: int = 0
    begins_word: np.ndarray | None = None
    ends_word: np.ndarray | None = None

    def index(self, tokens: Tokens, seed: int) -> ExampleIndex:
        """Windows of all code of at least two tokens."""
        records_N, begins_N, ends_N = windows(tokens.code_lengths, self.length, least=2)
        lengths_N = ends_N - begins_N
        noise_N, spans_N = noise_counts(lengths_N, self.density, self.mean_span)
        return ExampleIndex(
            records_N,
            begins_N,
            ends_N,
            lengths_N - noise_N + spans_N + self.source.extra_tokens,
            noise_N + spans_N + self.target.extra_tokens,
        )

    def example(self, tokens: Tokens, record: int, begin: int, end: int, seed: int, epoch: int) -> Example:
        """A window with spans sampled anew in each epoch."""
        window = tokens.code(record)[begin:end]
        noise, spans = noise_counts(np.array([len(window)]), self.density, self.mean_span)
        spans_K2 = noise_spans(len(window), int(noise[0]), int(spans[0]), seed, epoch, record, begin)
        if self.begins_word is not None and self.ends_word is not None:
            inside = self.ends_word[window[:-1]] & self.begins_word[window[1:]]
            boundaries = np.concatenate([[0], np.flatnonzero(~inside) + 1, [len(window)]])
            spans_K2 = whole_words(spans_K2, len(window), boundaries)
        return self.in_templates(span_corruption(window, spans_K2, self.sentinels))


def build_span_corruption(setup: TaskSetup) -> SpanCorruption:
    """The task of ``span_corruption``."""
    (source, target), config, sentinels = setup.room, setup.config, setup.sentinels
    lengths_N = np.arange(2, 2 * (source + target))
    noise_N, spans_N = noise_counts(lengths_N, config.noise_density, config.mean_span)
    fits_N = (lengths_N - noise_N + spans_N <= source) & (noise_N + spans_N <= target) & (spans_N <= len(sentinels))
    length = int(lengths_N[np.argmin(np.append(fits_N, False))]) - 1
    begins, ends = _words(setup.tokenizers.target.surfaces) if config.whole_words else (None, None)
    return SpanCorruption(
        **setup.shared(),
        sentinels=sentinels,
        density=config.noise_density,
        mean_span=config.mean_span,
        length=length,
        begins_word=begins,
        ends_word=ends,
    )


_INSIDE_WORDS = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") | frozenset(
    range(128, 256)
)


def _words(surfaces: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """For each id whether its first and its last byte may lie inside a word: letters, digits, _ and all but ASCII."""
    first, last = (np.array([bool(s) and s[place] in _INSIDE_WORDS for s in surfaces]) for place in (0, -1))
    return first, last
