"""What every test runs under: eight CPU devices, strict JAX, a quiet TensorFlow, compiled programs kept."""

import os

# Before anything imports jax or tensorflow, and for the processes that tests start.
os.environ["JAX_PLATFORMS"] = "cpu"
# Tests compile far more than they compute: without LLVM's optimisations they take half the time.
os.environ["XLA_FLAGS"] = (
    f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
    " --xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
).strip()
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import hashlib
import platform
from pathlib import Path

import jax
import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


def _processor() -> str:
    """Names the kind of CPU: programs compiled for one may not run on another."""
    info = Path("/proc/cpuinfo")
    features = info.read_text().partition("flags")[2].partition("\n")[0] if info.exists() else ""
    return hashlib.sha256(f"{platform.machine()} {platform.processor()} {features}".encode()).hexdigest()[:12]


jax.config.update("jax_numpy_rank_promotion", "raise")
# In this process alone, not through the environment: tests kill the processes they start, perhaps amid a write.
jax.config.update("jax_compilation_cache_dir", str(REPOSITORY / ".cache" / f"jax-{_processor()}"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY
