"""Tasks: which examples they make, with the lengths that were planned; mixtures: the task of each row."""

import hashlib
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from t2c_jax.config import DataConfig, TaskConfig
from t2c_jax.config.registry import objectives
from t2c_jax.data.mixture import shares
from t2c_jax.data.pipeline import TASK_KEYS, Batches, Stream
from t2c_jax.data.schedule import TaskSchedule
from t2c_jax.data.tasks.contrastive import Contrast
from t2c_jax.data.tasks.identifiers import (
    UNKNOWN,
    IdentifierTagging,
    MaskedIdentifiers,
    occurrence_codes,
    whole_occurrences,
)
from t2c_jax.data.tasks.span_corruption import SpanCorruption
from t2c_jax.data.tasks.task import TaskSetup, build_task
from t2c_jax.data.tasks.translation import Translation
from t2c_jax.data.tasks.windows import windows
from t2c_jax.data.tokens import Tokens
from t2c_jax.errors import UserError

DATA = DataConfig(encoder_length=24, decoder_length=20, batch_size=8, packing_pool=32, pairs_in_row=2)
SENTINELS = list(range(200, 220))
PREFIX = 50


class Pieces:
    """A tokenizer whose pieces are single letters, a prefix of one token and 20 sentinels."""

    vocab_size, digest, start, unk, sentinels = 220, "", 0, 2, SENTINELS
    before, after, target_before, target_after = (), (1,), (), (1,)
    surfaces = [b"", b"", b""] + [b"x"] * 100 + [b" "] * 97 + [b""] * 20
    is_byte = np.zeros(220, bool)

    def encode_batch(self, texts):
        return [np.array([PREFIX] * bool(text), np.int32) for text in texts]


TOKENIZERS = SimpleNamespace(source=Pieces(), target=Pieces(), copy_table=lambda: None)


def store(size=60, seed=0):
    """Pairs, of which every third has no text; every fourth token or so is an identifier."""
    draw = np.random.default_rng(seed)
    texts = [draw.integers(3, 100, (n % 3 > 0) * draw.integers(1, 8)).tolist() for n in range(size)]
    codes = [draw.integers(3, 200, draw.integers(2, 90)).tolist() for _ in range(size)]
    names = []
    for code in codes:
        is_name = draw.random(len(code)) < 0.25
        numbers = np.where(is_name, np.cumsum(is_name), 0)
        names.append(occurrence_codes(numbers, draw.integers(0, 4, is_name.sum()).tolist()).tolist())
    return Tokens.of(texts, codes, [str(n) for n in range(size)], identifiers=names)


# Recorded once. Whatever changes one changes the batches of every run: never refresh them lightly.
GOLDEN = {
    "text_to_code": "4248c3b733a6f436",
    "code_to_text": "5cb447dc28b9d11e",
    "span_corruption": "b575be2ea89fd354",
    "masked_identifiers": "06fae0719be9897a",
    "identifier_tagging": "ca2b575af2f5be21",
    "causal_lm": "3ebf15ac8f3b6712",
    "prefix_lm": "b17ff2e99d763c3f",
    "fill_in_the_middle": "1bff36e75dd1789c",
    "contrastive": "265afcb0ffdd1399",
}


def made_of(config, tokenizers=TOKENIZERS, data=DATA):
    return build_task(TaskSetup("config.data.tasks.t", config, data, tokenizers))


def task(objective, **options):
    return made_of(TaskConfig(objective, prefix="!", **options))


@pytest.mark.parametrize("objective", objectives.names())
def test_examples_have_the_lengths_that_were_planned(objective):
    tokens, made = store(), task(objective)
    index = made.index(tokens, 0)
    assert len(index) > 20
    fitting = (index.source_N <= DATA.encoder_length) & (index.target_N <= DATA.decoder_length)
    translates = isinstance(made, Translation)
    assert fitting.all() or translates  # pairs are never cut: those too long are left out
    for n in range(len(index)):
        record, begin, end = (int(values[n]) for values in index[:3])
        for epoch in range(2):
            example = made.example(tokens, record, begin, end, 0, epoch)
            assert sum(map(len, example.sources)) == index.source_N[n]
            assert len(example.target) == index.target_N[n]
            assert all(source[0] == PREFIX and source[-1] == 1 for source in example.sources)
            assert len(example.target) == 0 or example.target[-1] == 1
            assert example.tags is None or len(example.tags) == index.source_N[n]
    if objective in ("text_to_code", "code_to_text", "contrastive"):
        assert (tokens.text_lengths[index.records_N] > 0).all()


