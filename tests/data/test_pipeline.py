"""Batches: T5X's contract to the letter, and the same global batches however a run is cut up."""

from dataclasses import replace

import numpy as np
import pytest

from t2c_jax.config import DataConfig
from t2c_jax.data.pipeline import KEYS, Batches
from t2c_jax.data.tasks.translation import Translation
from t2c_jax.data.templates import SourceTemplate, TargetTemplate
from t2c_jax.data.tokens import Tokens
from t2c_jax.errors import UserError

DATA = DataConfig(encoder_length=24, decoder_length=40, batch_size=8, packing_pool=32)


def one_pass(batches):
    return list(batches.dataset(0, batches.per_pass).as_numpy_iterator())


def store(size, seed=0):
    """Pair i's tokens all are i + 3, so that a batch tells which pairs it holds."""
    draw = np.random.Generator(np.random.PCG64(seed))
    text, code = draw.integers(1, 12, size), draw.integers(0, 20, size)
    return Tokens.of(
        [[i + 3] * n for i, n in enumerate(text)],
        [[i + 3] * (n + 1) for i, n in enumerate(code)],
        map(str, range(size)),
    )


def pairs_in(batch):
    """The pairs of a batch, by their first target token."""
    first = (batch["decoder_segment_ids"] > 0) & (batch["decoder_positions"] == 0)
    return (batch["decoder_target_tokens"][first] - 3).tolist()


def assert_equal(one, other):
    assert one.keys() == other.keys() == set(KEYS)
    for key in KEYS:
        np.testing.assert_array_equal(one[key], other[key], err_msg=key)
        assert one[key].dtype == other[key].dtype


def stacked(parts):
    return {key: np.concatenate([part[key] for part in parts]) for key in KEYS}


def test_worked_example():
    """The batch that the module's documentation shows, for whichever of the two pairs comes first."""
    tokens = Tokens.of([[7], [5, 6]], [[8, 9], [4]], ["a", "b"])
    data = DataConfig(encoder_length=6, decoder_length=6, batch_size=1, packing_pool=2)
    expected = {
        "encoder_input_tokens": ([7, 1, 5, 6, 1, 0], [5, 6, 1, 7, 1, 0]),
        "encoder_segment_ids": ([1, 1, 2, 2, 2, 0], [1, 1, 1, 2, 2, 0]),
        "encoder_positions": ([0, 1, 0, 1, 2, 0], [0, 1, 2, 0, 1, 0]),
        "decoder_target_tokens": ([8, 9, 1, 4, 1, 0], [4, 1, 8, 9, 1, 0]),
        "decoder_input_tokens": ([0, 8, 9, 0, 4, 0], [0, 4, 0, 8, 9, 0]),
        "decoder_segment_ids": ([1, 1, 1, 2, 2, 0], [1, 1, 2, 2, 2, 0]),
        "decoder_positions": ([0, 1, 2, 0, 1, 0], [0, 1, 0, 1, 2, 0]),
        "decoder_loss_weights": ([1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 0]),
    }
    batch = Batches.of(tokens, data, 0).batch(0)
    first = 0 if batch["encoder_input_tokens"][0, 0] == 7 else 1
    assert {key: value.tolist() for key, value in batch.items()} == {k: [v[first]] for k, v in expected.items()}
    assert {key: value.dtype for key, value in batch.items()} == {
        key: np.dtype(np.float32 if key == "decoder_loss_weights" else np.int32) for key in expected
    }


def test_a_prefix_comes_before_every_text():
    tokens = Tokens.of([[7], [5, 6]], [[8, 9], [4]], ["a", "b"])
    data = DataConfig(encoder_length=12, decoder_length=6, batch_size=1, packing_pool=2)
    objective = Translation(SourceTemplate(before=np.array([20, 21], np.int32)))
    row = Batches.of(tokens, data, 0, objective).batch(0)["encoder_input_tokens"][0].tolist()
    assert row in ([20, 21, 7, 1, 20, 21, 5, 6, 1, 0, 0, 0], [20, 21, 5, 6, 1, 20, 21, 7, 1, 0, 0, 0])


def test_directions_reversal_and_templates():
    """Code to text, read last to first; a start token, one before every target, copies and costs of their own."""
    tokens = Tokens.of([[5, 6]], [[8, 9]], ["a"])
    data = DataConfig(encoder_length=4, decoder_length=5, batch_size=1, pack=False)
    copies = np.arange(20, 0, -1, np.int32)
    objective = Translation(
        SourceTemplate(before=np.array([3], np.int32), reverse=True, copy_table=copies),
        TargetTemplate(np.array([4], np.int32), np.array([2], np.int32), start=7),
        weights=np.arange(10, dtype=np.float32),
        to_text=True,
    )
    made = Batches.of(tokens, data, 0, objective).batch(0)
    assert made["encoder_input_tokens"].tolist() == [[3, 9, 8, 1]]
    assert made["encoder_copy_tokens"].tolist() == [[17, 11, 12, 19]]
    assert made["decoder_target_tokens"].tolist() == [[4, 5, 6, 2, 0]]
    assert made["decoder_input_tokens"].tolist() == [[7, 4, 5, 6, 0]]
    assert made["decoder_loss_weights"].tolist() == [[4, 5, 6, 2, 0]]
    plain = Batches.of(tokens, data, 0, objective, repeat=False).batch(0)
    assert plain["decoder_loss_weights"].tolist() == [[1, 1, 1, 1, 0]], "held-out losses weigh every token alike"


@pytest.mark.parametrize("pack", [True, False])
def test_segments_hold_together(pack):
    tokens = store(300)
    batches = Batches.of(tokens, replace(DATA, pack=pack), 0)
    for step in range(5):
        batch = batches.batch(step)
        for row in range(DATA.batch_size):
            for side, tokens_key in (("encoder", "encoder_input_tokens"), ("decoder", "decoder_target_tokens")):
                segments, positions = batch[f"{side}_segment_ids"][row], batch[f"{side}_positions"][row]
                real = int((segments > 0).sum())
                assert not segments[real:].any()
                assert not positions[real:].any()
                assert not batch[tokens_key][row, real:].any()
                assert set(np.diff(segments[:real])) <= {0, 1}
                assert segments[0] == 1
                for segment in range(1, segments.max() + 1):
                    inside = segments == segment
                    assert positions[inside].tolist() == list(range(inside.sum()))
                    held = batch[tokens_key][row][inside]
                    assert held[-1] == 1
                    assert len(set(held[:-1])) <= 1
            assert batch["encoder_segment_ids"][row].max() == batch["decoder_segment_ids"][row].max()
            assert pack or batch["encoder_segment_ids"][row].max() == 1
        np.testing.assert_array_equal(batch["decoder_loss_weights"], batch["decoder_target_tokens"] > 0)


def test_text_and_code_of_a_segment_are_one_pair():
    batch = Batches.of(store(300), DATA, 0).batch(3)
    for row in range(DATA.batch_size):
        for segment in range(1, batch["decoder_segment_ids"][row].max() + 1):
            text = batch["encoder_input_tokens"][row][batch["encoder_segment_ids"][row] == segment][:-1]
            code = batch["decoder_target_tokens"][row][batch["decoder_segment_ids"][row] == segment][:-1]
            assert len(set(text) | set(code)) == 1


@pytest.mark.parametrize(("pack", "size"), [(True, 300), (False, 300), (True, 5)])  # 5: a batch of several epochs
def test_each_epoch_holds_every_pair_once_and_epochs_run_on(pack, size):
    batches = Batches.of(store(size), replace(DATA, pack=pack), 0)
    rows = len(batches.plan.rows)
    epochs = 3
    steps = -(-rows * epochs // DATA.batch_size)
    stream = stacked([batches.batch(step) for step in range(steps)])
    orders = []
    for epoch in range(epochs):
        part = {key: value[epoch * rows : (epoch + 1) * rows] for key, value in stream.items()}
        orders.append(pairs_in(part))
        assert sorted(orders[-1]) == list(range(size))
    assert size < 10 or orders[0] != orders[1] != orders[2]


def test_any_step_is_the_same_from_any_start():
    tokens = store(300)
    whole = [Batches.of(tokens, DATA, 0).batch(step) for step in range(30)]
    for start in (0, 7, 29):
        resumed = Batches.of(tokens, DATA, 0).dataset(start, 30)
        for step, batch in zip(range(start, 30), resumed.as_numpy_iterator(), strict=True):
            assert_equal(batch, whole[step])
    assert_equal(Batches.of(tokens, DATA, 0).batch(100_000), Batches.of(tokens, DATA, 0).batch(100_000))
    assert pairs_in(Batches.of(tokens, DATA, 1).batch(0)) != pairs_in(whole[0])


@pytest.mark.parametrize("hosts", [2, 4])
def test_hosts_share_one_global_batch(hosts):
    tokens = store(300)
    whole = Batches.of(tokens, DATA, 0)
    shares = [Batches.of(tokens, DATA, 0, rows=rows) for rows in np.split(np.arange(8), hosts)]
    for step in (0, 5, 23):
        assert_equal(stacked([share.batch(step) for share in shares]), whole.batch(step))


@pytest.mark.parametrize("hosts", [1, 4])
@pytest.mark.parametrize("pack", [True, False])
@pytest.mark.parametrize("size", [0, 1, 100])
def test_evaluation_covers_every_pair_once(hosts, pack, size):
    tokens, data = store(size), replace(DATA, pack=pack)
    shares = [one_pass(Batches.of(tokens, data, 0, repeat=False, rows=rows)) for rows in np.split(np.arange(8), hosts)]
    assert len({len(share) for share in shares}) == 1
    batches = [stacked(parts) for parts in zip(*shares, strict=True)]
    assert sorted(pair for batch in batches for pair in pairs_in(batch)) == list(range(size))
    assert all(batch["decoder_target_tokens"].shape == (8, 40) for batch in batches)
    if batches:
        padding = batches[-1]["decoder_segment_ids"][:, 0] == 0
        assert not any(batches[-1][key][padding].any() for key in KEYS)
    if not pack:
        assert len(batches) == -(-size // 8)


def test_pairs_too_long_are_dropped_never_cut():
    tokens = Tokens.of([[5] * 23, [5] * 24, [5]], [[6], [6], [6] * 40], ["fits", "long text", "long code"])
    batches = Batches.of(tokens, DATA, 0, repeat=False)
    assert batches.plan.dropped == 2
    assert int(batches.batch(0)["decoder_loss_weights"].sum()) == 2


def test_shapes_are_static_and_on_no_accelerator():
    tf = pytest.importorskip("tensorflow")
    spec = Batches.of(store(50), DATA, 0, rows=range(4)).dataset(0, 1).element_spec
    assert {key: (tuple(value.shape), value.dtype.name) for key, value in spec.items()} == {
        key: ((4, 24 if key.startswith("encoder") else 40), "float32" if key.endswith("weights") else "int32")
        for key in KEYS
    }
    assert {device.device_type for device in tf.config.get_visible_devices()} == {"CPU"}


def test_what_cannot_work():
    with pytest.raises(UserError, match="none of the 1 pairs fits"):
        Batches.of(Tokens.of([[5] * 24], [[6]], ["a"]), DATA, 0)


def test_a_host_may_read_any_rows():
    """As where devices are arranged by the network, or where a tensor axis makes two hosts read the same."""
    whole, rows = Batches.of(store(300), DATA, 0), [0, 1, 4, 5]
    part = Batches.of(store(300), DATA, 0, rows=rows)
    assert_equal(part.batch(3), {key: value[rows] for key, value in whole.batch(3).items()})
    assert len(part.pair_ids(3)) < len(whole.pair_ids(3))


@pytest.mark.parametrize("pack", [True, False])
def test_weights_by_target_token_are_trainings_alone(pack):
    """Each real target costs what its id weighs, eos included; padding and the held-out loss know nothing of it."""
    data = replace(DATA, batch_size=1, pack=pack)
    weights = np.arange(10, dtype=np.float32) / 4 + 1
    objective = Translation(weights=weights)
    batches = Batches.of(Tokens.of([[5, 6]], [[8, 9, 8]], ["a"]), data, 0, objective)
    weighed = batches.batch(0)["decoder_loss_weights"][0]
    np.testing.assert_array_equal(weighed[:5], [3.0, 3.25, 3.0, 1.25, 0.0])  # of 8 9 8 and eos, which is 1
    held_out = Batches.of(Tokens.of([[5, 6]], [[8, 9, 8]], ["a"]), data, 0, objective, repeat=False)
    np.testing.assert_array_equal(held_out.batch(0)["decoder_loss_weights"][0][:5], [1, 1, 1, 1, 0])
