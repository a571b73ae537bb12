"""Continuous batching: one thread steps the searches of a model, while prompts of many requests come and go.

Every few steps the thread sends on what was found, gives free rows to the prompts that wait, and drops those that
nobody waits for. Prompts whose searches run the same programs share the rows of a lane; what a prompt asks for beyond
that (temperature, stop strings, ...) is a setting of its row. A lane compiles its programs in a thread of its own,
before it takes its first prompt, so no other prompt waits for the compiler.
"""

from __future__ import annotations

import enum
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from t2c_jax.config import DecodeConfig
from t2c_jax.decode.live_search import Entry, Update
from t2c_jax.decode.search import Hypotheses
from t2c_jax.errors import UserError
from t2c_jax.serve.fair_queue import FairQueue

_CHUNK_SECONDS = 0.02  # of steps between two looks at the queue
_MOST_STEPS = 32
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
      notify: is called in the scheduler's thread with each event; the last one is ``Found`` or ``Unanswered``.
      entry: the prompt and its settings; the job is its ticket.
      streams: whether ``Certain`` is of interest.
      is_cancelled: nobody waits for the answer any more; no event follows.
      arrived, started: times on the same clock.
      has_tokens: whether the first one is known.
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
    has_tokens: bool = False


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

    def admit(self, entries: Sequence[Entry], /) -> None:
        """Gives rows to entries."""
        ...

    def release(self, ticket: Job, /) -> None:
        """Frees the row of an entry."""
        ...

    def advance(self, steps: int, /) -> tuple[list[Update], int]:
        """Steps all rows."""
        ...

    def warm_up(self) -> None:
        """Compiles the programs."""
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


class _Lane:
    """The prompts and the rows of one search."""

    def __init__(self, preparing: Future[LaneRows]) -> None:
        self.preparing = preparing
        self.waiting: FairQueue[Job] = FairQueue()
        self.running: list[Job] = []
        self.step_seconds = _CHUNK_SECONDS / 4

    @property
    def is_ready(self) -> bool:
        return self.preparing.done()

    @property
    def steps(self) -> int:
        return max(1, min(_MOST_STEPS, round(_CHUNK_SECONDS / self.step_seconds)))


