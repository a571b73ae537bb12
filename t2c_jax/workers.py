"""A parallel map for inputs that may crash a process or make it hang.

``concurrent.futures`` breaks the whole pool when one worker dies, and cannot stop one that hangs. Here a worker gets
one item at a time. If it dies, the parent knows the item, reports it as a ``Failure`` and starts another worker. An
item of many parts calls ``begin`` before each of them: the time limit then is a part's, and the ``Failure`` names it.

Workers are new interpreters. They are not forked, because the parent may run threads of TensorFlow or JAX. They are not
spawned by ``multiprocessing`` either, which imports the parent's ``__main__`` in each of them: that fails for a
notebook, for a script from standard input, and for a script without a guard.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait
from typing import Generic, TypeVar

from t2c_jax.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD = 64  # finished results per worker that may wait for an earlier item; bounds the parent's memory
_COLLECTION = (100_000, 20, 20)  # a syntax tree is many objects without a cycle: collecting them takes 1/4 of the time
_MAX_DEATHS_IN_A_ROW = 20  # after so many, the machine is the cause and not the items


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an item has no result.

    Attributes:
      reason: for messages.
      died: whether its worker died.
      timed_out: whether that was because of the time limit.
      part: the part of the item that the worker was at, as ``begin`` got it; None if it began none.
    """

    reason: str
    died: bool = False
    timed_out: bool = False
    part: int | None = None


@dataclass(frozen=True, slots=True)
class _Begun:
    part: int
    after_another: bool = False  # of the same item, which is done


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def isolated_map(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int, seconds: float, memory_bytes: int = -1
) -> Generator[Result | Failure]:
    """Applies ``function`` in worker processes and yields the results in the order of the items.

    Args:
      function: importable by name; what it raises becomes a ``Failure`` too.
      items: read as they are needed; asked again when all work is done, so items may be added on the way.
      workers: processes, at most; one starts when an item finds none idle.
      seconds: time limit of an item, or of each part; its worker is then killed, and the item becomes a ``Failure``.
      memory_bytes: that a worker may allocate (on Linux); beyond it, allocation fails. No limit by default.

    Raises:
      UserError: many workers in a row died.
    """
    pool: list[_Worker[Item, Result]] = []
    queue = enumerate(items)
    waiting: dict[int, Result | Failure] = {}
    emitted = deaths = 0
    try:
        while True:
            busy = [worker for worker in pool if worker.index is not None]
            idle = [worker for worker in pool if worker.index is None]
            while len(busy) < workers and len(waiting) < _AHEAD * workers:
                numbered = next(queue, None)
                if numbered is None:
                    break
                if not idle:
                    idle.append(_Worker(function, seconds, memory_bytes))
                    pool.append(idle[0])
                busy.append(idle.pop())
                busy[-1].send(*numbered)
            if not busy:
                return
            ready = wait([worker.connection for worker in busy])
            for worker in busy:
                if worker.connection not in ready:
                    continue
                received = worker.receive()
                if isinstance(received, _Begun):
                    deaths = 0 if received.after_another else deaths
                    continue
                index, result = received
                waiting[index] = result
                crashed = isinstance(result, Failure) and result.died and not result.timed_out
                deaths = deaths + 1 if crashed else 0
                if isinstance(result, Failure) and deaths == _MAX_DEATHS_IN_A_ROW:
                    raise UserError(
                        f"{deaths} worker processes in a row died ({result.reason}); free some memory and run the"
                        " same command again"
                    )
            while emitted in waiting:
                yield waiting.pop(emitted)
                emitted += 1
    finally:
        for worker in pool:
            worker.stop()


class _Worker(Generic[Item, Result]):
    """A process, and the index of the item that it works on."""

    def __init__(self, function: Callable[[Item], Result], seconds: float, memory_bytes: int) -> None:
        self._function, self._seconds, self._memory_bytes = function, seconds, memory_bytes
        self.index: int | None = None
        self._part: int | None = None
        self._start()

    def _start(self) -> None:
        self.connection, theirs = Pipe()
        command = [sys.executable, "-c", _BOOT, json.dumps(sys.path), str(theirs.fileno())]
        # A process group of its own: Ctrl-C then reaches the parent only.
        self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, process_group=0)
        theirs.close()  # the connection then ends when the worker dies
        with contextlib.suppress(OSError):
            self.connection.send((self._function, self._seconds, self._memory_bytes))

    def send(self, index: int, item: Item) -> None:
        self.index, self._part = index, None
        with contextlib.suppress(OSError):  # a dead worker is found by receive()
            self.connection.send(item)

    def receive(self) -> tuple[int, Result | Failure] | _Begun:
        """The item's index and its result, or the part that it began. A worker that has died is replaced."""
        assert self.index is not None
        try:
            result = self.connection.recv()
        except (EOFError, OSError):
            result = dataclasses.replace(self._cause_of_death(), part=self._part)
            self.stop()
            self._start()
        if isinstance(result, _Begun):
            begun = _Begun(result.part, after_another=self._part is not None)
            self._part = result.part
            return begun
        index, self.index = self.index, None
        return index, result

    def _cause_of_death(self) -> Failure:
        try:
            code = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return Failure("worker closed its connection", died=True)
        if code == -signal.SIGALRM:
            return Failure(f"took longer than {self._seconds:g} s", died=True, timed_out=True)
        with contextlib.suppress(ValueError):
            return Failure(f"worker died ({signal.Signals(-code).name})", died=True)
        return Failure(f"worker died (exit {code})", died=True)

    def stop(self) -> None:
        self.connection.close()
        self._process.kill()
        self._process.wait()


_BOOT = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from t2c_jax.workers import serve
serve(int(sys.argv[2]))
"""


_begin: Callable[[int], None] | None = None  # in a worker


def begin(part: int) -> None:
    """Says that the item's next part is worked on from now: its time starts, and a ``Failure`` will name it."""
    if _begin is not None:
        _begin(part)


def serve(descriptor: int) -> None:
    """Worker main loop: receives the function, then items, until the parent closes the pipe.

    The time limit is an alarm of the kernel, which ends the process in any code, even if the parent is dead.
    """
    with contextlib.suppress(EOFError, OSError), Connection(descriptor) as connection:
        function, seconds, memory_bytes = connection.recv()
        if memory_bytes >= 0:
            resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, resource.getrlimit(resource.RLIMIT_DATA)[1]))

        def begin_part(part: int) -> None:
            signal.setitimer(signal.ITIMER_REAL, seconds)
            connection.send(_Begun(part))

        global _begin
        _begin = begin_part
        gc.freeze()
        gc.set_threshold(*_COLLECTION)
        while True:
            item = connection.recv()
            signal.setitimer(signal.ITIMER_REAL, seconds)
            try:
                result = function(item)
            except Exception as error:
                result = Failure(f"{type(error).__name__} in a worker")
            signal.setitimer(signal.ITIMER_REAL, 0)
            connection.send(result)
