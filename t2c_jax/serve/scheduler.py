"""Continuous batching: threads step the searches of a model, while prompts of many requests come and go.

Every few steps a thread sends on what was found, gives free rows to the prompts that wait, and drops those that
nobody waits for. On a CPU there are several threads, each with rows of its own: its cores have little to do together in
the step of a few rows.

Prompts whose searches run the same programs share the rows of a lane; what a prompt asks for beyond that (temperature,
stop strings, ...) is a setting of its row. A lane compiles its programs in another thread, before it takes its first
prompt, so no other prompt waits for the compiler. It begins with programs for a few rows.
"""

from __future__ import annotations

import enum
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from t2c_jax.config import DecodeConfig
from t2c_jax.decode.live_search import Entry, Update
from t2c_jax.decode.search import Hypotheses
from t2c_jax.errors import UserError
from t2c_jax.serve.fair_queue import FairQueue

_CHUNK_SECONDS = 0.02  # of steps between two looks at the queue
_PIECE_SECONDS = 0.01  # at least, between two pieces of an answer: each costs the work of an event
_MOST_STEPS = 32
_AHEAD = 32  # waiting prompts that may be read before they have rows
_FREED = 4  # a fourth of the rows is given to waiting prompts at once: each time costs about as much as a step
_COMPILERS = 2  # while one loads compiled programs, the other traces; default search and sampling are two lanes
_IDLE_SECONDS = 1.0  # between looks at deadlines while nothing runs


class Reason(enum.Enum):
    """Why a prompt has no answer."""

    INVALID = "invalid"  # what it asks for is impossible
    EXPIRED = "expired"  # its deadline has passed
    FAILED = "failed"  # an error of the server
    CLOSED = "closed"  # the server ends


@dataclass(frozen=True)
class Certain:
    """Tokens that begin the answer, all of them so far."""

    tokens: np.ndarray


@dataclass(frozen=True)
class Found:
    """The answer's hypotheses."""

    hypotheses: Hypotheses


@dataclass(frozen=True)
class Unanswered:
    """There is no answer."""

    reason: Reason
    message: str


Event = Certain | Found | Unanswered


@dataclass(eq=False)
class Job:
    """A prompt that waits for an answer, or is being answered.

    Attributes:
      lane: the settings that its programs are compiled for.
      client: takes turns with other clients.
      deadline: on the clock of ``time.monotonic``.
      notify: is called in a thread of the scheduler with each event; the last one is ``Found`` or ``Unanswered``.
      entry: the prompt and its settings; the job is its ticket.
      streams: whether ``Certain`` is of interest.
      is_cancelled: nobody waits for the answer any more; no event follows.
      arrived, started: times on the same clock.
      told: when its tokens were looked at last, on the same clock; 0 before there are any.
    """

    lane: DecodeConfig
    client: str
    deadline: float
    notify: Callable[[Event], object]
    streams: bool = False
    entry: Entry = field(init=False)
    is_cancelled: bool = False
    arrived: float = field(default_factory=time.monotonic)
    started: float = 0.0
    told: float = 0.0


class QueueFull(Exception):
    """There are as many prompts waiting as there may be.

    Attributes:
      retry_after: seconds after which there may be room.
    """

    def __init__(self, retry_after: int) -> None:
        super().__init__("the queue is full")
        self.retry_after = retry_after


class LaneRows(Protocol):
    """``decode.live_search.LiveSearch``, as far as the scheduler knows it."""

    @property
    def busy(self) -> int:
        """Entries that have rows."""
        ...

    @property
    def room(self) -> int:
        """Entries that can be given rows."""
        ...

    @property
    def rows(self) -> int:
        """LaneRows that a step computes."""
        ...

    def admit(self, entries: Sequence[Entry], ahead: Sequence[Entry], /) -> None:
        """Gives rows to entries, and may read the prompts of those that come next."""
        ...

    def release(self, ticket: Job, /) -> None:
        """Frees the row of an entry."""
        ...

    def advance(self, steps: int, enough: int | None, /) -> tuple[list[Update], int]:
        """Steps all rows, until so many are done."""
        ...

    def warming(self) -> Iterator[None]:
        """Compiles the programs; after the first item entries can be admitted, and with each there is more room."""
        ...

    def beside(self) -> LaneRows:
        """Other rows of the same programs, without entries."""
        ...

    def close(self) -> None:
        """Ends what runs beside it."""
        ...


