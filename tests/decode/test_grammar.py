"""A grammar over each kind of tokenizer: finished answers are texts of it, and bad input gets one line."""

import json
import random
import re

import numpy as np
import pytest
from grammar_tokenizers import KINDS, allowed, tokenizer_of, walk

from t2c_jax.decode.grammar.beams import Beams
from t2c_jax.decode.grammar.compiled import Grammar
from t2c_jax.decode.grammar.lower_bound import byte_costs, fewest_tokens
from t2c_jax.decode.grammar.spelling import Spelling
from t2c_jax.errors import UserError

pytest.importorskip("transformers")
BYTES = ("sentencepiece", "gpt2", "roberta", "codet5")  # kinds that write every text
SCHEMAS = {
    "object": {
        "type": "object",
        "properties": {
            "n": {"type": "integer"},
            "s": {"type": "string"},
            "l": {"type": "array", "items": {"enum": ["a", 1]}},
        },
        "required": ["n", "l"],
        "additionalProperties": False,
    },
    "limits": {
        "type": "array",
        "items": {
            "anyOf": [
                {"type": "string", "minLength": 1, "maxLength": 3},
                {"type": "integer", "minimum": -2, "maximum": 30},
                {"type": "number", "exclusiveMinimum": 0, "maximum": 1.5},
                {"type": "string", "pattern": "^[ab]+c?$"},
                {"const": {"x": [None, True]}},
            ]
        },
        "minItems": 1,
        "maxItems": 4,
    },
    "recursive": {
        "$ref": "#/$defs/tree",
        "$defs": {
            "tree": {
                "type": "object",
                "properties": {"v": {"type": ["boolean", "null"]}, "t": {"$ref": "#/$defs/tree"}},
                "required": ["v"],
                "additionalProperties": False,
            }
        },
    },
    "map": {
        "type": "object",
        "patternProperties": {"^a": {"type": "integer"}},
        "additionalProperties": {"type": "string", "format": "date"},
    },
}


def random_regex(seed, letters="abc01 =.(é你🙂\n"):
    """A regular expression that Python and Rust read alike."""
    source = random.Random(seed)

    def part(depth):
        kind = source.randrange(6 if depth else 2)
        if kind < 2:
            return re.escape(source.choice(letters))
        if kind == 2:
            return "[" + "".join(re.escape(letter) for letter in source.sample(letters, 3)) + "]"
        inner = "".join(part(depth - 1) for _ in range(source.randint(1, 3)))
        if kind == 3:
            return f"(?:{inner}|{part(depth - 1)})"
        return f"(?:{inner})" + source.choice(["*", "+", "?", "{1,3}"])

    return "".join(part(3) for _ in range(3))


@pytest.mark.parametrize("kind", KINDS)
def test_finished_answers_match_a_random_regular_expression(kind):
    tokenizer = tokenizer_of(kind)
    finished = 0
    for seed in range(12):
        pattern = random_regex(seed) if kind in BYTES else random_regex(seed, "abcde ")
        try:
            grammar = Grammar.compile(f"regex:{pattern}", tokenizer, 24)
        except UserError:
            if kind in BYTES:
                raise
            continue
        for answer in walk(grammar, tokenizer.eos, seed, rows=8):
            text = tokenizer.decode(answer)
            assert re.fullmatch(pattern, text), (pattern, text)
            assert fewest_tokens(grammar.source.lark, byte_costs(grammar.spelling)) <= len(answer)
            finished += 1
    assert finished > 10


@pytest.mark.parametrize("kind", BYTES)
@pytest.mark.parametrize("name", SCHEMAS)
def test_finished_answers_fit_a_json_schema(name, kind, tmp_path):
    jsonschema = pytest.importorskip("jsonschema")
    (tmp_path / "s.json").write_text(json.dumps(SCHEMAS[name]))
    tokenizer = tokenizer_of(kind)
    grammar = Grammar.compile(f"schema:{tmp_path}/s.json", tokenizer, 128)
    answers = walk(grammar, tokenizer.eos, 0, steps=150, rows=16)
    for answer in answers:
        jsonschema.validate(json.loads(tokenizer.decode(answer)), SCHEMAS[name])
    assert answers


