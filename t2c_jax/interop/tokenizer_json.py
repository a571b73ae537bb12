"""Our SentencePiece model as the ``tokenizer.json`` of Hugging Face's ``tokenizers``, with the same ids.

How the one's rules are said in the other's:

- pieces are spelt with spaces where SentencePiece writes U+2581, so that nothing normalises and a U+2581 in a text is
  what it is to us: a character without a piece, hence three bytes;
- newlines, tabs and indentation are added tokens, which both find first, leftmost and longest, and never merge;
- SentencePiece merges any two neighbours whose concatenation is a piece, best score first: every split of every piece
  is a merge, in the order of the pieces' scores;
- eos, padding and sentinels are special tokens, which ``split_special_tokens`` keeps from being read out of a text.

One thing has no counterpart: of several places where one piece may arise, SentencePiece takes the leftmost, while
``tokenizers`` prefers one split of the piece to another. Only text that repeats itself can tell, as a run of ``=``;
the split with the longest left part is the one that such a run meets.

All this is for ``bpe``. Under ``unigram`` the two libraries weigh whitespace against other pieces by rules of their own
and settle ties otherwise, so that some indented texts come out in other pieces. ``differences`` finds them, the export
says how many, and ``spm.model`` is exported too.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sentencepiece
import tokenizers

from t2c_jax import console
from t2c_jax.interop.trained import Trained
from t2c_jax.tokenizers import sentencepiece as spm
from t2c_jax.tokenizers.base import Tokenizer
from t2c_jax.tokenizers.huggingface import PLBART
from t2c_jax.tokenizers.layout_words import to_words
from t2c_jax.tokenizers.loading import load_tokenizer
from t2c_jax.tokenizers.sentencepiece import EOS, UNK, WHITESPACE
from t2c_jax.workdir import write_json

STRINGS = (
    "",
    " ",
    "   x",
    " " * 33,
    "\n",
    "\n\n    return x\n\t\tif y:\r\n",
    "\t\t\t",
    "a\u2581b \u2581",
    "</s><pad><unk><extra_id_0><0x0A>",
    "na\u00efve caf\u00e9 e\u0301 \u65e5\u672c\u8a9e \u0000 \ufffd",
    "\U0001f642\U0001f469\u200d\U0001f469",
    "=" * 37 + "-" * 61 + "#" * 79,
    "_" * 9 + "(((((" + "0" * 13,
)
"""Where tokenizers disagree: whitespace, characters without a piece, spelt specials, runs of one character."""

_SPACE = "\u2581"  # SentencePiece's spelling of a space
_GIVEN = -0.1  # a log-probability: nearly what SentencePiece's search counts a user-defined piece
_NEVER = -1e6  # a log-probability, so low that no piece which a text must not spell is on its best path


def tokenizer_json(model: bytes, before: Sequence[int] = (), after: Sequence[int] = (EOS,)) -> dict[str, Any]:
    """The content of ``tokenizer.json``.

    Args:
      model: a serialised SentencePiece model that ``data.spm`` trained.
      before, after: ids put around every text: a task's prefix, and eos.
    """
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
    ids = range(pieces.get_piece_size())
    whitespace = set(WHITESPACE)
    special = [i for i in ids if pieces.is_control(i) or pieces.is_unknown(i)]
    # A space alone is one of them where config.tokenizer.split_spaces made it so: of rank 0, as no character is.
    space = [i for i in ids if pieces.id_to_piece(i) == "\u2581" and pieces.get_score(i) == 0]
    added = [i for i in ids if pieces.id_to_piece(i) in whitespace or i in space]
    names = [_spelt(pieces.id_to_piece(i)) for i in ids]
    normal = {names[i]: pieces.get_score(i) for i in ids if not pieces.is_byte(i) and i not in {*special, *added}}
    bpe = all(score == int(score) for score in normal.values())  # ranks, where unigram has log-probabilities
    if not bpe:
        normal |= {names[i]: _GIVEN for i in added}
        added = []
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added(i, names[i], special=i in special) for i in sorted([*special, *added])],
        "normalizer": None,
        "pre_tokenizer": None,
        "post_processor": _around(names, before, after),
        "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]},
        "model": _bpe(names, normal) if bpe else _unigram(names, normal),
    }


def differences(content: str, tokenizer: Tokenizer, texts: Sequence[str]) -> list[str]:
    """The texts that ``tokenizers`` reads as other ids than ours.

    Args:
      content: of ``tokenizer.json``.
      tokenizer: the one it was made of.
      texts: what to try; a layout that the tokenizer makes words of is words to both.
    """
    theirs = tokenizers.Tokenizer.from_str(content)
    theirs.encode_special_tokens = True
    given = [to_words(text) for text in texts] if in_words(tokenizer) else list(texts)
    found = theirs.encode_batch(given, add_special_tokens=False)
    expected = tokenizer.encode_batch(texts)
    return [text for text, other, ids in zip(texts, found, expected, strict=True) if other.ids != ids.tolist()]


def write_tokenizer(model: Trained, directory: Path, texts: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Writes ``tokenizer.json``, ``tokenizer_config.json`` and, where the run has one, SentencePiece's own file.

    An imported tokenizer is written as it came; a task's prefix is put before every text either way.

    Args:
      model: whose tokenizer.
      directory: gets the files.
      texts: what to compare ids on, in addition to ``STRINGS``.

    Returns:
      How many texts were compared and how many differ, and the name of each id.
    """
    layout, names = _layout(model)
    own = model.tokenizer_files / (PLBART if _is_plbarts(model) else spm.MODEL)
    if own.exists():
        shutil.copyfile(own, directory / own.name)
    content = json.dumps(layout, ensure_ascii=False)
    (directory / "tokenizer.json").write_text(content, "utf-8")
    write_json(directory / "tokenizer_config.json", _settings(model, names))
    tried = [*STRINGS, *texts]
    wrong = differences(content, model.tokenizers.source, tried)
    if wrong:
        console.warn(
            f"tokenizer.json reads {len(wrong):,} of {len(tried):,} texts as other ids than the run's tokenizer, the"
            f" first of them {wrong[0][:40]!r}"
            + (f"; '{own.name}' in the same directory is exact" if own.exists() else "")
        )
    return {"texts": len(tried), "different": len(wrong)}, names


