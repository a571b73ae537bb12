"""Text in, code out: a tiny model learns a handful of pairs by heart, and says them."""

import json
import re
from dataclasses import replace

import jax
import numpy as np
import pytest
import tiny_generators
from tiny import experiment, make_mesh
from tiny_generators import LEARNED, PAIRS, compiled_learned

from t2c_jax import mesh as meshes
from t2c_jax.aot.costs import costs
from t2c_jax.config import DecodeConfig
from t2c_jax.data.prompt_encoder import TokenPrompts
from t2c_jax.data.tasks.translation import translation
from t2c_jax.data.templates import SourceTemplate
from t2c_jax.decode import generator as generators_module
from t2c_jax.decode.generator import Generator, Member
from t2c_jax.decode.grammar_filter import GrammarFilter
from t2c_jax.decode.programs import search_function
from t2c_jax.decode.search_engine import SearchEngine
from t2c_jax.decode.settings import processors_of
from t2c_jax.errors import UserError
from t2c_jax.tokenizers.loading import Tokenizers
from t2c_jax.tokenizers.sentencepiece import PAD

CONFIG = LEARNED


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_generators.tokenizer()


@pytest.fixture(scope="module")
def compiled():
    return compiled_learned()


@pytest.fixture(scope="module")
def params(generators):
    """After some 100 steps on the pairs."""
    return generators.learned()


def generator(params, tokenizer, compiled, mesh=None, **decode):
    settings = DecodeConfig(**{"max_tokens": 48, "batch_size": 4, **decode})
    mesh = mesh or compiled.mesh
    placed = jax.device_put(params, compiled.definition.shardings(mesh))
    both = Tokenizers(tokenizer, tokenizer, CONFIG.data.direction)
    inputs = TokenPrompts(tokenizer, translation(both, CONFIG.data).source, CONFIG.data.encoder_length)
    return Generator([Member(compiled.definition, placed)], inputs, tokenizer, settings, mesh)


@pytest.mark.parametrize("beam_size", [1, 4])
def test_what_was_learned_is_said_exactly(beam_size, params, tokenizer, compiled):
    """Six prompts in batches of four, in their own order, whatever their lengths."""
    done = []
    answers = generator(params, tokenizer, compiled, beam_size=beam_size).generate(list(PAIRS), advance=done.append)
    assert [answer.best for answer in answers] == list(PAIRS.values())
    assert all(answer.finished and not answer.prompt_truncated for answer in answers)
    assert all(-0.5 < answer.score < 0 for answer in answers)
    assert sum(done) == len(PAIRS)


def test_a_greedy_answer_is_scored_as_a_beams_is(params, tokenizer, compiled):
    found = [generator(params, tokenizer, compiled, beam_size=size).generate(list(PAIRS)) for size in (1, 2)]
    scores = [[answer.score for answer in answers] for answers in found]
    # Of the same answers; sums of float32 log-probabilities in another order.
    np.testing.assert_allclose(*scores, rtol=0, atol=1e-5)


def test_a_prompt_alone_is_answered_as_in_a_batch(params, tokenizer, compiled):
    made = generator(params, tokenizer, compiled, beam_size=2)
    for text, code in list(PAIRS.items())[:3]:
        assert made.generate([text])[0].best == code
    assert made.generate([]) == []


@pytest.mark.parametrize("beam_size", [1, 2])
def test_an_answer_ends_before_a_stop_string(beam_size, params, tokenizer, compiled):
    stop = ("\n", " if")
    made = generator(params, tokenizer, compiled, beam_size=beam_size, stop=stop)
    answers = made.generate(list(PAIRS))
    assert [answer.best for answer in answers] == [re.split("\n| if", code)[0] for code in PAIRS.values()]
    assert all(answer.finished for answer in answers)
    if beam_size == 1:  # the limit of tokens may be where the string ends
        code = next(iter(PAIRS.values()))
        (tokens,) = tokenizer.encode_batch([code])
        ends = next(count for count in range(len(tokens)) if "\n" in tokenizer.decode(tokens[:count].tolist()))
        for count in (ends, ends - 1):
            answer, *_ = made.generate(list(PAIRS), replace(made.decode, max_tokens=count))
            assert (answer.best, answer.finished) == (code.split("\n")[0], count == ends)


