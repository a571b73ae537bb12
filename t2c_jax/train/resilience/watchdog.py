"""Watchdog: ends a process whose steps no longer finish, so that a scheduler can start it again.

A collective waits forever for a host that is gone. The other hosts can tell that from a long step only by time.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
import time
from pathlib import Path
from types import TracebackType

STATUS = 75  # EX_TEMPFAIL of sysexits.h: the same command may succeed when it is run again
_POLL = 1.0  # seconds


class Watchdog:
    """While entered, writes all threads' stacks and exits with ``STATUS`` when ``beat`` was not called for too long.

    Time in which the process itself was stopped (a suspended machine, SIGSTOP) does not count.
    """

    def __init__(self, seconds: float, stacks: Path) -> None:
        """``seconds`` of 0 turn it off; ``stacks`` is the file to write."""
        self._seconds, self._stacks = seconds, stacks
        self._waited = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def beat(self) -> None:
        """A step or a hook has finished."""
        self._waited = 0.0

    def __enter__(self) -> Watchdog:
        if self._seconds:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        if self._seconds:
            self._thread.join()

    def _watch(self) -> None:
        poll = min(_POLL, self._seconds / 4)
        before = time.monotonic()
        while not self._done.wait(poll):
            now = time.monotonic()
            self._waited += min(now - before, 2 * poll)
            before = now
            if self._waited > self._seconds:
                self._end()

    def _end(self) -> None:
        # Without locks that the hanging thread may hold: neither the console's nor a buffered file's.
        where = f"its stacks are in '{self._stacks}'"
        try:
            with self._stacks.open("w") as file:
                faulthandler.dump_traceback(file, all_threads=True)
        except OSError as error:
            where = f"its stacks follow, because '{self._stacks}' cannot be written ({error.strerror})"
            faulthandler.dump_traceback(sys.__stderr__ or 2, all_threads=True)
        message = (
            f"t2c: no step finished within config.train.watchdog_seconds={self._seconds:g}; {where}; run the same"
            " command again to resume from the last checkpoint\n"
        )
        os.write(2, message.encode())
        os._exit(STATUS)
