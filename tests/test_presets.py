"""The pre-training sizes on the machines that configs/pretrain.py names: every mesh fits, state and rows."""

import functools
from dataclasses import replace

import pytest
from tiny import workload

from t2c_jax import config as configs
from t2c_jax.config import MeshConfig
from t2c_jax.errors import UserError
from t2c_jax.mesh import GIB, Workload, check, choose
from t2c_jax.mesh.selection import STATE_SHARE
from t2c_jax.models.definition import Definition, count

CHIPS = {"v5e-8": (8, 16), "v5e-256": (256, 16), "v5p-128": (64, 95)}  # and GiB of one
PARAMETERS = {"small": 61e6, "base": 223e6, "large": 750e6, "xl": 2.75e9, "xxl": 10.9e9}
RUNS = [(size, machine) for machine in CHIPS for size in PARAMETERS if (size, machine) != ("xxl", "v5e-8")]


@pytest.fixture(scope="module")
def load(repository):
    return functools.cache(lambda argument: configs.load(f"{repository}/configs/pretrain.py:{argument}"))


@pytest.fixture(scope="module")
def parameters(load):
    """Of a size, counted in its shapes alone."""

    def counted(size):
        experiment = load(size)
        return count(Definition(experiment.model, experiment.tokenizer.vocab_size).abstract_params())

    return functools.cache(counted)


@pytest.mark.parametrize("size", PARAMETERS)
def test_sizes(size, parameters):
    assert parameters(size) == pytest.approx(PARAMETERS[size], rel=0.02)


@pytest.mark.parametrize(("size", "machine"), RUNS)
def test_a_machines_mesh_holds_the_state(size, machine, load, parameters):
    """AdamW in float32 takes 16 bytes a parameter; the batch is the size's own, whatever the machine."""
    experiment, (chips, memory) = load(f"{size}@{machine}"), CHIPS[machine]
    sizes = check(experiment.mesh, workload(experiment), chips)
    share = 16 * parameters(size) / (sizes["fsdp"] * sizes["tensor"])
    assert share <= STATE_SHARE * memory * GIB
    assert experiment.data == load(size).data
    rows = experiment.data.batch_size // (chips * experiment.train.microbatches)
    assert 1 <= rows <= 32


@pytest.mark.parametrize(("size", "machine"), RUNS)
def test_without_a_machine_a_mesh_is_chosen(size, machine, load, parameters):
    experiment, (chips, memory) = load(size), CHIPS[machine]
    held = replace(workload(replace(experiment, mesh=MeshConfig())), state_bytes=16 * parameters(size))
    chosen = choose(experiment.mesh, held, memory * GIB, chips)
    assert chosen.tensor == 1
    assert 16 * parameters(size) <= STATE_SHARE * memory * GIB * chosen.fsdp
    check(chosen, held, chips)


def test_eight_chips_of_16_gib_do_not_hold_xxl(load, parameters):
    with pytest.raises(UserError, match=r"take 16\d\.\d GiB; the 8 device\(s\) of 16\.0 GiB"):
        choose(MeshConfig(-1, 0, 0), Workload(16 * parameters("xxl"), {}), 16 * GIB, 8)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("xxl@v5e-8", r"xxl has a mesh for v5e-256, v5p-128; or leave @ out"),
        ("cpu@v5e-8", r"cpu has a mesh for no machine"),
        ("xl@", r"xl has a mesh for v5e-8, v5e-256, v5p-128"),
        ("xlarge@v5e-8", r"write one of cpu, small, base, large, xl, xxl"),
    ],
)
def test_arguments_that_name_nothing(argument, message, load):
    with pytest.raises(UserError, match=message):
        load(argument)


def test_tasks_and_a_machine(load):
    experiment = load("xl-spans+tags@v5e-256")
    assert set(experiment.data.tasks) == {"spans", "tags"}
    assert experiment.mesh == load("xl@v5e-256").mesh
