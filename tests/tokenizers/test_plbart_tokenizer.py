"""PLBART's tokenizer against ``transformers``' own, on files in the published layout that are made here."""

import json

import numpy as np
import pytest
from huggingface_models import TEXTS, plbart_tokenizer

from t2c_jax.errors import UserError
from t2c_jax.tokenizers.huggingface_files import write_tokenizer
from t2c_jax.tokenizers.layout_words import from_words, to_words
from t2c_jax.tokenizers.loading import Tokenizers
from t2c_jax.tokenizers.trimming import kept_ids, trim

CODE = "def first(values):\n    if values:\n        return values[0]\n    return None\n"
STRINGS = [
    *dict.fromkeys(TEXTS),
    "two  spaces \t and a tab",
    "",
    "===== unknown \u20ac\u20ac letters",
    " __python__ <mask>",
]
ROWS = 140
VALUES = {"model_type": "plbart", "pad_token_id": 1, "eos_token_id": 2}


def imported(tmp_path, model_type="bpe", direction="text_to_code", **settings):
    plbart_tokenizer(tmp_path, model_type, **settings)
    (tmp_path / "tokenizer").mkdir()
    write_tokenizer(tmp_path, VALUES, ROWS, tmp_path / "tokenizer")
    return Tokenizers.load(tmp_path / "tokenizer", direction)


@pytest.mark.parametrize("codes", ["base", "multi"])
@pytest.mark.parametrize("model_type", ["bpe", "unigram"])
def test_ids_are_theirs(model_type, codes, tmp_path):
    transformers = pytest.importorskip("transformers")
    tokenizers = imported(tmp_path, model_type, language_codes=codes, src_lang="en_XX", tgt_lang="java")
    theirs = transformers.PLBartTokenizer(
        str(tmp_path / "sentencepiece.bpe.model"), language_codes=codes, src_lang="en_XX", tgt_lang="java"
    )
    for text in STRINGS[:-1]:
        (ids,) = tokenizers.source.encode_batch([text])
        assert [*ids, *tokenizers.source.after] == theirs(text)["input_ids"], text
        (ids,) = tokenizers.target.encode_batch([text])
        assert [*ids, *tokenizers.target.target_after] == theirs(text_target=text)["input_ids"], text
    assert tokenizers.target.start == theirs.convert_tokens_to_ids("__java__")
    # What a text spells is text here; theirs reads a language's id out of it.
    assert max(tokenizers.source.encode_batch(STRINGS[-1:])[0]) < theirs.convert_tokens_to_ids("__java__")


def test_a_direction_says_which_language_comes_behind_what(tmp_path):
    forth = imported(tmp_path)
    back = Tokenizers.load(tmp_path / "tokenizer", "code_to_text")
    text, code = (forth.source.languages[side] for side in ("text", "code"))
    for tokenizer in (forth.source, forth.target):
        assert (tokenizer.start, tokenizer.after, tokenizer.target_after) == (code, (2, text), (2, code))
    for tokenizer in (back.source, back.target):
        assert (tokenizer.start, tokenizer.after, tokenizer.target_after) == (text, (2, code), (2, text))
    assert forth.digest == back.digest
    assert forth.copy_table() is None


def test_what_a_model_was_tuned_to_write_is_its_direction(tmp_path):
    tokenizers = imported(tmp_path, src_lang="java", tgt_lang="en_XX", direction="code_to_text")
    assert tokenizers.target.direction == "code_to_text"
    vocabulary = json.loads((tmp_path / "tokenizer" / "tokenizer.json").read_text())["model"]["vocab"]
    assert tokenizers.target.languages == {"text": vocabulary["__en_XX__"], "code": vocabulary["__java__"]}
    assert to_words(CODE) != CODE
    same = [tokenizers.source.encode_batch([text])[0] for text in (CODE, " ".join(CODE.split()))]
    np.testing.assert_array_equal(*same)  # Java's newlines mean nothing


def test_a_language_that_it_lacks_is_named(tmp_path):
    with pytest.raises(UserError, match="tgt_lang='go' is no language of this tokenizer"):
        imported(tmp_path, tgt_lang="go")


def test_pythons_layout_is_written_as_words_and_read_back(tmp_path):
    tokenizers = imported(tmp_path)
    (ids,) = tokenizers.target.encode_batch([CODE])
    assert tokenizers.target.decode([*ids, 2]) == CODE
    assert "NEW_LINE INDENT if values: NEW_LINE INDENT" in tokenizers.source.decode([*ids, 2]), "texts have no layout"
    sent = ""
    for stop in range(len(ids) + 1):  # what is streamed is never taken back
        text = tokenizers.target.decode(ids[:stop]).rstrip("\ufffd")
        assert text.startswith(sent)
        sent = text


def test_a_trimmed_vocabulary_keeps_its_languages(tmp_path):
    tokenizers, directory = imported(tmp_path), tmp_path / "tokenizer"
    used = set(tokenizers.target.encode_batch([CODE])[0].tolist())
    trim(directory, kept_ids(directory, used))
    small = Tokenizers.load(directory).target
    assert small.decode([*small.encode_batch([CODE])[0], small.eos]) == CODE
    pieces = json.loads((directory / "tokenizer.json").read_text())["model"]["vocab"]
    assert (small.start, small.target_after) == (pieces["__python__"], (2, pieces["__python__"]))


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("x = 1", "x = 1"),
        ("if a:\n    b\nc", "if a: NEW_LINE INDENT b NEW_LINE DEDENT c"),
        (
            "if a:\n\tif b:\n\t\tc\nd\n",
            "if a: NEW_LINE INDENT if b: NEW_LINE INDENT c NEW_LINE DEDENT DEDENT d NEW_LINE",
        ),
        ("f(a,\n  b)\n\n\ng", "f(a, NEW_LINE INDENT b) NEW_LINE DEDENT g"),
    ],
)
def test_words_for_indentation(code, words):
    assert to_words(code) == words
    lines = [line for line in code.split("\n") if line.strip()]
    found = from_words(words)
    assert [line.strip() for line in found.split("\n") if line] == [line.strip() for line in lines]
    assert to_words(found) == words


def test_a_word_that_is_not_whole_is_held_back():
    assert from_words("a NEW_LI", is_whole=False) == "a\ufffd"
    assert from_words("a NEW_LI") == "a NEW_LI"
    assert from_words("a NEW_LINES", is_whole=False) == "a NEW_LINES"
    assert from_words("DEDENT DEDENT a NEW_LINE b") == "a\nb"
