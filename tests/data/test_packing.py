"""The plan: every pair that fits exactly once an epoch, no row too full, rows well filled, the same everywhere."""

import hashlib

import numpy as np
import pytest

from t2c_jax.data.packing import Plan, Rows, plan

S, T = 128, 320


def lengths(size, seed=0):
    """Two log-normal sides, as texts and codes have them: about 30 and 150 tokens, some too long for a row."""
    draw = np.random.Generator(np.random.PCG64(seed))
    source = np.exp(draw.normal(3.3, 0.7, size)).astype(int) + 2
    target = np.exp(draw.normal(4.2, 0.9, size)).astype(int) + 2
    return source, target


def check_rows(rows: Rows, made: Plan, expected):
    assert sorted(rows.pairs.tolist()) == sorted(expected)
    assert rows.starts[0] == 0
    assert rows.starts[-1] == len(rows.pairs)
    assert (np.diff(rows.starts) > 0).all()
    for of_side, room in ((made.source_lengths, made.encoder_length), (made.target_lengths, made.decoder_length)):
        assert np.add.reduceat(of_side[rows.pairs], rows.starts[:-1]).max() <= room


@pytest.mark.parametrize("pool", [0, 1, 16, 512, 10_000])
@pytest.mark.parametrize("size", [1, 3, 700])
def test_every_pair_that_fits_once_an_epoch_and_no_row_too_full(pool, size):
    source, target = lengths(size)
    made = plan(source, target, S, T, pool, seed=1)
    fitting = [i for i in range(size) if source[i] <= S and target[i] <= T]
    assert made.dropped == size - len(fitting)
    check_rows(made.rows, made, fitting)
    for epoch in range(3):
        check_rows(made.epoch(1, epoch), made, fitting)
    if pool == 0:
        assert len(made.rows) == len(fitting)


def test_pairs_as_long_as_a_row_fit_and_longer_ones_do_not():
    made = plan(np.array([S, S + 1, 1, 1]), np.array([T, 1, T + 1, T]), S, T, 4)
    assert sorted(made.rows.pairs.tolist()) == [0, 3]
    assert len(made.rows) == 2


def test_nothing_fits():
    made = plan(np.array([S + 1]), np.array([1]), S, T, 4)
    assert (len(made.rows), made.dropped, made.real_token_share) == (0, 1, 0.0)
    assert len(made.epoch(0, 0)) == 0


def test_share_of_real_tokens_counts_both_sides():
    made = plan(np.array([10, 6]), np.array([4, 20]), 16, 32, 2)
    assert len(made.rows) == 1
    assert made.real_token_share == (10 + 6 + 4 + 20) / (16 + 32)


@pytest.mark.parametrize(("pool", "size"), [(512, 4_000), (4096, 20_000)])
def test_packs_to_95_percent(pool, size):
    source, target = lengths(size)
    ratio = source[(target <= T)].sum() / target[(target <= T)].sum()
    encoder_length = round(T * ratio)
    assert plan(source, target, encoder_length, T, pool).real_token_share >= 0.95


def test_epochs_differ_and_depend_on_the_seed():
    source, target = lengths(2_000)
    made = plan(source, target, S, T, 256)
    first, second, other = made.epoch(0, 0), made.epoch(0, 1), made.epoch(1, 0)
    np.testing.assert_array_equal(first.pairs, made.epoch(0, 0).pairs)
    for rows in (second, other):
        assert (first.pairs[: len(rows.pairs)] == rows.pairs).mean() < 0.01


def test_pairs_of_the_same_lengths_change_company():
    source, target = np.full(400, 20), np.full(400, 50)
    made = plan(source, target, S, T, 64)
    rows = [made.epoch(0, epoch) for epoch in (0, 1)]
    company = [{frozenset(r.pairs[a:b].tolist()) for a, b in zip(r.starts, r.starts[1:], strict=False)} for r in rows]
    assert len(company[0] & company[1]) <= 2


def test_taking_rows():
    rows = Rows(np.array([5, 6, 7, 8, 9]), np.array([0, 2, 2, 5]))
    taken = rows.take(np.array([2, 1, 0, 2]))
    assert taken.pairs.tolist() == [7, 8, 9, 5, 6, 7, 8, 9]
    assert taken.starts.tolist() == [0, 3, 3, 5, 8]
    assert rows.take(np.array([], int)).starts.tolist() == [0]


def test_golden_plan():
    """Recorded once. A change would change the batches of every run: never refresh it lightly."""
    n = np.arange(1000)
    made = plan(n * 37 % 61 + 2, n * 101 % 211 + 2, 128, 256, 64, seed=7)
    state = hashlib.sha256()
    for rows in (made.rows, made.epoch(7, 0), made.epoch(7, 5)):
        state.update(rows.pairs.astype("<i8").tobytes() + rows.starts.astype("<i8").tobytes())
    assert state.hexdigest()[:16] == "70b12eb41fcc71bf"
