"""The estimate, on a chip of round numbers."""

from types import SimpleNamespace

import pytest

from t2c_jax.aot.chips import CHIPS, Chip
from t2c_jax.aot.costs import Collective, Costs
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
    assert (found.compute, found.memory, found.overlapped, found.exposed) == (3.0, 2.0, 4.0, 0.5)
    assert found.seconds == 4.5
    assert found.bound == "overlapped collectives"
    assert found.utilisation == pytest.approx(140 / 450)


def test_chips_are_ordered_as_their_generations_are():
    assert CHIPS["v5e"].memory < CHIPS["v6e"].memory < CHIPS["v5p"].memory
    assert CHIPS["v5e"].flops < CHIPS["v4"].flops < CHIPS["v5p"].flops < CHIPS["v6e"].flops