@pytest.mark.parametrize(
    "objective", ["span_corruption", "identifier_tagging", "causal_lm", "prefix_lm", "fill_in_the_middle"]
)
def test_windows_cover_all_code(objective):
    tokens = store()
    index = task(objective).index(tokens, 0)
    for record in range(len(tokens)):
        mine = index.records_N == record
        begins, ends = index.begins_N[mine], index.ends_N[mine]
        assert begins[0] == 0
        assert ends[-1] == tokens.code_lengths[record]
        np.testing.assert_array_equal(begins[1:], ends[:-1])
        assert np.ptp(ends - begins) <= 1


def test_windows_of_a_hand_made_example():
    found = windows(np.array([5, 3, 1]), most=4, least=2)
    assert [values.tolist() for values in found] == [[0, 0, 1], [0, 2, 0], [2, 5, 3]]


def test_spans_change_with_the_epoch_and_not_otherwise():
    tokens, made = store(), task("span_corruption")
    one, same, other = (made.example(tokens, 4, 0, 20, 0, epoch).sources[0].tolist() for epoch in (0, 0, 1))
    assert one == same
    assert one != other


@pytest.mark.parametrize("objective", ["span_corruption", "prefix_lm", "fill_in_the_middle"])
def test_samples_change_with_the_seed_and_with_the_window(objective):
    tokens, made = Tokens.of([[]] * 40, [list(range(95, 111))] * 40, ["a"] * 40), task(objective)

    def sources(seed, epoch):
        index = made.index(tokens, seed)
        windows = zip(*(part.tolist() for part in index[:3]), strict=True)
        return [made.example(tokens, *window, seed, epoch).sources[0].tolist() for window in windows]

    first = sources(0, 0)
    assert sources(0, 0) == first
    differ = {key: sum(a != b for a, b in zip(sources(*key), first, strict=True)) for key in ((1, 0), (0, 1))}
    assert differ[1, 0] > 20
    assert differ[0, 1] == 0 if objective == "prefix_lm" else differ[0, 1] > 20  # a pivot changes the lengths
    assert len(set(map(str, first))) > 5


def test_middles_are_those_of_two_even_cuts():
    """Of three tokens: two cuts of four places each, 16 ways; where they meet, the middle is a token all the same."""
    tokens, made = Tokens.of([[]], [[10, 11, 12]], ["a"]), task("fill_in_the_middle")
    draws = [(seed, epoch) for seed in range(2000) for epoch in range(2)]
    found = Counter(tuple(made.example(tokens, 0, 0, 3, *key).target[:-1].tolist()) for key in draws)
    expected = {1: 4 + 6, 2: 4, 3: 2}  # of 16, by length: shared by the places that it can lie at
    for middle, count in found.items():
        share = expected[len(middle)] / 16 / (4 - len(middle))
        assert abs(count / len(draws) - share) < 5 * np.sqrt(share / 2000), middle  # as if epochs were no draws


def test_a_word_is_not_cut_where_its_span_can_end_with_it():
    """Letters are inside words, spaces are not: of words of three, spans of three are words."""
    code = [4, 5, 6, 150] * 8
    tokens = Tokens.of([[]], [code], ["a"])
    made = replace(task("span_corruption"), length=40)
    assert isinstance(made, SpanCorruption)
    begins = []
    for epoch in range(50):
        source = made.example(tokens, 0, 0, 32, 0, epoch).sources[0]
        places = np.flatnonzero(np.isin(source, SENTINELS))
        begins.append(int(source[places[0] - 1]))
    assert set(begins) <= {150, PREFIX, 6}  # never after the first or the second letter of a word


