"""Our SentencePiece models as ``tokenizer.json``: the same ids for every text, or the truth about it."""

import json
import random
from pathlib import Path

import pytest
from tokenizers import Tokenizer

import t2c_jax
from t2c_jax.config import TokenizerConfig
from t2c_jax.interop.tokenizer_json import STRINGS, differences, tokenizer_json
from t2c_jax.tokenizers import sentencepiece as spm
from t2c_jax.tokenizers.training import train

SOURCES = [path.read_text("utf-8") for path in sorted(Path(t2c_jax.__file__).parent.glob("*/*.py"))]
LETTERS = ["a", "b", "=", "-", " ", "  ", "\n", "\t", "_", "def ", "return", "\u00e9", "\U0001f642", "(", "\u2581", "0"]


@pytest.fixture(scope="module", params=[False, True], ids=["spaces joined", "spaces split"])
def model(request):
    return train(TokenizerConfig(vocab_size=900, sentinels=4, split_spaces=request.param), SOURCES[:20])


def texts():
    draw = random.Random(0)
    drawn = ["".join(draw.choices(LETTERS, k=draw.randint(1, 40))) for _ in range(400)]
    runs = [letter * length for letter in '=-_#.*"(0a \n\t' for length in range(1, 70)]
    return [*STRINGS, *drawn, *runs, *(part for text in SOURCES for part in text.split("\n\n"))]


def test_every_text_has_the_same_ids(model):
    content = json.dumps(tokenizer_json(model))
    assert differences(content, spm.SentencePieceTokenizer(model), texts()) == []


def test_other_merges_are_found_by_the_comparison(model):
    layout = tokenizer_json(model)
    layout["model"]["merges"].reverse()
    assert differences(json.dumps(layout), spm.SentencePieceTokenizer(model), texts())


def test_texts_come_back_and_specials_cannot_be_spelt(model):
    content = Tokenizer.from_str(json.dumps(tokenizer_json(model)))
    content.encode_special_tokens = True
    for text in texts():
        assert content.decode(content.encode(text).ids) == text
    assert content.encode("</s>").ids[:-1] != [spm.EOS]


def test_what_belongs_around_a_text_is_put_there(model):
    content = Tokenizer.from_str(json.dumps(tokenizer_json(model, [30, 31], [spm.EOS])))
    inner = content.encode("x = 1", add_special_tokens=False).ids
    assert content.encode("x = 1").ids == [30, 31, *inner, spm.EOS]
    assert content.encode("x = 1", "x = 1").ids == [30, 31, *inner, spm.EOS] * 2
    bare = Tokenizer.from_str(json.dumps(tokenizer_json(model, [], [])))
    assert bare.encode("x = 1").ids == inner


def test_unigram_agrees_on_words_and_differences_are_counted():
    model = train(TokenizerConfig(vocab_size=900, model_type="unigram", sentinels=4), SOURCES[:20])
    content, tokenizer = json.dumps(tokenizer_json(model)), spm.SentencePieceTokenizer(model)
    words = [word for text in SOURCES for word in text.split() if word.isalpha()]
    assert len(words) > 1000
    assert differences(content, tokenizer, words) == []
    wrong = differences(content, tokenizer, texts())
    theirs = Tokenizer.from_str(content)
    assert wrong
    assert all(theirs.encode(text).ids[:-1] != tokenizer.encode_batch([text])[0].tolist() for text in wrong)
