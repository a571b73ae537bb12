"""What malloc does with memory that a train step frees."""

import platform
import subprocess
import sys

import pytest

# Each thread takes and frees a block as XLA does: aligned, from a thread of its own, all of it written.
PROGRAM = """
import ctypes, resource, sys, threading
from t2c_jax import runtime
if sys.argv[1] == "keep":
    runtime.keep_freed_memory()
libc = ctypes.CDLL(None)
libc.aligned_alloc.restype = ctypes.c_void_p
libc.aligned_alloc.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]

def step():
    block = libc.aligned_alloc(64, 96 << 20)
    libc.memset(block, 1, 96 << 20)
    libc.free(block)

for _ in range(6):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    thread = threading.Thread(target=step)
    thread.start()
    thread.join()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
@pytest.mark.parametrize("choice", ["keep", "tunables", "accelerator", "give back"])
def test_freed_memory_is_kept_for_the_next_step(choice, monkeypatch):
    """Pages of 4 KiB, so that each is a fault; a user's own tunable and an accelerator change nothing."""
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=0")
    program, asked = PROGRAM, "give back" if choice == "give back" else "keep"
    if choice == "tunables":
        monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=0:glibc.malloc.mmap_max=65536")
    if choice == "accelerator":
        program = PROGRAM.replace("if sys", "runtime._accelerated = lambda: True\nif sys")
    done = subprocess.run([sys.executable, "-c", program, asked], capture_output=True, text=True, check=True)
    *_, one, other = map(int, done.stdout.split())  # a small block may have taken a corner of the first ones
    pages = (96 << 20) // 4096
    for faults in (one, other):
        assert faults < pages / 20 if choice == "keep" else faults > pages / 2