def test_a_window_leaves_identifiers_it_cuts():
    codes = occurrence_codes(np.array([1, 1, 0, 2, 2, 2]), [0, 1])
    assert whole_occurrences(codes, 1, 5).tolist() == [0, 0, 0, 0]
    assert whole_occurrences(codes, 0, 6).tolist() == codes.tolist()
    assert whole_occurrences(codes, 2, 6).tolist() == codes[2:].tolist()
    assert whole_occurrences(codes, 4, 5).tolist() == [0]


def test_lengths_of_masked_windows_are_those_of_the_examples(monkeypatch):
    """The plan counts whole corpora at once; identifiers touch, repeat, and are cut by windows."""
    monkeypatch.setattr("t2c_jax.data.tasks.identifiers._RECORDS_AT_ONCE", 3)
    draw = np.random.default_rng(0)
    codes, identifiers = [], []
    for size in draw.integers(0, 60, 50).tolist():
        runs = np.repeat(np.arange(size), draw.integers(1, 4, size))[:size]
        occurrences_N = np.cumsum(np.diff(runs, prepend=-1) > 0) * (draw.random(size) < 0.9)
        codes.append(draw.integers(3, 150, size).tolist())
        names = draw.integers(0, 6, size + 1).tolist()
        known = int(draw.integers(0, 2 * size + 1))
        identifiers.append([*occurrence_codes(occurrences_N, names).tolist()[:known], *[UNKNOWN] * (size - known)])
    tokens = Tokens.of([[]] * 50, codes, [str(i) for i in range(50)], identifiers=identifiers)
    for sentinels, room in ((2, 100), (100, 7), (100, 100)):
        made = replace(task("masked_identifiers"), length=16, room=room, sentinels=tuple(range(200, 200 + sentinels)))
        index = made.index(tokens, 0)
        counted = {}
        for window in np.stack(windows(tokens.code_lengths, 16), axis=1).tolist():
            example = made.example(tokens, *window, 0, 0)
            if len(example.target) > 1:
                counted[tuple(window)] = len(example.sources[0]), len(example.target)
        keys = zip(*(part.tolist() for part in index[:3]), strict=True)
        assert dict(zip(keys, zip(*(part.tolist() for part in index[3:5]), strict=True), strict=True)) == counted


def test_a_corpus_without_code_has_no_windows():
    tokens = Tokens.of([[5]], [[]], ["a"], identifiers=[[]])
    assert len(task("masked_identifiers").index(tokens, 0).records_N) == 0


def test_identifier_tasks_on_a_hand_made_example():
    """f ( x ) of one token each."""
    codes = occurrence_codes(np.array([1, 0, 2, 0]), [0, 1]).tolist()
    tokens = Tokens.of([[]], [[10, 150, 11, 151]], ["a"], identifiers=[codes])
    masked = task("masked_identifiers")
    assert isinstance(masked, MaskedIdentifiers)
    example = masked.example(tokens, 0, 0, 4, 0, 0)
    assert example.sources[0].tolist() == [PREFIX, 200, 150, 201, 151, 1]
    assert example.target.tolist() == [200, 10, 201, 11, 1]
    tagging = task("identifier_tagging")
    assert isinstance(tagging, IdentifierTagging)
    example = tagging.example(tokens, 0, 0, 4, 0, 0)
    assert example.tags.tolist() == [-1, 1, 0, 1, 0, -1]
    assert example.target.tolist() == []


def test_tokens_without_known_identifiers_have_no_loss():
    """Windows of 22: none of the first record's is known, and of the second's half of the second."""
    codes = [[UNKNOWN] * 40, [1, 0] * 16 + [UNKNOWN] * 34]
    tokens = Tokens.of([[], []], [[10] * 40, [10] * 66], ["a", "b"], identifiers=codes)
    made = task("identifier_tagging")
    index = made.index(tokens, 0)
    assert [part.tolist() for part in index[:3]] == [[1, 1], [0, 22], [22, 44]]
    assert made.example(tokens, 1, 22, 44, 0, 0).tags.tolist() == [-1, *[1, 0] * 5, *[-1] * 13]
    masked = task("masked_identifiers").index(tokens, 0)
    assert [part.tolist() for part in masked[:3]] == [[1, 1], [0, 22], [22, 44]]


