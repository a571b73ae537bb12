"""Stop strings, against plain searches in plain texts."""

import itertools
from collections import Counter
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from grammar_tokenizers import KINDS, tokenizer_of
from jax.sharding import NamedSharding, PartitionSpec
from tiny import experiment, make_mesh, nested_collectives
from toy_decoder import Toy, padded, searched

from t2c_jax.decode.grammar.spelling import Spelling
from t2c_jax.decode.logits_processors import FORBIDDEN, Context, ForbiddenTokens
from t2c_jax.decode.search import PAD, Shape
from t2c_jax.decode.stop_strings import StopStrings, automaton, before_stop, states_of, stop_of
from t2c_jax.tokenizers.sentencepiece import EOS

LETTERS = "abcé"


def texts(random, count, longest):
    """Some texts, none empty."""
    return tuple("".join(random.choice(list(LETTERS), random.integers(1, longest + 1))) for _ in range(count))


def first_end(text, strings):
    """Bytes up to the end of the stop string that ends first; None without any."""
    data = text.encode()
    ends = [data.find(string.encode()) + len(string.encode()) for string in strings if string.encode() in data]
    return min(ends, default=None)


@pytest.mark.parametrize("seed", range(5))
def test_the_automaton_finds_what_a_plain_search_finds(seed):
    random = np.random.default_rng(seed)
    found = Counter()
    for _ in range(100):
        strings, (text,) = texts(random, random.integers(1, 5), 6), texts(random, 1, 30)
        following = automaton(strings)
        assert len(following) == states_of(strings) == states_of(stop_of(states_of(strings)))
        states = [0]
        for byte in text.encode():
            states.append(int(following[states[-1], byte]))
        end, last = first_end(text, strings), len(following) - 1
        assert [state == last for state in states] == [end is not None and at >= end for at in range(len(states))]
        found[end is None] += 1
    assert min(found.values()) > 10


def test_the_text_before_the_first_stop_string_is_kept():
    assert before_stop("one;two.three", ("three", ".", ";t")) == "one"
    assert before_stop("one", ("two", "x")) is None
    assert before_stop("one", ()) is None


def reached(processor, tokens_BWT, strings, eos=1, vocabulary=9):
    """Whether each hypothesis has to end before each step, (B, W, T + 1)."""
    rows, beams, steps = tokens_BWT.shape
    asked = SimpleNamespace(stop=jnp.asarray(np.stack([automaton(each) for each in strings])))
    logits, log_z = jnp.zeros((rows, beams, vocabulary)), jnp.full((rows, beams), 2.5)

    def advance(state, step):
        context = Context(jnp.asarray(tokens_BWT), jnp.full((rows,), step), asked, log_z)
        after, state = processor(state, logits, context)
        return state, after

    _, after_SBWV = jax.jit(lambda state: jax.lax.scan(advance, state, jnp.arange(steps + 1)))(
        processor.start(rows, beams)
    )
    after_BWSV = np.moveaxis(np.asarray(after_SBWV), 0, 2)
    forced = np.full(vocabulary, FORBIDDEN, np.float32)
    forced[eos] = 2.5
    is_forced = (after_BWSV == forced).all(-1)
    assert (is_forced | (after_BWSV == 0).all(-1)).all()
    return is_forced


@pytest.mark.parametrize("seed", range(3))
def test_stop_strings_begin_and_end_anywhere_in_tokens(seed):
    """Random pieces, some with other bytes at the start of an answer, behind tokens without any."""
    random = np.random.default_rng(seed)
    rows, beams, steps = 16, 3, 10
    later = (None, None, None, *(text.encode() for text in texts(random, 5, 4)), b"\xc3")
    first = (*later[:3], *(text[1:] if text[:1] == b"a" else text for text in later[3:]))
    spelling = Spelling(9, first, later, before=(2,), after=(1,))
    tokens_BWT = random.integers(3, 9, (rows, beams, steps))
    tokens_BWT[:, :, 0] = 2
    strings = [texts(random, random.integers(1, 4), 3) for _ in range(rows)]
    found = reached(StopStrings(spelling, eos=1), tokens_BWT, strings)
    for row, beam in itertools.product(range(rows), range(beams)):
        tokens = tokens_BWT[row, beam].tolist()
        for step in range(steps + 1):
            text = b"".join((first if at == 1 else later)[token] or b"" for at, token in enumerate(tokens[:step]))
            assert found[row, beam, step] == any(string.encode() in text for string in strings[row])
    assert 0.2 < found[..., -1].mean() < 0.95


