"""A server takes over later checkpoints: no request is dropped, none is answered by two of them."""

import concurrent.futures
import copy
import gc
import json
import logging
import threading
import weakref

import pytest
from served import serving, until
from tiny_generators import PAIRS

from t2c_jax.serve.following import Follower
from t2c_jax.serve.served_model import ServedModel

FIRST, CODE = next(iter(PAIRS.items()))


@pytest.fixture
def served(generators):
    with serving(generators("learned", beam_size=1, max_tokens=48)) as found:
        found.model.warm_up()
        yield found


def later(generator, step):
    """A model of a later checkpoint; its generator's answers begin with its step."""
    generator = copy.copy(generator)
    tokenizer = copy.copy(generator.tokenizer)
    decode = tokenizer.decode
    tokenizer.decode = lambda ids, **how: f"{step}:{decode(ids, **how)}"
    generator.tokenizer = tokenizer
    return ServedModel("tiny", generator, step=step)


def test_a_later_checkpoint_answers_and_no_request_is_dropped(served, caplog):
    steps = iter([0, 1, 2, 2, 1])  # the last one is earlier: the later one was deleted
    first, generator = weakref.ref(served.model), served.model._generator
    follower = Follower(served.models, "tiny", lambda: next(steps), lambda step: later(generator, step))
    ends, texts = threading.Event(), []

    def ask():
        with served.client() as client:
            while not ends.is_set():
                streamed = client.completions.create(model="tiny", prompt=FIRST, stream=True)
                texts.append("".join(event.choices[0].text for event in streamed if event.choices))
                texts.append(client.completions.create(model="tiny", prompt=FIRST).choices[0].text)
        return True

    with concurrent.futures.ThreadPoolExecutor(4) as pool, caplog.at_level(logging.INFO, "t2c.serve"):
        asking = [pool.submit(ask) for _ in range(4)]
        for _ in range(5):
            count = len(texts)
            follower.look()
            until(lambda count=count: len(texts) > count + 8)
        ends.set()
        assert all(each.result() for each in asking)
    assert set(texts) == {CODE, f"1:{CODE}", f"2:{CODE}"}
    assert texts[-1] == f"2:{CODE}"
    gc.collect()
    assert first() is None  # nothing keeps what answers no more
    taken = [json.loads(record.message) for record in caplog.records if "taken over" in record.message]
    assert [line["step"] for line in taken] == [1, 2]
    assert served.model.step == 2


def test_what_cannot_be_read_changes_nothing_and_is_logged_once(served, caplog):
    def torn(step):
        raise ValueError("it is torn")

    follower = Follower(served.models, "tiny", lambda: 3, torn)
    gone = Follower(served.models, "tiny", lambda: [][1], torn)
    with caplog.at_level(logging.WARNING, "t2c.serve"):
        for each in (follower, follower, gone, gone):
            each.look()
    lines = [record.message for record in caplog.records if "cannot be read" in record.message]
    assert lines == [
        "checkpoint 3 of 'tiny' cannot be read; checkpoint 0 still answers",
        "the checkpoints of 'tiny' cannot be read; checkpoint 0 still answers",
    ]
    assert served.model.step == 0
    with served.client() as client:
        assert client.completions.create(model="tiny", prompt=FIRST).choices[0].text == CODE
