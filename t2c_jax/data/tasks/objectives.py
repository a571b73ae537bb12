"""What an example asks of the model: pure functions of token arrays, and of a key where something is drawn.

A key is (seed, epoch, record, begin of the window); draws are ``order.permutation``'s, so an example is the same on
every machine and under every version of NumPy. Where lengths matter to the plan of rows they follow from lengths alone,
never from a draw that changes with the epoch.

Examples below write sentinels as <0>, <1>, ... and leave out the eos that ends sources and targets (``tasks`` puts it
there, with the task's prefix).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from t2c_jax.data.permutation import permutation

UNKNOWN = 2**16 - 1  # the occurrence code of a token that may belong to an identifier or not

_NOTHING = np.zeros(0, np.int32)
_NOISE, _CLEAN = 3, 4  # tell these draws from those that ``packing`` and ``path_columns`` make with the same key


class Example(NamedTuple):
    """What a row holds of one example.

    Attributes:
      sources: what the encoder reads; more than one is as many segments.
      target: what the decoder writes; may be empty.
      tags: for each token of the only source 1 for an identifier, 0 for none, -1 where nothing is asked.
    """

    sources: tuple[np.ndarray, ...]
    target: np.ndarray
    tags: np.ndarray | None = None


def noise_counts(lengths_N: np.ndarray, density: float, mean_span: float) -> tuple[np.ndarray, np.ndarray]:
    """How many tokens of a sequence are noise, and in how many spans (Raffel et al. 2020, section 3.3.4).

    Of 20 tokens at a density of 0.15 and a mean span of 3 there are 3, in 1 span; of 100, 15 in 5. Both are at least 1,
    and something is left for each span. Lengths are at least 2.
    """
    noise_N = np.clip(np.rint(lengths_N * density), 1, lengths_N - 1).astype(np.int64)
    spans_N = np.clip(np.rint(noise_N / mean_span), 1, np.minimum(noise_N, lengths_N - noise_N)).astype(np.int64)
    return noise_N, spans_N


def noise_spans(length: int, noise: int, spans: int, *key: int) -> np.ndarray:
    """(spans, 2) begins and ends of spans that are drawn by ``key``, each apart from the next.

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

    Wang et al. 2021, "CodeT5", section 3.2, draw spans of words, before words are cut into tokens; here the lengths of
    source and target stay those of the drawn spans. Each span goes to the nearest word's start, and ends at the word's
    end that is nearest to its length; what it takes too much or too little, the next one makes up for. The last one
    takes what is left, at the nearest place where that is whole words. A span ends inside a word where no words are as
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
        start = _nearest(places, begin, least, length - left - later)  # each later one wants a token, and one before it
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
    """Spans give way to sentinels, and are what is asked for (Raffel et al. 2020, section 3.1.4 and figure 2).

    Of a b c d e f with the spans [1, 3) and [4, 5): the source is a <0> d <1> f and the target <0> b c <1> e. The
    figure closes targets with one more sentinel. It would tell no more than the eos that follows, cost a token of every
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


def masked_identifiers(tokens_N: np.ndarray, names_N: np.ndarray, sentinels: Sequence[int], room: int) -> Example:
    """Each distinct identifier gives way to a sentinel of its own wherever it stands; their names are asked for.

    Wang et al. 2021, "CodeT5", section 3.2 ("masked identifier prediction"). Of f ( x , y ) x with f, x and y as
    identifiers: the source is <0> ( <1> , <2> ) <1>, the target <0> f <1> x <2> y. Names that no sentinel or no room
    is left for stay in the source. The paper works on whole names; here identifiers are distinct where their tokens are
    (``identifiers.spelt``), so that source and target together are the code again, token by token: a name that is
    spelt by other tokens in a second place has a second sentinel.

    Args:
      tokens_N: code.
      names_N: ``occurrence_codes`` of its tokens.
      sentinels: ids.
      room: tokens of the target at most.
    """
    begins_O, ends_O, names_O = occurrences(names_N)
    _, first_M, number_O = np.unique(names_O, return_index=True, return_inverse=True)
    order_M = np.argsort(first_M)
    first_M = first_M[order_M]
    rank_M = np.empty_like(order_M)
    rank_M[order_M] = np.arange(len(order_M))
    costs_M = np.cumsum(ends_O[first_M] - begins_O[first_M] + 1)
    kept = min(int(np.searchsorted(costs_M, room, "right")), len(sentinels))
    number_O = rank_M[number_O]
    masked_O = number_O < kept
    ids = np.asarray(sentinels, np.int32)
    source_N, keeps_N = tokens_N.astype(np.int32), np.ones(len(tokens_N), bool)
    for begin, end, number in zip(begins_O[masked_O], ends_O[masked_O], number_O[masked_O], strict=True):
        keeps_N[begin:end] = False
        source_N[begin], keeps_N[begin] = ids[number], True
    target = [
        part
        for number, occurrence in enumerate(first_M[:kept])
        for part in (ids[number : number + 1], tokens_N[begins_O[occurrence] : ends_O[occurrence]].astype(np.int32))
    ]
    return Example((source_N[keeps_N],), np.concatenate([_NOTHING, *target]))


def masked_lengths(
    codes_N: np.ndarray, sequences: np.ndarray, windows_W: np.ndarray, sentinels: int, room: int
) -> tuple[np.ndarray, np.ndarray]:
    """Tokens of the source and of the target that ``masked_identifiers`` makes of each window, of all of them at once.

    A plan wants the lengths of a whole corpus at every start, and examples one by one would take minutes. Of
    f ( x , y ) x as there (Wang et al. 2021, section 3.2), whose codes are 1 0 4 0 5 0 4, the source has 7 tokens and
    the target 6. As two windows, f ( x and , y ) x, the sources have 3 and 4, the targets 4 and 4.

    Args:
      codes_N: ``occurrence_codes`` of sequences one after the other.
      sequences: where each begins.
      windows_W: where each window begins, every sequence's first among them. An identifier that two windows share
        belongs to neither.
      sentinels: how many there are.
      room: tokens of a target at most.
    """
    is_edge_N = np.diff(codes_N, prepend=-1) != 0
    is_edge_N[sequences] = True
    edges = np.flatnonzero(is_edge_N)
    ends = np.append(edges[1:], len(codes_N))
    window_O = np.searchsorted(windows_W, edges, "right") - 1
    whole = _named(codes_N[edges]) & (ends <= np.append(windows_W[1:], len(codes_N))[window_O])
    window_O, name_O, length_O = window_O[whole], codes_N[edges[whole]].astype(np.int64), (ends - edges)[whole]
    name_O = (name_O - 1) // 2
    key_O = window_O * (name_O.max(initial=0) + 1) + name_O
    _, first_M, number_O = np.unique(key_O, return_index=True, return_inverse=True)
    order_M = np.argsort(first_M)
    first_M, rank_M = first_M[order_M], np.argsort(order_M)
    window_M, cost_M = window_O[first_M], length_O[first_M] + 1
    opens_M = np.searchsorted(window_M, window_M)  # a window's first name
    spent_M = np.cumsum(cost_M)
    spent_M -= (spent_M - cost_M)[opens_M]
    kept_M = (spent_M <= room) & (np.arange(len(first_M)) - opens_M < sentinels)
    masked_O = kept_M[rank_M[number_O]]

    def by_window(windows: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        return np.bincount(windows, tokens, len(windows_W)).astype(np.int64)

    lengths_W = np.diff(windows_W, append=len(codes_N))
    sources_W = lengths_W - by_window(window_O[masked_O], length_O[masked_O] - 1)
    return sources_W, by_window(window_M[kept_M], cost_M[kept_M])


def occurrence_codes(occurrences_N: np.ndarray, names_O: Sequence[int]) -> np.ndarray:
    """What is kept of each token: 0 for no identifier, ``UNKNOWN``, or 1 + 2 name + the parity of its occurrence.

    It is what both of CodeT5's tasks over identifiers (Wang et al. 2021, section 3.2) have to know. The parity tells an
    occurrence from the next one of the same name where they touch. With tokens of occurrences 0 1 1 2 (0 for none) of
    the names 0 and 0: 0 1 1 2.

    Args:
      occurrences_N: 1 + the occurrence that each token belongs to, 0 for none, -1 where that is unknown.
      names_O: the name of each occurrence, numbered; the same number for the same tokens alone.
    """
    names = np.concatenate([[0], np.asarray(names_O, np.int64)])
    codes_N = 1 + 2 * names[np.maximum(occurrences_N, 0)] + (occurrences_N + 1) % 2
    return np.where(occurrences_N > 0, codes_N, np.where(occurrences_N < 0, UNKNOWN, 0))


def _named(codes_N: np.ndarray) -> np.ndarray:
    return (codes_N > 0) & (codes_N < UNKNOWN)


def occurrences(codes_N: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Begins, ends and names of the occurrences that ``occurrence_codes`` tells of.

    Of the codes 1 4 4 0 1: [0, 1), [1, 3) and [4, 5) of the names 0, 1 and 0.
    """
    edges = np.flatnonzero(np.diff(codes_N.astype(np.int64), prepend=0, append=0))
    begins = edges[:-1][_named(codes_N[edges[:-1]])] if len(edges) else edges
    ends = edges[np.searchsorted(edges, begins, "right")] if len(edges) else edges
    return begins, ends, (codes_N[begins].astype(np.int64) - 1) // 2


