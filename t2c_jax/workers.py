"""A parallel map for input that may crash the process that reads it, or make it hang.

``concurrent.futures`` gives the whole pool up when one worker dies, and cannot stop one that hangs. Here the parent
gives out one item at a time, so it knows which item a lost worker had, reports it as a ``Failure`` and starts
another.

Workers are fresh interpreters, never forks: the parent may run TensorFlow's or JAX's threads. Nor are they spawned by
``multiprocessing``, which runs the parent's ``__main__`` again in each: a script without a guard, one read from
standard input or a notebook would then fail.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait
from typing import Generic, TypeVar

from t2c_jax.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD = 64  # results, per worker, that may wait for a slower one before theirs: it bounds the parent's memory
_LOSSES_IN_A_ROW = 20  # then it is not the items


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an item has no result; ``lost`` if its worker went with it, ``late`` if that was for the time it took."""

    reason: str
    lost: bool = False
    late: bool = False


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def isolated_map(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int, seconds: float
) -> Iterator[Result | Failure]:
    """Applies ``function`` in worker processes and yields the results in the order of the items.

    Args:
      function: importable by name; what it raises becomes a ``Failure`` too.
      items: read as they are needed.
      workers: processes.
      seconds: an item that takes longer costs its worker, and becomes a ``Failure``.

    Raises:
      UserError: one worker after the other is lost, whatever it is given.
    """
    pool: list[_Worker[Item, Result]] = []
    queue = enumerate(items)
    waiting: dict[int, Result | Failure] = {}
    emitted = losses = 0
    try:
        pool.extend(_Worker(function, seconds) for _ in range(workers))
        while True:
            for worker in pool:
                if worker.index is None and len(waiting) < _AHEAD * workers:
                    numbered = next(queue, None)
                    if numbered is not None:
                        worker.give(*numbered)
            busy = [worker for worker in pool if worker.index is not None]
            if not busy:
                return
            ready = wait([worker.connection for worker in busy])
            for worker in busy:
                if worker.connection not in ready:
                    continue
                index, result = worker.take()
                waiting[index] = result
                losses = losses + 1 if isinstance(result, Failure) and result.lost and not result.late else 0
                if isinstance(result, Failure) and losses == _LOSSES_IN_A_ROW:
                    raise UserError(
                        f"{losses} worker processes in a row were lost ({result.reason}); free some memory and run the"
                        " same command again"
                    )
            while emitted in waiting:
                yield waiting.pop(emitted)
                emitted += 1
    finally:
        for worker in pool:
            worker.stop()


class _Worker(Generic[Item, Result]):
    """A process, and the index of the item it has."""

    def __init__(self, function: Callable[[Item], Result], seconds: float) -> None:
        self._function, self._seconds = function, seconds
        self.index: int | None = None
        self._start()

    def _start(self) -> None:
        self.connection, theirs = Pipe()
        command = [sys.executable, "-c", _BOOT, json.dumps(sys.path), str(theirs.fileno())]
        # In a process group of its own, so that Ctrl-C is the parent's alone to handle.
        self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, process_group=0)
        theirs.close()  # so that the worker's death is the connection's end
        with contextlib.suppress(OSError):
            self.connection.send((self._function, self._seconds))

    def give(self, index: int, item: Item) -> None:
        self.index = index
        with contextlib.suppress(OSError):  # a dead worker is found by take()
            self.connection.send(item)

    def take(self) -> tuple[int, Result | Failure]:
        """The item's index and result; where there is none, a new worker takes this one's place."""
        assert self.index is not None
        index, self.index = self.index, None
        try:
            return index, self.connection.recv()
        except (EOFError, OSError):
            failure = self._last_words()
        self.stop()
        self._start()
        return index, failure

    def _last_words(self) -> Failure:
        try:
            code = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return Failure("worker closed its connection", lost=True)
        if code == -signal.SIGALRM:
            return Failure(f"took longer than {self._seconds:g} s", lost=True, late=True)
        with contextlib.suppress(ValueError):
            return Failure(f"worker died ({signal.Signals(-code).name})", lost=True)
        return Failure(f"worker died (exit {code})", lost=True)

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


def serve(descriptor: int) -> None:
    """Worker main loop: receives the function, then items, until the parent closes the pipe.

    The time limit is the kernel's alarm, which ends a process whatever code it is in, and whether or not the parent
    still lives.
    """
    with contextlib.suppress(EOFError, OSError), Connection(descriptor) as connection:
        function, seconds = connection.recv()
        while True:
            item = connection.recv()
            signal.setitimer(signal.ITIMER_REAL, seconds)
            try:
                result = function(item)
            except Exception as error:
                result = Failure(f"{type(error).__name__} in a worker")
            signal.setitimer(signal.ITIMER_REAL, 0)
            connection.send(result)