def test_devices_share_the_prompts(params, tokenizer, compiled):
    mesh = make_mesh(experiment(mesh={"data": 2, "fsdp": 2, "tensor": 2}))
    made = generator(params, tokenizer, compiled, mesh=mesh, beam_size=2)
    assert [answer.best for answer in made.generate(list(PAIRS))] == list(PAIRS.values())
    assert made.generate([next(iter(PAIRS))])[0].best == next(iter(PAIRS.values()))


def test_a_prefix_that_fills_the_encoder_is_refused(tokenizer):
    both = Tokenizers(tokenizer, tokenizer, CONFIG.data.direction)
    template = SourceTemplate.of(both, "describe: ")
    fixed = template.extra_tokens
    for length in (fixed - 3, fixed):
        message = rf"encoder_length={length} leaves no room for a source: the prefix .* around it take {fixed}"
        with pytest.raises(UserError, match=message):
            TokenPrompts(tokenizer, template, length)
    (prompt,) = TokenPrompts(tokenizer, template, fixed + 1).encode(["a long prompt"])
    assert (prompt.size, prompt.truncated) == (fixed + 1, True)


def test_a_long_prompt_is_cut_and_a_short_budget_is_unfinished(params, tokenizer, compiled):
    made = generator(params, tokenizer, compiled, beam_size=2, max_tokens=3)
    answers = made.generate(["word " * 100, "Return the sum of two numbers."])
    assert [answer.prompt_truncated for answer in answers] == [True, False]
    assert not answers[1].finished
    assert PAIRS["Return the sum of two numbers."].startswith(answers[1].best)
    json.dumps([answer.score for answer in answers], allow_nan=False)


def test_settings_of_a_call_replace_the_generators_own(params, tokenizer, compiled):
    """Each call's answers are those of a generator with these settings, and its programs are kept for the next."""
    made = generator(params, tokenizer, compiled, beam_size=2)
    short = DecodeConfig(max_tokens=3, batch_size=2, beam_size=1)
    own = made.generate(list(PAIRS))
    assert made.generate(list(PAIRS), short) == generator(
        params, tokenizer, compiled, max_tokens=3, batch_size=2, beam_size=1
    ).generate(list(PAIRS))
    assert made.generate(list(PAIRS)) == own
    assert made.generate(list(PAIRS), short) != own
    assert made._search.cache_info().currsize == 2
    made.generate(list(PAIRS), replace(short, batch_size=6, special_pieces=True))
    assert made._search.cache_info().currsize == 2, "what prompts are read as and how many at a time is no other search"


@pytest.mark.parametrize("beam_size", [1, 4])
def test_padding_and_sentinels_are_never_written(beam_size, params, tokenizer, compiled):
    """A model that finds padding and sentinels likeliest of all writes text all the same."""
    table_VD = np.array(params["embedding"]["embedding"])
    silent = [PAD, *tokenizer.sentinels]
    table_VD[silent] = table_VD[tokenizer.encode_batch(["x"])[0][0]] * np.linspace(20, 40, len(silent))[:, None]
    twisted = {**params, "embedding": {"embedding": table_VD}}
    made = generator(twisted, tokenizer, compiled, beam_size=beam_size, max_tokens=8)
    batch = made.prompts.batch(made.prompts.encode(list(PAIRS)), len(PAIRS))

    def written(processors):
        function = search_function([compiled.definition], made.decode, processors)
        with jax.set_mesh(made.mesh):
            return np.asarray(jax.jit(function)(made.params, batch).tokens[:, 0])

    free, processed = written([]), written(processors_of(made.decode, tokenizer))
    assert np.isin(free, tokenizer.sentinels).any()
    for row in processed.tolist():
        ids = row[: row.index(tokenizer.eos)] if tokenizer.eos in row else row
        assert not {*ids} & {*silent}
    for answer, ids in zip(made.generate(list(PAIRS)), processed.tolist(), strict=True):
        assert answer.best == tokenizer.decode(ids)


