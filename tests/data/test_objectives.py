"""Objectives by hand-worked examples, and by what must hold of every draw."""

import numpy as np
import pytest

from t2c_jax.data.tasks.identifiers import (
    UNKNOWN,
    identifier_tags,
    masked_identifiers,
    masked_lengths,
    occurrence_codes,
    occurrences,
)
from t2c_jax.data.tasks.language_modelling import fill_in_the_middle, prefix_lm
from t2c_jax.data.tasks.span_corruption import noise_counts, noise_spans, span_corruption, whole_words

A, B, C, D, E, F = range(10, 16)
SENTINELS = (100, 101, 102, 103)


def ints(*values):
    return np.array(values, np.int32)


def restored(example, sentinels):
    """The tokens that source and target together tell of: each sentinel gives way to what the target says of it."""
    parts, said = {}, []
    for token in example.target.tolist():
        if token in sentinels:
            said = parts.setdefault(token, [])
        else:
            said.append(token)
    return [piece for token in example.sources[0].tolist() for piece in parts.get(token, [token])]


def test_spans_give_way_to_sentinels():
    example = span_corruption(ints(A, B, C, D, E, F), np.array([[1, 3], [4, 5]]), SENTINELS)
    assert example.sources[0].tolist() == [A, 100, D, 101, F]
    assert example.target.tolist() == [100, B, C, 101, E]


def test_noise_counts():
    lengths = np.array([2, 20, 100, 5])
    noise, spans = noise_counts(lengths, 0.15, 3.0)
    assert noise.tolist() == [1, 3, 15, 1]
    assert spans.tolist() == [1, 1, 5, 1]
    noise, spans = noise_counts(np.array([10]), 0.9, 1.0)
    assert (noise.tolist(), spans.tolist()) == ([9], [1])  # one token is left, before the only span


@pytest.mark.parametrize("words", [False, True])
@pytest.mark.parametrize(("density", "mean"), [(0.15, 3.0), (0.5, 3.0), (0.3, 1.0)])
def test_corruption_loses_nothing_whatever_is_sampled(density, mean, words):
    """Source and target restore the tokens, and lengths are what lengths alone say."""
    draw = np.random.default_rng(0)
    lengths, sentinels = [], range(1000, 1200)
    for number in range(300):
        tokens = draw.integers(3, 900, draw.integers(2, 200)).astype(np.int32)
        (noise,), (spans,) = noise_counts(np.array([len(tokens)]), density, mean)
        drawn = noise_spans(len(tokens), noise, spans, 7, 0, number)
        if words:
            starts = np.flatnonzero(draw.random(len(tokens)) < 0.4)
            boundaries = np.unique(np.concatenate([[0], starts, [len(tokens)]]))
            drawn = whole_words(drawn, len(tokens), boundaries)
        assert drawn[0, 0] >= 0
        assert drawn[-1, 1] <= len(tokens)
        assert (drawn[1:, 0] > drawn[:-1, 1]).all()  # apart from each other
        example = span_corruption(tokens, drawn, sentinels)
        assert restored(example, sentinels) == tokens.tolist()
        assert len(example.sources[0]) == len(tokens) - noise + spans
        assert len(example.target) == noise + spans
        lengths += (drawn[:, 1] - drawn[:, 0]).tolist()
    assert np.mean(lengths) == pytest.approx(mean, rel=0.25)  # clipping at short sequences moves the mean


def test_spans_are_sampled_evenly_and_by_key_alone():
    """Two tokens of 8 in one span may begin at seven places, any as likely as any other."""
    first = [int(noise_spans(8, 2, 1, 0, 0, key)[0, 0]) for key in range(7000)]
    counts = np.bincount(first, minlength=7)
    assert len(counts) == 7
    assert np.abs(counts / 7000 - 1 / 7).max() < 0.02  # 4.8 standard errors of such a share
    assert noise_spans(20, 6, 2, 0, 0).tolist() == [[1, 3], [6, 10]]
    assert noise_spans(20, 6, 2, 0, 1).tolist() == [[10, 14], [16, 18]]
    assert noise_spans(50, 10, 3, 1, 2, 3).tolist() == noise_spans(50, 10, 3, 1, 2, 3).tolist()
    assert noise_spans(50, 10, 3, 1, 2, 3).tolist() != noise_spans(50, 10, 3, 1, 3, 3).tolist()


def test_spans_move_to_words():
    boundaries = np.array([0, 3, 4, 6, 9, 10])
    assert whole_words(np.array([[2, 4], [6, 8]]), 10, boundaries).tolist() == [[3, 6], [9, 10]]
    assert whole_words(np.array([[3, 5], [6, 9]]), 10, np.array([0, 3, 7, 10])).tolist() == [[3, 7], [8, 9]]
    assert whole_words(np.array([[1, 3]]), 4, np.array([0, 4])).tolist() == [[0, 2]]  # the only word


