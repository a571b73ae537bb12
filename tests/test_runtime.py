"""What ``t2c`` sets for itself before it starts."""

import os
import platform
import subprocess
import sys

import jaxlib
import pytest
from small_run import environment

from t2c_jax import runtime

# As many independent programs as an evaluation has, each of which exchanges; the pool's default is a thread a core.
SEVERAL_PROGRAMS = """
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import NamedSharding, PartitionSpec
mesh = jax.make_mesh((4, 2), ("data", "tensor"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
place = lambda x, *axes: jax.device_put(x.astype(np.float32), NamedSharding(mesh, PartitionSpec(*axes)))
draw = np.random.default_rng(0)
kernel = place(draw.normal(size=(256, 256)), "data", "tensor")
batches = [place(draw.normal(size=(64, 256)), "data") for _ in range(64)]
def loss(kernel, x):
    for _ in range(12):
        x = jax.lax.with_sharding_constraint(jnp.tanh(x @ kernel), NamedSharding(mesh, PartitionSpec("data")))
    return x.mean()
loss = jax.jit(loss)
apart = [float(loss(kernel, x)) for x in batches]
for _ in range(10):
    assert [float(x) for x in jax.device_get([loss(kernel, x) for x in batches])] == apart
"""


@pytest.fixture
def nothing_set(monkeypatch):
    for name in ("GLIBC_TUNABLES", "NPROC", "XLA_FLAGS"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_huge_pages_are_asked_for_beside_what_the_user_has_set(nothing_set):
    assert runtime.environment() == {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
    assert runtime.environment(over_batches=False) == {}
    nothing_set.setenv("GLIBC_TUNABLES", "glibc.malloc.arena_max=1")
    assert runtime.environment() == {"GLIBC_TUNABLES": "glibc.malloc.arena_max=1:glibc.malloc.hugetlb=1"}
    nothing_set.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=0")
    assert runtime.environment() == {}


@pytest.mark.parametrize(
    ("flags", "threads", "expected"),
    [
        ("--xla_force_host_platform_device_count=8", None, "32"),
        ("--a=b --xla_force_host_platform_device_count=16 --c", None, "64"),
        ("--xla_force_host_platform_device_count=8", "3", None),
        ("--xla_force_host_platform_device_count=1", None, None),
        ("", None, None),
    ],
)
def test_devices_made_of_one_cpu_get_threads_to_wait_in(nothing_set, flags, threads, expected):
    nothing_set.setenv("XLA_FLAGS", flags)
    if threads is not None:
        nothing_set.setenv("NPROC", threads)
    assert runtime.environment().get("NPROC") == expected


@pytest.mark.skipif(not jaxlib.__version__.startswith("0.10."), reason="a jaxlib of which the flag is not known")
def test_devices_made_of_one_cpu_begin_collectives_in_one_order(nothing_set):
    eight = "--xla_force_host_platform_device_count=8"
    nothing_set.setenv("XLA_FLAGS", eight)
    chosen = runtime.environment()["XLA_FLAGS"]
    assert chosen == f"{eight} --xla_cpu_scheduler_type=CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"
    nothing_set.setenv("XLA_FLAGS", chosen)
    assert "XLA_FLAGS" not in runtime.environment()
    nothing_set.setenv("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=true")
    assert "XLA_FLAGS" not in runtime.environment()


def test_programs_of_an_evaluation_do_not_wait_for_each_other(nothing_set):
    nothing_set.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=8")
    variables = {**environment(), "XLA_FLAGS": os.environ["XLA_FLAGS"], **runtime.environment()}
    done = subprocess.run(
        [sys.executable, "-c", SEVERAL_PROGRAMS], env=variables, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