def piece_names(model: Trained) -> list[str]:
    """The name of each id in the exported vocabulary."""
    return _layout(model)[1]


def _layout(model: Trained) -> tuple[dict[str, Any], list[str]]:
    """The content of ``tokenizer.json``, and the name of each id."""
    own, tokenizer = model.tokenizer_files, model.tokenizer
    before, after = model.objective.source.before.tolist(), model.objective.source.after.tolist()
    if (own / spm.MODEL).exists():
        layout = tokenizer_json((own / spm.MODEL).read_bytes(), before, after)
    else:
        layout = json.loads((own / "tokenizer.json").read_text("utf-8"))
    vocabulary = tokenizers.Tokenizer.from_str(json.dumps(layout)).get_vocab(with_added_tokens=True)
    names = [f"<unused_{i}>" for i in range(tokenizer.vocab_size)]  # rows that round a table up have no piece
    for name, i in vocabulary.items():
        names[i] = name
    plain = load_tokenizer(own)  # of a tokenizer that tells languages, without their ids
    if (before, after) != (list(plain.before), list(plain.after)):
        layout["post_processor"] = _around(names, before, after)
    return layout, names


def pad_of(tokenizer: Tokenizer) -> int:
    """The id of padding; of a tokenizer trained here, which has no other, what decoders start from."""
    return getattr(tokenizer, "pad", tokenizer.start)


def in_words(tokenizer: Tokenizer) -> bool:
    """Whether the run's own tokenizer makes words of code's layout and code of words, as ``tokenizers`` does not."""
    return getattr(tokenizer, "is_laid_out_in_words", False)


def tells_languages(tokenizer: Tokenizer) -> bool:
    """Whether it is PLBART's, whose ids say which language a text is of."""
    return bool(getattr(tokenizer, "languages", None))


def _is_plbarts(model: Trained) -> bool:
    """Whether PLBART's own tokenizer, which has no room for a task's prefix, reads sources as the run does."""
    return (model.tokenizer_files / PLBART).exists() and not len(model.objective.source.before)


def _settings(model: Trained, names: Sequence[str]) -> dict[str, Any]:
    tokenizer, source = model.tokenizer, model.tokenizers.source
    specials = {"pad_token": pad_of(tokenizer), "eos_token": tokenizer.eos, "unk_token": tokenizer.unk}
    values: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast"}
    if _is_plbarts(model):
        values = {
            "tokenizer_class": "PLBartTokenizer",  # puts its language behind a target too
            "language_codes": "multi" if "__go__" in names else "base",
            "src_lang": names[source.after[-1]],
            "tgt_lang": names[tokenizer.start],
        }
    return {
        **values,
        **{role: names[i] for role, i in specials.items() if i >= 0},
        "split_special_tokens": True,  # "</s>" in a text is four characters, here as in training
        "clean_up_tokenization_spaces": False,
        "padding_side": "right",
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": model.config.encoder.max_source_length or int(1e30),  # relative positions have no end
    }


def _spelt(piece: str) -> str:
    return piece.replace(_SPACE, " ")


def _added(i: int, content: str, *, special: bool) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": i, "content": content, **flags, "special": special}


def _around(names: Sequence[str], before: Sequence[int], after: Sequence[int]) -> dict[str, Any] | None:
    """Ids around a text; each side is one entry, since ``tokenizers`` looks entries up by name."""
    sides = {"before": list(before), "after": list(after)}
    entries = {side: {"id": side, "ids": ids, "tokens": [names[i] for i in ids]} for side, ids in sides.items() if ids}

    def template(sequence: str, number: int) -> list[dict[str, Any]]:
        order = ("before", sequence, "after")
        items: list[dict[str, Any]] = []
        for part in order:
            if part == sequence:
                items.append({"Sequence": {"id": sequence, "type_id": number}})
            elif part in entries:
                items.append({"SpecialToken": {"id": part, "type_id": number}})
        return items

    return {
        "type": "TemplateProcessing",
        "single": template("A", 0),
        "pair": template("A", 0) + template("B", 1),
        "special_tokens": entries,
    }


def _bpe(names: Sequence[str], normal: dict[str, float]) -> dict[str, Any]:
    merges = []
    for piece in sorted(normal, key=lambda piece: -normal[piece]):
        for cut in range(len(piece) - 1, 0, -1):
            left, right = piece[:cut], piece[cut:]
            if left in normal and right in normal:
                merges.append([left, right])
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": names[UNK],
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": True,
        "ignore_merges": False,
        "vocab": {name: i for i, name in enumerate(names)},
        "merges": merges,
    }


def _unigram(names: Sequence[str], normal: dict[str, float]) -> dict[str, Any]:
    return {
        "type": "Unigram",
        "unk_id": UNK,
        "byte_fallback": True,
        "vocab": [[name, normal.get(name, _NEVER)] for name in names],
    }
