"""The mesh: its sizes, what does not fit it, and layouts asked for by name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec
from tiny import VOCABULARY, batch, experiment

from t2c_jax import mesh as meshes
from t2c_jax.config import MeshConfig
from t2c_jax.errors import UserError
from t2c_jax.mesh import axis_sizes, check, constrain, global_batch, make_mesh, partition_spec


@pytest.mark.parametrize(
    ("sizes", "devices", "expected"),
    [
        ((-1, 1, 1), 8, (8, 1, 1)),
        ((1, -1, 1), 8, (1, 8, 1)),
        ((2, 2, -1), 8, (2, 2, 2)),
        ((2, 2, 2), 8, (2, 2, 2)),
        ((-1, 2, 2), 4, (1, 2, 2)),
        ((-1, 1, 1), 1, (1, 1, 1)),
    ],
)
def test_sizes(sizes, devices, expected):
    assert tuple(axis_sizes(MeshConfig(*sizes), devices).values()) == expected


@pytest.mark.parametrize(
    ("sizes", "devices"), [((3, 1, 1), 8), ((-1, 3, 1), 8), ((2, 2, 2), 4), ((1, 1, 1), 8), ((-1, 4, 4), 8)]
)
def test_sizes_that_do_not_fit(sizes, devices):
    with pytest.raises(
        UserError,
        match=rf"config\.mesh data=.* does not fit {devices} device\(s\); its sizes must multiply to {devices}",
    ):
        axis_sizes(MeshConfig(*sizes), devices)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"mesh": {"data": 8}, "data": {"batch_size": 12}},
            r"config\.data\.batch_size=12 is not divisible by mesh\.data x mesh\.fsdp x train\.microbatches = 8",
        ),
        ({"mesh": {"data": 2, "fsdp": 4}, "train": {"microbatches": 2}}, r"batch_size=8 is not divisible by .* = 16"),
        ({"mesh": {"data": 2, "tensor": 4}}, r"config\.model\.heads=2 is not divisible by config\.mesh\.tensor=4"),
        (
            {"mesh": {"tensor": 8}, "model": {"heads": 8, "feed_forward": 36}},
            r"config\.model\.feed_forward=36 is not divisible by config\.mesh\.tensor=8",
        ),
        (
            {"mesh": {"fsdp": 8}, "model": {"width": 12}},
            r"config\.model\.width=12 is not divisible by config\.mesh\.fsdp=8",
        ),
        (
            {"mesh": {"data": 4, "tensor": 2}, "tokenizer": {"vocab_size": 8191}},
            r"config\.tokenizer\.vocab_size=8191 is not divisible by config\.mesh\.tensor=2",
        ),
    ],
)
def test_what_the_mesh_cannot_split(sections, message):
    with pytest.raises(UserError, match=message):
        check(experiment(**sections), 8)


def test_a_mesh_has_all_axes_and_devices():
    mesh = make_mesh(experiment(mesh={"data": 2, "fsdp": 2, "tensor": 2}))
    assert dict(mesh.shape) == {"data": 2, "fsdp": 2, "tensor": 2}
    assert set(mesh.devices.flat) == set(jax.devices())
    assert len(make_mesh(experiment(), jax.devices()[3:4]).devices.flat) == 1


def test_every_rule_is_about_an_axis_of_the_mesh():
    assert {axis for axes in meshes.RULES.values() if axes for axis in axes} <= set(meshes.AXES)
    assert partition_spec(("batch", None, "heads")) == PartitionSpec(("data", "fsdp"), None, ("tensor",))


def test_constrain_without_a_mesh_is_nothing():
    x = jnp.ones((2, 3))
    assert constrain(x, "batch", "length") is x


def test_constrain_with_a_mesh_lays_rows_over_the_devices():
    mesh = make_mesh(experiment(mesh={"data": 4, "fsdp": 2}))
    with jax.set_mesh(mesh):
        laid = jax.jit(lambda x: constrain(x * 2, "batch", "length"))(jnp.ones((8, 3)))
    assert {shard.data.shape for shard in laid.addressable_shards} == {(1, 3)}


def test_a_global_batch_splits_rows_and_keeps_their_values():
    mesh = make_mesh(experiment(mesh={"data": 2, "fsdp": 2, "tensor": 2}))
    values = batch()
    placed = global_batch(values, mesh)
    for name, value in values.items():
        np.testing.assert_array_equal(placed[name], value)
        assert {shard.data.shape for shard in placed[name].addressable_shards} == {(2, value.shape[1])}
    assert VOCABULARY % 2 == 0
