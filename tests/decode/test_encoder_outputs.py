"""Which prompts are read together, and that each is read once, whoever asks."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from t2c_jax.data.prompt_encoder import EncodedPrompt
from t2c_jax.decode.encoder_outputs import EncoderOutputs

SIZES = (1, 2, 4)


def prompt(number, size=8):
    return EncodedPrompt(np.full(size, number, np.int32), size, False)


class Encoder:
    """Keeps what it is given: (numbers, positions, rows)."""

    def __init__(self):
        self.calls, self.gate, self.errors = [], threading.Event(), []
        self.gate.set()

    def __call__(self, prompts, length, rows):
        numbers = [int(each.value[0]) for each in prompts]
        self.calls.append((numbers, length, rows))
        assert self.gate.wait(60)
        if self.errors:
            raise self.errors.pop()
        return {"number": np.array(numbers + [-1] * (rows - len(numbers)))}


def numbers(places):
    return [int(pool["number"][place]) for pool, place in places]


def test_prompts_of_one_length_are_read_together_and_waiting_ones_with_them():
    outputs = EncoderOutputs(encoder := Encoder())
    wanted = [prompt(0), prompt(1, 40), prompt(2)]
    ahead = [prompt(3), prompt(4, 70), prompt(5), prompt(6), prompt(7, 64)]
    assert numbers(outputs.places(wanted, ahead, SIZES)) == [0, 1, 2]
    assert encoder.calls == [([0, 2, 3, 5], 32, 4), ([1, 7], 64, 2)]
    assert numbers(outputs.places([prompt(5), prompt(0)], [prompt(8)], SIZES)) == [5, 0]
    assert len(encoder.calls) == 2, "nothing had to be read, so nothing is read ahead"


def test_as_many_programs_as_are_needed():
    outputs = EncoderOutputs(encoder := Encoder())
    wanted = [prompt(number) for number in range(5)]
    assert numbers(outputs.places([*wanted, wanted[0]], [prompt(9)], SIZES)) == [0, 1, 2, 3, 4, 0]
    assert [call[0] for call in encoder.calls] == [[0, 1, 2, 3], [4, 9]]


def test_a_prompt_that_another_thread_reads_is_waited_for():
    outputs = EncoderOutputs(encoder := Encoder())
    encoder.gate.clear()
    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(outputs.places, [prompt(0)], [prompt(1)], SIZES)
        while not encoder.calls:
            pass
        other = pool.submit(outputs.places, [prompt(1), prompt(2)], [], SIZES)
        while len(encoder.calls) < 2:
            pass
        encoder.gate.set()
        assert numbers(one.result()) == [0]
        assert numbers(other.result()) == [1, 2]
    assert [call[0] for call in encoder.calls] == [[0, 1], [2]]


def test_an_error_is_of_the_call_that_reads_and_others_try_themselves():
    outputs = EncoderOutputs(encoder := Encoder())
    encoder.gate.clear()
    encoder.errors.append(MemoryError("none left"))
    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(outputs.places, [prompt(0)], [prompt(1)], SIZES)
        while not encoder.calls:
            pass
        other = pool.submit(outputs.places, [prompt(1)], [], SIZES)
        encoder.gate.set()
        with pytest.raises(MemoryError):
            one.result()
        assert numbers(other.result()) == [1]
    assert numbers(outputs.places([prompt(0)], [], SIZES)) == [0]


def test_what_was_not_needed_for_longest_is_dropped(monkeypatch):
    monkeypatch.setattr("t2c_jax.decode.encoder_outputs._KEPT_BYTES", 3 * 8)  # three pools of one number
    outputs = EncoderOutputs(encoder := Encoder())
    for number in (0, 1, 2, 0, 3):
        outputs.places([prompt(number)], [], SIZES)
    assert [call[0] for call in encoder.calls] == [[0], [1], [2], [3]]
    outputs.places([prompt(0)], [], SIZES)
    outputs.places([prompt(1)], [], SIZES)
    assert [call[0] for call in encoder.calls][4:] == [[1]]
