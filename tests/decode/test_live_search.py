"""Prompts that join and leave a search at any time: each answer is the library's, whoever had the row before."""

from dataclasses import replace

import numpy as np
import pytest
from tiny_generators import PAIRS, PROMPTS

from t2c_jax.decode.encoder_outputs import LENGTHS, LONGEST
from t2c_jax.decode.generator import sample_key
from t2c_jax.decode.live_search import STOP_BYTES, Entry, LiveSearch, encoder_outputs, live_settings
from t2c_jax.errors import UserError


def live(generator, settings, most_rows=4):
    compiled = live_settings(generator, settings)
    models, outputs = generator.laid_out(generator.programs(compiled)), encoder_outputs(generator)
    return LiveSearch(generator, compiled, models, most_rows, outputs)


def entry_of(generator, ticket, source, settings, sample=0):
    (prompt,) = generator.prompts.encode([source])
    return Entry(ticket, prompt, settings, sample_key(settings.seed, source, sample))


def answered(generator, search, entries, every=2, steps=3):
    """The hypotheses of each ticket, and the tokens that were certain before; an entry joins ``every`` few steps."""
    waiting, found, seen = list(entries), {}, {}
    while waiting or search.busy:
        if waiting and search.room:
            search.admit([waiting.pop(0) for _ in range(min(every, search.room, len(waiting)))])
        updates, _ = search.advance(steps)
        for update in updates:
            assert update.error is None
            seen.setdefault(update.ticket, []).append(update.tokens.tolist())
            if update.found is not None:
                settings = next(entry.settings for entry in entries if entry.ticket == update.ticket)
                found[update.ticket] = update.found, generator.hypotheses(settings, update.found)
    return found, seen


@pytest.mark.parametrize("beam_size", [1, 2])
def test_answers_are_the_librarys_and_no_certain_token_changes(beam_size, generators):
    generator = generators("learned", beam_size=beam_size, max_tokens=48)
    settings, sources = generator.decode, [*PAIRS, *PAIRS]
    search = live(generator, settings, most_rows=3)
    entries = [entry_of(generator, number, source, settings) for number, source in enumerate(sources)]
    found, seen = answered(generator, search, entries)
    expected = generator.generate(sources)
    for number, answer in enumerate(expected):
        hypotheses, texts = found[number]
        assert texts[0].text == answer.best == PAIRS[sources[number]]
        assert texts[0].score == pytest.approx(answer.score, abs=1e-5)
        final = hypotheses.tokens[0].tolist()
        assert all(tokens == final[: len(tokens)] for tokens in seen[number])
        assert any(0 < len(tokens) < len(final) for tokens in seen[number]), "nothing could be streamed"


def test_a_prompt_of_any_length_is_answered_by_what_is_compiled_first(generators):
    """Then come programs for short prompts, which read them sooner; none is compiled for a prompt."""
    generator = generators("learned", max_tokens=48)
    settings, (source, other) = generator.decode, list(PAIRS)[:2]
    search = live(generator, settings)
    warming = search.warming()
    next(warming)
    outputs = search._outputs
    assert outputs.lengths == (LONGEST,)
    first, _ = answered(generator, search, [entry_of(generator, 0, source, settings)])
    for _ in warming:
        pass
    assert outputs.lengths == LENGTHS
    compiled = generator.programs(live_settings(generator, settings)).reader.read._cache_size()
    second, _ = answered(generator, search, [entry_of(generator, 1, other, settings)])
    assert (first[0][1][0].text, second[1][1][0].text) == (PAIRS[source], PAIRS[other])
    assert generator.programs(live_settings(generator, settings)).reader.read._cache_size() == compiled


def test_searches_of_other_settings_read_a_prompt_once(generators, monkeypatch):
    """The outputs of the encoder are the same for any number of beams, with drafts and without."""
    generator = generators("learned", max_tokens=48)
    outputs, read = encoder_outputs(generator), []
    monkeypatch.setattr(outputs, "read", lambda *args, kept=outputs.read: read.append(args) or kept(*args))
    source, settings = next(iter(PAIRS)), {"beam_size": 1, "prompt_lookup": 0}
    for changed in ({}, {"beam_size": 2}, {"prompt_lookup": 3}, {"temperature": 1e-6}):
        asked = replace(generator.decode, **{**settings, **changed})
        compiled = live_settings(generator, asked)
        models = generator.laid_out(generator.programs(compiled))
        search = LiveSearch(generator, compiled, models, 1, outputs)
        found, _ = answered(generator, search, [entry_of(generator, "", source, asked)])
        assert found[""][1][0].text == PAIRS[source]
    assert len(read) == 1


def test_settings_of_neighbours_do_not_mix(generators):
    """One program, and each row draws, stops and ends by its own settings."""
    generator = generators("transformer", beam_size=1)
    base = replace(generator.decode, temperature=1.0, samples=2)
    asked = [
        (PROMPTS[0], base),
        (PROMPTS[1], replace(base, temperature=0.3, top_p=0.9, seed=5)),
        (PROMPTS[2], replace(base, stop=("e",))),
        (PROMPTS[0], replace(base, max_tokens=3, top_k=2)),
    ]
    search = live(generator, base)
    assert {live_settings(generator, settings) for _, settings in asked} == {live_settings(generator, base)}
    entries = [
        entry_of(generator, (number, sample), source, settings, sample)
        for number, (source, settings) in enumerate(asked)
        for sample in range(2)
    ]
    found, _ = answered(generator, search, entries, every=3, steps=2)
    for number, (source, settings) in enumerate(asked):
        (expected,) = generator.generate([source], settings)
        texts = [found[number, sample][1][0].text for sample in range(2)]
        assert sorted(texts) == sorted(each.text for each in expected.hypotheses)


