"""Prompt lookup: greedy answers are the same with drafts, whatever the drafts are, and are found in fewer steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_logits_processors import Balanced
from tiny import experiment, make_mesh
from tiny_generators import KINDS, PROMPTS
from toy_decoder import Toy, searched

from t2c_jax.config import DecodeConfig
from t2c_jax.decode import drafts
from t2c_jax.decode import programs as programs_module
from t2c_jax.decode.drafts import CONTEXT, LAST, Usefulness, ngram_table, propose
from t2c_jax.decode.logits_processors import ForbiddenTokens, NoRepeatNgram, RepetitionPenalty
from t2c_jax.decode.search import PAD, Search, Shape, requests
from t2c_jax.decode.search_engine import SearchEngine
from t2c_jax.tokenizers.sentencepiece import EOS

DRAFTS = 3
NO_SOURCE = np.zeros((1, 4), np.int32)
EIGHT = {"data": 2, "fsdp": 2, "tensor": 2}
RECURRENT = ("lstm", "gru")
PROCESSORS = {
    "none": (),
    "no bigram twice": (NoRepeatNgram(),),
    "no 0": (ForbiddenTokens([0]),),
    "repetition penalty": (RepetitionPenalty(),),
    "balanced brackets": (Balanced(),),
    "all": (ForbiddenTokens([0]), RepetitionPenalty(), NoRepeatNgram(), Balanced()),
}


@pytest.fixture(autouse=True)
def costs(monkeypatch):
    """Sets what a step with drafts costs more; nothing at first, so that every draft is verified."""

    def costs(extra):
        monkeypatch.setattr(drafts, "extra_cost", lambda rows, count: extra)

    costs(0.0)
    return costs


def sources(answers_BT, wrong, seed=0):
    """Answers as sources to copy from, a share of whose tokens is wrong."""
    draw = np.random.default_rng(seed)
    other_BT = draw.integers(2, 5, answers_BT.shape)
    source_BT = np.where(draw.random(answers_BT.shape) < wrong, other_BT, answers_BT)
    return np.concatenate([source_BT, np.zeros_like(source_BT[:, :2])], axis=1).astype(np.int32)


def stepped(toy, shape, source, processors=(), max_tokens=None, table=None, **request):
    """The answers, and in how many steps each was found."""
    made = Search(toy.step, shape, processors, table=table)
    asked = requests(toy.batch, shape.steps, **request)
    if max_tokens is not None:
        asked = asked._replace(max_tokens=max_tokens)

    def run():
        cache = toy.cache(toy.batch, shape.slots)
        rows = made.rows(toy.memory, (), asked, cache, shape.slots, source=source)

        def advance(state):
            rows, steps_B = state
            return made.advance(rows), steps_B + rows.active

        state = rows, jnp.zeros((toy.batch,), jnp.int32)
        rows, steps_B = jax.lax.while_loop(lambda state: jnp.any(state[0].active), advance, state)
        return made.found(rows), steps_B

    return jax.device_get(jax.jit(run)())


@pytest.mark.parametrize("rule", PROCESSORS)
@pytest.mark.parametrize("wrong", [0.0, 0.3])
def test_answers_are_those_without_drafts(rule, wrong):
    """Drafts are confirmed by what the processors make of the logits, one token after the other."""
    toy = Toy(vocabulary=5, steps=9, batch=24, seed=1)
    processors, request = (
        PROCESSORS[rule],
        {"length_penalty": 0.6, "repetition_penalty": 1.4, "no_repeat_ngram_size": 2},
    )
    plain = searched(toy, Shape(9), processors, **request)
    found, steps_B = stepped(toy, Shape(9, drafts=DRAFTS), sources(plain.tokens[:, 0], wrong), processors, **request)
    np.testing.assert_array_equal(found.tokens, plain.tokens)
    np.testing.assert_array_equal(found.finished, plain.finished)
    np.testing.assert_allclose(found.scores, plain.scores, rtol=1e-5)
    lengths_B = np.where(plain.finished[:, 0], (plain.tokens[:, 0] == EOS).argmax(axis=1) + 1, 9)
    assert len(set(lengths_B.tolist())) > 3
    assert (steps_B <= lengths_B).all()
    assert steps_B.sum() < lengths_B.sum() * (0.8 if wrong else 0.6)  # some drafts are of the answer itself


def test_an_answer_ends_at_an_end_token_within_the_drafts():
    """What the source holds behind it is not copied."""
    toy = Toy(vocabulary=5, steps=9, batch=24, seed=1)
    plain = searched(toy, Shape(9))
    ended = plain.finished[:, 0]
    source_BT = np.where(plain.tokens[:, 0] == PAD, 3, plain.tokens[:, 0])
    found, _ = stepped(toy, Shape(9, drafts=5), sources(source_BT, 0.0))
    assert ended.any()
    np.testing.assert_array_equal(found.tokens, plain.tokens)


def test_an_answer_ends_at_its_own_limit_within_the_drafts():
    toy = Toy(vocabulary=5, steps=9, batch=24, seed=1)
    toy.bias_BTV[:, :, EOS] -= 1e4
    whole_BT = searched(toy, Shape(9)).tokens[:, 0]
    limits_B = 1 + np.arange(24, dtype=np.int32) % 9
    found, _ = stepped(toy, Shape(9, drafts=DRAFTS), sources(whole_BT, 0.1), max_tokens=limits_B)
    np.testing.assert_array_equal(found.tokens[:, 0], np.where(np.arange(9) < limits_B[:, None], whole_BT, PAD))
    assert not found.finished.any()


def drafts_of(answer, source, table=None, count=DRAFTS):
    """The draft for an answer so far; empty where there is none."""
    answer_BT = np.array([[*answer, *[PAD] * (12 - len(answer))]], np.int32)
    last_BM = np.array([[*answer[::-1], *[PAD] * LAST][:LAST]], np.int32)
    source_BS, step_B = jnp.array([source], jnp.int32), jnp.array([len(answer)])
    found = propose(jnp.array(last_BM), source_BS, jnp.array(answer_BT), step_B, count, table)
    assert (found.gain[0] > 0) == (found.chance[0] > 0) == (found.tokens[0, 0] > PAD)
    return [token for token in found.tokens[0].tolist() if token != PAD]


def test_drafts_follow_the_longest_match_in_the_source():
    source = [5, 6, 7, 2, 6, 8, 3, 5, 6, 4]
    assert drafts_of([6], source) == [7, 2, 6], "the first place among equals"
    assert drafts_of([2, 6], source) == [8, 3, 5]
    assert drafts_of([3, 5, 6], source) == [4], "nothing follows the end"
    assert drafts_of([4, 8], source) == [3, 5, 6], "one token is enough"
    assert drafts_of([], source) == drafts_of([9], source) == drafts_of([4], source) == []


def test_drafts_repeat_the_answer():
    assert drafts_of([5, 6, 7, 8, 5, 6], [0]) == [7, 8, 5]
    assert drafts_of([5, 6, 9, 5, 6, 8, 5, 6], [0]) == [8, 5, 6], "the last place among equals"
    assert drafts_of([2, 2], [0]) == [2, 2, 2], "a period that is shorter than the draft"
    assert drafts_of([9, 3, 4, 3, 4], [0]) == [3, 4, 3]
    assert drafts_of([5, 6, 7], [0]) == []
    assert drafts_of([5, 6, 7, 5, 6], [6, 8, 9]) == [7, 5, 6], "the longer match is likelier to be right"
    assert drafts_of([6, 7, 2, 6], [2, 6, 8, 9]) == [8, 9]


def likeliest(targets, context):
    """What follows a context in the targets, by counting: the tokens that follow it most often; none below two."""
    following = [
        tuple(target[at : at + len(context) + 1])
        for target in targets
        for at in range(len(target) - len(context))
        if tuple(target[at : at + len(context)]) == tuple(context)
    ]
    counts = {each[-1]: following.count(each) for each in following}
    return {token for token, count in counts.items() if count == max(counts.values()) and len(following) > 1}


def test_the_table_holds_what_follows_most_often():
    draw = np.random.default_rng(0)
    targets = [[0, *draw.choice([2, 3, 4, 5], length, p=[0.6, 0.2, 0.1, 0.1]), EOS] for length in [6] * 40]
    table = ngram_table([np.array(target) for target in targets], DRAFTS)
    seen = {tuple(target[at : at + 5]) for target in targets for at in range(len(target) - 4)}
    checked = exact = 0
    for window in seen:
        answer = [token for token in window if token]
        context = [0, *answer] if len(answer) < CONTEXT else answer[-CONTEXT:]
        while context and not likeliest(targets, context):
            context = context[1:]
        draft = drafts_of(answer, [0], table)
        only_answer = drafts_of(answer, [0])
        if draft and draft != only_answer:  # a few contexts are lost to others of the same place
            assert any(draft[0] in likeliest(targets, context[n:]) for n in range(len(context)))
            exact += draft[0] in likeliest(targets, context)
            checked += 1
    assert checked > 20
    assert exact > 0.8 * checked
    assert drafts_of([], [0], table)[0] in likeliest(targets, [0]), "the first token of an answer"
    assert drafts_of([9], [0], table) == [], "9 is in no target"


def test_a_draft_of_the_table_goes_on_by_its_own_tokens():
    targets = [np.array([0, 7, 8, 9, 5, EOS])] * 3
    table = ngram_table(targets, 4)
    assert drafts_of([7], [0], table, 4) == [8, 9, 5, EOS]
    assert drafts_of([9, 5], [0], table, 4) == [EOS], "nothing follows the end"
    assert ngram_table([np.array([0, 7, 8])], 4) is None, "nothing occurs twice"
    assert ngram_table([], 4) is None


@pytest.mark.parametrize("rule", ["none", "all"])
def test_answers_are_those_without_drafts_with_a_table(rule):
    """Rows are at steps of their own; a part of what the table says is wrong."""
    toy = Toy(vocabulary=5, steps=9, batch=24, seed=1)
    request = {"repetition_penalty": 1.4, "no_repeat_ngram_size": 2}
    plain = searched(toy, Shape(9), PROCESSORS[rule], **request)
    targets = [np.array([0, *answer]) for answer in plain.tokens[:, 0]]
    table = ngram_table(targets, DRAFTS)
    none_BS = np.repeat(NO_SOURCE, 24, axis=0)
    found, steps_B = stepped(toy, Shape(9, drafts=DRAFTS), none_BS, PROCESSORS[rule], table=table, **request)
    np.testing.assert_array_equal(found.tokens, plain.tokens)
    np.testing.assert_allclose(found.scores, plain.scores, rtol=1e-5)
    _, without_B = stepped(toy, Shape(9), None, PROCESSORS[rule], **request)
    assert steps_B.sum() < without_B.sum()
    assert (steps_B < without_B).any()
    assert (steps_B == without_B).any()


def test_drafts_are_verified_only_where_they_are_worth_it(costs):
    toy = Toy(vocabulary=5, steps=9, batch=24, seed=1)
    plain = searched(toy, Shape(9))
    source_BS = sources(plain.tokens[:, 0], 0.0)
    steps = []
    for extra in (0.0, 0.3, 30.0):
        costs(extra)
        found, steps_B = stepped(toy, Shape(9, drafts=DRAFTS), source_BS)
        np.testing.assert_array_equal(found.tokens, plain.tokens)
        steps.append(steps_B.sum())
    _, without_B = stepped(toy, Shape(9), None)
    assert steps[0] <= steps[1] < steps[2] == without_B.sum()


def test_usefulness_is_measured():
    """Drafts that are wrong more often than expected are trusted less, and are looked for less often."""
    before = after = Usefulness.unknown(2)
    assert before.trust() == 1
    looks = []
    for _ in range(40):
        looks.append(bool(after.looks()))
        after = after.after(jnp.full(2, 0.6), jnp.array([False, False]), jnp.array(False))
    assert after.trust() < 0.3
    assert all(looks[:8])
    assert sum(looks[8:]) == 4
    assert after.after(jnp.full(2, 0.6), jnp.array([True, False]), jnp.array(True)).looks()
    for _ in range(40):
        before = before.after(jnp.full(2, 0.6), jnp.array([True, True]), jnp.array(True))
    assert before.trust() > 1.3


def answers_of(generator, prompts):
    """Each prompt's answer as tokens, score and whether it ended."""
    read = generator.prompts.encode(prompts)
    found = {row: answer for row, _, answer in generator._answers(prompts, read, generator.decode)}
    return [found[row] for row in range(len(prompts))]


