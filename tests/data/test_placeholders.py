"""Names for the quotes of a text: in pairs, in prompts, and back in answers."""

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mined import Pair
from tiny_generators import Generators, tokenizer, tokenizers

from t2c_jax.config import DataConfig, TokenizerConfig
from t2c_jax.data import placeholders
from t2c_jax.data.placeholders import NAMES, certain, named, named_pair, with_names, with_texts
from t2c_jax.data.prepare import build_tokens
from t2c_jax.data.prompt_encoder import TokenPrompts
from t2c_jax.data.tasks.translation import translation
from t2c_jax.data.tokens import Tokens
from t2c_jax.decode.scorer import Scorer
from t2c_jax.decode.search import Hypotheses
from t2c_jax.serve.served_model import ServedModel, ServedPrompt
from t2c_jax.serve.text_stream import TextStream
from t2c_jax.tokenizers.loading import Tokenizers
from t2c_jax.tokenizers.stage import build_tokenizer
from t2c_jax.workdir import Workdir, write_json

MANY = " ".join(f"'{number}!'" for number in range(20))


@pytest.mark.parametrize(
    ("text", "expected", "quoted"),
    [
        ("print 'a b' and \"c\"", "print 'STR0' and \"STR1\"", ["a b", "c"]),
        ("replace ',' by ',' in `names`", "replace 'STR0' by 'STR0' in `STR1`", [",", "names"]),
        (r"compile r'\d\'+' and b'x'", "compile r'STR0' and b'STR1'", [r"\d\'+", "x"]),
        ("find=\"*.py\", ('w')", "find=\"STR0\", ('STR1')", ["*.py", "w"]),
        ("the link '<a href=\"%s\">'", "the link 'STR0'", ['<a href="%s">']),
        ("it doesn't, and the users' names aren't", "it doesn't, and the users' names aren't", []),
        ("an empty string '' and a quote '", "an empty string '' and a quote '", []),
        ("'over two\nlines' stay", "'over two\nlines' stay", []),
        ("set STR0 to 'a'", "set STR0 to 'a'", []),
        (MANY, " ".join(f"'STR{n}'" if n < 16 else f"'{n}!'" for n in range(20)), [f"{n}!" for n in range(16)]),
    ],
)
def test_quotes_get_names(text, expected, quoted):
    assert named(text) == (expected, tuple(quoted))
    assert len(quoted) <= len(NAMES)


@pytest.mark.parametrize(
    ("code", "texts", "expected"),
    [
        ("f('a b', \"c\", c)", ["a b", "c"], "f('STR0', \"STR1\", STR1)"),
        ("f(',', a, b)", [","], "f('STR0', a, b)"),  # punctuation is no word
        ("re.sub('\\s', s)", ["s"], "re.sub('\\s', STR0)"),
        ("find . -name '*.py' -o -name foo.py", ["*.py", "foo.py"], "find . -name 'STR0' -o -name STR1"),
        ("names.name = xname + name", ["name"], "names.STR0 = xname + STR0"),
        ("say('a ab', a, ab)", ["a", "ab"], "say('a ab', STR0, STR1)"),  # a part of another text
        ("x = 'abab'", ["ab"], "x = 'abab'"),
        ("x = 1", [], "x = 1"),
    ],
)
def test_code_is_named_after_them(code, texts, expected):
    assert with_names(code, texts) == expected
    assert with_texts(expected, texts) == code


def test_quotes_within_quotes_are_escaped():
    assert with_texts("say('STR0')", ['it"s']) == "say('it\"s')"
    assert with_texts('say("STR0")', ['it"s \\" \\\\"']) == 'say("it\\"s \\" \\\\\\"")'
    assert with_texts("say(STR0, STR7)", ["it's"]) == "say(it's, STR7)"


TEXTS = st.lists(st.text(alphabet="ab.'\"` \\", min_size=1, max_size=4), max_size=3, unique=True)


@settings(max_examples=500, deadline=None, database=None, derandomize=True)
@given(text=st.text(alphabet="ab .'\"\\`(", max_size=30), code=st.text(alphabet="ab.'\"`\\ (STR0", max_size=30))
def test_what_is_trained_on_comes_back(text, code):
    pair = named_pair(Pair("", text, code))
    _, texts = named(text)
    assert with_texts(pair.code, texts if pair.text != text else ()) == code
    assert with_texts(pair.text, texts if pair.text != text else ()) == text


@settings(max_examples=300, deadline=None, database=None, derandomize=True)
@given(raw=st.text(alphabet="STR01a'\"", max_size=24), texts=TEXTS, steps=st.lists(st.integers(1, 4), max_size=30))
def test_a_stream_sends_texts_and_never_takes_them_back(raw, texts, steps):
    def decode(tokens):
        return bytes(tokens).decode()

    stream, sent, count = TextStream(decode, (), texts), "", 0
    final = with_texts(raw, texts)
    for step in steps:
        count = min(count + step, len(raw))
        sent += stream.piece(raw[:count].encode())
        assert final.startswith(sent)
    assert sent + stream.rest(final) == final
    assert not certain("xSTR1").endswith("R1")


