"""The mesh: its sizes, its devices within and across slices, what does not fit it, and layouts asked for by name."""

from dataclasses import dataclass
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from tiny import VOCABULARY, batch, both, experiment, make_mesh, workload

from t2c_jax import mesh as meshes
from t2c_jax.config import MeshConfig
from t2c_jax.errors import UserError
from t2c_jax.mesh import (
    across_slices,
    arranged,
    axis_sizes,
    check,
    constrain,
    global_batch,
    local_rows,
    partition_spec,
    sum_over_rows,
)


def checked(config, devices, slices=1):
    return check(config.mesh, workload(config), devices, slices)


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
        ({"mesh": {"data": 2, "tensor": 4}}, r"axis 'heads' of 2 is not divisible by config\.mesh\.tensor=4"),
        (
            {"mesh": {"tensor": 8}, "model": both(num_heads=8, feed_forward=36)},
            r"axis 'mlp' of 36 is not divisible by config\.mesh\.tensor=8",
        ),
        (
            {"mesh": {"fsdp": 8}, "model": {"width": 12}},
            r"axis 'embed' of 12 is not divisible by config\.mesh\.fsdp=8",
        ),
        (
            {"mesh": {"data": 4, "tensor": 2}, "tokenizer": {"vocab_size": 8191}},
            r"axis 'vocab' of 8191 is not divisible by config\.mesh\.tensor=2",
        ),
    ],
)
def test_sizes_that_the_mesh_does_not_divide_are_refused(sections, message):
    with pytest.raises(UserError, match=message):
        checked(experiment(**sections), 8)


def test_a_mesh_has_all_axes_and_devices():
    mesh = make_mesh(experiment(mesh={"data": 2, "fsdp": 2, "tensor": 2}))
    assert dict(mesh.shape) == {"data": 2, "fsdp": 2, "tensor": 2}
    assert set(mesh.devices.flat) == set(jax.devices())
    assert len(make_mesh(experiment(), jax.devices()[3:4]).devices.flat) == 1


@pytest.mark.parametrize(
    ("sizes", "slices", "expected"),
    [
        ((8, 1, 1), 1, (1, 1, 1)),
        ((8, 1, 1), 2, (2, 1, 1)),  # copies of the model: gradients alone go between slices
        ((4, 2, 2), 4, (4, 1, 1)),
        ((1, 8, 1), 2, (1, 2, 1)),  # a model that one slice does not hold
        ((2, 4, 1), 4, (2, 2, 1)),
        ((6, 2, 1), 4, (2, 2, 1)),
    ],
)
def test_parts_in_different_slices(sizes, slices, expected):
    assert tuple(across_slices(dict(zip(meshes.AXES, sizes, strict=True)), slices).values()) == expected


def test_tensor_stays_in_a_slice():
    with pytest.raises(UserError, match=r"data=1 x fsdp=2 does not fit 4 slices, which tensor=4 must not cross"):
        checked(experiment(mesh={"data": 1, "fsdp": 2, "tensor": 4}, model=both(num_heads=4)), 8, slices=4)


@dataclass(frozen=True)
class Device:
    """The attributes of a device that decide its place in a mesh; TPU v4 has coordinates."""

    id: int
    slice_index: int = 0
    process_index: int = 0
    coords: tuple[int, int, int] = (0, 0, 0)
    platform: str = "cpu"
    device_kind: str = "cpu"
    core_on_chip: int = 0


def test_slices_are_the_outer_part_of_the_data_axis():
    devices = [Device(i, slice_index=i % 2) for i in range(8)]  # in no order of their slices
    found = arranged({"data": 4, "fsdp": 1, "tensor": 2}, devices)
    assert [[device.id for device in row[0]] for row in found] == [[0, 2], [4, 6], [1, 3], [5, 7]]


