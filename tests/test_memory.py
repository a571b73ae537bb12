"""What malloc does with memory that a train step frees."""

import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest

from t2c_jax import runtime
from t2c_jax.train.freed_memory import ReturnFreedMemory

# Each thread takes and frees a block as XLA does: aligned, from a thread of its own, all of it written.
PROGRAM = """
import contextlib, ctypes, os, resource, sys, threading
from t2c_jax import runtime
runtime.share_one_arena()
libc = ctypes.CDLL(None)
libc.aligned_alloc.restype = ctypes.c_void_p
libc.aligned_alloc.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]

def step():
    block = libc.aligned_alloc(64, 96 << 20)
    libc.memset(block, 1, 96 << 20)
    libc.free(block)

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    thread = threading.Thread(target=step)
    thread.start()
    thread.join()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1])

kept = runtime.freed_memory_kept() if sys.argv[1] == "keep" else contextlib.nullcontext()
with kept:
    print([faults() for _ in range(6)][-1])
    before = resident()
    runtime.return_freed_memory()
    print(before - resident())
    faults()
print(faults())
"""
PAGES = (96 << 20) // 4096


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
@pytest.mark.parametrize("choice", ["keep", "tunables", "accelerator", "give back"])
def test_freed_memory_is_kept_for_the_next_step(choice, monkeypatch):
    """Pages of 4 KiB, so that each is a fault; a user's own tunable and an accelerator change nothing.

    A small block may have taken a corner of the first blocks, so the sixth is looked at.
    """
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=0")
    program, asked = PROGRAM, "give back" if choice == "give back" else "keep"
    if choice == "tunables":
        monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=0:glibc.malloc.mmap_max=65536")
    if choice == "accelerator":
        program = PROGRAM.replace("runtime.share", "runtime._accelerated = lambda: True\nruntime.share")
    done = subprocess.run([sys.executable, "-c", program, asked], capture_output=True, text=True, check=True)
    again, returned, after = map(int, done.stdout.split())
    if choice == "keep":
        assert again < PAGES / 20
        assert returned > PAGES / 2
    else:
        assert again > PAGES / 2
        assert returned == 0
    assert after > PAGES / 2  # outside, all is as before


def test_memory_is_returned_at_first_after_an_evaluation_and_every_few_steps(monkeypatch):
    returned = []
    monkeypatch.setattr(runtime, "return_freed_memory", lambda: returned.append(run.step))
    run, hook = SimpleNamespace(step=20, steps=60, held_out={}, state={}), ReturnFreedMemory(10)
    hook.start(run, {})
    while run.step < 60:
        run.step += 1
        run.held_out = {"nll": 1.0} if run.step == 35 else {}
        if hook.is_due(run):
            hook(run)
    assert returned == [21, 22, 23, 30, 35, 36, 37, 38, 40, 50, 60]
