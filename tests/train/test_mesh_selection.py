"""The mesh that is chosen: hand-worked, in bytes and devices as small as they can be."""

from dataclasses import replace
from types import SimpleNamespace

import jax
import pytest
from tiny import experiment, make_mesh, state_bytes, workload

from t2c_jax import mesh as meshes
from t2c_jax.config import MeshConfig
from t2c_jax.decode.loading import inference_mesh
from t2c_jax.errors import UserError
from t2c_jax.mesh import GIB, memory_bytes
from t2c_jax.models.definition import Definition, count


def choose(config, state, memory, devices, slices=1):
    return meshes.choose(config.mesh, replace(workload(config), state_bytes=state), memory, devices, slices)


CHOSEN = {"data": -1, "fsdp": 0, "tensor": 0}


@pytest.mark.parametrize(
    ("sections", "state", "memory", "slices", "expected"),
    [
        ({}, 800, None, 1, (8, 1, 1)),
        ({}, 800, 1600, 1, (8, 1, 1)),  # half of the memory is the state's
        ({}, 801, 1600, 1, (4, 2, 1)),
        ({}, 800, 400, 1, (2, 4, 1)),
        ({}, 800, 200, 1, (1, 8, 1)),
        ({}, 800, 101, 1, (1, 8, 1)),  # more than half, for want of devices
        ({}, 800, 400, 2, (2, 4, 1)),
        ({}, 800, 200, 4, (1, 8, 1)),
        ({"data": {"batch_size": 4}}, 800, None, 1, (4, 1, 2)),  # four rows, eight devices
        ({"data": {"batch_size": 4}}, 800, 400, 1, (2, 2, 2)),
        ({"train": {"microbatches": 2}}, 800, None, 1, (4, 1, 2)),
        ({"model": {"width": 20}, "data": {"batch_size": 16}}, 800, 200, 1, (1, 4, 2)),  # eight do not divide 20
    ],
)
def test_choice(sections, state, memory, slices, expected):
    config = experiment(mesh=CHOSEN, **sections)
    assert choose(config, state, memory, 8, slices) == MeshConfig(*expected)


def test_what_is_given_is_kept():
    assert choose(experiment(mesh={**CHOSEN, "fsdp": 4}), 800, None, 8) == MeshConfig(2, 4, 1)
    assert choose(experiment(mesh={**CHOSEN, "tensor": 2}), 800, 1600, 8) == MeshConfig(4, 1, 2)
    assert choose(experiment(mesh={**CHOSEN, "data": 2}), 800, None, 8) == MeshConfig(2, 4, 1)


@pytest.mark.parametrize(
    ("sections", "memory", "message"),
    [
        ({}, 99, r"take 0\.0 GiB; the 8 device\(s\) of 0\.0 GiB that can share them are too small"),
        ({"data": {"batch_size": 2}}, None, r"no mesh fits 8 device\(s\): .*batch_size=2 is not divisible by .* = 8"),
    ],
)
def test_no_choice(sections, memory, message):
    with pytest.raises(UserError, match=message):
        choose(experiment(mesh=CHOSEN, **sections), 800, memory, 8)


@pytest.mark.parametrize(
    ("sections", "bytes_each"),
    [
        ({}, 16),  # parameter, gradient and Adam's two moments, float32
        ({"optimizer": {"name": "sgd"}}, 8),
        ({"train": {"ema_decay": 0.9}}, 20),
    ],
)
def test_bytes_of_the_state(sections, bytes_each):
    config = experiment(**sections)
    parameters = count(Definition(config.model, config.tokenizer.vocab_size).abstract_params())
    # Beside the arrays there are the step, and counters of the optimizer.
    assert parameters * bytes_each < state_bytes(config) < parameters * bytes_each + 64
    assert Definition(config.model, config.tokenizer.vocab_size).nbytes() == parameters * 4


def test_memory_of_devices():
    there = SimpleNamespace(memory_stats=lambda: {"bytes_limit": 12345}, device_kind="TPU v4")
    assert memory_bytes(there) == 12345
    assert memory_bytes(jax.devices()[0]) is None

    def not_there():
        raise RuntimeError("only for addressable devices")

    assert memory_bytes(SimpleNamespace(memory_stats=not_there, device_kind="TPU v5 lite")) == 16 * GIB


def test_a_chosen_mesh_is_made():
    assert dict(make_mesh(experiment(mesh=CHOSEN)).shape) == {"data": 8, "fsdp": 1, "tensor": 1}
    config = experiment(mesh=CHOSEN)
    assert dict(inference_mesh(Definition(config.model, 32), config.mesh).shape)["data"] == 8