def test_fsdp_reaches_across_slices_where_data_does_not():
    found = arranged({"data": 1, "fsdp": 4, "tensor": 2}, [Device(i, slice_index=i // 4) for i in range(8)])
    assert [[device.id for device in row] for row in found[0]] == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert [row[0].slice_index for row in found[0]] == [0, 0, 1, 1]


def test_tensor_neighbours_are_network_neighbours():
    """On a torus of 4 x 2 x 2 the axis that talks most gets whole dimensions, whatever the devices' order."""
    coords = [(x, y, z) for z in range(2) for y in range(2) for x in range(4)]
    devices = [Device(i, coords=at, platform="tpu", device_kind="TPU v4") for i, at in enumerate(coords)]
    found = arranged({"data": 4, "fsdp": 1, "tensor": 4}, devices[::-1])
    for row in found[:, 0]:
        assert len({device.coords[0] for device in row}) == 1
        assert {device.coords[1:] for device in row} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    arranged({"data": 1, "fsdp": 8, "tensor": 2}, devices)  # splits a dimension rather than refusing


@pytest.mark.parametrize(
    ("processes", "shape", "process", "expected"),
    [
        ([0, 0, 1, 1], (4, 1, 1), 1, [4, 5, 6, 7]),
        ([0, 1, 0, 1], (4, 1, 1), 1, [2, 3, 6, 7]),  # arranged by the network, not by process
        ([0, 1, 0, 1], (2, 1, 2), 1, [0, 1, 2, 3, 4, 5, 6, 7]),  # a tensor axis over processes: the same rows
        ([0, 0, 1, 1], (1, 2, 2), 0, [0, 1, 2, 3]),
    ],
)
def test_rows_of_a_process(processes, shape, process, expected):
    devices = np.array([Device(i, process_index=p) for i, p in enumerate(processes)]).reshape(shape)
    mesh = SimpleNamespace(devices=devices, shape=dict(zip(meshes.AXES, shape, strict=True)))
    assert local_rows(mesh, 8, process).tolist() == expected


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


def test_constrain_does_not_split_an_axis_that_does_not_divide():
    mesh = make_mesh(experiment(mesh={"data": 4, "tensor": 2}))
    with jax.set_mesh(mesh):
        laid = jax.jit(lambda x: constrain(x * 2, "batch", "length"))
        assert {shard.data.shape for shard in laid(jnp.ones((8, 4))).addressable_shards} == {(2, 2)}
        assert {shard.data.shape for shard in laid(jnp.ones((8, 3))).addressable_shards} == {(2, 3)}
        assert {shard.data.shape for shard in laid(jnp.ones((6, 4))).addressable_shards} == {(6, 2)}


def test_a_global_batch_splits_rows_and_keeps_their_values():
    mesh = make_mesh(experiment(mesh={"data": 2, "fsdp": 2, "tensor": 2}))
    values = batch()
    placed = global_batch(values, mesh)
    for name, value in values.items():
        np.testing.assert_array_equal(placed[name], value)
        assert {shard.data.shape for shard in placed[name].addressable_shards} == {(2, value.shape[1])}
    assert VOCABULARY % 2 == 0


@pytest.mark.parametrize("axis", [0, 1])
def test_a_sum_over_rows_is_scattered_and_is_the_sum(axis):
    """Each device gets its share of the sum over fsdp alone, and adds that up over data."""
    mesh = make_mesh(experiment(mesh={"data": 2, "fsdp": 4}, data={"batch_size": 16}))
    draw = np.random.default_rng(0)
    x, y = (draw.normal(size=(16, 3, width)).astype(np.float32) for width in (24, 40))
    width = (24, 40)[axis]

    def summed(x, y):
        return sum_over_rows(lambda x, y: jnp.einsum("bld,blf->df", x, y), x, y, width=width, axis=axis)

    rows = NamedSharding(mesh, partition_spec(("batch",)))
    with jax.set_mesh(mesh):
        compiled = jax.jit(summed).lower(*(jax.ShapeDtypeStruct(z.shape, z.dtype, sharding=rows) for z in (x, y)))
        compiled = compiled.compile()
        found = compiled(*(jax.device_put(z, rows) for z in (x, y)))
    assert "reduce-scatter" in compiled.as_text()
    assert found.sharding.shard_shape(found.shape) == ((6, 40), (24, 10))[axis]
    # Sums of 48 float32 products of size 1, in another order.
    np.testing.assert_allclose(found, np.einsum("bld,blf->df", x, y), rtol=0, atol=1e-5)


def test_rows_that_do_not_divide_are_summed_whole():
    mesh = make_mesh(experiment(mesh={"data": 2, "fsdp": 4}, data={"batch_size": 16}))
    x = np.arange(6 * 5, dtype=np.float32).reshape(6, 5)  # neither 6 rows nor a width of 5
    with jax.set_mesh(mesh):
        found = jax.jit(lambda x: sum_over_rows(lambda x: jnp.sum(x, axis=0), x, width=5))(x)
    np.testing.assert_array_equal(found, x.sum(0))
