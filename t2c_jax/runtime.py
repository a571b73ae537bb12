"""The process of a run: its environment variables, the other processes of the run, TensorFlow."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import hashlib
import importlib.metadata
import json
import logging
import os
import platform
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_TUNABLES = "GLIBC_TUNABLES"
_HUGE_PAGES = "glibc.malloc.hugetlb"
_COMPILED = "JAX_COMPILATION_CACHE_DIR"
_COMPILED_FROM = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
_THREADS = "NPROC"  # that XLA's CPU client starts in a pool; by default one for each core
_FLAGS = "XLA_FLAGS"
_VIRTUAL_DEVICES = re.compile(r"--xla_force_host_platform_device_count=(\d+)")
_SCHEDULER = "--xla_cpu_scheduler_type"


def environment(*, over_batches: bool = True) -> dict[str, str]:
    """The environment variables that ``t2c`` sets for itself, and that must be set before the process starts.

    XLA's CPU client takes a train step's temporaries, gigabytes, anew from malloc at each step, and the kernel hands
    them out in pages of 4 KiB. Asking glibc for transparent huge pages saves the time to touch each of them. Where the
    C library is another one, there is nothing to set. The steps of a search have few temporaries: a command that
    computes nothing ``over_batches`` of targets starts sooner without.

    Where ``XLA_FLAGS`` makes several devices of one CPU, two things keep them from waiting for each other for ever. A
    device that waits keeps a thread, and the programs of an evaluation are given to it one behind the other: with a
    thread a core, none is left for what they wait for. And devices begin collectives that do not depend on each other
    in different orders, unless XLA schedules for little memory. What the user has set stays.
    """
    missing = {}
    tunables = os.environ.get(_TUNABLES, "")
    if (
        over_batches
        and platform.system() == "Linux"
        and platform.libc_ver()[0] == "glibc"
        and _HUGE_PAGES not in tunables
    ):
        missing[_TUNABLES] = ":".join(filter(None, [tunables, f"{_HUGE_PAGES}=1"]))
    flags = os.environ.get(_FLAGS, "")
    devices = _VIRTUAL_DEVICES.search(flags)
    if devices and int(devices[1]) > 1:
        if _THREADS not in os.environ:
            missing[_THREADS] = str(4 * int(devices[1]))
        # XLA ends at a flag that it does not know.
        if _SCHEDULER not in flags and importlib.metadata.version("jaxlib").startswith("0.10."):
            missing[_FLAGS] = f"{flags} {_SCHEDULER}=CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"
    return missing


def collect_garbage() -> None:
    """Frees what nothing refers to any more, and gives the kernel what malloc holds of it, where it can."""
    gc.collect()
    if platform.system() == "Linux" and platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def restart_with_environment(*, over_batches: bool = True) -> None:
    """Starts this very command again where ``environment`` has something to set; returns where it has not."""
    if missing := environment(over_batches=over_batches):
        sys.stdout.flush()
        sys.stderr.flush()
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | missing)


def quiet() -> None:
    """Silences messages that libraries print about themselves. Call it before they are imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    os.environ.setdefault("EPATH_USE_TF", "false")  # gs:// and s3:// through fsspec, as this package reads them too
    # Orbax's notes on how it goes about things, and its tracebacks: what it cannot do, it raises too.
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    logging.getLogger("gcsfs").setLevel(logging.ERROR)  # tells at each access of what kind the bucket is


def collect_rarely() -> None:
    """Lets the garbage collector look less often: imports and traced programs are many objects that stay."""
    gc.set_threshold(20_000, 10, 10)


def processor() -> str:
    """Names the kind of CPU: a program compiled for one may not run on another."""
    info = Path("/proc/cpuinfo")
    features = info.read_text().partition("flags")[2].partition("\n")[0] if info.exists() else ""
    return hashlib.sha256(f"{platform.machine()} {platform.processor()} {features}".encode()).hexdigest()[:12]


def keep_compiled() -> None:
    """Keeps compiled programs for the next start. Call it before JAX is imported.

    They lie where ``JAX_COMPILATION_CACHE_DIR`` says, nowhere if that is empty, by default in the user's cache, apart
    for each kind of CPU. Of several processes the first one writes. Those are kept that took 0.05 s to compile: JAX's
    own threshold of a second would leave a server to compile most of its programs at each start.
    """
    os.environ.setdefault(_COMPILED_FROM, "0.05")
    if _COMPILED in os.environ:
        return
    base = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    directory = base / "t2c_jax" / f"xla-{processor()}"
    with contextlib.suppress(OSError, RuntimeError):  # no home, or one that is read-only: compile anew, as ever
        directory.mkdir(parents=True, exist_ok=True)
        if os.access(directory, os.W_OK):
            os.environ[_COMPILED] = str(directory)


def tensorflow() -> Any:
    """TensorFlow, imported late (it takes seconds) and kept away from accelerators: it only moves data here."""
    quiet()
    import tensorflow as tf

    for kind in ("GPU", "TPU"):
        with contextlib.suppress(RuntimeError):  # somebody ran TensorFlow before, and chose
            tf.config.set_visible_devices([], kind)
    return tf


def connect() -> None:
    """Joins the other processes of a run where the environment names them; otherwise this process is alone.

    JAX knows Cloud TPU slices, SLURM, Open MPI and Kubernetes; elsewhere ``JAX_COORDINATOR_ADDRESS``,
    ``JAX_NUM_PROCESSES`` and ``JAX_PROCESS_ID`` name them. If JAX is initialised already, as in a notebook, nothing
    changes. All processes but the first one print nothing for people from then on.
    """
    import jax

    from t2c_jax import console

    if not jax.distributed.is_initialized():
        _initialize()
    if not is_primary():
        console.mute()


def _initialize() -> None:
    import jax

    count, index = (os.environ.get(name) for name in ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID"))
    try:
        jax.distributed.initialize(
            num_processes=None if count is None else int(count), process_id=None if index is None else int(index)
        )
    except (ValueError, RuntimeError) as error:
        alone = "coordinator_address" in str(error)  # the one thing that nobody sets for a process on its own
        if not alone and "must be called before any JAX" not in str(error):
            raise
    else:
        _keep_standard_output()


def _keep_standard_output() -> None:
    """Standard output is for answers: what libraries print there, as Gloo does between processes, goes to stderr."""
    sys.stdout.flush()
    sys.stdout = os.fdopen(os.dup(1), "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors)
    os.dup2(2, 1)


def is_primary() -> bool:
    """Whether this process writes what the run writes once: corpus, tokens, metrics, evaluations."""
    import jax

    return jax.process_index() == 0


def barrier(name: str) -> None:
    """Waits until every process of the run has called it."""
    import jax
    from jax.experimental import multihost_utils

    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def agreed(value: int) -> int:
    """The largest of the processes' values; every process returns it."""
    import jax
    import numpy as np
    from jax.experimental import multihost_utils

    return value if jax.process_count() == 1 else int(multihost_utils.process_allgather(np.array(value)).max())


def from_primary(lines: Sequence[str]) -> list[str]:
    """The first process's lines, on every process: of what only the first one has, such as standard input."""
    import jax
    import numpy as np
    from jax.experimental import multihost_utils

    if jax.process_count() == 1:
        return list(lines)
    content = json.dumps(list(lines)).encode() if is_primary() else b""
    size = int(multihost_utils.broadcast_one_to_all(np.array(len(content))))
    padded = np.zeros(size, np.uint8)
    padded[: len(content)] = np.frombuffer(content, np.uint8)
    return json.loads(np.asarray(multihost_utils.broadcast_one_to_all(padded)).astype(np.uint8).tobytes())
