"""The order in which threads give programs to the devices of a mesh."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from jax.sharding import Mesh

_lock = threading.RLock()


@contextlib.contextmanager
def in_order(mesh: Mesh) -> Iterator[None]:
    """Runs programs of a mesh one thread after the other.

    Two programs with collectives must reach all devices in one order; otherwise each waits for the other's devices. On
    a single device nothing waits.
    """
    with _lock if mesh.size > 1 else contextlib.nullcontext():
        yield