def keys(tokens_BS):
    """A number for each prompt."""
    return (tokens_BS * np.arange(1, 1 + tokens_BS.shape[1])[None]).sum(axis=1)


@pytest.mark.parametrize(
    ("kind", "axes"), [*((kind, {}) for kind in KINDS), ("transformer", EIGHT), ("copying", EIGHT)]
)
def test_every_kind_of_model_answers_as_without_drafts(kind, axes, generators, monkeypatch, own_programs):
    """The source is the answer itself, some of its tokens wrong: most drafts are confirmed, and some are not.

    There are more prompts than rows, so rows are given on after drafts that reach behind the last step.
    """
    prompts = [*PROMPTS, *(prompt + " Twice." for prompt in PROMPTS)]
    mesh = make_mesh(experiment(mesh=axes)) if axes else None
    plain = generators(kind, beam_size=1, batch_size=2, prompt_lookup=0)
    expected = answers_of(plain, prompts)
    read = plain.prompts.encode(prompts)
    batch = plain.prompts.batch(read, len(read))
    known_A = keys(batch["encoder_input_tokens"])
    copied_AS = np.concatenate([sources(answer.tokens, 0.2, row) for row, answer in enumerate(expected)])
    copied_AS = np.pad(copied_AS, ((0, 0), (0, 64)))

    def lookup(batch):
        tokens_BS = batch["encoder_input_tokens"]
        is_known_BA = keys(tokens_BS)[:, None] == known_A[None]
        return jnp.dot(is_known_BA.astype(jnp.int32), copied_AS[:, : tokens_BS.shape[1]])

    steps = {}

    def counted(generator):
        def run(self, *args, **kwargs):
            results = original(self, *args, **kwargs)
            steps[generator] = steps.get(generator, 0) + int(results.steps[0])
            return results

        original = SearchEngine._run
        with monkeypatch.context() as patch:
            patch.setattr(SearchEngine, "_run", run)
            return answers_of(generator, prompts)

    monkeypatch.setattr(programs_module, "copied_tokens", lookup)
    settings = {"mesh": mesh, "beam_size": 1, "batch_size": 2}
    without, made = (generators(kind, **settings, prompt_lookup=count) for count in (0, DRAFTS))
    if not axes:
        made._ngram_table = lambda count: ngram_table([np.array([0, *tokens]) for tokens in copied_AS], count)
    counted(without)
    for answer, other in zip(counted(made), expected, strict=True):
        np.testing.assert_array_equal(answer.tokens, other.tokens)
        np.testing.assert_array_equal(answer.finished, other.finished)
        np.testing.assert_allclose(answer.scores, other.scores, rtol=1e-4)
    if kind in RECURRENT:
        assert steps[made] == steps[without], "a state of its own is not taken back"
    else:
        assert steps[made] < 0.8 * steps[without]


@pytest.mark.parametrize("settings", [{"beam_size": 2}, {"temperature": 0.5}, {"grammar": "json"}])
def test_beams_sampling_and_grammars_copy_nothing(settings, generators):
    made = generators("transformer", **{"beam_size": 1, **settings})
    assert made._looks_up(made.decode) is False
    assert made._looks_up(DecodeConfig(beam_size=1)) is True


def test_a_run_has_a_table_where_it_has_its_tokens(generators):
    """An imported model has none."""
    tables = [generators(kind, beam_size=1)._ngram_table(DRAFTS) for kind in ("lora", "imported")]
    assert tables[0].tokens.shape[1] == DRAFTS
    assert tables[1] is None
