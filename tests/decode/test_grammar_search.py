"""A search under a grammar: the best of all sequences that the grammar allows, with the scores of the model."""

import itertools
import re
import threading
from dataclasses import replace

import jax
import numpy as np
import pytest
from tiny import experiment, make_mesh
from tiny_generators import PROMPTS
from toy_decoder import Toy, padded

from t2c_jax.decode.grammar.beams import Beams
from t2c_jax.decode.grammar.compiled import Grammar
from t2c_jax.decode.grammar.engine import GrammarError
from t2c_jax.decode.grammar_filter import GrammarFilter
from t2c_jax.decode.search import PAD, Shape, requests, search
from t2c_jax.tokenizers.sentencepiece import EOS

STEPS = 4


class Letters:
    """A tokenizer of pad, eos and three letters."""

    eos, unk, vocab_size = EOS, -1, 5
    target_before, target_after, special_ids = (), (EOS,), frozenset()
    surfaces = (b"", b"", b"a", b"b", b"c")

    def decode(self, ids, *, special_pieces=False):
        return b"".join(self.surfaces[i] for i in ids).decode()


def searched(toy, shape, pattern, *, rows_free=(), **request):
    """All rows under the regular expression but those of ``rows_free``."""
    grammar = GrammarFilter()

    def run(asked):
        return search(toy.step, toy.memory, (), toy.cache, toy.batch, shape, (), asked, grammar=grammar)

    with grammar.session(Grammar.compile(f"regex:{pattern}", Letters()), toy.batch, shape.beams) as session:
        asked = requests(toy.batch, shape.steps, grammar=session.number, **request)
        asked.grammar[list(rows_free)] = 0
        found = jax.device_get(jax.jit(run)(asked))
        session.check()
    return found


def in_grammar(sequence, pattern):
    """Padding is no text, and an answer does not hold it."""
    text = sequence[: sequence.index(EOS)]
    return PAD not in text and re.fullmatch(pattern, Letters().decode(text)) is not None


PATTERNS = ["(ab|ba)c*", "a{3}|b", "[abc]*", "c(a|bb)c"]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_wide_beam_finds_the_best_sequences_of_the_grammar(pattern):
    toy = Toy(vocabulary=5, steps=STEPS, batch=3, seed=3, sharpness=1.5)
    found = searched(toy, Shape(STEPS, 64), pattern, length_penalty=0.7, rows_free=[2])
    for row in range(3):
        ranked = [(score, each) for score, each in toy.ranked(row, 0.7) if row == 2 or in_grammar(each, pattern)]
        assert min(len(ranked), 6) <= found.finished[row].sum() <= len(ranked)
        for (score, sequence), tokens, own in zip(ranked[:6], found.tokens[row], found.scores[row], strict=False):
            np.testing.assert_array_equal(tokens, padded(sequence, STEPS))
            np.testing.assert_allclose(own, score, rtol=1e-4)


def greedy_by_hand(toy, row, pattern):
    """The likeliest token at every step that some text of the grammar, however long, continues with."""
    bodies = [each for length in range(STEPS + 3) for each in itertools.product((2, 3, 4), repeat=length)]
    texts = [(*body, EOS) for body in bodies if in_grammar((*body, EOS), pattern)]
    sequence = ()
    while EOS not in sequence and len(sequence) < STEPS:
        following = {each[len(sequence)] for each in texts if each[: len(sequence)] == sequence}
        sequence = max(((*sequence, token) for token in following), key=lambda each: toy.log_p(row, each))
    return sequence


@pytest.mark.parametrize("pattern", PATTERNS)
def test_greedy_search_takes_the_likeliest_token_of_the_grammar(pattern):
    toy = Toy(vocabulary=5, steps=STEPS, batch=4, seed=11, sharpness=1.5)
    found = searched(toy, Shape(STEPS), pattern)
    for row in range(4):
        expected = greedy_by_hand(toy, row, pattern)
        assert found.tokens[row, 0].tolist() == padded(expected, STEPS)
        np.testing.assert_allclose(found.scores[row, 0], toy.log_p(row, expected), rtol=1e-4)


@pytest.mark.parametrize("shape", [{}, {"beams": 3}, {"sampling": True}, {"beams": 4, "groups": 2}], ids=str)
def test_an_answer_that_nothing_continues_ends_unfinished(shape):
    """Two steps do not finish any text."""
    toy = Toy(vocabulary=5, steps=STEPS, batch=2, seed=0)
    found = searched(toy, Shape(STEPS, **shape), "[ab]{5}", temperature=float("sampling" in shape))
    assert not found.finished.any()
    for tokens in found.tokens[:, 0]:
        assert set(tokens.tolist()) <= {2, 3}


