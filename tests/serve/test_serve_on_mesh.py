"""A model over eight devices answers as one on a single device does."""

import concurrent.futures
import logging

import openai
import pytest
from served import serving
from tiny import experiment, make_mesh
from tiny_generators import PAIRS

from t2c_jax.decode.live_search import LiveSearch

FIRST, CODE = next(iter(PAIRS.items()))


@pytest.fixture(scope="module")
def served(generators):
    mesh = make_mesh(experiment(mesh={"data": 2, "fsdp": 2, "tensor": 2}))
    assert mesh.size == 8
    with serving(generators("learned", mesh=mesh, beam_size=2, max_tokens=48)) as found:
        found.model.warm_up()
        yield found


def test_answers_are_those_of_one_device(served, generators):
    alone = generators("learned", beam_size=2, max_tokens=48)
    expected = dict(zip(PAIRS, alone.generate(list(PAIRS)), strict=True))
    with served.client() as client, concurrent.futures.ThreadPoolExecutor(4) as pool:

        def ask(prompt):
            return client.completions.create(model="tiny", prompt=prompt, n=2, logprobs=1)

        for prompt, found in zip(PAIRS, pool.map(ask, PAIRS), strict=True):
            hypotheses = expected[prompt].hypotheses
            assert [choice.text for choice in found.choices] == [each.text for each in hypotheses]
            likely = [choice.log_probability for choice in found.choices]
            assert likely == pytest.approx([each.log_probability for each in hypotheses], abs=1e-3)
            assert sum(found.choices[0].logprobs.token_logprobs) == pytest.approx(likely[0], abs=0.05)
        drawn = {"model": "tiny", "prompt": FIRST, "temperature": 1.5, "seed": 11, "n": 2}
        parts = client.completions.create(**drawn, stream=True)
        texts = ["", ""]
        for part in parts:
            texts[part.choices[0].index] += part.choices[0].text
    settings = {"beam_size": 1, "temperature": 1.5, "samples": 2, "seed": 11}
    (samples,) = alone.generate([FIRST], alone.decode.__class__(**{**vars(alone.decode), **settings}))
    assert sorted(texts) == sorted(each.text for each in samples.hypotheses)


def test_after_a_batch_that_fails_the_next_one_is_answered(served, monkeypatch, caplog):
    advance, fails = LiveSearch.advance, [True]

    def advanced(self, *args):
        found = advance(self, *args)
        if fails:
            fails.clear()
            raise MemoryError("RESOURCE_EXHAUSTED")
        return found

    monkeypatch.setattr(LiveSearch, "advance", advanced)
    with served.client() as client, concurrent.futures.ThreadPoolExecutor(4) as pool:

        def ask(prompt):
            return client.completions.create(model="tiny", prompt=prompt).choices[0].text

        with caplog.at_level(logging.CRITICAL, "t2c.serve"), pytest.raises(openai.InternalServerError):
            ask(FIRST)
        assert not fails
        assert list(pool.map(ask, PAIRS)) == list(PAIRS.values())
