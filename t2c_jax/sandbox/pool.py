"""Runs programs in the sandbox, several at a time."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import itertools
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self

from t2c_jax import console
from t2c_jax.errors import UserError
from t2c_jax.sandbox import ladder
from t2c_jax.sandbox.ladder import Rung, Unavailable
from t2c_jax.sandbox.languages import LANGUAGES
from t2c_jax.sandbox.outcomes import Limits, Outcome, Program, Status
from t2c_jax.sandbox.server import frames
from t2c_jax.workers import cores

_AHEAD = 64  # outcomes per server that may wait for an earlier program
_START_SECONDS = 60.0
# A server ends its programs itself. This is for a server that does not, on however slow a machine.
_SILENT_SECONDS, _SILENT_FACTOR = 600.0, 20.0
_ATTEMPTS = 2
_QUEUED = 2
_CHARACTERS_AHEAD = 8000  # a pipe holds 65,536 bytes
_REQUEST = ("language", "source", "stdin", "files", "return_files")
_MAX_FAILED_STARTS = 3
_STOP_SECONDS = 5.0
_SHARED_MEMORY = "/dev/shm"


class Sandbox:
    """Servers inside the sandbox. Use ``open``, in a ``with`` statement.

    Attributes:
      rung: the name of the isolation in use.
      limits: for programs that have none of their own.
      not_run: how many programs got no outcome because the sandbox failed.
    """

    def __init__(self, rung: Rung, workers: int, limits: Limits) -> None:
        self.rung, self.limits = rung.name, limits
        self.not_run = 0
        self._servers: list[_Server] = []
        try:
            for _ in range(workers):
                self._servers.append(_Server(rung, limits, workers))
        except BaseException:
            self.close()
            raise

    @classmethod
    def open(
        cls,
        *,
        risk_accepted: bool = False,
        workers: int | None = None,
        limits: Limits | None = None,
        rungs: Sequence[Rung] = ladder.RUNGS,
    ) -> Sandbox:
        """Opens the strongest sandbox that this machine offers, and says which one.

        Args:
          risk_accepted: run programs without isolation where the machine offers none.
          workers: programs to run at a time; one per core if None.
          limits: for programs that have none of their own.
          rungs: the kinds of isolation to try, from the strongest.

        Raises:
          UserError: the machine offers no isolation.
        """
        limits = limits or Limits()
        opened: list[Sandbox] = []

        def probe(rung: Rung, program: Program) -> Outcome:
            sandbox = cls(rung, workers or cores(), limits)
            try:
                (outcome,) = sandbox.run([program])
            except BaseException:
                sandbox.close()
                raise
            opened.append(sandbox)
            return outcome

        try:
            rung = ladder.choose(probe, risk_accepted=risk_accepted, rungs=rungs)
        except BaseException:
            for sandbox in opened:
                sandbox.close()
            raise
        for sandbox in opened:
            if sandbox.rung != rung.name:
                sandbox.close()
        _say_once(rung)
        if opened and opened[-1].rung == rung.name:
            return opened[-1]
        try:
            return cls(rung, workers or cores(), limits)
        except Unavailable as error:
            raise UserError(f"programs cannot run on this machine, not even without a sandbox: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends all servers, and with them whatever still runs."""
        for server in self._servers:
            server.stop()
        if self.not_run:
            console.warn(
                f"the sandbox failed for {self.not_run} programs, which were not run; they count neither as passed nor"
                " as failed"
            )
            self.not_run = 0

    def run(self, programs: Iterable[Program]) -> Iterator[Outcome]:
        """Runs programs and yields their outcomes in the same order.

        A program whose server dies is run once more by a new server; if that one dies too, its status is ``not_run``.

        Args:
          programs: read as they are needed.
        """
        queue = enumerate(programs)
        waiting: dict[int, Outcome] = {}
        emitted = 0
        try:
            while True:
                # First one program for each server, then another that waits until the first has ended.
                for depth, server in itertools.product(range(1, _QUEUED + 1), self._servers):
                    while server.queued < depth and len(waiting) < _AHEAD * len(self._servers):
                        numbered = next(queue, None)
                        if numbered is None:
                            break
                        refused = self._refused(numbered[1])
                        if refused:
                            waiting[numbered[0]] = refused
                        else:
                            server.send(*numbered)
                busy = [server for server in self._servers if server.queued]
                for server in _ready(busy):
                    if (answer := server.receive()) is not None:
                        waiting[answer[0]] = answer[1]
                while emitted in waiting:
                    outcome = waiting.pop(emitted)
                    self.not_run += outcome.status == "not_run"
                    yield outcome
                    emitted += 1
                if not busy and not waiting:
                    return
        finally:
            for server in self._servers:
                if server.queued:  # the caller wants no more: the outcomes would reach the next run
                    server.forget()

    @staticmethod
    def _refused(program: Program) -> Outcome | None:
        language = LANGUAGES.get(program.language)
        if language is None:
            return _not_run(f"no language '{program.language}'; there are {', '.join(sorted(LANGUAGES))}")
        if missing := language.missing():
            return _not_run(f"{program.language} needs {missing}")
        for name in program.files:
            if name.startswith("/") or ".." in name.split("/") or "\0" in name:
                return _not_run(f"the file '{name}' is outside the working directory")
        return None


_said: set[Rung] = set()


def _say_once(rung: Rung) -> None:
    if rung in _said:
        return
    _said.add(rung)
    if rung is ladder.NONE:
        console.warn(f"code that a model wrote runs without a sandbox: {rung.description}")
    else:
        console.say(f"sandbox: {rung.name} ({rung.description})")


def _ready(servers: Sequence[_Server]) -> list[_Server]:
    """The servers that have a reply, or have been silent for too long."""
    if stopped := [server for server in servers if not server.running]:
        return stopped
    if not servers:
        return []
    timeout = max(0.0, min(server.silent_until for server in servers) - time.monotonic())
    poll = select.poll()
    for server in servers:
        poll.register(server.replies, select.POLLIN)
    ready = {descriptor for descriptor, _ in poll.poll(1000 * timeout)}
    now = time.monotonic()
    return [server for server in servers if server.replies in ready or now > server.silent_until]


def _not_run(reason: str) -> Outcome:
    return Outcome("not_run", None, "", "", 0.0, {}, reason)


def _in_memory(size: int) -> str | None:
    """A directory in memory, where making and removing files is fast; None if there is none with so much space."""
    try:
        about = os.statvfs(_SHARED_MEMORY)
    except OSError:
        return None
    fits = about.f_bavail * about.f_frsize >= size and not about.f_flag & os.ST_NOEXEC
    return _SHARED_MEMORY if fits and os.access(_SHARED_MEMORY, os.W_OK) else None


@dataclasses.dataclass
class _Queued:
    """A program that a server was given."""

    index: int
    program: Program
    attempts: int = 0
    sent: bool = False

    @property
    def fits_in_pipe(self) -> bool:
        """Whether it can be written while the server does not read. A character may take six bytes."""
        texts = (self.program.source, self.program.stdin, *self.program.files, *self.program.files.values())
        return sum(map(len, texts)) < _CHARACTERS_AHEAD