def test_the_last_span_leaves_whole_words():
    boundaries = np.array([0, 1, 5, 9, 11, 15])
    assert whole_words(np.array([[6, 8]]), 15, boundaries).tolist() == [[9, 11]]
    assert whole_words(np.array([[6, 9]]), 15, boundaries).tolist() == [[5, 8]]  # no words of three
    assert whole_words(np.array([[1, 3], [5, 8]]), 15, boundaries).tolist() == [[1, 5], [9, 10]]
    draw = np.random.default_rng(2)
    for _ in range(500):
        boundaries = np.concatenate([[0], np.cumsum(draw.integers(1, 6, 8))])
        length = int(boundaries[-1])
        noise = int(draw.integers(1, length))
        begin = int(draw.integers(0, length - noise + 1))
        moved = whole_words(np.array([[begin, begin + noise]]), length, boundaries)[0]
        assert moved[1] - moved[0] == noise
        whole = [start for start in boundaries if start + noise in boundaries]
        if whole:
            assert abs(moved[0] - begin) == min(abs(start - begin) for start in whole)
            assert moved[0] in whole


def test_most_ends_are_words_ends():
    """The very last one too, but for the few texts behind whose other spans no words of its length are left."""
    draw, inside, last = np.random.default_rng(1), [], []
    for number in range(400):
        boundaries = np.concatenate([[0], np.cumsum(draw.integers(1, 4, 60))])
        length = int(boundaries[-1])
        noise, spans = noise_counts(np.array([length]), 0.15, 3.0)
        drawn = noise_spans(length, noise[0], spans[0], 0, 0, number)
        moved = whole_words(drawn, length, boundaries)
        is_whole = np.isin(moved, boundaries).all(axis=1)
        inside += is_whole[:-1].tolist()
        last.append(is_whole[-1])
    assert np.mean(inside) > 0.95
    assert np.mean(last) > 0.97


def test_identifiers_give_way_to_their_sentinels():
    """f ( x , y ) x with pieces: x is two tokens each time."""
    tokens = ints(A, 50, B, C, 51, D, 52, B, C)
    codes = occurrence_codes(np.array([1, 0, 2, 2, 0, 3, 0, 4, 4]), [0, 1, 2, 1])
    example = masked_identifiers(tokens, codes, SENTINELS, room=100)
    assert example.sources[0].tolist() == [100, 50, 101, 51, 102, 52, 101]
    assert example.target.tolist() == [100, A, 101, B, C, 102, D]
    assert restored(example, SENTINELS) == tokens.tolist()


def test_lengths_of_masked_windows_by_hand():
    """f ( x , y ) x, whole and as two windows."""
    codes, begin = np.array([1, 0, 4, 0, 5, 0, 4]), np.array([0])
    assert [lengths.tolist() for lengths in masked_lengths(codes, begin, begin, 100, 100)] == [[7], [6]]
    assert [lengths.tolist() for lengths in masked_lengths(codes, begin, np.array([0, 3]), 100, 100)] == [
        [3, 4],
        [4, 4],
    ]


def test_names_that_find_no_room_stay():
    tokens, codes = ints(A, 50, B, C, 51, D), occurrence_codes(np.array([1, 0, 2, 2, 0, 3]), [0, 1, 2])
    example = masked_identifiers(tokens, codes, SENTINELS, room=5)
    assert example.sources[0].tolist() == [100, 50, 101, 51, D]
    assert example.target.tolist() == [100, A, 101, B, C]
    assert masked_identifiers(tokens, codes, SENTINELS[:1], room=50).target.tolist() == [100, A]
    assert masked_identifiers(tokens, codes * 0, SENTINELS, room=50).target.tolist() == []


def test_sentinels_are_numbered_by_first_occurrence():
    codes = occurrence_codes(np.array([1, 2, 3]), [5, 2, 5])
    example = masked_identifiers(ints(A, B, A), codes, SENTINELS, room=50)
    assert example.sources[0].tolist() == [100, 101, 100]
    assert example.target.tolist() == [100, A, 101, B]


def test_occurrences_that_touch_are_two():
    codes = occurrence_codes(np.array([1, 2, 2, 0, 3]), [4, 4, 4])
    begins, ends, names = occurrences(codes)
    assert (begins.tolist(), ends.tolist(), names.tolist()) == ([0, 1, 4], [1, 3, 5], [4, 4, 4])
    assert identifier_tags(codes).tolist() == [1, 1, 1, 0, 1]
    assert [part.tolist() for part in occurrences(np.zeros(3, int))] == [[], [], []]


def test_tokens_without_known_identifiers_are_neither_masked_nor_tagged():
    codes = occurrence_codes(np.array([1, 0, -1, -1]), [0])
    assert codes.tolist() == [1, 0, UNKNOWN, UNKNOWN]
    assert identifier_tags(codes).tolist() == [1, 0, -1, -1]
    example = masked_identifiers(ints(A, B, C, D), codes, SENTINELS, room=50)
    assert (example.sources[0].tolist(), example.target.tolist()) == ([100, B, C, D], [100, A])


def test_language_models():
    tokens = ints(A, B, C, D)
    assert [part.tolist() for part in (*prefix_lm(tokens, 3).sources, prefix_lm(tokens, 3).target)] == [
        [A, B, C],
        [D],
    ]
    assert prefix_lm(tokens, 0).sources[0].tolist() == []
    middle = fill_in_the_middle(ints(A, B, C, D, E), 1, 3, 100)
    assert (middle.sources[0].tolist(), middle.target.tolist()) == ([A, 100, D, E], [B, C])