def identifier_tags(codes_N: np.ndarray) -> np.ndarray:
    """1 for tokens of identifiers, 0 for others, -1 where that is unknown (Wang et al. 2021, section 3.2, "identifier
    tagging").

    Of f ( x ) " with the occurrence codes 1 0 4 0 ``UNKNOWN``: 1 0 1 0 -1.
    """
    return np.where(codes_N == UNKNOWN, -1, codes_N > 0).astype(np.int32)


def prefix_lm(tokens_N: np.ndarray, pivot: int) -> Example:
    """What comes before the pivot is read, the rest is asked for (Raffel et al. 2020, section 3.2.1; Wang et al. 2023,
    "CodeT5+", section 3.1, "sequence-to-sequence causal LM").

    Of a b c d with the pivot 3: the source is a b c, the target d. With the pivot 0 it is causal language modelling:
    nothing is read.
    """
    return Example((tokens_N[:pivot].astype(np.int32),), tokens_N[pivot:].astype(np.int32))


def fill_in_the_middle(tokens_N: np.ndarray, begin: int, end: int, sentinel: int) -> Example:
    """Prefix and suffix are read, with a sentinel between them, the middle is asked for (Bavarian et al. 2022,
    "Efficient Training of Language Models to Fill in the Middle", section 3).

    The paper's decoder reads prefix, suffix, middle in a row; here the encoder reads the first two. Of a b c d e with
    the middle [1, 3): the source is a <0> d e, the target b c.
    """
    middle = np.array([sentinel], np.int32)
    source = np.concatenate([tokens_N[:begin], middle, tokens_N[end:]], dtype=np.int32, casting="unsafe")
    return Example((source,), tokens_N[begin:end].astype(np.int32))
