"""Vocabularies cut down: texts of the pieces kept are read as those pieces, all others as smaller ones."""

import json
import random
import shutil
from pathlib import Path

import pytest
from huggingface_models import TEXTS, sentencepiece_unigram, tokenizer_files

from t2c_jax.errors import UserError
from t2c_jax.tokenizers import trimming
from t2c_jax.tokenizers.huggingface_files import write_tokenizer
from t2c_jax.tokenizers.trimming import Trimming, kept_ids, trim, used_ids, write_trimming

KINDS = {
    "bert": {"model_type": "bert"},
    "gpt2": {"model_type": "gpt2", "eos_token_id": 0},
    "roberta": {"model_type": "roberta"},
    "t5": {"model_type": "t5", "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0},
    "gemma": {"model_type": "t5gemma2", "eos_token_id": 1},
}
NEEDED = TEXTS[:2]
OTHERS = [*TEXTS, "", "  ", "naïve\n\n\n\tx = 1 🙂 \u2581y", "z" * 40, "(((((((((", "<table> <mask> <h1>", "日本"]


@pytest.fixture(params=KINDS)
def both(request, tmp_path, monkeypatch):
    """The whole tokenizer, the trimmed one, and the ids kept, none of them there to fill up."""
    monkeypatch.setattr(trimming, "_MULTIPLE", 1)
    source, whole, less = (tmp_path / name for name in ("source", "whole", "less"))
    for path in (source, whole):
        path.mkdir()
    if request.param == "t5":
        sentencepiece_unigram(source, 200, [*TEXTS, *Path(trimming.__file__).read_text().splitlines()])
    else:
        tokenizer_files(request.param, source)
    tokenizer = write_tokenizer(source, KINDS[request.param], 600, whole)
    shutil.copytree(whole, less)
    kept = kept_ids(less, used_ids(tokenizer, NEEDED))
    return tokenizer, trim(less, kept), kept


def texts(tokenizer, kept):
    """Real ones, and what the pieces kept spell in any order."""
    draw = random.Random(0)
    spelt = [tokenizer.decode(draw.choices(kept, k=draw.randint(1, 12))) for _ in range(600)]
    return [*NEEDED, *OTHERS, *spelt]


def test_texts_of_the_pieces_kept_have_the_same_pieces(both):
    tokenizer, trimmed, kept = both
    assert len(kept) == trimmed.vocab_size < tokenizer._tokenizer.get_vocab_size()
    new = {old: i for i, old in enumerate(kept)}
    same = 0
    tried = texts(tokenizer, kept)
    for text, whole, less in zip(tried, tokenizer.encode_batch(tried), trimmed.encode_batch(tried), strict=True):
        if all(i in new for i in whole.tolist()):
            assert [new[i] for i in whole.tolist()] == less.tolist(), text
            same += 1
    assert same > 150, "too few texts are spelt by the pieces kept"
    for text, ids in zip(NEEDED, tokenizer.encode_batch(NEEDED), strict=True):
        assert {*ids.tolist()} <= {*kept}, text


def test_other_texts_are_read_as_smaller_pieces(both):
    tokenizer, trimmed, kept = both
    tried = texts(tokenizer, kept)
    changed = 0
    for whole, less in zip(tokenizer.encode_batch(tried), trimmed.encode_batch(tried), strict=True):
        assert trimmed.decode(less.tolist()) == tokenizer.decode(whole.tolist())
        assert (less == trimmed.unk).sum() == (whole == tokenizer.unk).sum()
        assert len(less) >= len(whole)
        changed += len(less) > len(whole)
    assert changed, "all texts are spelt by the pieces kept"


def test_special_ids_are_those_of_the_same_pieces(both):
    tokenizer, trimmed, kept = both
    for name in ("eos", "start", "pad", "unk"):
        ours, theirs = getattr(trimmed, name), getattr(tokenizer, name)
        assert (kept[ours] if ours >= 0 else -1) == theirs
    for name in ("before", "after", "target_before", "target_after", "sentinels"):
        assert [kept[i] for i in getattr(trimmed, name)] == list(getattr(tokenizer, name))
    assert trimmed.special_pieces == tokenizer.special_pieces
    assert [trimmed.surfaces[i] for i in range(len(kept))] == [tokenizer.surfaces[i] for i in kept]
    # What the library puts around a text of its own accord is what it was.
    whole, less = (one._tokenizer.encode("x").ids for one in (tokenizer, trimmed))
    assert [kept[i] for i in less] == whole


def test_a_merge_on_the_way_to_a_piece_is_kept(tmp_path, monkeypatch):
    """No text has "th" alone, but "the" is merged out of it."""
    monkeypatch.setattr(trimming, "_MULTIPLE", 1)
    tokenizer_files("gemma", tmp_path)
    path = tmp_path / "tokenizer.json"
    layout = json.loads(path.read_text())
    size = len(layout["model"]["vocab"])
    layout["model"]["vocab"] |= {"qz": size, "qzq": size + 1, "zq": size + 2, "q": size + 3, "z": size + 4}
    layout["model"]["merges"] += [["q", "z"], ["z", "q"], ["qz", "q"]]
    path.write_text(json.dumps(layout))
    tokenizer = write_tokenizer(tmp_path, KINDS["gemma"], 600, tmp_path)
    used = used_ids(tokenizer, ["qzq"])
    assert used == {size + 1}
    kept = kept_ids(tmp_path, used)
    assert {size, size + 1, size + 3, size + 4} <= {*kept}
    assert size + 2 not in kept, "no merge makes it on the way"


def test_rows_are_filled_up_to_a_round_number(tmp_path):
    tokenizer_files("gemma", tmp_path)
    tokenizer = write_tokenizer(tmp_path, KINDS["gemma"], 600, tmp_path)
    kept = kept_ids(tmp_path, used_ids(tokenizer, NEEDED[:1]))
    assert len(kept) % 128 == 0
    assert kept == sorted({*kept})


def test_a_trimming_comes_back_and_damage_is_said(tmp_path):
    assert Trimming.read(tmp_path) is None
    found = Trimming("/models/x", "d", 9, (0, 1, 5))
    write_trimming(tmp_path, found)
    assert Trimming.read(tmp_path) == found
    (tmp_path / "trimmed.json").write_text('{"ids": 3}')
    with pytest.raises(UserError, match=r"trimmed\.json' is damaged"):
        Trimming.read(tmp_path)


def test_a_vocabulary_of_another_kind_is_refused(tmp_path):
    tokenizer_files("gemma", tmp_path)
    write_tokenizer(tmp_path, KINDS["gemma"], 600, tmp_path)
    path = tmp_path / "tokenizer.json"
    layout = json.loads(path.read_text())
    path.write_text(json.dumps({**layout, "model": {**layout["model"], "type": "WordLevel"}}))
    with pytest.raises(UserError, match="of type WordLevel cannot be trimmed"):
        kept_ids(tmp_path, {9})
