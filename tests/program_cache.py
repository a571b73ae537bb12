"""Compiled programs on disk, which tests and the processes that they start keep for each other and for the next run."""

from __future__ import annotations

import os
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
from jax._src.lru_cache import LRUCache

from t2c_jax import runtime

# In the user's cache, so that a clean clone finds them; apart for each JAX and kind of CPU.
DIRECTORY = (
    Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    / "t2c_jax"
    / (f"tests-{version('jaxlib')}-{runtime.processor()}")
)


def use() -> None:
    """Keeps all programs, however small."""
    jax.config.update("jax_compilation_cache_dir", str(DIRECTORY))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def write_whole() -> None:
    """Makes this process write each program to its place at once: tests kill processes, perhaps amid a write."""

    def put(self: Any, key: str, value: bytes) -> None:
        path = Path(self.path) / f"{key}-cache"
        if not path.exists():
            with tempfile.NamedTemporaryFile(dir=self.path, prefix=".", delete=False) as file:
                file.write(value)
            os.replace(file.name, path)

    LRUCache.put = put  # type: ignore[method-assign]
