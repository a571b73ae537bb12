"""The estimate, on a chip of round numbers."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest
from tiny import DATA, MODEL, experiment

from t2c_jax.aot.chips import CHIPS, Chip
from t2c_jax.aot.costs import Collective, Costs
from t2c_jax.aot.model_flops import model_flops, products
from t2c_jax.aot.roofline import bandwidth, roofline

CHIP = Chip(
    memory=100,
    flops=100.0,
    memory_bandwidth=10.0,
    link_bandwidth=8.0,
    network_bandwidth=1.0,
    dimensions=2,
    source="",
)
SQUARE = [SimpleNamespace(coords=(x, y, 0)) for x in range(2) for y in range(2)]


def collective(kind="all-gather", overlapped=False, group=(0, 1), sent=4.0):
    return Collective(kind, overlapped, group, 1.0, sent, sent)


def test_a_group_has_the_links_along_the_axes_that_it_spans():
    assert bandwidth(collective(group=(0, 1, 2, 3)), CHIP, SQUARE) == 8.0
    assert bandwidth(collective(group=(0, 1)), CHIP, SQUARE) == 4.0  # half of a square's links
    assert bandwidth(collective("collective-permute", group=(0, 2)), CHIP, SQUARE) == 2.0  # one link, one way


def test_what_crosses_slices_goes_over_the_network():
    devices = [SimpleNamespace(coords=(0, 0, 0), slice_index=i) for i in range(2)]
    assert bandwidth(collective(), CHIP, devices) == 1.0


def test_overlapped_costs_hide_behind_the_longest_and_others_add_up():
    costs = Costs(flops=300.0, memory=20.0)
    for item in (collective(sent=2.0), collective(overlapped=True, sent=16.0)):
        costs.collectives[item.kind, item.overlapped, item.group] = item
    found = roofline(costs, CHIP, SQUARE, model_flops=140.0)
    assert (found.compute, found.memory, found.overlapped, found.waited) == (3.0, 2.0, 4.0, 0.5)
    assert found.seconds == 4.5
    assert found.bound == "overlapped collectives"
    assert found.utilisation == pytest.approx(140 / 450)


def test_chips_are_ordered_as_their_generations_are():
    assert CHIPS["v5e"].memory < CHIPS["v6e"].memory < CHIPS["v5p"].memory
    assert CHIPS["v5e"].flops < CHIPS["v4"].flops < CHIPS["v5p"].flops < CHIPS["v6e"].flops


def test_products_of_a_scan_count_as_often_as_it_runs():
    def f(x, kernels):
        x, _ = jax.lax.scan(lambda x, kernel: (x @ kernel, None), x, kernels)
        return jax.lax.cond(x[0, 0] > 0, lambda: x @ x.T, lambda: x[:, :4] @ x[:, :4].T)

    jaxpr = jax.make_jaxpr(f)(np.ones((4, 8), np.float32), np.ones((3, 8, 8), np.float32)).jaxpr
    assert products(jaxpr) == 3 * 2 * 4 * 8 * 8 + 2 * 4 * 4 * 8  # of the branches the dearer


@pytest.mark.parametrize("remat", ["none", "full"])
def test_model_flops_are_three_forward_passes_whatever_is_computed_again(remat):
    vocabulary, rows, s, t = 32, 8, DATA.encoder_length, DATA.decoder_length
    config = experiment(model={"remat": remat})
    shapes = {
        "encoder_input_tokens": (s, np.int32),
        "encoder_segment_ids": (s, np.int32),
        "encoder_positions": (s, np.int32),
        "decoder_input_tokens": (t, np.int32),
        "decoder_target_tokens": (t, np.int32),
        "decoder_segment_ids": (t, np.int32),
        "decoder_positions": (t, np.int32),
        "decoder_loss_weights": (t, np.float32),
    }
    batch = {name: jax.ShapeDtypeStruct((rows, length), dtype) for name, (length, dtype) in shapes.items()}
    d, f, hk, layers = MODEL.width, MODEL.feed_forward, MODEL.heads * MODEL.head_width, 2
    encoder = s * (2 * (4 * d * hk + 3 * d * f) + 4 * s * hk)
    decoder = t * (2 * (6 * d * hk + 3 * d * f) + 4 * (t + s) * hk) + s * 4 * d * hk
    assert model_flops(config, vocabulary, batch) == 3 * rows * (layers * (encoder + decoder) + t * 2 * d * vocabulary)