def test_each_device_follows_the_strings_of_its_rows():
    """The loop over a token's bytes waits for no other device."""
    mesh = make_mesh(experiment(mesh={"data": 2, "fsdp": 2, "tensor": 2}))
    rows, beams, random = 8, 2, np.random.default_rng(0)
    pieces = (None, None, None, b"a", b"ab", b"b", b"ba", b"c", b"aa")
    spelling = Spelling(9, pieces, pieces, before=(2,), after=(1,))
    processor = StopStrings(spelling, eos=1)
    tokens_BWT = random.integers(3, 9, (rows, beams, 6)).astype(np.int32)
    stop_BS256 = np.stack([automaton((text,), 8) for text in ("ab", "a", "bb", "ca", "c", "aab", "abc", "b")])

    def follow(state, tokens, stop, step):
        asked = SimpleNamespace(stop=stop)
        zeros = jnp.zeros((rows, beams, 9))
        return processor(state, zeros, Context(tokens, step, asked, zeros[..., 0]))[1]

    arguments = processor.start(rows, beams), tokens_BWT, stop_BS256, np.full(rows, 3, np.int32)
    alone = jax.jit(follow)(*arguments)
    with jax.set_mesh(mesh):
        placed = jax.device_put(arguments, NamedSharding(mesh, PartitionSpec(("data", "fsdp"))))
        compiled = jax.jit(follow).lower(*placed).compile()
        np.testing.assert_array_equal(compiled(*placed), alone)
    assert np.unique(alone).size > 2
    assert not nested_collectives(compiled)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "word_level"])
def test_stop_strings_are_found_where_the_decoded_text_holds_them(kind):
    """Whatever a tokenizer makes of the start of a text, and of the space between pieces."""
    tokenizer = tokenizer_of(kind)
    answers = tokenizer.encode_batch(["return x + 1", "the value of the list x", " return  value"])
    steps = max(map(len, answers))
    tokens_BWT = np.full((3, 1, steps), tokenizer.unk, np.int64)
    for row, answer in enumerate(answers):
        tokens_BWT[row, 0, : len(answer)] = answer
    opening = np.broadcast_to(np.array(tokenizer.before, np.int64), (3, 1, len(tokenizer.before)))
    processor = StopStrings(Spelling.of(tokenizer), tokenizer.eos)
    strings = (" return", "rn x", " x", "lue o", "  v")
    for string in strings:
        found = reached(
            processor,
            np.concatenate([opening, tokens_BWT], axis=2),
            [(string,)] * 3,
            eos=tokenizer.eos,
            vocabulary=tokenizer.vocab_size,
        )[..., len(tokenizer.before) :]
        for row, answer in enumerate(answers):
            texts_S = [tokenizer.decode(answer[:step].tolist()) for step in range(len(answer) + 1)]
            assert found[row, 0, : len(texts_S)].tolist() == [string in text for text in texts_S]


PIECES = (b"", b"", b"a", b"bb", b"ab")
STOP = ("bab", "aaa")


def expected_ends(toy, row, alpha):
    """Every sequence that may end, best first: at eos, or behind a stop string, where eos costs nothing."""
    found = []
    for length in range(toy.steps):
        for body in itertools.product(range(2, 5), repeat=length):
            ends = [
                first_end(b"".join(PIECES[token] for token in body[:step]).decode(), STOP) for step in range(length)
            ]
            if any(end is not None for end in ends):
                continue
            stopped = first_end(b"".join(PIECES[token] for token in body).decode(), STOP) is not None
            log_p = toy.log_p(row, body if stopped else (*body, EOS))
            found.append((log_p / (length + 1) ** alpha, (*body, EOS)))
    return sorted(found, reverse=True)


def stopping(toy, shape, **request):
    spelling = Spelling(5, PIECES, PIECES, (), (EOS,))
    return searched(toy, shape, [ForbiddenTokens([PAD]), StopStrings(spelling, EOS)], stop=STOP, **request)


def test_a_beam_as_wide_as_the_tree_ranks_all_that_ends_at_eos_or_a_stop_string():
    """108 beams have room for all four continuations of all 27 live prefixes."""
    toy = Toy(vocabulary=5, steps=4, batch=2, seed=0)
    found = stopping(toy, Shape(4, 108), length_penalty=0.6)
    for row in range(toy.batch):
        expected = expected_ends(toy, row, 0.6)
        count = len(expected)
        assert found.finished[row].sum() == count < 40
        assert found.tokens[row, :count].tolist() == [padded(tokens, 4) for _, tokens in expected]
        np.testing.assert_allclose(found.scores[row, :count], [score for score, _ in expected], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_greedy_search_and_sampling_end_at_a_stop_string(temperature):
    toy = Toy(vocabulary=5, steps=8, batch=16, seed=1)
    toy.bias_BTV[:, :, EOS] -= 4
    keys = np.arange(32, dtype=np.uint32).reshape(16, 2)
    found = stopping(toy, Shape(8, sampling=temperature > 0), temperature=temperature, keys=keys)
    stopped = 0
    for row in range(toy.batch):
        tokens = found.tokens[row, 0].tolist()
        body = tokens[: tokens.index(EOS)] if EOS in tokens else tokens
        ends = [first_end(b"".join(PIECES[token] for token in body[:step]).decode(), STOP) for step in range(9)]
        has_stopped = ends[len(body)] is not None
        assert all(end is None for end in ends[: len(body)])
        if has_stopped and len(body) < 8:
            assert tokens == padded([*body, EOS], 8)
            assert found.finished[row, 0]
        np.testing.assert_allclose(
            found.scores[row, 0], toy.log_p(row, body if has_stopped else tokens[: len(body) + 1]), rtol=1e-5
        )
        stopped += has_stopped
    assert stopped > 4
