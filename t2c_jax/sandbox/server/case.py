"""One program: its files, its limits, and the process that runs it."""

from __future__ import annotations

import contextlib
import math
import os
import resource
import stat
import traceback
from collections.abc import Iterable, Mapping
from typing import Any

from t2c_jax.sandbox.languages import LANGUAGES, NONCE_BYTES, Language, Place
from t2c_jax.sandbox.server import kernel
from t2c_jax.sandbox.server.isolation import Isolation

_MESSAGE_BYTES = 4096
_OPEN_FILES = 256
_HIGHEST_DESCRIPTOR = 4096


class Channel:
    """What a program's process tells the server.

    That the program reached its end: the process copies a number, a new one for each program, from one pipe to another.
    Code that exits early, or writes something on every descriptor, does not copy it. And that the process could not
    start the program: on a pipe that is closed before it starts.
    """

    def __init__(self) -> None:
        self.nonce, self._number_in = os.pipe()
        self._read, self.done = os.pipe()
        self._failure_read, self.failure = os.pipe()
        for descriptor in (self._read, self._failure_read):
            os.set_blocking(descriptor, False)
        self._number = b""

    def after_fork(self) -> None:
        """In the server. The number is made now, so that the program's process does not have it in its memory."""
        self._number = os.urandom(NONCE_BYTES)
        os.write(self._number_in, self._number)
        for descriptor in (self.nonce, self._number_in, self.done, self.failure):
            os.close(descriptor)

    def read(self) -> tuple[bool, str]:
        """Whether the number came back, and nothing else; and why the program was not started."""
        answers = []
        for descriptor in (self._read, self._failure_read):
            try:
                answers.append(os.read(descriptor, _MESSAGE_BYTES))
            except BlockingIOError:
                answers.append(b"")
            os.close(descriptor)
        return answers[0] == self._number, answers[1].decode("utf-8", "replace")


def run_program(
    request: Mapping[str, Any],
    streams: Mapping[int, int],
    channel: Channel,
    isolation: Isolation,
    base_bytes: int,
) -> None:
    """Confines this process and runs the program in it. Never returns.

    Args:
      request: the program and its limits.
      streams: descriptors that become the program's standard output and error.
      channel: to the server.
      isolation: what to run it in.
      base_bytes: address space of the interpreter.
    """
    try:
        os.setsid()
        for number, descriptor in {0: standard_input(request["stdin"]), **streams}.items():
            os.dup2(descriptor, number)
        place = Place(isolation.work, isolation.temporary, channel.nonce, channel.done, os.getpid())
        language = LANGUAGES[request["language"]]
        set_limits(request["limits"], language, isolation, base_bytes)
        isolation.confine()
        kernel.prctl(kernel.PR_SET_DUMPABLE, 1)  # it has nothing to hide from itself, and may read its own /proc
        close_descriptors((place.nonce, place.done))
        os.chdir(place.work)
    except BaseException as error:
        os.write(channel.failure, (str(error) or type(error).__name__).encode()[:_MESSAGE_BYTES])
        os._exit(1)
    code = 1
    try:
        code = language.run(request["source"], place)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def close_descriptors(kept: Iterable[int]) -> None:
    """Closes the server's descriptors, but the standard ones and those to keep."""
    start = 3
    for descriptor in sorted(kept):
        os.closerange(start, descriptor)
        start = descriptor + 1
    os.closerange(start, _HIGHEST_DESCRIPTOR)


def set_common_limits() -> None:
    """In the server: limits that are the same for all programs. A process without privileges cannot raise them."""
    for kind, value in (
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
    ):
        resource.setrlimit(kind, (value, value))


def set_limits(limits: Mapping[str, Any], language: Language, isolation: Isolation, base_bytes: int) -> None:
    """Sets what the kernel enforces for each process. The supervisor watches what they use together."""
    seconds = math.ceil(limits["cpu_seconds"]) + 1
    values = {
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_DATA: limits["memory_bytes"] + base_bytes,
        resource.RLIMIT_FSIZE: limits["file_bytes"],
        resource.RLIMIT_NPROC: isolation.process_limit(limits["processes"]),
    }
    if not language.reserves_address_space:
        values[resource.RLIMIT_AS] = limits["memory_bytes"] + base_bytes
    for kind, value in values.items():
        resource.setrlimit(kind, (value, value))


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


def write_files(files: Mapping[str, str], isolation: Isolation) -> None:
    """Creates the files that the program finds in its working directory."""
    for name, content in files.items():
        parent = isolation.work
        *folders, last = name.split("/")
        for folder in folders:
            parent = os.path.join(parent, folder)
            if not os.path.isdir(parent):
                os.mkdir(parent)
                isolation.give_to_user(parent)
        path = os.path.join(parent, last)
        if last:
            with open(path, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
                file.write(content)
            isolation.give_to_user(path)


def returned_files(request: Mapping[str, Any], work: str) -> dict[str, str]:
    """The files that the program asked for."""
    if not request["return_files"]:
        return {}
    found = read_files(work, request["limits"]["output_bytes"])
    for name in LANGUAGES[request["language"]].own_files:
        if name not in request["files"]:
            found.pop(name, None)
    return found


def read_files(work: str, limit: int) -> dict[str, str]:
    """The working directory as ``Outcome.files`` has it.

    A link is not followed. What is no file, directory or link is left out, and so is what cannot be read.
    """
    found: dict[str, str] = {}
    pending = [""]
    while pending:
        folder = pending.pop()
        with contextlib.suppress(OSError), os.scandir(os.path.join(work, folder)) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                key = os.path.join(folder, entry.name)
                with contextlib.suppress(OSError):
                    kind = entry.stat(follow_symlinks=False).st_mode
                    if stat.S_ISLNK(kind):
                        found[f"{key}@"] = os.readlink(entry.path)
                    elif stat.S_ISDIR(kind):
                        found[f"{key}/"] = ""
                        pending.append(key)
                    elif stat.S_ISREG(kind):
                        with open(entry.path, "rb") as file:
                            content = file.read(max(limit, 0))
                        found[key] = content.decode("utf-8", "replace")
                        limit -= len(content)
    return found