def test_the_digest_tells_parameters_apart(params, tokenizer, compiled):
    other = jax.tree.map(lambda leaf: leaf + 1e-3, params)
    same, again, different = (generator(p, tokenizer, compiled).digest() for p in (params, params, other))
    assert same == again != different


@pytest.mark.parametrize(("memory", "once"), [(None, True), (2**30, True), (2**10, False)])
def test_what_every_step_reads_is_sent_once_where_it_fits(memory, once, params, tokenizer, compiled):
    """Parameters that devices share are gathered before the search's loop, not in it."""
    mesh = make_mesh(experiment(mesh={"data": 2, "fsdp": 4, "tensor": 1}))
    made = generator(params, tokenizer, compiled, mesh=mesh)
    decode = DecodeConfig(max_tokens=48, beam_size=2)
    search = search_function([compiled.definition], decode, memory=memory)
    rows = meshes.global_batch(made.prompts.batch(made.prompts.encode(list(PAIRS)), 8), mesh)
    with jax.set_mesh(mesh):
        program = jax.jit(search).lower(made.params, rows).compile().as_text()
    gathers = sum(
        each.count
        for each in costs(program).collectives.values()
        if each.kind == "all-gather" and len(each.group) < mesh.size  # else candidates of all rows, for a CPU's top_k
    )
    arrays = len(jax.tree.leaves(params))
    assert 0 < gathers <= arrays if once else gathers > arrays + decode.max_tokens


@pytest.mark.parametrize("settings", [{}, {"beam_size": 2}, {"temperature": 1.0, "samples": 3}])
def test_searches_that_run_at_once_share_the_prompts(settings, params, tokenizer, compiled, monkeypatch):
    """Eight rows each: whichever search a prompt comes to, its answer is the same to the last bit."""
    prompts = [f"{text} {number}" for number in range(4) for text in PAIRS]
    monkeypatch.setattr(generators_module, "cores", lambda: 1)
    alone = generator(params, tokenizer, compiled, batch_size=8, **settings).generate(prompts)
    monkeypatch.setattr(generators_module, "cores", lambda: 3)
    made = generator(params, tokenizer, compiled, batch_size=24, **settings)
    assert (made.engines(24), made.engines(15)) == (3, 1)
    plans, begin = [], SearchEngine.__init__

    def kept(self, plan, *args):
        plans.append(plan)
        begin(self, plan, *args)

    monkeypatch.setattr(SearchEngine, "__init__", kept)
    assert made.generate(prompts) == alone
    assert len(plans) == 3
    assert all(plan.models is plans[0].models for plan in plans), "all searches read the same arrays"

    def texts(answers):
        return [[hypothesis.text for hypothesis in answer.hypotheses] for answer in answers]

    assert texts(made.generate(prompts[:1])) == texts(alone[:1]), "the samples of a single prompt are shared"


@pytest.mark.parametrize(("cores", "prompts", "beside"), [(1, 4, False), (2, 1, True), (2, 4, False), (3, 4, True)])
def test_a_grammar_is_followed_beside_the_search_where_a_core_is_free(
    cores, prompts, beside, params, tokenizer, compiled, monkeypatch
):
    monkeypatch.setattr(generators_module, "cores", lambda: cores)
    asked, session = [], GrammarFilter.session

    def kept(self, *args, **kwargs):
        asked.append(kwargs["beside"])
        return session(self, *args, **kwargs)

    monkeypatch.setattr(GrammarFilter, "session", kept)
    made = generator(params, tokenizer, compiled, batch_size=16, max_tokens=8, beam_size=1, grammar="regex:[a-z]?")
    made.generate(list(PAIRS)[:prompts])
    assert set(asked) == {beside}


def test_what_fails_in_a_search_beside_others_reaches_the_caller(params, tokenizer, compiled, monkeypatch):
    monkeypatch.setattr(generators_module, "cores", lambda: 2)
    made = generator(params, tokenizer, compiled, batch_size=16, max_tokens=2)

    def fails(self, *args):
        raise UserError("a grammar's state is broken")

    monkeypatch.setattr(SearchEngine, "_collect", fails)
    with pytest.raises(UserError, match="state is broken"):
        made.generate(list(PAIRS) * 4)
