"""Goodput, slow steps and the speed of a run, by a clock that the tests set."""

import pytest

from t2c_jax.train.telemetry.flops import Utilisation
from t2c_jax.train.telemetry.goodput import PARTS, GoodputTimer
from t2c_jax.train.telemetry.running_means import RunningMeans
from t2c_jax.train.telemetry.slow_steps import SlowSteps


class Time:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def timer(*marks):
    """A timer after these (seconds, part)."""
    time = Time()
    made = GoodputTimer(time)
    for seconds, part in marks:
        time.now += seconds
        made.mark(part)
    return made


def test_each_second_is_for_one_part():
    made = timer((2, "start"), (3, "compile"), (1, "data"), (12, "steps"), (2, "checkpoint"))
    assert made.totals == dict.fromkeys(PARTS, 0.0) | {
        "start": 2,
        "compile": 3,
        "data": 1,
        "steps": 12,
        "checkpoint": 2,
    }
    assert made.goodput == 12 / 20
    assert made.describe() == "goodput 60.0% of 20 s; compile 15.0%, start 10.0%, checkpoint 10.0%, data 5.0%"


def test_the_time_of_a_step_is_since_the_step_before():
    made = timer((2, "start"), (3, "steps"))
    assert made.take_step()["steps"] == 3
    assert sum(made.take_step().values()) == 0


def test_what_a_killed_process_did_past_its_checkpoint_is_lost():
    before = timer((4, "start"), (10, "steps"), (1, "checkpoint"))
    kept = before.values()
    reached = {**kept, "steps": 16.0, "evaluation": 3.0}  # six steps and an evaluation further, then it was killed
    made = timer((2, "start"), (1, "restore"), (20, "steps"))
    made.add_previous(kept, reached)
    assert made.totals["lost"] == 9
    assert made.totals["steps"] == 30
    assert made.totals["start"] == 6
    assert made.goodput == 30 / (30 + 9 + 6 + 1 + 1)
    again = timer((5, "steps"))
    again.add_previous(made.values(), made.values())
    assert again.totals["lost"] == 9  # carried on, and nothing added


def test_the_first_process_has_nothing_before_it():
    made = timer((5, "steps"))
    made.add_previous({}, {})
    assert made.goodput == 1
    assert GoodputTimer(Time()).goodput == 0


def step(steps, data=0.0, checkpoint=0.0, evaluation=0.0):
    return {"steps": steps, "data": data, "checkpoint": checkpoint, "evaluation": evaluation}


def test_a_slow_step_is_reported_with_its_cause():
    slow = SlowSteps()
    assert [slow.add(step(1.0)) for _ in range(10)] == [None] * 10
    found = slow.add(step(1.0, data=7.5, checkpoint=0.5))
    assert (found.seconds, found.median) == (9.0, 1.0)
    waits = "1.0 s for the devices, 7.5 s for data, 0.5 s for a checkpoint"
    assert found.describe() == f"took 9.0 s, 9 x the median of the steps before: {waits}"


@pytest.mark.parametrize(
    "one",
    [step(2.9), step(1.0, evaluation=100.0), step(0.0)],
    ids=["not three times", "an evaluation", "quick"],
)
def test_an_ordinary_step_is_not_slow(one):
    slow = SlowSteps()
    for _ in range(20):
        slow.add(step(1.0))
    assert slow.add(one) is None


def test_steps_of_milliseconds_may_be_three_times_as_long():
    slow = SlowSteps()
    for _ in range(20):
        slow.add(step(0.01))
    assert slow.add(step(0.9)) is None
    assert slow.add(step(1.2)) is not None


def test_a_spell_of_slow_steps_is_reported_when_it_begins_and_when_it_ends():
    """Slow and ordinary steps alternate, as on a machine that is shared; a second spell is of one step."""
    slow = SlowSteps(quiet=20)
    said = {}
    for number in range(1, 301):
        seconds = 9.0 if number in (*range(101, 160, 2), 250) else 1.0
        if (message := slow.report(number, slow.add(step(seconds)))) is not None:
            said[number] = message
    assert said == {
        101: "step 101 took 9.0 s, 9 x the median of the steps before: 9.0 s for the devices; further slow steps are"
        " counted",
        179: "steps 101 to 159: 30 slow steps, the slowest took 9.0 s",
        250: said[250],
    }


def test_a_run_that_ends_in_a_spell_reports_it(capsys):
    slow = SlowSteps()
    for number in range(1, 33):
        slow.report(number, slow.add(step(9.0 if number > 30 else 1.0)))
    slow.finish(None)
    assert "steps 31 to 32: 2 slow steps, the slowest took 9.0 s" in capsys.readouterr().err


def test_the_first_ten_steps_set_the_usual_time():
    slow = SlowSteps()
    assert [slow.add(step(seconds)) for seconds in (1, 1, 90, 1, 1, 80, 1, 1, 1, 1)] == [None] * 10


def test_the_means_count_no_tokens_of_the_step_that_compiles():
    time = Time()
    made = GoodputTimer(time)
    sums = dict.fromkeys(("loss", "nll", "correct", "weight", "denominator"), 1.0)
    sums |= {"gradient_norm": 1.0, "update_norm": 1.0, "learning_rate": 1.0, "source_tokens": 40.0}
    means = RunningMeans(made, Utilisation(flops=60.0, peak=100.0))
    for seconds in (30, 2, 1):
        time.now += seconds
        means.step_finished()
        means.add({**sums, "target_tokens": 60.0})
    time.now += 1
    made.mark("data")
    values = means.take()
    assert (made.totals["compile"], made.totals["steps"], made.totals["data"]) == (30, 3, 1)
    assert values["tokens_per_second"] == 200 / 4
    assert values["step_seconds"] == 2
    assert values["utilisation"] == pytest.approx(60 / (2 * 100))
    time.now += 2
    means.step_finished()
    means.add({**sums, "target_tokens": 10.0})
    assert means.take()["tokens_per_second"] == 25  # since the line before
    assert means.tokens_per_second == 250 / 6