PAIRS = {
    "train": [Pair(f"t{n}", f"print '{n} apples' and stop", f"print('{n} apples')\nstop()") for n in range(400)],
    "dev": [Pair("d0", 'print "a rare, rare thing"', "print('a rare, rare thing')"), Pair("d1", "", "x = 'STR0'")],
    "test": [],
}


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    def pairs(split):
        return placeholders.named_pairs(PAIRS[split])

    workdir = Workdir(tmp_path_factory.mktemp("named"))
    workdir.corpus.mkdir()
    write_json(workdir.corpus / "manifest.json", {"stage": "corpus"})
    tokenizer = TokenizerConfig(vocab_size=340, sentinels=0)
    build_tokenizer(tokenizer, "text_to_code", workdir, pairs, placeholders=NAMES)
    assert build_tokens(DataConfig(placeholders=True), workdir, pairs).ran
    return workdir


def test_tokens_hold_names_that_are_pieces(workdir):
    made, tokens = Tokenizers.load(workdir.tokenizer), Tokens.open(workdir.tokens, "dev")
    assert made.text.decode(tokens.text(0)) == 'print "STR0"'
    assert made.code.decode(tokens.code(0)) == "print('STR0')"
    assert made.code.decode(tokens.code(1)) == "x = 'STR0'"
    assert [len(made.code.encode_batch([name])[0]) for name in NAMES] == [1] * len(NAMES)


def test_other_stages_follow_the_setting(workdir):
    assert not build_tokens(DataConfig(placeholders=True), workdir, PAIRS.__getitem__).ran
    assert workdir.manifest("tokens")["config"]["placeholders"] == placeholders.FORMAT
    assert workdir.manifest("tokenizer")["config"]["placeholders"] == list(NAMES)


@pytest.fixture
def generator(generators: Generators):
    made = generators("transformer")
    data = generators.experiment("transformer").data
    template = translation(tokenizers(), data, copy=False).source
    made.prompts = TokenPrompts(tokenizer(), template, data.encoder_length, has_placeholders=True)
    return made


def test_answers_get_the_quotes_of_their_prompt(generator):
    first, second = generator.prompts.encode(["say 'hello'", "say 'good bye'"])
    assert first.value.tolist() == second.value.tolist()
    assert (first.quoted, second.quoted) == (("hello",), ("good bye",))
    assert generator.prompts.encode([]) == []
    (ids,) = tokenizer().encode_batch(["f('STR0')"])
    row = Hypotheses(np.array([[*ids, 1]]), np.zeros(1), np.ones(1, bool), np.array([len(ids) + 1]), None)
    assert generator.hypotheses(generator.decode, row, second.quoted)[0].text == "f('good bye')"
    assert generator.hypotheses(generator.decode, row)[0].text == "f('STR0')"


@pytest.fixture
def says_a_name(generator):
    """Whatever it finds, its tokenizer reads a name."""
    generator.tokenizer = copy.copy(generator.tokenizer)  # the other one is shared
    generator.tokenizer.decode = lambda ids, **_: "f('STR0', x)"
    return generator


def test_prompts_answered_together_get_their_own_quotes(says_a_name):
    answers = says_a_name.generate(["say 'hello'", "say it", "say 'good bye'"])
    assert [answer.best for answer in answers] == ["f('hello', x)", "f('STR0', x)", "f('good bye', x)"]


def test_a_server_sends_the_quotes_of_a_prompt(says_a_name):
    served = ServedModel("said", says_a_name, rows=1)
    try:
        (read,) = says_a_name.prompts.encode(["say 'good bye'"])
        prompt = ServedPrompt("say 'good bye'", read, says_a_name.decode, says_a_name.decode, choices=1)
        row = Hypotheses(np.array([[5, 1]]), np.zeros(1), np.ones(1, bool), np.array([2]), None)
        assert served.choices(prompt, row)[0].text == "f('good bye', x)"
        assert served.stream(prompt).piece([5, 1]) == "f('good bye', x)"
    finally:
        served.close(drain=False)


def test_answers_are_as_likely_whatever_is_quoted(generator):
    pairs = [("say 'a'", "f('a')"), ("say 'b c d'", "f('b c d')"), ("say 'a'", "f('b')")]
    first, second, other = Scorer(generator, lambda ids: ids).score(pairs)
    assert first == second
    assert other != first
    codes_first = [(code, text) for text, code in pairs]
    prompts = generator.prompts
    generator.prompts = TokenPrompts(tokenizer(), prompts._template, prompts._length)
    first, second, other = Scorer(generator, lambda ids: ids, answers_are_texts=True).score(codes_first)
    assert first == second
    assert other != first