@pytest.mark.parametrize("kind", KINDS)
def test_a_tokens_bytes_are_those_of_decode(kind):
    """In sequences of any tokens, beside each other in any order."""
    tokenizer = tokenizer_of(kind)
    spelling = Spelling.of(tokenizer)
    writable = [i for i, text in enumerate(spelling.later) if text is not None and spelling.first[i] is not None]
    assert len(writable) > 10
    assert tokenizer.eos not in writable
    source = random.Random(0)
    for _ in range(200):
        ids = source.choices(writable, k=source.randint(1, 9))
        text = spelling.first[ids[0]] + b"".join(spelling.later[i] for i in ids[1:])
        try:
            assert tokenizer.decode(ids) == text.decode("utf-8")
        except UnicodeDecodeError:
            assert "\ufffd" in tokenizer.decode(ids)


def test_the_first_token_has_no_space_before_it():
    wordpiece, t5 = tokenizer_of("wordpiece"), tokenizer_of("t5")
    grammar = Grammar.compile("regex:the( the)?", wordpiece, 8)
    texts = {wordpiece.decode(answer) for seed in range(4) for answer in walk(grammar, wordpiece.eos, seed, rows=8)}
    assert texts == {"the", "the the"}
    grammar = Grammar.compile("regex:e(e| e)*", t5)
    texts = {t5.decode(answer) for seed in range(4) for answer in walk(grammar, t5.eos, seed, rows=8)}
    assert {"e", "ee", "e e"} <= texts


@pytest.mark.parametrize("kind", ["roberta", "wordpiece"])
def test_the_ids_around_a_target_are_around_an_answer(kind):
    tokenizer = tokenizer_of(kind)
    grammar = Grammar.compile("regex:ab*", tokenizer)
    beams = Beams(grammar, 1, 1)
    beams.reset(0)
    size = tokenizer.vocab_size
    assert allowed(beams.masks()[0, 0], size).tolist() == [*tokenizer.before]
    answer = walk(grammar, tokenizer.eos, 1)[0]
    assert tuple(answer[: len(tokenizer.before)]) == tokenizer.before
    assert answer[-1] == tokenizer.eos
    assert re.fullmatch("ab*", tokenizer.decode(answer))


def test_a_negation_writes_valid_unicode_alone(tmp_path):
    """llguidance's ``~`` matches bytes that are no UTF-8, and the names of tokens that no text can spell."""
    (tmp_path / "g.lark").write_text("start: A\nA: ~/x*/\n")
    tokenizer = tokenizer_of("sentencepiece")
    grammar = Grammar.compile(f"{tmp_path}/g.lark", tokenizer)
    answers = walk(grammar, tokenizer.eos, 0, steps=12, rows=64)
    texts = [tokenizer.decode(answer) for answer in answers]
    assert len(texts) > 30
    assert not [text for text in texts if "\ufffd" in text or re.fullmatch("x*", text)]
    special = [i for i, surface in enumerate(tokenizer.surfaces) if not surface and i != tokenizer.eos]
    assert not np.isin(np.concatenate(answers), [*special, tokenizer.unk]).any()


def test_special_pieces_can_be_written_where_answers_hold_them(tmp_path):
    tokenizer = tokenizer_of("codet5")
    i = tokenizer.special_pieces.index("<mask>") if "<mask>" in tokenizer.special_pieces else None
    assert i is not None
    grammar = Grammar.compile("regex:a<mask>", tokenizer, special_pieces=True)
    (mask,) = [i for i in tokenizer.special_ids if tokenizer.decode([i], special_pieces=True) == "<mask>"]
    answers = [answer for seed in range(6) for answer in walk(grammar, tokenizer.eos, seed, rows=4)]
    assert all(tokenizer.decode(answer, special_pieces=True) == "a<mask>" for answer in answers)
    assert any(mask in answer for answer in answers)
    without = Grammar.compile("regex:a<mask>", tokenizer)
    assert not any(mask in answer for seed in range(6) for answer in walk(without, tokenizer.eos, seed, rows=4))


