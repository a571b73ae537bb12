"""Search over a toy decoder, whose sequences can all be enumerated."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_decoder import Toy, beam, greedy, padded, plain_beam, searched

from t2c_jax.decode.search import PAD, Shape, ensemble, requests, search
from t2c_jax.models.interface import RECENT, At
from t2c_jax.tokenizers.sentencepiece import EOS


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_beam_as_wide_as_the_tree_is_brute_force(alpha, seed):
    """108 beams have room for all four continuations of all 27 live prefixes: every sequence is found and ranked."""
    toy = Toy(vocabulary=4, steps=4, batch=3, seed=seed)
    found = beam(toy, beams=108, alpha=alpha)
    for row in range(toy.batch):
        expected = toy.ranked(row, alpha)
        assert found.finished[row].sum() == len(expected) == 40
        assert found.tokens[row, :40].tolist() == [padded(sequence, toy.steps) for _, sequence in expected]
        # Float32 against float64 over four log-probabilities of size 10.
        np.testing.assert_allclose(found.scores[row, :40], [score for score, _ in expected], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0, 2.0])
@pytest.mark.parametrize("beams", [2, 4])
def test_a_narrow_beam_finds_all_that_a_plain_one_finds(alpha, beams):
    """The early end cuts nothing off, for any length penalty; live hypotheses stand in behind finished ones."""
    toy = Toy(vocabulary=5, steps=6, batch=6, seed=7, sharpness=0.7)
    found = beam(toy, beams=beams, alpha=alpha)
    for row in range(toy.batch):
        done, live = plain_beam(toy, row, beams, alpha)
        expected = (done + live)[:beams]
        assert found.finished[row].tolist() == [index < len(done) for index in range(beams)]
        assert found.tokens[row].tolist() == [padded(tokens, toy.steps) for _, tokens in expected]
        np.testing.assert_allclose(found.scores[row], [score for score, _ in expected], rtol=1e-5, atol=1e-5)


def is_plain(found, toy, beams, **settings):
    """Whether hypotheses, scores and what has ended are those of ``plain_beam``."""
    for row in range(toy.batch):
        done, live = plain_beam(toy, row, beams, 0.6, **settings)
        expected = (done + live)[:beams]
        assert found.finished[row].tolist() == [index < len(done) for index in range(beams)]
        assert found.tokens[row].tolist() == [padded(tokens, toy.steps) for _, tokens in expected]
        np.testing.assert_allclose(found.scores[row], [score for score, _ in expected], rtol=1e-5, atol=1e-5)


def distinct(found):
    return sum(len({tuple(tokens) for tokens in row}) for row in found.tokens.tolist())


@pytest.mark.parametrize("groups", [2, 4])
@pytest.mark.parametrize("diversity", [0.3, 1.5])
def test_groups_of_beams_avoid_each_others_tokens(groups, diversity):
    """Vijayakumar et al. (2018, equation 4): a penalty changes what is chosen, and not its score."""
    toy = Toy(vocabulary=7, steps=6, batch=6, seed=7, sharpness=0.7)
    found = searched(toy, Shape(6, 4, groups), length_penalty=0.6, diversity_penalty=diversity)
    is_plain(found, toy, 4, groups=groups, diversity=diversity)


def test_groups_of_beams_begin_with_more_tokens():
    """Without a penalty each group finds the same. With a large one, no group begins as another does."""
    toy = Toy(vocabulary=7, steps=6, batch=6, seed=7)
    toy.bias_BTV[:, :, EOS] -= 1e3
    same, diverse = (
        searched(toy, Shape(6, 4, 4), length_penalty=0.6, diversity_penalty=penalty) for penalty in (0.0, 20.0)
    )
    assert distinct(same) == toy.batch
    assert [len(set(row)) for row in diverse.tokens[:, :, 0].tolist()] == [4] * toy.batch
    plain = beam(toy, 4, 0.6)
    assert sum(len(set(row)) for row in plain.tokens[:, :, 0].tolist()) < 4 * toy.batch


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("patience", [0.5, 1.0, 1.5])
def test_a_patient_search_ends_when_enough_hypotheses_have(patience, groups):
    toy = Toy(vocabulary=5, steps=8, batch=8, seed=3, sharpness=0.7)
    settings = {"patience": patience, "diversity_penalty": 0.5}
    found = searched(toy, Shape(8, 4, groups), length_penalty=0.6, **settings)
    is_plain(found, toy, 4, groups=groups, diversity=0.5, patience=patience)
    exact = searched(toy, Shape(8, 4, groups), length_penalty=0.6, diversity_penalty=0.5)
    assert (found.tokens != exact.tokens).any() == (patience < 1.5)


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("beams", [2, 4])
def test_a_narrow_beams_scores_are_its_sequences_own(alpha, beams):
    """Beams cross over and descend from each other; each one's score must still be that of its own tokens."""
    toy = Toy(vocabulary=6, steps=7, batch=8, seed=3)
    found = beam(toy, beams=beams, alpha=alpha)
    for row in range(toy.batch):
        assert (np.diff(found.scores[row][found.finished[row]]) <= 0).all()
        sequences = [tuple(tokens.tolist()) for tokens in found.tokens[row]]
        assert len(set(sequences)) == beams
        for tokens, score, finished in zip(sequences, found.scores[row], found.finished[row], strict=True):
            sequence = tokens[: tokens.index(EOS) + 1] if finished else tokens
            assert not any(tokens[len(sequence) :])
            np.testing.assert_allclose(score, toy.log_p(row, sequence) / len(sequence) ** alpha, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("alpha", [0.0, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_greedy_is_a_plain_beam_of_one(seed, alpha):
    """Token for token; its score is divided by its length as a beam's are."""
    toy = Toy(vocabulary=7, steps=9, batch=6, seed=seed)
    found = greedy(toy, alpha)
    for row in range(toy.batch):
        done, live = plain_beam(toy, row, 1, 0.0)
        _, tokens = (done + live)[0]
        assert found.tokens[row, 0].tolist() == padded(tokens, toy.steps)
        assert found.finished[row, 0] == bool(done)
        np.testing.assert_allclose(found.scores[row, 0], toy.log_p(row, tokens) / len(tokens) ** alpha, rtol=1e-5)


def biased(eos: float, **shape) -> Toy:
    toy = Toy(vocabulary=5, batch=3, seed=0, **shape)
    toy.bias_BTV[:, :, EOS] += eos
    return toy


def test_without_an_eos_the_answer_is_unfinished_and_whole():
    toy = biased(-1e4, steps=5)
    for found in (greedy(toy), beam(toy, 3, 0.6)):
        assert not found.finished.any()
        assert (found.tokens != EOS).all()
        for row in range(toy.batch):
            sequence = found.tokens[row, 0].tolist()
            alpha = 0.6 if found.tokens.shape[1] > 1 else 0.0
            np.testing.assert_allclose(found.scores[row, 0], toy.log_p(row, sequence) / 5**alpha, rtol=1e-5)


def test_an_immediate_eos_is_an_empty_answer():
    toy = biased(1e3, steps=5)
    for found in (greedy(toy), beam(toy, 3, 0.6)):
        assert found.finished[:, 0].all()
        assert found.tokens[:, 0].tolist() == [[EOS, PAD, PAD, PAD, PAD]] * 3
        np.testing.assert_allclose(found.scores[:, 0], 0.0, atol=1e-6)


@pytest.mark.parametrize("beams", [1, 3])
def test_prompts_end_one_by_one(beams):
    """A prompt that has ended keeps its answer while others are in the middle of theirs, and is answered as alone."""
    toy = Toy(vocabulary=5, steps=8, batch=6, seed=5, sharpness=2.0)
    together = searched(toy, Shape(8, beams), length_penalty=0.6)
    asked = requests(1, 8, length_penalty=0.6)
    alone = jax.jit(lambda memory: search(toy.step, memory, (), toy.cache, 1, Shape(8, beams), (), asked))
    lengths = set()
    for row in range(toy.batch):
        answer = alone(jax.tree.map(lambda leaf, row=row: leaf[row : row + 1], toy.memory))
        np.testing.assert_array_equal(answer.tokens[0], together.tokens[row])
        np.testing.assert_allclose(answer.scores[0], together.scores[row], rtol=1e-5)
        lengths.add(int((together.tokens[row, 0] != PAD).sum()))
    assert len(lengths) > 1


@pytest.mark.parametrize(("vocabulary", "beams"), [(3, 4), (2, 8)])
def test_a_vocabulary_smaller_than_the_beam(vocabulary, beams):
    """There are fewer candidates than beams at first: none may be counted twice or made up."""
    toy = Toy(vocabulary=vocabulary, steps=4, batch=2, seed=0)
    found = beam(toy, beams, 0.6)
    for row in range(toy.batch):
        expected = toy.ranked(row, 0.6)
        real = [tuple(tokens) for tokens, ok in zip(found.tokens[row].tolist(), found.finished[row], strict=True) if ok]
        assert 0 < len(set(real)) == len(real) <= len(expected)
        assert real[0] == tuple(padded(expected[0][1], toy.steps))


def test_a_single_step():
    toy = Toy(vocabulary=5, steps=1, batch=2, seed=0)
    for found in (greedy(toy), beam(toy, 2, 0.6)):
        assert found.tokens.shape[2] == 1
        assert np.isfinite(found.scores).all()


def first_logits(step, memory, cache, rows=2, slots=3):
    """Logits of the first tokens, and the cache after the start token."""
    visible = jnp.broadcast_to(jnp.arange(slots) == 0, (rows, 1, slots))
    zeros = jnp.zeros((rows, 1), jnp.int32)
    slot_steps = jnp.broadcast_to(jnp.arange(slots), (rows, slots))
    at = At(zeros, zeros, visible, slot_steps, jnp.zeros((rows, 1, RECENT), jnp.int32), jnp.ones((rows,), bool))
    return step(memory, cache, ((),) * len(cache) if isinstance(cache, list) else (), zeros + PAD, at)[:2]


def test_an_ensemble_is_its_members_mean_probability():
    members = [Toy(vocabulary=4, steps=3, batch=2, seed=seed) for seed in (0, 1)]
    step = ensemble([toy.step for toy in members])
    logits, after = first_logits(step, [toy.memory for toy in members], [toy.cache(2, 3) for toy in members])
    for row in range(2):
        for token in range(4):
            mean = sum(np.exp(toy.log_p(row, (token,))) for toy in members) / 2
            np.testing.assert_allclose(np.exp(logits[row, 0, token]), mean, rtol=1e-5)
    assert len(after) == 2
    assert all((part[:, 0] == PAD).all() and (part[:, 1:] == -1).all() for part in after)


@pytest.mark.parametrize("seed", range(3))
def test_searching_an_ensemble_is_searching_the_mean(seed):
    """Greedy, token by token, by the members' written-out probabilities given what was chosen before."""
    members = [Toy(vocabulary=5, steps=5, batch=3, seed=10 * seed + number, sharpness=1.5) for number in range(3)]
    step, memory = ensemble([toy.step for toy in members]), [toy.memory for toy in members]

    def caches(rows, slots):
        return [toy.cache(rows, slots) for toy in members]

    found = jax.device_get(jax.jit(lambda: search(step, memory, [()] * 3, caches, 3, Shape(5)))())
    for row in range(3):
        chosen, total = [], 0.0
        while len(chosen) < 5 and EOS not in chosen:
            logs = np.array(
                [[toy.log_p(row, (*chosen, v)) - toy.log_p(row, chosen) for v in range(5)] for toy in members]
            )
            mean = np.exp(logs).mean(0)
            chosen.append(int(mean.argmax()))
            total += np.log(mean.max())
        assert found.tokens[row, 0].tolist() == padded(chosen, 5)
        np.testing.assert_allclose(found.scores[row, 0], total, rtol=1e-5)


def test_an_ensemble_of_one_is_that_one():
    """Its logits pass through as they are, not as log-probabilities."""
    toy = Toy(vocabulary=4, steps=3, batch=2, seed=0)
    together = first_logits(ensemble([toy.step]), [toy.memory], [toy.cache(2, 3)])[0]
    np.testing.assert_array_equal(together, first_logits(toy.step, toy.memory, toy.cache(2, 3))[0])


@pytest.mark.parametrize("beams", [1, 3])
def test_other_tokens_may_begin_and_end_a_sequence(beams):
    """Renaming tokens renames the answer: with start 4 and eos 3, it is the plain one, its 0 and 4, 1 and 3 swapped."""
    plain = Toy(vocabulary=5, steps=5, batch=4, seed=1)
    swap = np.array([4, 3, 2, 1, 0])
    renamed = Toy(vocabulary=5, steps=5, batch=4, seed=1)
    renamed.weights_BTVV = plain.weights_BTVV[:, :, swap][..., swap]
    renamed.bias_BTV = plain.bias_BTV[..., swap]
    one = searched(plain, Shape(5, beams), length_penalty=0.6)
    other = searched(renamed, Shape(5, beams, start=4, eos=3), length_penalty=0.6)
    ended = 0
    for row, beam_ in itertools.product(range(4), range(beams)):
        tokens = one.tokens[row, beam_].tolist()
        length = tokens.index(EOS) + 1 if EOS in tokens else 5
        ended += EOS in tokens
        expected = [int(swap[token]) for token in tokens[:length]]
        assert other.tokens[row, beam_].tolist() == padded(expected, 5)
    assert ended
    np.testing.assert_array_equal(one.finished, other.finished)
    np.testing.assert_allclose(one.scores, other.scores, rtol=1e-5)