@pytest.mark.parametrize("shape", [{"sampling": True}, {"beams": 4, "groups": 2}], ids=str)
def test_what_is_drawn_and_what_groups_find_is_in_the_grammar(shape):
    toy = Toy(vocabulary=5, steps=STEPS, batch=16, seed=1)
    found = searched(
        toy,
        Shape(STEPS, **shape),
        "(ab|ba)c*",
        temperature=2.0 if "sampling" in shape else 0.0,
        keys=np.arange(32, dtype=np.uint32).reshape(16, 2),
    )
    texts = [tuple(tokens) for tokens in found.tokens[found.finished].tolist()]
    assert len(set(texts)) > 2
    assert all(in_grammar(text, "(ab|ba)c*") for text in texts)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_what_is_drawn_has_the_models_own_log_probability(temperature):
    """By hand: the grammar leaves 'a' and 'b', three times as likely, of a model that would write something else.

    They are drawn as if there were no other token. What is reported is how likely the model finds them.
    """
    rows = 1000
    toy = Toy(vocabulary=5, steps=STEPS, batch=rows, seed=0)
    toy.weights_BTVV[:] = 0
    toy.bias_BTV[:] = [20.0, 0.0, 0.0, np.log(3), 0.0]
    keys = np.random.default_rng(4).integers(0, 2**32, (rows, 2), np.uint32)
    found = searched(toy, Shape(STEPS, sampling=True), "(a|b)c", temperature=temperature, keys=keys)
    assert found.finished.all()
    first_B = found.tokens[:, 0, 0]
    assert (found.tokens[:, 0, 1:] == [4, EOS, PAD]).all()
    share = 3 ** (1 / temperature) / (1 + 3 ** (1 / temperature))
    assert abs((first_B == 3).mean() - share) < 4 * np.sqrt(share * (1 - share) / rows)  # four standard errors
    log_z = np.log(np.exp(20.0) + 6)
    expected_B = np.where(first_B == 3, np.log(3), 0.0) - 3 * log_z
    np.testing.assert_allclose(found.scores[:, 0], expected_B, rtol=1e-6)
    assert found.log_p is None  # the scores are the log-probabilities


@pytest.mark.parametrize("settings", [{}, {"beam_size": 2}, {"temperature": 1.0}], ids=str)
def test_eight_devices_answer_as_one(settings, generators):
    settings = {"grammar": "regex:[A-Za-z]{2,3}( [a-z]+){0,2}", "batch_size": 8, **settings}
    prompts = [f"{prompt} {number}." for prompt in PROMPTS for number in range(5)]
    one, eight = (
        generators("transformer", mesh=mesh, **settings).generate(prompts)
        for mesh in (None, make_mesh(experiment(mesh={"data": 4, "fsdp": 2})))
    )
    assert [answer.best for answer in one] == [answer.best for answer in eight]
    assert any(answer.finished for answer in one)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("transformer", {}),
        ("copying", {"beam_size": 2}),
        ("imported", {"temperature": 1.0, "samples": 2}),  # with a tokenizer of its own
    ],
)
def test_answers_of_a_generator_follow_the_grammar(kind, settings, generators):
    pattern = "[A-Za-z]{2,3}( [a-z]+){0,2}"
    generator = generators(kind, grammar=f"regex:{pattern}", **settings)
    texts = [h.text for answer in generator.generate(PROMPTS) for h in answer.hypotheses if h.finished]
    assert texts
    assert all(re.fullmatch(pattern, text) for text in texts)
    # Another grammar takes no other program.
    other = generator.generate(PROMPTS, replace(generator.decode, grammar="regex:(no|yes)!"))
    assert {h.text for answer in other for h in answer.hypotheses if h.finished} <= {"no!", "yes!"}
    assert all(answer.finished for answer in other)


def test_searches_in_several_threads_are_apart():
    """They share programs and a grammar; each has a session of its own."""
    toy, shape, grammar = Toy(vocabulary=5, steps=STEPS, batch=4, seed=2), Shape(STEPS, 3), GrammarFilter()
    compiled = Grammar.compile("regex:(ab|ba)c*|[bc]{2}a", Letters())

    @jax.jit
    def run(asked):
        return search(toy.step, toy.memory, (), toy.cache, toy.batch, shape, (), asked, grammar=grammar)

    def searched_again(times, found):
        for number in range(times):
            with grammar.session(compiled, toy.batch, shape.beams) as session:
                asked = requests(toy.batch, shape.steps, length_penalty=float(number % 3), grammar=session.number)
                found.append(jax.device_get(run(asked)))
                session.check()

    expected: list = []
    searched_again(3, expected)
    found = [[] for _ in range(3)]
    threads = [threading.Thread(target=searched_again, args=(30, each)) for each in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for each in found:
        assert len(each) == 30
        for number, own in enumerate(each):
            jax.tree.map(np.testing.assert_array_equal, own, expected[number % 3])


@pytest.mark.parametrize("devices", [1, 8])
@pytest.mark.parametrize("error", [GrammarError("the grammar is too large"), KeyError("a fault of ours")], ids=repr)
@pytest.mark.parametrize("method", ["judge", "advance"])  # within a callback, and in the thread beside it
def test_an_error_of_the_host_reaches_the_caller_as_itself(method, error, devices, generators, monkeypatch):
    """Not as a traceback of XLA's. The next answers are as before."""
    mesh = make_mesh(experiment(mesh={"data": 4, "fsdp": 2})) if devices == 8 else None
    generator = generators("transformer", mesh=mesh, grammar="regex:[A-Za-z]{2,3}( [a-z]+){0,2}", batch_size=8)
    expected, calls = generator.generate(PROMPTS), itertools.count()
    whole = getattr(Beams, method)

    def fails(*arguments):
        if next(calls) == 2:
            raise error
        return whole(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(Beams, method, fails)
        with pytest.raises(type(error)) as raised:
            generator.generate(PROMPTS)
    assert raised.value is error
    assert generator.generate(PROMPTS) == expected
