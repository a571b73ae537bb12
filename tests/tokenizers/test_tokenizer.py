"""The tokenizer gives every text back, and its model is the same bytes each time."""

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import sentencepiece

from t2c_jax.config import TokenizerConfig
from t2c_jax.errors import UserError
from t2c_jax.tokenizers.loading import Tokenizers, load_tokenizer
from t2c_jax.tokenizers.lossless import round_trips
from t2c_jax.tokenizers.sentencepiece import EOS, PAD, UNK, SentencePieceTokenizer
from t2c_jax.tokenizers.stage import build_tokenizer
from t2c_jax.tokenizers.training import sample_evenly, train
from t2c_jax.workdir import Workdir, write_json

CONFIG = TokenizerConfig(vocab_size=700, sentinels=10)


@dataclass
class Pair:
    id: str
    text: str
    code: str


PAIRS = [
    Pair(
        f"id-{n}",
        f"def add_{n}(a, b)\nReturn the sum of a, b and {n}, as a number.",
        f"def add_{n}(a, b):\n    if a > {n}:\n        return a + b\n\tresult = [a, '{n:x}']\n    return result{n}\n",
    )
    for n in range(200)
]

NASTY = [
    "",
    " ",
    "\n",
    "\0",
    "a\0b\0\0",
    "\r",
    "a\rb\r\nc\n\r",
    "\t\tif x:\t\n \t  \n",
    "   leading and trailing   ",
    " " * 37 + "x" + " " * 1000,
    "\u2581",
    "a \u2581\u2581 b\u2581",
    "\u2581" * 50 + " " * 50,
    "\u2585 \u2047 \ufffd \ufeff \u200b \u2028 \u2029 \x85 \x0b \x0c \x1f \x7f",
    "\ue000\uf8ff\U000f0000\U0010ffff",
    "\U0001f469\u200d\U0001f4bb e\u0301 \u00e9 \ufb01 \uff21 \u212b",  # no normalisation form is applied
    "\u65e5\u672c\u8a9e \u0627\u0644\u0639\u0631\u0628\u064a\u0629",
    "</s><pad><unk><s>",
    "<extra_id_0> <extra_id_9>",
    "<0x0A><0xE2><0x96><0x81>",
    "x" * 50_000,
    "long line " * 5_000,
]


def encode(tokenizer, text):
    return tokenizer.encode_batch([text])[0].tolist()


def all_texts():
    return (text for pair in PAIRS for text in (pair.text, pair.code))


@pytest.fixture(scope="module", params=["bpe", "unigram"])
def tokenizer(request):
    size = 700 if request.param == "bpe" else 480
    config = TokenizerConfig(vocab_size=size, sentinels=10, model_type=request.param)
    return SentencePieceTokenizer(train(config, [*all_texts(), *NASTY]))


@pytest.mark.parametrize("text", NASTY, ids=lambda text: ascii(text[:20]))
def test_hard_texts_are_decoded_exactly(tokenizer, text):
    ids = encode(tokenizer, text)
    assert tokenizer.decode(ids) == text
    assert not {PAD, EOS, UNK, *tokenizer.sentinels} & set(ids)


def test_gives_back_random_unicode(tokenizer):
    draw = random.Random(0)
    planes = [(0, 0x80), (0, 0x800), (0x2500, 0x2600), (0xE000, 0x10000), (0x10000, 0x110000)]
    texts = []
    for _ in range(500):
        low, high = draw.choice(planes)
        texts.append("".join(chr(draw.randrange(low, high)) for _ in range(draw.randrange(40))))
    assert [tokenizer.decode(ids.tolist()) for ids in tokenizer.encode_batch(texts)] == texts


def test_encode_batch_is_encode(tokenizer):
    batch = tokenizer.encode_batch(NASTY)
    assert [ids.tolist() for ids in batch] == [encode(tokenizer, text) for text in NASTY]
    assert {ids.dtype for ids in batch} == {np.dtype(np.int32)}


def test_ordinary_texts_get_sentencepiece_own_ids():
    model = train(CONFIG, all_texts())
    theirs = sentencepiece.SentencePieceProcessor(model_proto=model)
    assert all(encode(SentencePieceTokenizer(model), text) == theirs.encode(text) for text in all_texts())


def test_newlines_and_indentation_are_pieces(tokenizer):
    for text in ("\n", "\n    ", "\n\t\t", "        ", "\t"):
        assert len(encode(tokenizer, text)) == 1
    assert len(encode(tokenizer, "\n        return")) <= 1 + len(encode(tokenizer, "return"))


def test_decode_stops_at_eos_and_passes_over_pad_and_sentinels(tokenizer):
    ids = encode(tokenizer, "a = b")
    assert tokenizer.decode([PAD, *ids, tokenizer.sentinels[0], EOS, *ids]) == "a = b"
    assert tokenizer.decode(np.array(ids, np.int32)) == "a = b"


def test_decode_survives_bytes_that_are_not_text(tokenizer):
    first_byte = encode(tokenizer, "\u2581")[0]  # the first of three
    assert tokenizer.decode([first_byte, *encode(tokenizer, "x")]) == "\ufffdx"


