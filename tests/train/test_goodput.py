"""Goodput and its rest, by a clock that ticks when told."""

import pytest

from t2c_jax.train.telemetry.flops import Utilisation
from t2c_jax.train.telemetry.goodput import PARTS, Clock, SlowSteps
from t2c_jax.train.telemetry.running_means import Meter


class Time:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def clock(*marks):
    """A clock after these (seconds, part)."""
    time = Time()
    made = Clock(time)
    for seconds, part in marks:
        time.now += seconds
        made.mark(part)
    return made


def test_each_second_is_for_one_part():
    made = clock((2, "start"), (3, "compile"), (1, "data"), (12, "steps"), (2, "checkpoint"))
    assert made.totals == dict.fromkeys(PARTS, 0.0) | {
        "start": 2,
        "compile": 3,
        "data": 1,
        "steps": 12,
        "checkpoint": 2,
    }
    assert made.goodput == 12 / 20
    assert made.describe() == "goodput 60.0% of 20 s; compile 15.0%, start 10.0%, checkpoint 10.0%, data 5.0%"


def test_a_lap_is_what_came_since_the_lap_before():
    made = clock((2, "start"), (3, "steps"))
    assert made.lap()["steps"] == 3
    assert sum(made.lap().values()) == 0


def test_what_a_killed_process_did_past_its_checkpoint_is_lost():
    before = clock((4, "start"), (10, "steps"), (1, "checkpoint"))
    kept = before.values()
    reached = {**kept, "steps": 16.0, "evaluation": 3.0}  # six steps and an evaluation further, then it was killed
    made = clock((2, "start"), (1, "restore"), (20, "steps"))
    made.go_on(kept, reached)
    assert made.totals["lost"] == 9
    assert made.totals["steps"] == 30
    assert made.totals["start"] == 6
    assert made.goodput == 30 / (30 + 9 + 6 + 1 + 1)
    again = clock((5, "steps"))
    again.go_on(made.values(), made.values())
    assert again.totals["lost"] == 9  # carried on, and nothing added


def test_the_first_process_has_nothing_before_it():
    made = clock((5, "steps"))
    made.go_on({}, {})
    assert made.goodput == 1
    assert Clock(Time()).goodput == 0


def lap(step, data=0.0, checkpoint=0.0, evaluation=0.0):
    return {"steps": step, "data": data, "checkpoint": checkpoint, "evaluation": evaluation}


def test_a_slow_step_is_told_with_what_it_waited_for():
    steps = SlowSteps()
    assert [steps.add(lap(1.0)) for _ in range(10)] == [None] * 10
    slow = steps.add(lap(1.0, data=7.5, checkpoint=0.5))
    assert (slow.seconds, slow.median) == (9.0, 1.0)
    told = "took 9.0 s, 9 x the median of those before: 1.0 s for the devices, 7.5 s for data, 0.5 s for a checkpoint"
    assert slow.describe() == told


@pytest.mark.parametrize(
    "one",
    [lap(2.9), lap(1.0, evaluation=100.0), lap(0.0)],
    ids=["not three times", "an evaluation", "quick"],
)
def test_an_ordinary_step_is_not_told(one):
    steps = SlowSteps()
    for _ in range(20):
        steps.add(lap(1.0))
    assert steps.add(one) is None


def test_steps_of_milliseconds_may_be_three_times_as_long():
    steps = SlowSteps()
    for _ in range(20):
        steps.add(lap(0.01))
    assert steps.add(lap(0.9)) is None
    assert steps.add(lap(1.2)) is not None


def test_the_first_ten_steps_only_tell_what_is_ordinary():
    steps = SlowSteps()
    assert [steps.add(lap(seconds)) for seconds in (1, 1, 90, 1, 1, 80, 1, 1, 1, 1)] == [None] * 10


def test_the_meter_counts_no_tokens_of_the_step_that_compiles():
    time = Time()
    made = Clock(time)
    sums = dict.fromkeys(("loss", "nll", "correct", "weight", "denominator"), 1.0)
    sums |= {"gradient_norm": 1.0, "update_norm": 1.0, "learning_rate": 1.0, "source_tokens": 40.0}
    meter = Meter(made, utilisation=Utilisation(flops=60.0, peak=100.0))
    for seconds in (30, 2, 1):
        time.now += seconds
        meter.arrived()
        meter.add({**sums, "target_tokens": 60.0})
    time.now += 1
    made.mark("data")
    values = meter.take()
    assert (made.totals["compile"], made.totals["steps"], made.totals["data"]) == (30, 3, 1)
    assert values["tokens_per_second"] == 200 / 4
    assert values["step_seconds"] == 2
    assert values["utilisation"] == pytest.approx(60 / (2 * 100))
    time.now += 2
    meter.arrived()
    meter.add({**sums, "target_tokens": 10.0})
    assert meter.take()["tokens_per_second"] == 25  # since the line before
    assert meter.tokens_per_second == 250 / 6
