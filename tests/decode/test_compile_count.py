"""What is compiled to answer prompts: a few programs, whatever the prompts and the values of settings."""

import dataclasses
from contextlib import contextmanager
from dataclasses import replace

import jax
import pytest
from tiny_generators import PROMPTS

from t2c_jax.config import DecodeConfig
from t2c_jax.decode.settings import compiled_settings

RULES = {"repetition_penalty": 1.1, "no_repeat_ngram_size": 2, "stop": ("e",)}
SEARCHES = {
    "sampling": DecodeConfig(beam_size=1, max_tokens=16, batch_size=4, temperature=0.8, **RULES),
    "diverse beam": DecodeConfig(beam_size=2, beam_groups=2, max_tokens=16, batch_size=4, **RULES),
    "grammar": DecodeConfig(beam_size=1, max_tokens=16, batch_size=4, grammar="regex:[a-z]{2,9}"),
}
# Other values of settings for which nothing is compiled, where they are already in use.
VALUES = {
    "length_penalty": {"diverse beam": 0.3},
    "patience": {"diverse beam": 1.0},
    "diversity_penalty": {"diverse beam": 0.1},
    "samples": {"sampling": 3},
    "temperature": {"sampling": 1.5},
    "top_k": {"sampling": 20},
    "top_p": {"sampling": 0.9},
    "min_p": {"sampling": 0.02},
    "seed": {"sampling": 7},
    "repetition_penalty": {"sampling": 2.0, "diverse beam": 2.0},
    "no_repeat_ngram_size": {"sampling": 3, "diverse beam": 3},
    "stop": {"sampling": ("ab", "c", "de"), "diverse beam": ("ab",)},
    "special_pieces": {"sampling": True},  # of which the tokenizer has none
    "prompt_lookup": {"sampling": 3, "diverse beam": 3},  # greedy search alone looks up
    "grammar": {"grammar": "regex:(yes|no)!"},
    "max_tokens": {"sampling": 9, "diverse beam": 60, "grammar": 64},
    "rerank": {"diverse beam": True},
}
COMPILED = {"beam_size", "beam_groups", "idf_weight", "batch_size"}


@contextmanager
def compilations():
    """The programs that are compiled in the context, or read from the cache of compiled programs."""
    found = []

    def listen(event, *_, **facts):
        if event == "/jax/core/compile/backend_compile_duration":
            found.append(facts)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield found
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


@pytest.fixture(scope="module")
def generator(generators):
    """Has answered with each search."""
    made = generators("transformer")
    with compilations() as found:
        for settings in SEARCHES.values():
            made.generate(PROMPTS, replace(settings, length_penalty=0.5))
        made.generate(PROMPTS, DecodeConfig(beam_size=1, max_tokens=100, batch_size=4))
    assert found, "compilations are seen"
    return made


def test_no_setting_is_left_out():
    assert {field.name for field in dataclasses.fields(DecodeConfig)} == {*VALUES} | COMPILED
    assert not {*VALUES} & COMPILED


@pytest.mark.parametrize("name", VALUES)
def test_another_value_of_a_setting_compiles_nothing(name, generator):
    for search, value in VALUES[name].items():
        settings = SEARCHES[search]
        assert getattr(settings, name) != value
        with compilations() as found:
            generator.generate(PROMPTS, replace(settings, **{name: value}))
        assert found == []


def test_other_prompts_compile_a_program_for_each_power_of_two_of_their_length(generators, own_programs):
    """Alone and in batches, however many and however mixed; encoders also pad short batches to the longest one."""
    made = generators("transformer", max_tokens=2)
    words = "x " * 30
    calls = [[words[:length]] * count for length in (1, 2, 9, 12, 20, 28) for count in (1, 2, 3, 4, 5, 9)]
    calls += [[words[: 2 + 2 * place] for place in range(count)] for count in (4, 7, 12)]
    encoded = [made.prompts.encode([words[:length]]) for length in (1, 9, 28)]
    lengths = {made.prompts.batch(each, 1)["encoder_positions"].shape[1] for each in encoded}
    assert len(lengths) == 2
    for prompts in calls:
        made.generate(prompts)
    search = made._search(compiled_settings(made.decode))
    assert search.run._cache_size() == 2 * len(lengths)
    assert made.reader.read._cache_size() == 2 * len(lengths) + 1
    with compilations() as found:
        for prompts in calls:
            made.generate(prompts)
    assert found == []