def test_a_row_that_is_released_goes_to_another_prompt(generators):
    generator = generators("learned", beam_size=2, max_tokens=48)
    settings, (first, second, *_) = generator.decode, PAIRS
    search = live(generator, settings, most_rows=1)
    search.admit([entry_of(generator, "gone", first, settings)])
    search.advance(4)
    assert search.room == 0
    search.release("gone")
    search.admit([entry_of(generator, "new", second, settings)])
    updates = []
    while search.busy:
        updates += search.advance(16)[0]
    assert {update.ticket for update in updates} == {"new"}
    assert generator.hypotheses(settings, updates[-1].found)[0].text == PAIRS[second]


def test_nothing_is_compiled_after_the_warm_up(generators, own_programs):
    generator = generators("transformer", beam_size=1)
    search = live(generator, generator.decode, most_rows=6)
    search.warm_up()
    programs = generator.programs(live_settings(generator, generator.decode))
    functions = programs.reader.read, programs.admit, programs.advance, programs.resize, programs.blank
    compiled = [function._cache_size() for function in functions]
    asked = [replace(generator.decode, stop=stop, max_tokens=tokens) for stop in ((), ("a", "b")) for tokens in (3, 16)]
    entries = [entry_of(generator, number, PROMPTS[number % 3], asked[number % 4]) for number in range(20)]
    answered(generator, search, entries, every=3, steps=2)
    answered(generator, search, entries[:1], steps=1)
    for _ in range(12):  # the rows become fewer again
        search.admit(entries[:1])
        while search.busy:
            search.advance(1)
    assert [function._cache_size() for function in functions] == compiled
    assert search.rows == 1


def test_rows_follow_grammars_of_their_own(generators):
    generator = generators("transformer", beam_size=2, max_tokens=12)
    one, two = (replace(generator.decode, grammar=grammar) for grammar in ("regex:[ab]{2,6}", "regex:[0-9]+x"))
    assert live_settings(generator, one) == live_settings(generator, two)
    search = live(generator, one)
    entries = [entry_of(generator, number, PROMPTS[number % 3], (one, two)[number % 2]) for number in range(6)]
    found, _ = answered(generator, search, entries, every=2, steps=2)
    for number in range(6):
        (expected,) = generator.generate([PROMPTS[number % 3]], (one, two)[number % 2])
        assert found[number][1][0].text == expected.best
    search.close()


def test_long_stop_strings_are_refused(generators):
    generator = generators("transformer")
    live_settings(generator, replace(generator.decode, stop=("x" * STOP_BYTES,)))
    with pytest.raises(UserError, match="stop strings"):
        live_settings(generator, replace(generator.decode, stop=("x" * STOP_BYTES, "y")))


def test_a_prompt_is_read_once(generators, monkeypatch):
    generator = generators("transformer", beam_size=1)
    search = live(generator, generator.decode)
    read = []
    batch = generator.prompts.batch

    def counted(prompts, *shape):
        read.append(len(prompts))
        return batch(prompts, *shape)

    monkeypatch.setattr(generator.prompts, "batch", counted)
    for ticket in range(3):
        answered(generator, search, [entry_of(generator, ticket, PROMPTS[0], generator.decode)])
    assert read == [1]


def test_control_comes_back_when_enough_rows_are_done(generators):
    generator = generators("transformer", beam_size=1)
    search = live(generator, generator.decode, most_rows=4)
    lengths = [2, 9, 3, 12]
    settings = [replace(generator.decode, max_tokens=tokens) for tokens in lengths]
    whole = [generator.generate([PROMPTS[0]], each)[0].hypotheses[0].tokens for each in settings]
    search.admit([entry_of(generator, number, PROMPTS[0], each) for number, each in enumerate(settings)])
    updates, steps = search.advance(100, 2)
    done = [update.ticket for update in updates if update.found is not None]
    assert steps == sorted(whole)[1]
    assert done == [number for number in range(4) if whole[number] <= steps]
    updates, steps = search.advance(100)
    assert search.busy == 0


def test_random_arrivals(generators):
    """As a server sees it: arrivals, releases and chunks of any length."""
    generator = generators("transformer", beam_size=2)
    settings, random = generator.decode, np.random.default_rng(0)
    expected = {source: generator.generate([source])[0].best for source in PROMPTS}
    search, waiting, gone, done = live(generator, settings), list(range(30)), set(), {}
    while waiting or search.busy:
        count = min(int(random.integers(0, 4)), search.room, len(waiting))
        if count:
            chosen, waiting = waiting[:count], waiting[count:]
            search.admit([entry_of(generator, number, PROMPTS[number % 3], settings) for number in chosen])
            if random.random() < 0.3:
                search.release(chosen[0])
                gone.add(chosen[0])
        if search.busy:
            for update in search.advance(int(random.integers(1, 6)))[0]:
                if update.found is not None:
                    done[update.ticket] = generator.hypotheses(settings, update.found)[0].text
    assert done.keys() == set(range(30)) - gone
    assert all(text == expected[PROMPTS[number % 3]] for number, text in done.items())


def test_programs_have_no_more_steps_than_the_decoder_has_positions(generators, monkeypatch):
    """Programs are compiled for multiples of some tokens, which may be more than a table of positions has."""
    generator = generators("transformer")
    monkeypatch.setattr(type(generator.members[0].definition.config.decoder), "max_target_length", 20)
    lane = live_settings(generator, replace(generator.decode, max_tokens=16))
    assert lane.max_tokens == 20
    assert generator.programs(lane).shape.steps == 20
    with pytest.raises(UserError, match="exceeds the decoder's 20 positions"):
        generator.programs(replace(generator.decode, max_tokens=21))
