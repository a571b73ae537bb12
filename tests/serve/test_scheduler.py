"""The queue and the rows, with rows that need no model: an answer is as many steps long as its settings say."""

import threading
from dataclasses import dataclass, field

import numpy as np
import pytest
from served import until

from t2c_jax.config import DecodeConfig
from t2c_jax.decode.live_search import Entry, Update
from t2c_jax.errors import UserError
from t2c_jax.serve.fair_queue import FairQueue
from t2c_jax.serve.scheduler import Certain, Found, Job, Observer, QueueFull, Reason, Scheduler, Unanswered

LANE, OTHER = DecodeConfig(), DecodeConfig(beam_size=2)
FOREVER = 1e12


@dataclass
class Fake:
    """Rows whose steps wait for ``gate``."""

    size: int = 2
    gate: threading.Event = field(default_factory=threading.Event)
    errors: list = field(default_factory=list)
    left: dict = field(default_factory=dict)
    most: int = 0
    asked: list = field(default_factory=list)

    @property
    def busy(self):
        return len(self.left)

    @property
    def room(self):
        return self.size - self.busy

    rows = room

    def admit(self, entries, ahead):
        self.left |= {entry.ticket: entry.settings.max_tokens for entry in entries}
        self.most = max(self.most, self.busy)
        assert self.busy <= self.size

    def release(self, ticket):
        del self.left[ticket]

    def advance(self, steps, enough):
        self.gate.wait()
        self.asked.append((steps, enough))
        if self.errors:
            raise self.errors.pop()
        updates = []
        for ticket in list(self.left):
            self.left[ticket] -= 1
            is_done = self.left[ticket] <= 0
            updates.append(Update(ticket, np.arange(1), found="found" if is_done else None))
            if is_done:
                del self.left[ticket]
        return updates, 1

    def warming(self):
        yield

    def beside(self):
        return self

    def close(self):
        pass


class Client:
    """Keeps what jobs are told."""

    def __init__(self):
        self.events = {}

    def job(self, name, tokens=1, client="me", lane=LANE, deadline=FOREVER, streams=False):
        self.events[name] = []
        made = Job(lane, client, deadline, self.events[name].append, streams=streams)
        made.entry = Entry(made, None, DecodeConfig(max_tokens=tokens), np.zeros(2, np.uint32))
        return made

    def ended(self, name):
        return [event for event in self.events[name] if not isinstance(event, Certain)]


@pytest.fixture
def rows():
    return Fake()


@pytest.fixture
def scheduler(rows):
    made = Scheduler(lambda settings: rows, most_waiting=4)
    yield made
    rows.gate.set()
    made.close(drain=False)


def test_every_job_is_answered_and_no_more_rows_are_used_than_there_are(scheduler, rows):
    client = Client()
    rows.gate.set()
    for first in range(0, 12, 4):
        scheduler.submit([client.job(number, tokens=1 + number % 3) for number in range(first, first + 4)])
        until(lambda first=first: all(client.ended(number) for number in range(first, first + 4)))
    assert all(client.ended(number) == [Found("found")] for number in range(12))
    assert rows.most == 2
    assert scheduler.waiting == scheduler.running == 0


def test_a_full_queue_refuses_all_of_a_request(scheduler, rows):
    client = Client()
    scheduler.submit([client.job(number) for number in range(2)])
    until(lambda: scheduler.running == 2)
    scheduler.submit([client.job(number) for number in range(2, 5)])
    with pytest.raises(QueueFull) as full:
        scheduler.submit([client.job("a"), client.job("b")])
    assert full.value.retry_after >= 1
    assert scheduler.waiting == 3
    rows.gate.set()
    until(lambda: all(client.ended(number) for number in range(5)))
    assert not client.events["a"] + client.events["b"]


def test_a_cancelled_job_leaves_its_row_and_hears_nothing(scheduler, rows):
    client = Client()
    running, waiting = client.job("running", tokens=99), client.job("waiting", tokens=99)
    kept = client.job("kept", tokens=3)
    scheduler.submit([running, kept])
    until(lambda: scheduler.running == 2)
    scheduler.submit([waiting])
    scheduler.cancel([running, waiting])
    rows.gate.set()
    until(lambda: scheduler.running == scheduler.waiting == 0)
    assert client.ended("kept") == [Found("found")]
    assert not client.events["running"] + client.events["waiting"]
    assert not rows.left


def test_a_stream_begins_after_one_step_and_goes_on_in_pieces(scheduler, rows):
    client = Client()
    scheduler.submit([client.job("stream", tokens=40, streams=True)])
    rows.gate.set()
    until(lambda: client.ended("stream"))
    first, *later = [steps for steps, _ in rows.asked]
    assert first == 1
    assert min(later) > 1
    assert 1 <= sum(isinstance(event, Certain) for event in client.events["stream"]) < 39