@pytest.mark.parametrize(
    ("spec", "max_tokens", "message"),
    [
        (
            "pyhton",
            64,
            "='pyhton' must be one of python, python-line, bash, sql, json; did you mean 'python'?",
        ),
        ("none.lark", 64, "config.decode.grammar: 'none.lark' does not exist"),
        ("schema:none.json", 64, "config.decode.grammar: 'none.json' does not exist"),
        (".lark", 64, "config.decode.grammar: '.lark' cannot be read: Is a directory"),
        ("latin.lark", 64, "latin.lark:2: not UTF-8; convert it"),
        ("unknown.lark", 64, 'unknown.lark:1:8: unknown name: "b"'),
        ("open.lark", 64, "open.lark:2:13: Expected token ')', found '\\n'"),
        (
            "lookahead.lark",
            64,
            'lookahead.lark:3:4: invalid regex "a(?=b)" (in regex): look-around, including',
        ),
        ("rule.lark", 64, "rule.lark: no start rule found"),
        ("comma.json", 64, "comma.json:2:1: not JSON: Expecting property name enclosed in double quotes"),
        ("list.json", 64, "list.json: a JSON schema is an object"),
        ("type.json", 64, "type.json: Invalid type: foo"),
        ("regex:a/[b", 64, "config.decode.grammar='regex:a/[b': column 3: unclosed character class"),
        ("regex:abc", 1, "max_tokens=1, for each has at least 3 tokens; increase it"),
        ("regex:[0-9]{500}", 64, "no answer ends within config.decode.max_tokens=64, for each has at least"),
        ("schema:long.json", 64, "no answer ends within config.decode.max_tokens=64, for each has at least"),
        ("regex:(ab){300}", 20, "no answer ends within config.decode.max_tokens=20, for each has at least"),
        ("endless.lark", 64, "endless.lark': no text of it ends; its rules go round in a circle"),
        ("greedy.lark", 64, "no answer ends within config.decode.max_tokens=64; increase it"),
        ("nothing.lark", 64, "no text of it ends that this run's tokenizer can write"),
    ],
)
def test_bad_input_gets_one_line(spec, max_tokens, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, content in {
        "latin.lark": b'start: "a"\n// \xe9\n',
        "unknown.lark": b'start: a b\na: "x"\n',
        "open.lark": b'start: a\na: "x" ( "y"\n',
        "lookahead.lark": b"start: A\n\nA: /a(?=b)/\n",
        "rule.lark": b'x: "a"\n',
        "endless.lark": b'start: "a" start\n',
        "greedy.lark": b"start: A B\nA: /a+/\nB: /a/\n",  # a terminal takes as much as it can
        "nothing.lark": b"start: A\nA: /a/ & /b/\n",
        "comma.json": b'{"type": "object",\n}',
        "list.json": b"[]",
        "long.json": b'{"type": "array", "items": {"type": "boolean"}, "minItems": 99}',
        "type.json": b'{"type": "foo"}',
    }.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / ".lark").mkdir()
    spec = f"schema:{spec}" if spec.endswith(".json") and ":" not in spec else spec
    with pytest.raises(UserError) as raised:
        Grammar.compile(spec, tokenizer_of("sentencepiece"), max_tokens)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("kind", ["t5", "wordpiece", "word_level"])
def test_a_grammar_that_the_tokenizer_cannot_spell_is_refused(kind):
    with pytest.raises(UserError, match=r"this run's tokenizer cannot write any text of it: every text has a '\\n'"):
        Grammar.compile(r"regex:[a-d]+\nb", tokenizer_of(kind))
    with pytest.raises(UserError, match="no text of it ends that this run's tokenizer can write"):
        Grammar.compile(r"regex:a\.\.a", tokenizer_of("wordpiece"))  # which has spaces around points


@pytest.mark.parametrize(
    ("lark", "least"),
    [
        ('start: "ab" /c+/ | X{2,3}\nX: /[ab]/', 2),
        ('start: a::0\na::_: "b" a::incr(_) %if lt(_, 3) | "cc"', 2),
        ('?start[capture, suffix="x"]: ("a" | "bb")~2..3 -> name // comment\n    | "ccc"  # more\n', 2),
        ('start: [a] b? c* d+\na: "x"\nb: "x"\nc: "x"\nd: "ab" "c"', 3),
        ("start: X\nX: /a{3}/ & /a*/ & ~/b/", 3),
        ('start: "A"i "x".."z" /(?i)A\\.(?:b|(?P<n>c))[^a][\\]-a]/ /[[:alpha:]]\\x41\\p{Lu}\\d$/', 11),
        ('start: %json {"type": "object", "required": ["a"], "properties": {"a": {"enum": ["bb", true]}}}', 10),
        ('start: %json {"$ref": "#/d/x", "d": {"x": {"anyOf": [{"$ref": "#/d/x"}, {"type": "null"}]}}}', 4),
        ("start: <special> @other unknown", 0),
        ('start: "a" start | b\nb: b "c"', float("inf")),
        ("start: /a(?=b)c/", 0),  # not understood
        ('%ignore / /\n%import common.INT\nstart: INT "a"\n%llguidance {"no_forcing": true}\n', 1),
    ],
)
def test_the_bound_is_the_length_of_the_shortest_text(lark, least):
    """In bytes, where each costs one."""
    assert fewest_tokens(lark, [1.0] * 256) == least