def test_sentinels_follow_the_specials():
    assert SentencePieceTokenizer(train(CONFIG, all_texts())).sentinels == list(range(3, 13))


def test_model_is_the_same_bytes_each_time(capfd):
    for kind, size in (("bpe", 700), ("unigram", 480)):
        config = TokenizerConfig(vocab_size=size, sentinels=10, model_type=kind)
        assert train(config, all_texts()) == train(config, all_texts())
    assert capfd.readouterr() == ("", "")


def test_long_and_odd_texts_are_trained_on():
    """SentencePiece by itself leaves out texts over 4192 bytes, and those with NUL, U+2581 or U+2585."""
    words = [f"wobble{n} " for n in range(1000)]
    model = train(TokenizerConfig(vocab_size=400, sentinels=0), ["\0\u2581\u2585" + "".join(words) * 2])
    assert len(encode(SentencePieceTokenizer(model), "wobble")) == 1


def test_lone_surrogates_are_refused(tokenizer):
    with pytest.raises(UserError, match=r"lone surrogate in 'ab\\ud800c'"):
        encode(tokenizer, "ab\ud800c")


@pytest.mark.parametrize(("size", "words"), [(50, "at least"), (50_000, "at most")])
@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_a_vocabulary_that_does_not_suit_names_one_that_works(size, words, kind):
    with pytest.raises(UserError, match=rf"vocab_size={size} .* set it to \d+ {words}") as caught:
        train(TokenizerConfig(vocab_size=size, model_type=kind), all_texts())
    named = int(str(caught.value).split("set it to ")[1].split()[0])
    model = train(TokenizerConfig(vocab_size=named, model_type=kind), all_texts())
    assert SentencePieceTokenizer(model).vocab_size == named


def test_an_empty_corpus_is_refused():
    with pytest.raises(UserError, match="no text to train a tokenizer on"):
        train(CONFIG, [])


@pytest.mark.parametrize(("limit", "sampled"), [(10_000, 200), (100, 50), (1, 1)])
def test_training_texts_are_sampled_evenly(limit, sampled):
    texts = list(sample_evenly(PAIRS, len(PAIRS), limit))
    picked = [n for n, pair in enumerate(PAIRS) if pair.text in texts]
    assert len(texts) == 2 * sampled
    assert set(np.diff(picked)) <= {len(PAIRS) // sampled}


def test_round_trips_count_tokens_and_name_the_pairs_that_change(monkeypatch):
    tokenizer = SentencePieceTokenizer(train(CONFIG, all_texts()))
    both = Tokenizers(tokenizer, tokenizer, "text_to_code")
    report = round_trips(both, PAIRS)
    assert (report["pairs"], report["text"]["failures"], report["code"]["failures"]) == (200, [], [])
    assert report["code"]["characters"] == sum(len(pair.code) for pair in PAIRS)
    assert report["code"]["tokens"] == sum(len(encode(tokenizer, pair.code)) for pair in PAIRS)
    assert report["text"]["unk"] == report["text"]["byte_share"] == 0
    rare = round_trips(both, [Pair("rare", "\u65e5", "ok")])
    assert rare["text"]["byte_share"] > 0.7
    right = SentencePieceTokenizer.decode
    monkeypatch.setattr(
        SentencePieceTokenizer, "decode", lambda self, ids: right(self, ids).replace("add_7(", "add_7 (")
    )
    assert round_trips(both, PAIRS)["code"]["failures"] == ["id-7"]


def corpus_at(path: Path) -> Workdir:
    workdir = Workdir(path)
    workdir.corpus.mkdir(parents=True)
    write_json(workdir.corpus / "manifest.json", {"stage": "corpus", "counts": {"train": 200}, "seconds": 1})
    return workdir


def split(name):
    return PAIRS[:5] if name == "dev" else PAIRS[5:7] if name == "test" else PAIRS


def test_stage_writes_model_and_proof_and_is_skipped_after(tmp_path):
    workdir = corpus_at(tmp_path)
    result = build_tokenizer(CONFIG, "text_to_code", workdir, split)
    assert result.ran
    assert result.manifest["counts"]["check"]["dev"]["pairs"] == 5
    assert (workdir.tokenizer / "check.json").is_file()
    assert Tokenizers.load(workdir.tokenizer).digest == result.manifest["counts"]["digest"]
    assert not build_tokenizer(CONFIG, "text_to_code", workdir, split).ran


def test_stage_fails_where_the_proof_fails(tmp_path, monkeypatch):
    workdir = corpus_at(tmp_path)
    monkeypatch.setattr(SentencePieceTokenizer, "decode", lambda self, ids: "")
    with pytest.raises(UserError, match=r"changes 207 pairs \(train:id-0, "):
        build_tokenizer(CONFIG, "text_to_code", workdir, split)
    assert not workdir.tokenizer.exists()


def test_missing_and_damaged_models(tmp_path):
    with pytest.raises(UserError, match="does not exist; run t2c tokenizer"):
        load_tokenizer(tmp_path)
    (tmp_path / "spm.model").write_bytes(b"not a model")
    with pytest.raises(UserError, match="damaged tokenizer"):
        load_tokenizer(tmp_path)