class Scheduler:
    """The prompts of a model, from the queue to their answers."""

    def __init__(
        self, make_rows: Callable[[DecodeConfig], LaneRows], most_waiting: int, observer: Observer | None = None
    ) -> None:
        """Starts the thread.

        Args:
          make_rows: makes the rows of a lane.
          most_waiting: prompts that may wait for a row.
          observer: is told of the work.
        """
        self._make_rows, self._most_waiting, self._observer = make_rows, most_waiting, observer or Observer()
        self._lanes: dict[DecodeConfig, _Lane] = {}
        self._changed = threading.Condition()
        self._is_closing = False
        self._answer_seconds = 1.0  # a running mean, for Retry-After
        self._compiler = ThreadPoolExecutor(1, "t2c-compile")
        self._thread = threading.Thread(target=self._run, name="t2c-scheduler", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Prompts without a row."""
        with self._changed:
            return sum(len(lane.waiting) for lane in self._lanes.values())

    @property
    def running(self) -> int:
        """Prompts with a row."""
        with self._changed:
            return sum(len(lane.running) for lane in self._lanes.values())

    def prepare(self, lane: DecodeConfig) -> Future[LaneRows]:
        """Compiles the programs of a lane; returns at once."""
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
            self._changed.notify()

    def cancel(self, jobs: Sequence[Job]) -> None:
        """Drops jobs, wherever they are."""
        with self._changed:
            for job in jobs:
                job.is_cancelled = True
            self._changed.notify()

    @property
    def is_compiling(self) -> bool:
        """Whether a lane is not ready."""
        with self._changed:
            return not all(lane.is_ready for lane in self._lanes.values())

    def close(self, *, drain: bool = True) -> None:
        """Takes no more jobs, and ends when all are answered, or with ``drain=False`` at once.

        It does not wait for the compiler.
        """
        with self._changed:
            self._is_closing = True
            if not drain:
                for lane in self._lanes.values():
                    for job in [*lane.waiting.remove(lambda _: True), *lane.running]:
                        job.is_cancelled = True
                        job.notify(Unanswered(Reason.CLOSED, "the server is shutting down"))
            self._changed.notify()
        self._thread.join()
        self._compiler.shutdown(wait=False, cancel_futures=True)
        for lane in self._lanes.values():
            if lane.is_ready and not lane.preparing.cancelled() and lane.preparing.exception() is None:
                lane.preparing.result().close()

    def _lane(self, settings: DecodeConfig) -> _Lane:
        if settings not in self._lanes:
            self._lanes[settings] = _Lane(self._compiler.submit(self._prepared, settings))
            self._lanes[settings].preparing.add_done_callback(lambda _: self._wake())
        return self._lanes[settings]

    def _prepared(self, settings: DecodeConfig) -> LaneRows:
        rows = self._make_rows(settings)
        rows.warm_up()
        return rows

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._has_work():
                    if self._is_closing and not any(len(lane.waiting) for lane in self._lanes.values()):
                        return
                    self._changed.wait(_IDLE_SECONDS)
                    self._sweep()
                self._sweep()
                admitted = [(settings, lane, self._chosen(lane)) for settings, lane in self._lanes.items()]
            for settings, lane, jobs in admitted:
                if lane.is_ready:
                    self._work(settings, lane, jobs)

    def _has_work(self) -> bool:
        return any(lane.is_ready and (lane.running or len(lane.waiting)) for lane in self._lanes.values())

    def _sweep(self) -> None:
        """Drops jobs that nobody waits for, and those whose time is over."""
        now = time.monotonic()

        def is_over(job: Job) -> bool:
            return job.is_cancelled or job.deadline < now

        for lane in self._lanes.values():
            gone = lane.waiting.remove(is_over)
            for job in filter(is_over, list(lane.running)):
                lane.running.remove(job)
                lane.preparing.result().release(job)
                gone.append(job)
            for job in gone:
                if not job.is_cancelled:
                    job.notify(Unanswered(Reason.EXPIRED, "the request has taken too long"))

    @staticmethod
    def _chosen(lane: _Lane) -> list[Job]:
        """The jobs that get a row now."""
        if not lane.is_ready or not len(lane.waiting):
            return []
        room = lane.preparing.result().room if lane.preparing.exception() is None else len(lane.waiting)
        jobs = [lane.waiting.take() for _ in range(min(room, len(lane.waiting)))]
        lane.running += jobs
        return jobs

    def _work(self, settings: DecodeConfig, lane: _Lane, jobs: Sequence[Job]) -> None:
        """Admits jobs to a lane, and steps it."""
        try:
            rows = lane.preparing.result()
            if jobs:
                rows.admit([job.entry for job in jobs])
                now = time.monotonic()
                for job in jobs:
                    job.started = now
                    self._observer.started(now - job.arrived)
            if not lane.running:
                return
            busy, before = rows.busy, time.monotonic()
            updates, steps = rows.advance(lane.steps)
            seconds = time.monotonic() - before
        except Exception as error:  # such as no memory left: these prompts are lost, later ones may be answered
            self._failed(settings, lane, error)
            return
        self._observer.advanced(busy, rows.rows, steps, seconds)
        lane.step_seconds += 0.2 * (seconds / max(steps, 1) - lane.step_seconds)
        for update in updates:
            self._report(lane, update)

    def _report(self, lane: _Lane, update: Update) -> None:
        job = update.ticket
        assert isinstance(job, Job)
        now = time.monotonic()
        if not job.has_tokens and (len(update.tokens) or update.found is not None):
            job.has_tokens = True
            self._observer.first_token(now - job.arrived)
        if update.found is None and update.error is None:
            if job.streams and not job.is_cancelled and len(update.tokens):
                job.notify(Certain(update.tokens))
            return
        with self._changed:
            lane.running.remove(job)
        self._answer_seconds += 0.1 * (now - job.started - self._answer_seconds)
        if job.is_cancelled:
            return
        if update.error is not None:
            job.notify(Unanswered(Reason.INVALID, str(update.error)))
        elif update.found is not None:
            job.notify(Found(update.found))

    def _failed(self, settings: DecodeConfig, lane: _Lane, error: Exception) -> None:
        """Fails the jobs of a lane. Its rows may be in any state, so the next job gets new ones."""
        is_invalid = isinstance(error, UserError)
        if not is_invalid:
            self._observer.failed(error)
        with self._changed:
            jobs, lane.running = lane.running, []
            jobs += lane.waiting.remove(lambda _: True) if lane.preparing.exception() is not None else []
            waiting = lane.waiting
            del self._lanes[settings]
            if len(waiting):
                self._lane(settings).waiting = waiting
        if lane.preparing.exception() is None:
            lane.preparing.result().close()
        reason = Reason.INVALID if is_invalid else Reason.FAILED
        message = str(error) if is_invalid else "the server failed to answer; see its log"
        for job in jobs:
            if not job.is_cancelled:
                job.notify(Unanswered(reason, message))
