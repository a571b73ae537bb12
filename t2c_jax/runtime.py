"""The process that a run lives in: set up before JAX and TensorFlow are imported."""

from __future__ import annotations

import ctypes
import logging
import os
import platform
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from t2c_jax.config import Experiment

# mallopt's parameters, from glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def prepare() -> None:
    """Quiet logs, and an allocator that keeps what it has."""
    # TensorFlow only moves data here; its news about kernels and CPU features are noise.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    logging.getLogger("absl").setLevel(logging.ERROR)  # Orbax's notes on how it goes about things
    keep_memory()


def keep_memory() -> None:
    """Lets glibc keep large freed blocks.

    XLA's CPU client takes a train step's temporaries, gigabytes, anew at each step. By default glibc maps them from the
    kernel and gives them back, and touching fresh pages costs more than the arithmetic of a small model.
    """
    if platform.system() == "Linux" and platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def check_devices(experiment: Experiment) -> None:
    """Fails at once where the config does not fit the devices at hand.

    Raises:
      UserError: as ``mesh.check``.
    """
    import jax

    from t2c_jax import mesh

    mesh.check(experiment, jax.device_count())