def test_rows_are_given_on_before_all_are_done_where_prompts_wait(scheduler, rows):
    client = Client()
    scheduler.submit([client.job(number, tokens=1 + number % 2) for number in range(2)])
    until(lambda: scheduler.running == 2)
    scheduler.submit([client.job(number) for number in range(2, 4)])
    rows.gate.set()
    until(lambda: all(client.ended(number) for number in range(4)))
    assert rows.asked[0][1] is None
    assert 1 in [enough for _, enough in rows.asked]


def test_a_job_whose_time_is_over_is_told_so(scheduler, rows):
    client = Client()
    rows.gate.set()
    scheduler.submit([client.job("late", tokens=10**9, deadline=0.0)])
    until(lambda: client.ended("late"))
    assert client.ended("late")[0].reason is Reason.EXPIRED
    assert not rows.left


def test_a_batch_that_fails_takes_no_other_with_it(scheduler, rows):
    client = Client()
    rows.errors.append(MemoryError("no room on the device"))
    scheduler.submit([client.job("lost")])
    until(lambda: scheduler.running)
    rows.gate.set()
    until(lambda: client.ended("lost"))
    assert client.ended("lost")[0].reason is Reason.FAILED
    assert "room" not in client.ended("lost")[0].message
    rows.left.clear()
    scheduler.submit([client.job("later")])
    until(lambda: client.ended("later"))
    assert client.ended("later") == [Found("found")]


def test_a_lane_that_cannot_be_made_refuses_its_jobs_alone(rows):
    def make(settings):
        if settings == OTHER:
            raise UserError("it needs what the run does not have")
        return rows

    client, scheduler = Client(), Scheduler(make, most_waiting=4)
    rows.gate.set()
    scheduler.submit([client.job("bad", lane=OTHER), client.job("good")])
    until(lambda: client.ended("bad") and client.ended("good"))
    assert client.ended("bad") == [Unanswered(Reason.INVALID, "it needs what the run does not have")]
    assert client.ended("good") == [Found("found")]
    scheduler.close()


def test_nobody_waits_for_the_programs_of_another_lane(rows):
    compiling, slow = threading.Event(), Fake()

    def make(settings):
        if settings == OTHER:
            assert compiling.wait(60)
        return slow if settings == OTHER else rows

    client, scheduler = Client(), Scheduler(make, most_waiting=4)
    rows.gate.set()
    slow.gate.set()
    until(scheduler.prepare(LANE).done)
    scheduler.submit([client.job("compiles", lane=OTHER), client.job("runs")])
    until(lambda: client.ended("runs"))
    assert not client.ended("compiles")
    compiling.set()
    until(lambda: client.ended("compiles"))
    scheduler.close()


def test_closing_answers_what_runs_first(scheduler, rows):
    client = Client()
    scheduler.submit([client.job(number) for number in range(4)])
    closing = threading.Thread(target=scheduler.close)
    closing.start()
    until(lambda: scheduler.running == 2 and scheduler._is_closing)
    with pytest.raises(QueueFull):
        scheduler.submit([client.job("late")])
    rows.gate.set()
    closing.join(60)
    assert all(client.ended(number) == [Found("found")] for number in range(4))


def test_an_observer_is_told_of_the_work(rows):
    seen = []

    class Seen(Observer):
        def started(self, waited):
            seen.append("started")

        def first_token(self, seconds):
            seen.append("first")

        def advanced(self, busy, rows, steps, seconds):
            seen.append((busy, steps))

    client, scheduler = Client(), Scheduler(lambda _: rows, 4, Seen())
    rows.gate.set()
    scheduler.submit([client.job("a", tokens=2, streams=True)])
    until(lambda: client.ended("a"))
    assert seen == ["started", (1, 1), "first", (1, 1)]
    assert len(client.events["a"]) == 2
    scheduler.close()


def test_clients_take_turns():
    queue = FairQueue()
    for number in range(3):
        queue.put("many", f"many{number}")
    queue.put("few", "few0")
    assert queue.upcoming(3) == ["many0", "few0", "many1"]
    assert queue.upcoming(9) == ["many0", "few0", "many1", "many2"]
    assert [queue.take() for _ in range(4)] == ["many0", "few0", "many1", "many2"]
    with pytest.raises(IndexError):
        queue.take()
    queue.put("a", 1)
    queue.put("a", 2)
    assert queue.remove(lambda item: item == 1) == [1]
    assert (len(queue), queue.take(), len(queue)) == (1, 2, 0)