def test_tokens_without_identifiers_are_refused():
    with pytest.raises(UserError, match="no identifiers"):
        task("masked_identifiers").index(Tokens.of([[]], [[5, 6]], ["a"]), 0)


def test_a_task_without_sentinels_or_room_is_refused():
    bare = SimpleNamespace(**{**vars(TOKENIZERS), "target": type("Bare", (Pieces,), {"sentinels": []})()})
    config = TaskConfig("span_corruption")
    with pytest.raises(UserError, match=r"tasks\.t: .*sentinels"):
        made_of(config, bare)
    with pytest.raises(UserError, match="no room"):
        made_of(config, data=replace(DATA, decoder_length=4))


def test_rows_alternate_by_their_shares():
    schedule = TaskSchedule.of(np.array([2.0, 1.0]))
    tasks, numbers = schedule.task_of_rows(np.arange(6))
    assert tasks.tolist() == [0, 1, 0, 0, 1, 0]
    assert numbers.tolist() == [0, 0, 1, 2, 1, 3]
    tasks, _ = TaskSchedule.of(np.array([0.7, 0.2996, 0.0004])).task_of_rows(np.arange(1000))
    assert np.bincount(tasks).tolist() == [700, 299, 1]  # none is left out, however small
    tasks, numbers = TaskSchedule.of(np.array([0.9, 0.0, 0.1])).task_of_rows(np.arange(2000))  # measured alone
    np.testing.assert_array_equal(np.bincount(tasks), [1800, 0, 200])
    np.testing.assert_array_equal(numbers[tasks == 2], np.arange(200))
    in_batches = TaskSchedule.of(np.array([5.0, 3.0, 2.0])).task_of_rows(np.arange(1000))[0].reshape(-1, 20)
    counts = np.stack([(in_batches == k).sum(1) for k in range(3)], axis=1)
    assert np.abs(counts - [10, 6, 4]).max() <= 1


def test_a_tasks_rows_are_numbered_without_a_gap():
    schedule = TaskSchedule.of(np.array([3.0, 2.0, 0.5]))
    tasks, numbers = schedule.task_of_rows(np.arange(5000))
    for k in range(3):
        np.testing.assert_array_equal(numbers[tasks == k], np.arange((tasks == k).sum()))
    later = schedule.task_of_rows(np.arange(3210, 3250))
    np.testing.assert_array_equal(later[0], tasks[3210:3250])
    np.testing.assert_array_equal(later[1], numbers[3210:3250])


def test_shares():
    np.testing.assert_allclose(shares(np.array([1.0, 3.0]), np.array([9.0, 9.0]), 0.0), [0.25, 0.75])
    np.testing.assert_allclose(shares(np.ones(2), np.array([4.0, 1.0]), 2.0), [2 / 3, 1 / 3])


def mixed(rows=None):
    tokens = store()
    names = ("text_to_code", "span_corruption", "identifier_tagging", "contrastive")
    streams = [Stream(tokens, DATA, number, task(name)) for number, name in enumerate(names)]
    schedule = TaskSchedule.of(np.array([2.0, 1.0, 1.0, 1.0]))
    return Batches(streams, DATA, schedule, extra_keys=TASK_KEYS, rows=rows)


@pytest.mark.parametrize("hosts", [1, 2, 4])
def test_a_mixture_is_the_same_from_any_step_on_any_hosts(hosts):
    whole = mixed()
    hosts_own = [mixed(rows) for rows in np.split(np.arange(DATA.batch_size), hosts)]
    for step in (0, 5, 1234):
        expected = whole.batch(step)
        for key in expected:
            found = np.concatenate([part.batch(step)[key] for part in hosts_own])
            np.testing.assert_array_equal(found, expected[key], err_msg=key)
    resumed = list(mixed().dataset(5, 7).as_numpy_iterator())
    for key, value in whole.batch(6).items():
        np.testing.assert_array_equal(resumed[1][key], value)
        assert resumed[1][key].dtype == value.dtype


