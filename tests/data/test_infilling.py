"""Code with a gap, for a model that was trained to fill it."""

from types import SimpleNamespace

import numpy as np
import pytest

from t2c_jax.config import DataConfig, ModelConfig, TaskConfig
from t2c_jax.data.infilling import infill_prompts
from t2c_jax.data.tasks.task import TaskSetup, build_task
from t2c_jax.data.tokens import Tokens

SENTINEL, PREFIX = 300, 33


class Letters:
    """A tokenizer whose pieces are letters."""

    vocab_size, digest, start, unk, sentinels = 301, "", 0, 2, [SENTINEL]
    before, after, target_before, target_after = (), (1,), (), (1,)

    def encode_batch(self, texts):
        return [np.array([ord(letter) for letter in text], np.int32) for text in texts]


TOKENIZERS = SimpleNamespace(source=Letters(), target=Letters(), copy_table=lambda: None)
FILLS = TaskConfig("fill_in_the_middle", prefix="!")


def data(length=24, **tasks):
    return DataConfig(encoder_length=length, decoder_length=24, tasks=tasks)


def prompts(length=24):
    return infill_prompts(TOKENIZERS, data(length, middle=FILLS), ModelConfig())


def test_a_gap_is_read_as_in_training():
    code = "def f(x): return"
    tokens = Tokens.of([[]], [list(map(ord, code))], ["a"])
    task = build_task(TaskSetup("t", FILLS, data(middle=FILLS), TOKENIZERS))
    example = task.example(tokens, 0, 0, len(code), 0, 0)
    middle = "".join(map(chr, example.target[:-1]))
    before = code[: example.sources[0].tolist().index(SENTINEL) - 1]
    read = prompts().encode(before, code[len(before) + len(middle) :])
    np.testing.assert_array_equal(read.value, example.sources[0])
    assert (read.value[0], read.value[-1]) == (PREFIX, 1)
    assert (read.size, read.truncated) == (len(read.value), False)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("x" * 9, "y" * 9, "x" * 9 + "|" + "y" * 9),  # just fits
        ("ab" * 40, "cd" * 40, "b" + "ab" * 6 + "|" + "cdcdc"),
        ("ab" * 40, "", "ab" * 9 + "|"),
        ("ab" * 40, "cd", "ab" * 8 + "|cd"),
        ("a", "cd" * 40, "a|" + "cd" * 8 + "c"),
    ],
)
def test_of_too_much_code_the_nearest_is_read(before, after, expected):
    found = prompts(21).encode(before, after, cut=True)
    letters = "".join("|" if token == SENTINEL else chr(token) for token in found.value[1:-1])
    assert letters == expected
    assert found.size == len(found.value) == len(expected) + 2
    assert found.truncated == (letters != f"{before}|{after}") == prompts(21).encode(before, after).truncated


def test_a_model_without_the_task_has_none():
    assert infill_prompts(TOKENIZERS, data(), ModelConfig()) is None
    other = {"spans": TaskConfig("causal_lm"), "elsewhere": TaskConfig("fill_in_the_middle", weight=0.0, workdir="x")}
    assert infill_prompts(TOKENIZERS, data(**other), ModelConfig()) is None
