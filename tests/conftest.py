"""What every test runs under: eight CPU devices, strict JAX, a quiet TensorFlow, compiled programs kept.

On a machine with a GPU ``T2C_TEST_PLATFORM=cuda,cpu`` puts the tests that it is set for there, for instance those of
tests/train/test_gpu.py and tests/models/test_every_pairing.py.
"""

import faulthandler
import gc
import os
from importlib.metadata import version

# Before anything imports jax or tensorflow, and for the processes that tests start.
os.environ["JAX_PLATFORMS"] = os.environ.get("T2C_TEST_PLATFORM", "cpu")
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # several processes share a GPU
# Tests compile far more than they compute: without LLVM's optimisations, with XLA's older emitters of fused loops, and
# with one LLVM module for a program, compiling takes a quarter of the time. Where other tests have the cores, one of
# eight devices may come late to the others, who otherwise end the process after 40 s.
os.environ["XLA_FLAGS"] = (
    f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
    " --xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    " --xla_cpu_collective_call_terminate_timeout_seconds=300"
).strip()
if version("jaxlib").startswith("0.10."):  # later ones have no older emitters, and end where they are told of any
    os.environ["XLA_FLAGS"] += " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    # Else devices may begin collectives in different orders, and wait for each other for ever (``runtime``).
    os.environ["XLA_FLAGS"] += " --xla_cpu_scheduler_type=CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"
# A device that waits for the others keeps a thread, and may wait in several places at once: XLA has a thread a core, or
# a device, and where all of them wait none is left for what they wait for.
os.environ["NPROC"] = "32"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["EPATH_USE_TF"] = "false"  # as t2c sets it

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import program_cache
import pytest
import shared_programs
from shared_programs import own_programs  # noqa: F401
from tiny_generators import generators  # noqa: F401

REPOSITORY = Path(__file__).resolve().parents[1]
# What takes longest starts first, so that no worker is left with it at the end while the others have nothing to do.
SLOWEST = (
    *("train/test_processes.py", "interop/test_real_bert.py", "train/test_resume.py", "test_benchmarks.py"),
    *("train/test_elastic.py", "train/test_adapter_runs.py", "test_library.py", "workdir/test_remote.py"),
    *("test_pretraining.py", "interop/test_export.py", "checkpoints/test_start.py", "sandbox/test_attacks.py"),
)
LARGE_WORKER_BYTES = 3 << 30

jax.config.update("jax_numpy_rank_promotion", "raise")
if os.environ["JAX_PLATFORMS"] != "cpu":
    jax.config.update("jax_default_matmul_precision", "highest")  # a GPU's is TensorFloat-32, of ten bits
gc.disable()  # while test modules are imported
program_cache.use()
program_cache.write_whole()
program_cache.cheaper()
shared_programs.install()


@pytest.hookimpl(trylast=True)  # after pytest's own fault handler, whose output capturing may hide
def pytest_configure(config: pytest.Config) -> None:
    """A place for the server that forks processes, for all of pytest's workers, and for what they leave if they die."""
    if hasattr(config, "workerinput"):
        trace = _trace_of(config.workerinput["workerid"]).open("w")
        config.add_cleanup(trace.close)
        faulthandler.enable(trace)
    else:
        directory = tempfile.mkdtemp(prefix="t2c-")
        os.environ["T2C_TEST_FORK_SERVER"] = directory
        config.add_cleanup(lambda: shutil.rmtree(directory, ignore_errors=True))


@pytest.hookimpl(optionalhook=True)
def pytest_handlecrashitem(report: Any) -> None:
    """Shows where a worker was when it died. One that was killed, as for memory, leaves nothing."""
    worker = report.node.gateway.id
    trace = _trace_of(worker).read_text() or f"{worker} left no trace: it was killed"
    report.longrepr = f"{report.longrepr}\n{trace}"


def _trace_of(worker: str) -> Path:
    return Path(os.environ["T2C_TEST_FORK_SERVER"]) / f"{worker}.trace"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slowest files first; the order of others, and that within a file, stays."""
    places = {REPOSITORY / "tests" / name: place for place, name in enumerate(SLOWEST)}
    assert all(path.is_file() for path in places), f"SLOWEST of tests/conftest.py names files that are gone: {SLOWEST}"
    items.sort(key=lambda item: places.get(item.path, len(places)))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Collects garbage seldom, and never looks at what imports made: that took a third of the time of tracing."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    gc.enable()


@pytest.fixture(scope="module", autouse=True)
def programs_released() -> Iterator[None]:
    """Compiled programs are dropped between modules once a worker is large, so that three of them fit into memory."""
    yield
    resident = int(Path("/proc/self/statm").read_text().split()[1]) if Path("/proc/self/statm").exists() else 0
    if resident * os.sysconf("SC_PAGE_SIZE") > LARGE_WORKER_BYTES:
        shared_programs.forget()
        jax.clear_caches()
        gc.collect()


@pytest.fixture(scope="module", autouse=True)
def collected(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a module ignores of objects that are never awaited is found at its end, not in another module."""
    yield
    marks = getattr(request.module, "pytestmark", ())
    if "PytestUnraisable" in repr(marks):
        gc.collect()


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY
