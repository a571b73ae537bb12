"""Logits processors in both searches, against plain searches over a toy decoder."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_decoder import Toy, beam, greedy, padded, plain_beam, searched

from t2c_jax.config import DecodeConfig
from t2c_jax.decode.logits_processors import (
    FORBIDDEN,
    Context,
    ForbiddenTokens,
    LogitsProcessor,
    NoRepeatNgram,
    RepetitionPenalty,
    TokenBonus,
    unwritable,
)
from t2c_jax.decode.search import Shape, requests, search
from t2c_jax.decode.settings import processors_of
from t2c_jax.errors import UserError
from t2c_jax.tokenizers.sentencepiece import EOS, PAD


class Balanced(LogitsProcessor):
    """Token 2 opens a bracket, 3 closes one, and a sequence ends with all of them closed: a grammar with a state."""

    def start(self, rows, beams):
        return {"depth": jnp.zeros((rows, beams), jnp.int32)}

    def __call__(self, state, logits_BWV, context):
        before_B11 = context.step[:, None, None] - 1
        last_BW = jnp.take_along_axis(context.tokens, jnp.maximum(before_B11, 0), axis=-1)[..., 0]
        last_BW = jnp.where(before_B11[..., 0] >= 0, last_BW, PAD)
        depth_BW = state["depth"] + (last_BW == 2) - (last_BW == 3)
        wrong_BW1 = (depth_BW == 0)[..., None]
        tokens_V = jnp.arange(logits_BWV.shape[-1])[None, None]
        forbidden_BWV = (wrong_BW1 & (tokens_V == 3)) | (~wrong_BW1 & (tokens_V == EOS))
        return jnp.where(forbidden_BWV, FORBIDDEN, logits_BWV), {"depth": depth_BW}


def repeats(tokens, size):
    """Whether so many tokens in a row come twice."""
    grams = [tuple(tokens[start : start + size]) for start in range(len(tokens) - size + 1)]
    return len(set(grams)) < len(grams)


def balanced(tokens):
    depth = 0
    for token in tokens:
        depth += (token == 2) - (token == 3)
        if depth < 0 or (token == EOS and depth):
            return False
    return True


RULES = {
    "no token twice": (NoRepeatNgram(), {"no_repeat_ngram_size": 1}, lambda tokens: not repeats(tokens, 1)),
    "no bigram twice": (NoRepeatNgram(), {"no_repeat_ngram_size": 2}, lambda tokens: not repeats(tokens, 2)),
    "no trigram twice": (NoRepeatNgram(), {"no_repeat_ngram_size": 3}, lambda tokens: not repeats(tokens, 3)),
    "no 0": (ForbiddenTokens([0]), {}, lambda tokens: 0 not in tokens),
    "no 0 and no 3": (ForbiddenTokens([3, 0]), {}, lambda tokens: not {0, 3} & {*tokens}),
    "balanced brackets": (Balanced(), {}, balanced),
}
each_rule = pytest.mark.parametrize("rule", RULES)


@each_rule
def test_greedy_takes_the_likeliest_token_of_the_allowed(rule):
    """The score is the sum of the model's own log-probabilities: what a rule forbids makes nothing else likelier."""
    processor, request, allowed = RULES[rule]
    toy = Toy(vocabulary=5, steps=8, batch=8, seed=4)
    found = searched(toy, Shape(8), [processor], **request)
    assert (found.tokens != greedy(toy).tokens).any()
    for row in range(8):
        chosen = []
        while len(chosen) < 8 and EOS not in chosen:
            following = [v for v in range(5) if allowed([*chosen, v])]
            if not following:
                break
            chosen.append(max(following, key=lambda v: toy.log_p(row, (*chosen, v))))
        assert found.tokens[row, 0, : len(chosen)].tolist() == chosen
        if EOS in chosen:
            np.testing.assert_allclose(found.scores[row, 0], toy.log_p(row, chosen), rtol=1e-5, atol=1e-5)


@each_rule
def test_a_beam_as_wide_as_the_tree_ranks_all_that_is_allowed(rule):
    """Every allowed sequence is found, and no other: the processors' states follow the beams."""
    processor, request, allowed = RULES[rule]
    steps = 5 if rule == "no trigram twice" else 4
    beams = 4 * 3 ** (steps - 1)
    toy = Toy(vocabulary=4, steps=steps, batch=3, seed=0)
    found = beam(toy, beams, 0.6, [processor], **request)
    for row in range(toy.batch):
        expected = [(score, tokens) for score, tokens in toy.ranked(row, 0.6) if allowed(tokens)]
        assert 0 < len(expected) < len(toy.ranked(row, 0.6))
        assert found.finished[row].sum() == len(expected)
        assert found.tokens[row, : len(expected)].tolist() == [padded(tokens, steps) for _, tokens in expected]
        np.testing.assert_allclose(
            found.scores[row, : len(expected)], [score for score, _ in expected], rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize("beams", [2, 3])
def test_a_narrow_beam_carries_a_state_as_if_it_were_computed_anew(beams):
    """Beams cross over: a state that stayed with its place, not with its hypothesis, would allow other sequences."""

    class Stateless(LogitsProcessor):
        def __call__(self, state, logits_BWV, context):
            tokens_BWT = context.tokens
            known_B1T = jnp.arange(tokens_BWT.shape[2])[None, None] < context.step[:, None, None]
            depth_BW = jnp.sum(known_B1T & (tokens_BWT == 2), axis=2) - jnp.sum(known_B1T & (tokens_BWT == 3), axis=2)
            open_BW1 = (depth_BW > 0)[..., None]
            tokens_V = jnp.arange(logits_BWV.shape[-1])[None, None]
            forbidden_BWV = (~open_BW1 & (tokens_V == 3)) | (open_BW1 & (tokens_V == EOS))
            return jnp.where(forbidden_BWV, FORBIDDEN, logits_BWV), state

    toy = Toy(vocabulary=6, steps=7, batch=8, seed=3)
    one, other = (beam(toy, beams, 0.6, [processor]) for processor in (Balanced(), Stateless()))
    np.testing.assert_array_equal(one.tokens, other.tokens)
    np.testing.assert_array_equal(one.scores, other.scores)


def test_processors_work_in_their_order_and_together():
    toy = Toy(vocabulary=5, steps=6, batch=6, seed=2)
    processors = [TokenBonus(np.full(5, 3.0)), ForbiddenTokens([0]), Balanced(), NoRepeatNgram()]
    found = beam(toy, 3, 0.6, processors, no_repeat_ngram_size=2)
    finished = found.tokens[found.finished].tolist()
    assert finished
    for tokens in finished:
        tokens = tokens[: tokens.index(EOS) + 1]
        assert 0 not in tokens
        assert balanced(tokens)
        assert not repeats(tokens, 2)


def test_each_row_has_an_n_gram_size_of_its_own():
    """Rows with the same prompt: each is answered as if all had its size."""
    toy = Toy(vocabulary=4, steps=9, batch=4, seed=6)
    toy.bias_BTV[:, :, EOS] -= 9
    for values in (toy.weights_BTVV, toy.bias_BTV):
        values[:] = values[:1]
    sizes = np.array([0, 1, 2, 3], np.int32)

    def answers(size_B):
        asked = requests(4, 9)._replace(no_repeat_ngram_size=size_B)
        return search(toy.step, toy.memory, (), toy.cache, 4, Shape(9), [NoRepeatNgram()], asked).tokens[:, 0]

    answers = jax.jit(answers)
    found = np.asarray(answers(sizes))
    for row, size in enumerate(sizes):
        np.testing.assert_array_equal(found[row], answers(np.full(4, size))[row])
    assert len({tuple(tokens) for tokens in found.tolist()}) == 4
    np.testing.assert_array_equal(found[0], greedy(toy).tokens[0, 0])


@pytest.mark.parametrize("penalty", [1.0, 1.3, 5.0])
def test_the_repetition_penalty_is_that_of_transformers(penalty):
    """On random logits, and tokens of which some repeat; forbidden tokens stay forbidden, and padding is no token."""
    transformers = pytest.importorskip("transformers")
    random = np.random.default_rng(0)
    rows, beams, steps, size, step = 3, 2, 9, 12, 6
    logits = random.normal(0, 4, (rows, beams, size)).astype(np.float32)
    tokens = random.integers(1, size, (rows, beams, steps))
    tokens[:, :, step:] = PAD
    forbidden = ForbiddenTokens([tokens[0, 0, 0]])
    asked = requests(rows, steps, repetition_penalty=penalty)
    context = Context(jnp.asarray(tokens), jnp.full((rows,), step), asked, jnp.zeros((rows, beams)))
    found, _ = RepetitionPenalty()((), forbidden((), jnp.asarray(logits), context)[0], context)
    torch, peer = pytest.importorskip("torch"), transformers.RepetitionPenaltyLogitsProcessor(penalty)
    known = torch.from_numpy(tokens[:, :, :step].reshape(rows * beams, step))
    expected = peer(known, torch.from_numpy(logits.reshape(rows * beams, size)))
    expected = expected.numpy().reshape(logits.shape)
    expected[:, :, tokens[0, 0, 0]] = FORBIDDEN
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("beams", [1, 3])
def test_a_penalty_counts_in_scores_and_not_in_log_probabilities(beams):
    toy = Toy(vocabulary=5, steps=6, batch=6, seed=2)
    processors = [RepetitionPenalty(), TokenBonus(BONUS), ForbiddenTokens([PAD])]
    found = searched(toy, Shape(6, beams), processors, length_penalty=0.6, repetition_penalty=1.5)
    changed = 0
    for row, of_row in enumerate(found.tokens.tolist()):
        for number, tokens in enumerate(of_row):
            tokens = tokens[: tokens.index(EOS) + 1] if EOS in tokens else tokens
            log_p = toy.log_p(row, tokens)
            np.testing.assert_allclose(found.log_p[row, number], log_p, rtol=1e-5, atol=1e-5)
            changed += abs(found.scores[row, number] - log_p / len(tokens) ** 0.6) > 0.01
    assert changed == 6 * beams


BONUS = np.array([0.0, 2.0, 1.5, 0.0, 1.0], np.float32)


def test_a_bonus_changes_what_greedy_chooses():
    """Gu et al. (2016, equation 8): the best log p + bonus at each step, whose sum is the score."""
    toy = Toy(vocabulary=5, steps=6, batch=6, seed=2)
    found = greedy(toy, processors=[TokenBonus(BONUS)])
    assert (found.tokens != greedy(toy).tokens).any()
    for row in range(6):
        chosen, total = [], 0.0
        while len(chosen) < 6 and EOS not in chosen:
            values = [toy.log_p(row, (*chosen, v)) - toy.log_p(row, chosen) + BONUS[v] for v in range(5)]
            chosen.append(int(np.argmax(values)))
            total += max(values)
        assert found.tokens[row, 0].tolist() == padded(chosen, 6)
        np.testing.assert_allclose(found.scores[row, 0], total, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("beams", [2, 4])
def test_a_beam_ranks_by_the_bonus_too(alpha, beams):
    """A bonus lets a hypothesis rise as it grows, and the early stop must wait for those that may."""
    toy = Toy(vocabulary=5, steps=6, batch=6, seed=7, sharpness=0.7)
    found = beam(toy, beams, alpha, [TokenBonus(BONUS)])
    for row in range(6):
        done, live = plain_beam(toy, row, beams, alpha, BONUS)
        expected = (done + live)[:beams]
        assert found.finished[row].tolist() == [index < len(done) for index in range(beams)]
        assert found.tokens[row].tolist() == [padded(tokens, 6) for _, tokens in expected]
        np.testing.assert_allclose(found.scores[row], [score for score, _ in expected], rtol=1e-5, atol=1e-5)


class Pieces:
    """Ids: 0 pad, 1 eos, 2 unk, 3 begins every target, 4 and 5 text, 6 a sentinel."""

    eos, unk, start, target_before, target_after = 1, 2, 0, (3,), (1,)
    special_ids = frozenset()
    surfaces = (b"", b"", b"", b"", b"a", b"b", b"")

    def decode(self, ids, *, special_pieces=False):
        return b"".join(self.surfaces[i] for i in ids).decode()


def test_padding_and_sentinels_are_unwritable():
    """What surrounds every target and the unknown piece are not: a trained model has to write them."""
    assert unwritable(Pieces()) == [0, 6]


def test_the_config_chooses_the_processors():
    def names(**settings):
        made = processors_of(DecodeConfig(**settings), Pieces(), lambda: np.ones(7))
        return [type(each).__name__ for each in made]

    assert names() == ["ForbiddenTokens"]
    assert names(idf_weight=0.5, no_repeat_ngram_size=3) == ["TokenBonus", "ForbiddenTokens", "NoRepeatNgram"]
    assert names(repetition_penalty=1.1, stop=("a",)) == ["ForbiddenTokens", "RepetitionPenalty", "StopStrings"]
    with pytest.raises(UserError, match=r"config.decode.idf_weight needs the tokens of the run's training pairs"):
        processors_of(DecodeConfig(idf_weight=0.5), Pieces())
