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
from t2c_jax.decode import generator as generators_module
from t2c_jax.decode.logits_processors import ForbiddenTokens, NoRepeatNgram, RepetitionPenalty
from t2c_jax.decode.search import PAD, Search, Shape, requests
from t2c_jax.tokenizers.sentencepiece import EOS

DRAFTS = 3
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


def sources(answers_BT, wrong, seed=0):
    """Answers as sources to copy from, a share of whose tokens is wrong."""
    draw = np.random.default_rng(seed)
    other_BT = draw.integers(2, 5, answers_BT.shape)
    source_BT = np.where(draw.random(answers_BT.shape) < wrong, other_BT, answers_BT)
    return np.concatenate([source_BT, np.zeros_like(source_BT[:, :2])], axis=1).astype(np.int32)


def stepped(toy, shape, drafts, processors=(), max_tokens=None, **request):
    """The answers, and in how many steps each was found."""
    made = Search(toy.step, shape, processors)
    asked = requests(toy.batch, shape.steps, **request)
    if max_tokens is not None:
        asked = asked._replace(max_tokens=max_tokens)

    def run():
        cache = toy.cache(toy.batch, shape.slots)
        rows = made.rows(toy.memory, (), asked, cache, shape.slots, drafts=drafts)

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
    assert steps_B.sum() < lengths_B.sum() * (0.8 if wrong else 0.5)


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


def drafts_of(tokens, source, count=DRAFTS):
    """What is copied for an answer so far."""
    toy = Toy(vocabulary=9, steps=9, batch=1, seed=0)
    made = Search(toy.step, Shape(9, drafts=count))
    rows = made.rows(toy.memory, (), requests(1, 9), toy.cache(1, 12), 12, drafts=jnp.array([source], jnp.int32))
    written = jnp.array([*tokens, *[PAD] * (9 - len(tokens))], jnp.int32)
    rows = rows._replace(tokens=written[None, None], step=jnp.array([len(tokens)]))
    return made._drafts(rows)[0].tolist()


def test_drafts_follow_the_longest_match():
    source = [5, 6, 7, 2, 6, 8, 3, 5, 6, 4]
    assert drafts_of([6], source) == [7, 2, 6], "the first place among equals"
    assert drafts_of([2, 6], source) == [8, 3, 5]
    assert drafts_of([3, 5, 6], source) == [4, PAD, PAD], "nothing follows the end"
    assert drafts_of([4, 8], source) == [3, 5, 6], "one token is enough"
    assert drafts_of([], source) == drafts_of([9], source) == drafts_of([4], source) == [PAD] * 3


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

        original = generators_module._Session._run
        with monkeypatch.context() as patch:
            patch.setattr(generators_module._Session, "_run", run)
            return answers_of(generator, prompts)

    monkeypatch.setattr(generators_module, "copied_tokens", lookup)
    settings = {"mesh": mesh, "beam_size": 1, "batch_size": 2}
    without, made = (generators(kind, **settings, prompt_lookup=drafts) for drafts in (0, DRAFTS))
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
