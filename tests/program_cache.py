"""Compiled programs on disk, which tests and the processes that they start keep for each other and for the next run.

Also what JAX does around each compilation, made cheaper: most programs of tests are tiny.
"""

from __future__ import annotations

import itertools
import os
import tempfile
import zlib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
from jax._src import compilation_cache
from jax._src.interpreters import mlir
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


PROGRAMS_OF_A_CONTEXT = 100  # a context keeps the constants of all its programs


def cheaper() -> None:
    """Makes programs share MLIR contexts, and compresses kept programs less.

    JAX makes a context for each program: to load all dialects there takes twice as long as to lower a tiny program.
    """
    make, numbers, contexts = mlir.make_ir_context, itertools.count(), list[Any]()

    def make_ir_context() -> Any:
        if next(numbers) % PROGRAMS_OF_A_CONTEXT == 0 or not contexts:
            contexts[:] = [make()]
        return contexts[0]

    mlir.make_ir_context = make_ir_context
    if not (compilation_cache.zstd or compilation_cache.zstandard):
        compilation_cache.compress_executable = lambda executable: zlib.compress(executable, 1)