class Observer:
    """What is told of a scheduler's work; this one ignores it."""

    def started(self, waited: float) -> None:
        """A prompt has a row, after so many seconds."""

    def first_token(self, seconds: float) -> None:
        """The first token of a prompt is known, so many seconds after it arrived."""

    def advanced(self, busy: int, rows: int, steps: int, seconds: float) -> None:
        """So many rows, ``busy`` of them with prompts, made so many steps."""

    def failed(self, error: BaseException) -> None:
        """A batch failed; its prompts are unanswered."""


class _Engine:
    """The rows of a thread, and the prompts in them."""

    def __init__(self, rows: LaneRows) -> None:
        self.rows = rows
        self.running: list[Job] = []
        self.step_seconds = _CHUNK_SECONDS / 4

    def steps(self, jobs: Sequence[Job], *, waits: bool) -> int:
        """How many to make before the next look, with jobs that got rows just now, while others wait or not."""
        if any(job.streams for job in jobs) and not waits:  # their first tokens are sent at once
            return 1
        return max(1, min(_MOST_STEPS, round(_CHUNK_SECONDS / self.step_seconds)))


class _Lane:
    """The prompts of one search, and its rows in each thread."""

    def __init__(self, preparing: Future[list[_Engine]]) -> None:
        self.preparing = preparing
        self.waiting: FairQueue[Job] = FairQueue()

    @property
    def is_ready(self) -> bool:
        return self.preparing.done()

    @property
    def error(self) -> BaseException | None:
        """Why it cannot be made, once it is known."""
        return self.preparing.exception() if self.is_ready else None

    @property
    def engines(self) -> list[_Engine]:
        """Of each thread; none before it is ready."""
        return self.preparing.result() if self.is_ready and self.error is None else []

    @property
    def running(self) -> int:
        return sum(len(engine.running) for engine in self.engines)


