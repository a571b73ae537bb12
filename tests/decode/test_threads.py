"""Iterators in threads of their own: all items come, errors reach the caller, nobody is left running."""

import threading
import time
from collections import Counter

import pytest

from t2c_jax.decode.threads import Shared, together


def test_all_items_come():
    shared = Shared(range(1000))
    found = list(together([lambda: iter(shared)] * 3))
    assert Counter(found) == Counter(range(1000))


def test_iterators_run_at_once():
    both = threading.Barrier(2, timeout=20)

    def waits():
        both.wait()
        yield threading.get_ident()

    assert len(set(together([waits, waits]))) == 2


def test_a_single_iterator_runs_in_the_callers_thread():
    def here():
        yield threading.get_ident()

    assert list(together([here])) == [threading.get_ident()]


@pytest.mark.parametrize("count", [1, 3])
def test_an_error_reaches_the_caller_and_stops_the_others(count):
    ended = []

    def endless(number):
        try:
            while True:
                yield number
                time.sleep(0.001)
        finally:
            ended.append(number)

    def fails():
        yield -1
        raise ValueError("of an engine")

    with pytest.raises(ValueError, match="of an engine"):
        list(together([fails, *[lambda number=number: endless(number) for number in range(count - 1)]]))
    assert sorted(ended) == list(range(count - 1))


def test_a_caller_who_has_enough_stops_all():
    ended = []

    def endless(number):
        try:
            while True:
                yield number
                time.sleep(0.001)
        finally:
            ended.append(number)

    answers = together([lambda number=number: endless(number) for number in range(2)])
    assert next(answers) in (0, 1)
    answers.close()
    assert sorted(ended) == [0, 1]