def test_rows_of_a_mixture_name_their_task():
    batch = mixed().batch(3)
    assert set(batch["task"].tolist()) == {0, 1, 2, 3}
    is_tagging, is_contrast = batch["task"] == 2, batch["task"] == 3
    assert (batch["encoder_tags"][~is_tagging] == -1).all()
    assert (batch["encoder_tags"][is_tagging] >= 0).any(axis=1).all()
    assert (batch["decoder_loss_weights"][is_tagging | is_contrast] == 0).all()
    assert (batch["decoder_loss_weights"][~(is_tagging | is_contrast)].sum(1) > 0).all()
    assert (batch["contrastive_pairs"] > 0).tolist() == is_contrast.tolist()
    assert batch["contrastive_pairs"].max() <= DATA.pairs_in_row
    segments = batch["encoder_segment_ids"].max(axis=1)
    np.testing.assert_array_equal(segments[is_contrast], 2 * batch["contrastive_pairs"][is_contrast])


def test_a_pair_is_cut_to_its_share_of_a_row():
    """Shares of 12 with a prefix of none and eos: ten tokens, half of them each side's, and what the other leaves."""
    sizes = [(3, 9), (8, 9), (9, 2), (2, 3), (40, 40), (0, 5), (5, 0)]
    texts, codes = ([[first] * pair[side] for pair in sizes] for side, first in enumerate((5, 6)))
    made = Contrast(max_examples_per_row=2, length=12)
    tokens = Tokens.of(texts, codes, ["a"] * len(sizes))
    index = made.index(tokens, 0)
    assert index.records_N.tolist() == [0, 1, 2, 3, 4]  # those without text or code alone are left out
    found = [made.example(tokens, n, 0, int(index.ends_N[n]), 0, 0).sources for n in range(5)]
    assert [(len(text) - 1, len(code) - 1) for text, code in found] == [(3, 7), (5, 5), (8, 2), (2, 3), (5, 5)]
    assert index.source_N.tolist() == [12, 12, 12, 7, 12]
    assert found[0][1].tolist() == [6] * 7 + [1]


def test_pairs_share_rows_as_their_number_says():
    tokens = Tokens.of([[5] * 50] * 40, [[6] * 200] * 40, ["a"] * 40)
    data = replace(DATA, encoder_length=96, pairs_in_row=4)
    made = made_of(TaskConfig("contrastive", prefix="!"), data=data)
    stream = Stream(tokens, data, 0, made)
    assert np.diff(stream.plan.rows.starts).tolist() == [4] * 10
    assert stream.plan.dropped == 0
    crowded = replace(data, pairs_in_row=9)
    with pytest.raises(UserError, match=r"tasks\.t: .*pairs_in_row=9 pairs"):
        made_of(TaskConfig("contrastive", prefix="!"), data=crowded)


def test_each_record_comes_once_an_epoch():
    tokens = store()
    batches = Batches.of(tokens, DATA, 0, task("identifier_tagging"))
    rows = len(batches.plan.rows)
    found = [i for step in range(-(-rows // DATA.batch_size)) for i in batches.pair_ids(step)]
    assert set(found) == set(map(str, range(len(tokens))))


def digest(batches, steps):
    state = hashlib.sha256()
    for step in steps:
        for key, value in sorted(batches.batch(step).items()):
            state.update(key.encode() + str(value.dtype).encode() + value.tobytes())
    return state.hexdigest()[:16]


@pytest.mark.parametrize("objective", objectives.names())
def test_golden_batches_of_each_objective(objective):
    stream = Stream(store(), DATA, 7, task(objective))
    assert digest(Batches([stream], DATA, extra_keys=TASK_KEYS), (0, 5, 40)) == GOLDEN[objective]


def test_golden_batches_of_a_mixture_and_of_one_pass():
    assert digest(mixed(), (0, 5, 1234)) == "259c8fae791a9795"
    one_pass = Batches.of(store(), DATA, 0, task("text_to_code"), repeat=False)
    assert digest(one_pass, (0, 1, 2)) == "343176744440311c"