class Scheduler:
    """The prompts of a model, from the queue to their answers."""

    def __init__(
        self,
        make_rows: Callable[[DecodeConfig], LaneRows],
        most_waiting: int,
        observer: Observer | None = None,
        threads: int = 1,
    ) -> None:
        """Starts the threads.

        Args:
          make_rows: makes the rows of a lane, for one thread.
          most_waiting: prompts that may wait for a row.
          observer: is told of the work.
          threads: that step searches at once.
        """
        self._make_rows, self._most_waiting, self._observer = make_rows, most_waiting, observer or Observer()
        self._lanes: dict[DecodeConfig, _Lane] = {}
        self._changed = threading.Condition()
        self._is_closing = False
        self._answer_seconds = 1.0  # a running mean, for Retry-After
        self._warming = 0  # lanes of which some programs are not compiled
        self._compiler = ThreadPoolExecutor(_COMPILERS, "t2c-compile")
        self._threads = [
            threading.Thread(target=self._run, args=(number,), name=f"t2c-scheduler-{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Prompts without a row."""
        with self._changed:
            return sum(len(lane.waiting) for lane in self._lanes.values())

    @property
    def running(self) -> int:
        """Prompts with a row."""
        with self._changed:
            return sum(lane.running for lane in self._lanes.values())

    def prepare(self, lane: DecodeConfig) -> Future[Any]:
        """Compiles the programs of a lane; returns at once. The future is done when prompts can be answered."""
        with self._changed:
            return self._lane(lane).preparing

    def submit(self, jobs: Sequence[Job]) -> None:
        """Queues jobs: all of them or none.

        Raises:
          QueueFull: there is no room for all.
        """
        with self._changed:
            waiting = sum(len(lane.waiting) for lane in self._lanes.values())
            if self._is_closing:
                raise QueueFull(5)
            if waiting + len(jobs) > self._most_waiting:
                raise QueueFull(max(1, math.ceil(self._answer_seconds * (1 + waiting / 16))))
            for job in jobs:
                self._lane(job.lane).waiting.put(job.client, job)
            self._changed.notify_all()

    def cancel(self, jobs: Sequence[Job]) -> None:
        """Drops jobs, wherever they are."""
        with self._changed:
            for job in jobs:
                job.is_cancelled = True
            self._changed.notify_all()

    @property
    def is_compiling(self) -> bool:
        """Whether programs of a lane are not compiled."""
        with self._changed:
            return self._warming > 0 or not all(lane.is_ready for lane in self._lanes.values())

    def close(self, *, drain: bool = True) -> None:
        """Takes no more jobs, and ends when all are answered, or with ``drain=False`` at once.

        It does not wait for the compiler.
        """
        with self._changed:
            self._is_closing = True
            if not drain:
                for lane in self._lanes.values():
                    running = [job for engine in lane.engines for job in engine.running]
                    for job in [*lane.waiting.remove(lambda _: True), *running]:
                        job.is_cancelled = True
                        job.notify(Unanswered(Reason.CLOSED, "the server is shutting down"))
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        self._compiler.shutdown(wait=False, cancel_futures=True)
        for lane in self._lanes.values():
            if not lane.preparing.cancelled():
                for engine in lane.engines:
                    engine.rows.close()

    def _lane(self, settings: DecodeConfig) -> _Lane:
        if settings not in self._lanes:
            self._lanes[settings] = _Lane(self._compiler.submit(self._prepared, settings))
            self._lanes[settings].preparing.add_done_callback(lambda _: self._wake())
        return self._lanes[settings]

    def _prepared(self, settings: DecodeConfig) -> list[_Engine]:
        rows = self._make_rows(settings)
        warming = rows.warming()
        next(warming, None)
        with self._changed:
            if not self._is_closing:
                self._warming += 1
                self._compiler.submit(self._warm_on, warming)
        return [_Engine(rows if number == 0 else rows.beside()) for number in range(len(self._threads))]

    def _warm_on(self, warming: Iterator[None]) -> None:
        """Compiles the next programs of a lane, behind those of other lanes."""
        is_over = True
        try:
            is_over = next(warming, self) is self
        except Exception as error:  # such as no memory left: what is there already answers
            self._observer.failed(error)
        with self._changed:
            if is_over:
                self._warming -= 1
            elif not self._is_closing:
                self._compiler.submit(self._warm_on, warming)
            self._changed.notify_all()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _run(self, number: int) -> None:
        while True:
            with self._changed:
                while not self._has_work(number):
                    if self._is_closing and not any(len(lane.waiting) for lane in self._lanes.values()):
                        return
                    self._changed.wait(_IDLE_SECONDS)
                    self._sweep(number)
                self._sweep(number)
                chosen = []
                for settings, lane in list(self._lanes.items()):
                    if lane.error is not None:
                        self._cannot_be_made(settings, lane, lane.error)
                    elif lane.is_ready:
                        engine = lane.engines[number]
                        jobs = self._chosen(lane, engine)
                        chosen.append((engine, jobs, lane.waiting.upcoming(_AHEAD)))
            for engine, jobs, ahead in chosen:
                self._work(engine, jobs, ahead)

    def _has_work(self, number: int) -> bool:
        for lane in self._lanes.values():
            if lane.error is not None and len(lane.waiting):
                return True
            if lane.engines and (lane.engines[number].running or self._share(lane, lane.engines[number])):
                return True
        return False

    def _sweep(self, number: int) -> None:
        """Drops jobs that nobody waits for, and those whose time is over."""
        now = time.monotonic()

        def is_over(job: Job) -> bool:
            return job.is_cancelled or job.deadline < now

        for lane in self._lanes.values():
            gone = lane.waiting.remove(is_over)
            for engine in lane.engines[number : number + 1]:
                for job in filter(is_over, list(engine.running)):
                    engine.running.remove(job)
                    engine.rows.release(job)
                    gone.append(job)
            for job in gone:
                if not job.is_cancelled:
                    job.notify(Unanswered(Reason.EXPIRED, "the request has taken too long"))

    @staticmethod
    def _share(lane: _Lane, engine: _Engine) -> int:
        """How many jobs a thread may take, so that all have as many."""
        waiting = len(lane.waiting)
        even = -(-(waiting + lane.running) // len(lane.engines))
        return max(0, min(waiting, even - len(engine.running), engine.rows.room))

    def _chosen(self, lane: _Lane, engine: _Engine) -> list[Job]:
        """The jobs that get a row now."""
        jobs = [lane.waiting.take() for _ in range(self._share(lane, engine))]
        engine.running += jobs
        return jobs

    def _work(self, engine: _Engine, jobs: Sequence[Job], ahead: Sequence[Job]) -> None:
        """Admits jobs to rows, and steps these. Where others wait, it is over soon after some rows are free."""
        rows = engine.rows
        try:
            if jobs:
                rows.admit([job.entry for job in jobs], [job.entry for job in ahead])
                now = time.monotonic()
                for job in jobs:
                    job.started = now
                    self._observer.started(now - job.arrived)
            if not engine.running:
                return
            busy, before = rows.busy, time.monotonic()
            updates, steps = rows.advance(
                engine.steps(jobs, waits=bool(ahead)), max(1, busy // _FREED) if ahead else None
            )
            seconds = time.monotonic() - before
        except Exception as error:  # such as no memory left: these prompts are lost, later ones may be answered
            self._failed(engine, error)
            return
        self._observer.advanced(busy, rows.rows, steps, seconds)
        engine.step_seconds += 0.2 * (seconds / max(steps, 1) - engine.step_seconds)
        for update in updates:
            self._report(engine, update)

    def _report(self, engine: _Engine, update: Update) -> None:
        job = update.ticket
        assert isinstance(job, Job)
        now = time.monotonic()
        if not job.told and (len(update.tokens) or update.found is not None):
            self._observer.first_token(now - job.arrived)
        if update.found is None and update.error is None:
            if len(update.tokens) and now - job.told > _PIECE_SECONDS:
                job.told = now
                if job.streams and not job.is_cancelled:
                    job.notify(Certain(update.tokens))
            return
        with self._changed:
            engine.running.remove(job)
        self._answer_seconds += 0.1 * (now - job.started - self._answer_seconds)
        if job.is_cancelled:
            return
        if update.error is not None:
            job.notify(Unanswered(Reason.INVALID, str(update.error)))
        elif update.found is not None:
            job.notify(Found(update.found))

    def _failed(self, engine: _Engine, error: Exception) -> None:
        """Fails the jobs of a thread's rows. These may be in any state, so the next job gets new ones."""
        with self._changed:
            jobs, engine.running = engine.running, []
            before, engine.rows = engine.rows, engine.rows.beside()
        self._unanswered(jobs, error)  # first: nobody waits for the end of a grammar's thread
        before.close()

    def _cannot_be_made(self, settings: DecodeConfig, lane: _Lane, error: BaseException) -> None:
        """Fails all jobs of a lane; the next one tries again."""
        del self._lanes[settings]
        self._unanswered(lane.waiting.remove(lambda _: True), error)

    def _unanswered(self, jobs: Sequence[Job], error: BaseException) -> None:
        is_invalid = isinstance(error, UserError)
        if not is_invalid:
            self._observer.failed(error)
        reason = Reason.INVALID if is_invalid else Reason.FAILED
        message = str(error) if is_invalid else "the server failed to answer; see its log"
        for job in jobs:
            if not job.is_cancelled:
                job.notify(Unanswered(reason, message))
