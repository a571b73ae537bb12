"""The directory of one run, as the rest of the package uses it: its stages, its lock, and its upload."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from t2c_jax.workdir.lock import Lock
from t2c_jax.workdir.stages import Stages

PER_PROCESS_FILES = ("*.txt", "*.npz")  # of a run of several processes, each writes its own
RUN_FILES = ("*.json", "*.jsonl", "tb/*", *PER_PROCESS_FILES)  # the small files of a run, outside its stages


class Workdir(Stages):
    """The directory of one run; ``locked`` while something writes to it."""

    def __init__(self, name: str | os.PathLike[str]) -> None:
        super().__init__(name)
        self._lock = Lock(self.path / ".lock", self.name, self.remote)
        self._pool = ThreadPoolExecutor(1)
        self._pushed: Future[None] | None = None

    @contextlib.contextmanager
    def locked(self, part: str = "", remedy: str = "or stop it") -> Iterator[None]:
        """Holds the workdir for this process, or only a part, ``evaluations`` or ``rerank``, which may be written
        during training.

        ``remedy`` says what else to do than to wait, where another process holds the part.

        A network file system may not share locks between hosts, and an object store has none: there the run that comes
        last takes the workdir over, and ``check_held`` tells the other one.

        Raises:
          UserError: another run holds it, or the directory cannot be written.
        """
        if part:
            with Lock(self.path / f".lock.{part}", f"{self.name.rstrip('/')}/{part}", remedy=remedy).held():
                self._delete_partial(f"{part}/.*.partial")
                yield
            return
        with self._lock.held():
            self._delete_partial(".*.partial", "checkpoints/.*.partial")
            self._fetch_metrics()
            try:
                yield
            finally:
                if self._lock.holder:  # and no other run has taken it
                    self.push()
                    self.wait_for_push()

    def check_held(self) -> None:
        """Checks that no other run has taken the workdir. Call it before writing to one that was locked long ago.

        Raises:
          UserError: another run has.
        """
        self._lock.check()

    def push(self, patterns: Sequence[str] = RUN_FILES) -> None:
        """Starts writing the run's small files to the object store, if there is one, in the background."""
        if self.remote is not None:
            self.wait_for_push()
            found = (path for pattern in patterns for path in sorted(self.path.glob(pattern)))
            paths = [path for path in found if path.is_file() and not path.name.startswith(".")]
            self._pushed = self._pool.submit(self.remote.push, paths)

    def wait_for_push(self) -> None:
        """Waits for the last ``push``, and raises its error."""
        if self._pushed is not None:
            pushed, self._pushed = self._pushed, None
            pushed.result()

    def _delete_partial(self, *patterns: str) -> None:
        """Deletes what a killed run left unfinished."""
        for pattern in patterns:
            for leftover in self.path.glob(pattern):
                if leftover.is_dir():
                    shutil.rmtree(leftover, ignore_errors=True)
                else:
                    leftover.unlink(missing_ok=True)

    def _fetch_metrics(self) -> None:
        """Fetches the metrics that another machine logged, unless this one has them and more."""
        if self.remote is not None and (stored := self.remote.read(self.metrics.name)) is not None:
            local = self.metrics.read_bytes() if self.metrics.is_file() else b""
            if not local.startswith(stored):
                self.write_copy(self.metrics, stored)