class _Server:
    """A server process and its programs: the first of them runs."""

    def __init__(self, rung: Rung, limits: Limits, servers: int) -> None:
        self._rung, self._limits, self._count = rung, limits, servers
        self._queue: collections.deque[_Queued] = collections.deque()
        self.silent_until = 0.0
        self._failed_starts = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._box: str | None = None
        self._start()

    def _start(self) -> None:
        """Starts a server.

        Raises:
          Unavailable: it does not come up.
        """
        outside = self._rung not in (ladder.NAMESPACES, ladder.BUBBLEWRAP)
        if outside:
            self._box = tempfile.mkdtemp(prefix="t2c-sandbox-", dir=_in_memory(self._count * self._limits.file_bytes))
        with tempfile.TemporaryFile() as errors:
            try:
                self._process = subprocess.Popen(
                    ladder.command(self._rung, self._limits),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    # A fixed seed: the order of a set is the same in each program and on each day.
                    env={"PATH": ladder.executable_path(), "LANG": "C.UTF-8", "PYTHONHASHSEED": "0"},
                    cwd="/",
                    process_group=0,
                )
            except OSError as error:
                self.stop()
                raise Unavailable(str(error)) from error
            assert self._process.stdin
            assert self._process.stdout
            self._requests, self.replies = self._process.stdin.fileno(), self._process.stdout.fileno()
            setup = {
                "rung": self._rung.name,
                "visible": [] if self._rung is ladder.BUBBLEWRAP else ladder.visible_paths(),
                "box": self._box or ladder.BOX,
                "servers": self._count,
                "environment": {"PATH": ladder.executable_path(), "LANG": "C.UTF-8"},
            }
            try:
                frames.send(self._requests, setup)
                if not select.select([self.replies], [], [], _START_SECONDS)[0]:
                    raise Unavailable(f"its server does not start within {_START_SECONDS:g} s")
                answer = frames.receive(self.replies)
                if "error" in answer:
                    raise Unavailable(answer["error"])
            except (OSError, EOFError) as error:
                self.stop()
                errors.seek(0)
                last = errors.read().decode("utf-8", "replace").strip().rpartition("\n")[2]
                raise Unavailable(last or "its server ends at once") from error
            except Unavailable:
                self.stop()
                raise

    @property
    def queued(self) -> int:
        """How many programs it has."""
        return len(self._queue)

    def send(self, index: int, program: Program) -> None:
        """Gives the server a program."""
        self._queue.append(_Queued(index, program))
        self._send_queued()

    def _send_queued(self) -> None:
        """Writes the first program, which the server reads at once, and others if nobody has to wait for it.

        Otherwise this process could wait for the server to read, and the server for this process.
        """
        for position, queued in enumerate(self._queue):
            if not queued.sent and (position == 0 or queued.fits_in_pipe):
                queued.sent = True
                self._send(queued)
                if position == 0:
                    self._expect()

    def _send(self, queued: _Queued) -> None:
        limits = queued.program.limits or self._limits
        request = {field: getattr(queued.program, field) for field in _REQUEST} | {"limits": vars(limits)}
        if self.running:
            with contextlib.suppress(OSError):  # receive() finds a dead server
                frames.send(self._requests, request)

    def _expect(self) -> None:
        """Sets the time for the reply to the first program."""
        limits = self._queue[0].program.limits or self._limits
        allowed = limits.cpu_seconds + limits.idle_seconds
        self.silent_until = time.monotonic() + _SILENT_SECONDS + _SILENT_FACTOR * allowed

    def receive(self) -> tuple[int, Outcome] | None:
        """The index and outcome of the first program; None if it runs again."""
        first = self._queue[0]
        first.attempts += 1
        outcome: Outcome | None = None
        try:
            if self.running and time.monotonic() <= self.silent_until:
                outcome = outcome_of(first.program, frames.receive(self.replies))
        except (OSError, EOFError, ValueError):
            pass
        if outcome is None or outcome.status == "not_run":
            try:
                self._restart()
            except Unavailable as error:
                outcome = _not_run(f"the sandbox disappeared and does not start again: {error}")
            else:
                if first.attempts < _ATTEMPTS:
                    self._send_queued()
                    return None
                outcome = outcome or _not_run("the sandbox disappeared while the program ran, twice")
        self._queue.popleft()
        self._send_queued()
        if self._queue:
            self._expect()
        return first.index, outcome

    def forget(self) -> None:
        """Ends all of its programs without an outcome."""
        self._queue.clear()
        with contextlib.suppress(Unavailable):  # the next program finds out
            self._restart()

    @property
    def running(self) -> bool:
        """Whether there is a server process; it may have died."""
        return self._process is not None

    def _restart(self) -> None:
        """Ends the server with its programs, and starts another.

        Raises:
          Unavailable: that fails, or has failed too often.
        """
        self.stop()
        for queued in self._queue:
            queued.sent = False
        if self._failed_starts == _MAX_FAILED_STARTS:
            raise Unavailable("too many attempts failed")
        try:
            self._start()
        except Unavailable:
            self._failed_starts += 1
            raise
        self._failed_starts = 0

    def stop(self) -> None:
        """Ends the server and what it runs."""
        if self._process:
            process, self._process = self._process, None
            assert process.stdin
            assert process.stdout
            process.stdin.close()  # it then ends its program and itself
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=_STOP_SECONDS)
            process.kill()
            process.wait()
            process.stdout.close()
        if self._box:
            shutil.rmtree(self._box, ignore_errors=True)
            self._box = None


def outcome_of(program: Program, reply: dict[str, Any]) -> Outcome:
    """What the server's reply says about the program."""
    language, code = LANGUAGES[program.language], reply["exit"]

    def outcome(status: Status, reason: str) -> Outcome:
        exit_code = code if code >= 0 and not reply["broken"] else None
        return Outcome(
            status, exit_code, reply["stdout"], reply["stderr"], reply["cpu_seconds"], reply["files"], reason
        )

    if reply["failure"]:
        return _not_run(f"the sandbox could not start the program: {reply['failure']}")
    if reply["broken"]:
        return outcome(*reply["broken"])
    if code and language.ran_out_of_memory(reply["stderr"]):
        return outcome("memory", "got no more memory")
    if code < 0:
        return outcome("killed", f"signal {-code}")
    if code:
        return outcome("failed", f"exit status {code}")
    if language.knows_its_end and not reply["completed"] and not program.may_exit:
        return outcome("failed", "exited with status 0 before its last line")
    return outcome("passed", "")
