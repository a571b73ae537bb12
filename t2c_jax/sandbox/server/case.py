"""One program: its first process, which watches from inside, and the process that runs it."""

from __future__ import annotations

import contextlib
import gc
import math
import os
import resource
import signal
import stat
from collections.abc import Mapping
from typing import Any

from t2c_jax.sandbox.languages import LANGUAGES, Language
from t2c_jax.sandbox.server import frames, kernel, namespaces

_NONCE_BYTES = 16
_EXTRA_PROCESSES = 3  # the server and the first process count where they have the program's user
_OPEN_FILES = 256


def be_first_process(request: Mapping[str, Any], streams: Mapping[int, int], report: int, user: int) -> None:
    """Starts the program, waits for it, ends all that it left and reports. Never returns.

    Args:
      request: the program and its limits.
      streams: descriptors that become the program's standard output and error.
      report: where the report goes; the program does not have this descriptor.
      user: who it runs as.
    """
    nonce = os.urandom(_NONCE_BYTES)
    nonce_out, nonce_in = os.pipe()
    done_out, done_in = os.pipe()
    os.set_blocking(done_out, False)
    os.write(nonce_in, nonce)
    os.close(nonce_in)
    write_files(request["files"], user)
    child = os.fork()
    if not child:
        try:
            run_program(request, {0: standard_input(request["stdin"]), **streams}, nonce_out, done_in, user)
        finally:
            os._exit(125)
    for descriptor in (nonce_out, done_in, *streams.values()):
        os.close(descriptor)
    status = wait_for(child)
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        completed = os.read(done_out, 4 * _NONCE_BYTES) == nonce
    except BlockingIOError:
        completed = False
    frames.send(
        report,
        {
            "exit": os.waitstatus_to_exitcode(status),
            "completed": completed,
            "cpu_seconds": usage.ru_utime + usage.ru_stime,
            "files": read_files(request["limits"]["output_bytes"]) if request["return_files"] else {},
        },
    )
    os._exit(0)


def wait_for(child: int) -> int:
    """The wait status of the program's process; orphans are collected on the way."""
    while True:
        pid, status = os.wait()
        if pid == child:
            return status


def run_program(request: Mapping[str, Any], streams: Mapping[int, int], nonce: int, done: int, user: int) -> None:
    """Confines this process and runs the program in it. Never returns."""
    os.setsid()
    for number, descriptor in streams.items():
        os.dup2(descriptor, number)
    kept = {nonce, done}
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        if descriptor > 2 and descriptor not in kept:
            with contextlib.suppress(OSError):
                os.close(descriptor)
    os.chdir(namespaces.WORK)
    language = LANGUAGES[request["language"]]
    confine(request["limits"], language, user)
    gc.unfreeze()

    def completed() -> None:
        os.write(done, os.read(nonce, _NONCE_BYTES))

    os._exit(language.run(request["source"], completed))


def confine(limits: Mapping[str, Any], language: Language, user: int) -> None:
    """Sets the limits and gives up all privileges, in this order: some limits may not be raised afterwards."""
    seconds = math.ceil(limits["cpu_seconds"]) + 1
    memory = limits["memory_bytes"] + address_space()
    for kind, value in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, limits["file_bytes"]),
        (resource.RLIMIT_NPROC, limits["processes"] + _EXTRA_PROCESSES),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
    ):
        resource.setrlimit(kind, (value, value))
    if os.getuid() != user:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    kernel.drop_capabilities()
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)


def address_space() -> int:
    """Bytes of address space that this process has already."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def standard_input(text: str) -> int:
    """A descriptor to read ``text`` from, however long it is."""
    if not text:
        return os.open("/dev/null", os.O_RDONLY)
    descriptor = os.memfd_create("stdin")
    data = memoryview(text.encode("utf-8", "surrogateescape"))
    while data:
        data = data[os.write(descriptor, data) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def write_files(files: Mapping[str, str], user: int) -> None:
    """Creates the files that the program finds in its working directory."""
    for name, content in files.items():
        path = os.path.join(namespaces.WORK, name)
        parent = namespaces.WORK
        for part in os.path.dirname(name).split("/"):
            parent = os.path.join(parent, part)
            if not os.path.isdir(parent):
                os.mkdir(parent)
                os.chown(parent, user, user)
        with open(path, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            file.write(content)
        os.chown(path, user, user)


def read_files(limit: int) -> dict[str, str]:
    """The working directory as ``Outcome.files`` has it. A link is not followed; a file of another kind is left out."""
    found: dict[str, str] = {}
    for folder, directories, names in os.walk(namespaces.WORK):
        for name in sorted(directories + names):
            path = os.path.join(folder, name)
            key = os.path.relpath(path, namespaces.WORK)
            kind = os.lstat(path).st_mode
            if stat.S_ISLNK(kind):
                found[f"{key}@"] = os.readlink(path)
            elif stat.S_ISDIR(kind):
                found[f"{key}/"] = ""
            elif stat.S_ISREG(kind):
                with open(path, "rb") as file:
                    content = file.read(limit)
                found[key] = content.decode("utf-8", "replace")
                limit -= len(content)
    return found
