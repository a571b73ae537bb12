"""Tokenizers of imported models against ``transformers``' own, built on the spot; what they stand for; damage."""

import json

import numpy as np
import pytest
from huggingface_models import CODET5, GPT2, ROBERTA, TEXTS, byte_level, gemma, sentencepiece_unigram, wordpiece

from t2c_jax.data.prompt_encoder import TokenPrompts
from t2c_jax.data.templates import SourceTemplate, TargetTemplate
from t2c_jax.decode.logits_processors import unwritable
from t2c_jax.errors import UserError
from t2c_jax.tokenizers.huggingface import HuggingFaceTokenizer, byte_alphabet
from t2c_jax.tokenizers.huggingface_files import write_tokenizer
from t2c_jax.tokenizers.loading import Tokenizers, load_tokenizer

transformers = pytest.importorskip("transformers")

ROWS = 600
UNSEEN = ["", " ", "a  b\n\n\tc 🙂 \u2581x", "Ünïcode Σ 中文 [UNK]ish", "x" * 120, "<pad"]
UNSEEN += [
    "\n" * 11 + " " * 21 + "x",
    "\u2581\u2581<table><unused1>\r\n",
    "<start_of_turn>user\n",
    "e\u0301\u0000\ufffd",
]
KINDS = {
    "wordpiece": (wordpiece, "BertTokenizer", {"model_type": "bert"}),
    "gpt2": (lambda d: byte_level(d, GPT2), "GPT2Tokenizer", {"model_type": "gpt2", "eos_token_id": 0}),
    "roberta": (lambda d: byte_level(d, ROBERTA), "RobertaTokenizer", {"model_type": "roberta"}),
    "codet5": (
        lambda d: byte_level(d, CODET5),
        "RobertaTokenizer",
        {"model_type": "t5", "pad_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 0},
    ),
    "t5": (
        sentencepiece_unigram,
        "T5Tokenizer",
        {"model_type": "t5", "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0},
    ),
    "gemma": (
        gemma,
        "GemmaTokenizer",
        {"model_type": "t5gemma2", "decoder": {"pad_token_id": 0, "eos_token_id": [1, 13], "bos_token_id": 2}},
    ),
}


def built(kind, directory, saved=False):
    """Their tokenizer and ours, of the old files or of the ``tokenizer.json`` that theirs saves."""
    write, name, values = KINDS[kind]
    source, target = directory / "source", directory / "target"
    source.mkdir()
    target.mkdir()
    write(source)
    theirs = getattr(transformers, name).from_pretrained(str(source))
    if saved:
        source = directory / "saved"
        theirs.save_pretrained(str(source))
        assert (source / "tokenizer.json").exists()
    return theirs, write_tokenizer(source, values, ROWS, target), target


@pytest.mark.parametrize("saved", [False, True], ids=["old files", "tokenizer.json"])
@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_those_of_transformers(kind, saved, tmp_path):
    theirs, ours, directory = built(kind, tmp_path, saved)
    texts = [*TEXTS, *UNSEEN]
    for text, ids in zip(texts, ours.encode_batch(texts), strict=True):
        assert ids.dtype == np.int32
        expected = theirs(text, split_special_tokens=True)["input_ids"]
        assert [*ours.before, *ids.tolist(), *ours.after] == expected, text
    again = load_tokenizer(directory)
    assert isinstance(again, HuggingFaceTokenizer)
    assert again.digest == ours.digest


@pytest.mark.parametrize(
    ("kind", "expected"),
    [  # before, after, eos, start, pad, unk: the specials come first in each vocabulary, in the order of their names
        ("wordpiece", ((2,), (3,), 3, 2, 0, 1)),
        ("gpt2", ((), (), 0, 0, 0, -1)),
        ("roberta", ((0,), (2,), 2, 0, 1, -1)),
        ("codet5", ((1,), (2,), 2, 0, 0, -1)),
        ("t5", ((), (1,), 1, 0, 0, 2)),
        ("gemma", ((2,), (), 1, 2, 0, -1)),
    ],
)
def test_special_ids_come_from_the_models_files(kind, expected, tmp_path):
    _, ours, _ = built(kind, tmp_path)
    assert (ours.before, ours.after, ours.eos, ours.start, ours.pad, ours.unk) == expected
    assert ours.vocab_size == len(ours.surfaces) == len(ours.is_byte) == ROWS
    assert ours.is_byte.sum() == (256 if kind == "gemma" else 0)


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [("codet5", (1,), (2,)), ("t5", (), (1,)), ("gemma", (), (1,)), ("gpt2", (), (0,))],
)
def test_a_target_ends_and_does_not_repeat_what_starts_the_decoder(kind, before, after, tmp_path):
    _, ours, directory = built(kind, tmp_path)
    assert (ours.target_before, ours.target_after) == (before, after)
    assert TargetTemplate.of(Tokenizers(ours, ours, ""))(np.array([9])).tolist() == [*before, 9, *after]
    assert not {ours.eos, *before} & set(unwritable(ours))
    specials = json.loads((directory / "specials.json").read_text())
    del specials["vocab_size"]
    # Tokenizers of earlier imports say nothing of targets: what is around these is around sources.
    old = {name: value for name, value in specials.items() if not name.startswith("target")} | {"vocab_size": ROWS}
    (directory / "specials.json").write_text(json.dumps(old))
    assert HuggingFaceTokenizer(directory).target_after == ours.after


@pytest.mark.parametrize("added", [True, False, None])
def test_gemmas_bos_is_put_where_tokenizer_json_says_so(added, tmp_path):
    """The settings say it too, and are not asked: ``transformers`` does not where there is a tokenizer.json."""
    gemma(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    settings = {name: value for name, value in json.loads(path.read_text()).items() if not name.startswith("add_")}
    path.write_text(json.dumps(settings | ({} if added is None else {"add_bos_token": added})))
    theirs = transformers.AutoTokenizer.from_pretrained(str(tmp_path))
    ours = write_tokenizer(tmp_path, KINDS["gemma"][2], ROWS, tmp_path)
    (ids,) = ours.encode_batch(["x y"])
    assert [*ours.before, *ids] == theirs("x y")["input_ids"]
    assert ours.before == (2,)


def test_gemma_gives_back_every_text_without_its_mark_of_a_space(tmp_path):
    theirs, ours, _ = built("gemma", tmp_path)
    for text in [*TEXTS, *UNSEEN]:
        (ids,) = ours.encode_batch([text])
        assert ours.decode(ids) == text.replace("\u2581", " ") == theirs.decode(ids)
        assert b"".join(ours.surfaces[i] for i in ids).decode() == ours.decode(ids)


def test_sentinels_are_found_in_order(tmp_path):
    _, t5, _ = built("t5", tmp_path)
    assert t5.sentinels == list(range(163, 63, -1))  # 64 pieces, then <extra_id_99> down to <extra_id_0>
    other = tmp_path / "codet5"
    other.mkdir()
    assert built("codet5", other)[1].sentinels == [6, 5]


@pytest.mark.parametrize("piece", ["<nl>", "\n"])
@pytest.mark.parametrize("kind", KINDS)
def test_special_pieces_of_a_text_are_characters_unless_the_caller_reads_them(kind, piece, tmp_path, capsys):
    """As ``transformers`` reads them either way; what only structures the input is never read out of a text."""
    write, name, values = KINDS[kind]
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    write(source)
    theirs = getattr(transformers, name).from_pretrained(str(source))
    theirs.add_special_tokens({"additional_special_tokens": [piece]})
    theirs.save_pretrained(str(tmp_path / "saved"))
    ours = write_tokenizer(tmp_path / "saved", values, ROWS, target)
    assert piece in ours.special_pieces
    text = f"def f(x):{piece}return x"
    (plain,), (read,) = ours.encode_batch([text]), ours.encode_batch([text], special_pieces=True)
    i = theirs.convert_tokens_to_ids(piece)
    assert i not in plain.tolist()
    assert read.tolist().count(i) == 1
    assert [*ours.before, *read.tolist(), *ours.after] == theirs(text)["input_ids"]
    structural = f"{theirs.eos_token or theirs.sep_token} {theirs.pad_token or ''}"
    (ids,) = ours.encode_batch([structural], special_pieces=True)
    assert not {ours.eos, ours.pad, ours.start} & set(ids.tolist())

    prompts = TokenPrompts(ours, SourceTemplate(), 64)
    prompts.encode(["x", text])
    assert f"{piece!r} in a prompt is read as characters" in " ".join(capsys.readouterr().err.split())
    (prompt,) = prompts.encode([text], special_pieces=True)
    assert i in prompt.value.tolist()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("kind", ["gpt2", "roberta", "codet5"])
def test_byte_level_gives_every_text_back(kind, tmp_path):
    _, ours, _ = built(kind, tmp_path)
    for text, ids in zip([*TEXTS, *UNSEEN], ours.encode_batch([*TEXTS, *UNSEEN]), strict=True):
        assert ours.decode(ids.tolist()) == text
        assert b"".join(ours.surfaces[i] for i in ids) == text.encode()


def test_the_byte_alphabet_is_gpt2s():
    alphabet = byte_alphabet()
    assert sorted(alphabet.values()) == list(range(256))
    assert (alphabet["Ġ"], alphabet["Ċ"], alphabet["A"], alphabet["Ā"]) == (ord(" "), ord("\n"), ord("A"), 0)


def test_decoding_stops_at_eos_skips_specials_and_cleans_nothing_up(tmp_path):
    _, ours, _ = built("wordpiece", tmp_path)
    ids = ours.encode_batch(["it's , None ."])[0].tolist()
    text = ours.decode([2, *ids, 0, 4, 3, *ids])  # [CLS] ... [PAD] [MASK] [SEP], and what no one should see
    assert text == "it ' s , none ."
    assert ours.decode([ROWS - 1, *ids]) == text, "rows without a piece are silent"


def test_wordpiece_and_metaspace_surfaces(tmp_path):
    _, ours, directory = built("wordpiece", tmp_path)
    vocab = json.loads((directory / "tokenizer.json").read_text())["model"]["vocab"]
    continued = next(piece for piece in vocab if piece.startswith("##"))
    assert ours.surfaces[vocab[continued]] == continued[2:].encode()
    assert [ours.surfaces[i] for i in range(5)] == [b""] * 5
    other = tmp_path / "t5"
    other.mkdir()
    _, t5, _ = built("t5", other)
    (ids,) = t5.encode_batch(["Return the list"])
    assert b"".join(t5.surfaces[i] for i in ids) == b" Return the list"


@pytest.mark.parametrize("kind", KINDS)
def test_no_text_spells_a_special(kind, tmp_path):
    theirs, ours, _ = built(kind, tmp_path)
    specials = {*theirs.all_special_ids} - {theirs.unk_token_id}
    for piece in theirs.all_special_tokens:
        (ids,) = ours.encode_batch([f"a{piece}b"])
        assert not specials & set(ids.tolist()), piece


def test_a_lone_surrogate_is_refused(tmp_path):
    _, ours, _ = built("gpt2", tmp_path)
    with pytest.raises(UserError, match="lone surrogate"):
        ours.encode_batch(["fine", "a\ud800b"])


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("tokenizer.json", lambda text: text[:-40], "'tokenizer.json' is not a tokenizer"),
        ("tokenizer.json", lambda text: "{}", "'tokenizer.json' is not a tokenizer"),
        ("specials.json", lambda text: text[:-10], "'specials.json' is damaged"),
        ("specials.json", lambda text: text.replace('"eos"', '"end"'), "'specials.json' is damaged"),
        ("specials.json", lambda text: text.replace('"eos": 3', '"eos": "3"'), "'specials.json' is damaged"),
        ("specials.json", lambda text: text.replace('"eos": 3', '"eos": 4000'), "ids beyond its vocab_size"),
        ("specials.json", lambda text: text.replace("600", "20"), "exceed the model's 20 embeddings"),
    ],
)
def test_damage_is_reported(name, change, message, tmp_path):
    _, _, directory = built("wordpiece", tmp_path)
    path = directory / name
    path.write_text(change(path.read_text()))
    with pytest.raises(ValueError, match=message):
        HuggingFaceTokenizer(directory)
    with pytest.raises(UserError, match="holds a damaged tokenizer"):
        load_tokenizer(directory)


def test_a_missing_half_is_damage(tmp_path):
    _, _, directory = built("wordpiece", tmp_path)
    (directory / "specials.json").unlink()
    with pytest.raises(ValueError, match=r"specials.json' is missing"):
        HuggingFaceTokenizer(directory)
