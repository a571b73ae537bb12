"""Our SentencePiece model as the ``tokenizer.json`` of Hugging Face's ``tokenizers``, with the same ids.

How the one's rules are said in the other's:

- pieces are spelt with spaces where SentencePiece writes U+2581, so that nothing normalises and a U+2581 in a text is
  what it is to us: a character without a piece, hence three bytes;
- newlines, tabs and indentation are added tokens, which both find first, leftmost and longest, and never merge; under
  ``unigram`` they are pieces, at the price that SentencePiece's search gives them;
- SentencePiece merges any two neighbours whose concatenation is a piece, best score first: every split of every piece
  is a merge, in the order of the pieces' scores;
- eos, padding and sentinels are special tokens, which ``split_special_tokens`` keeps from being read out of a text.

One thing has no counterpart: of several places where one piece may arise, SentencePiece takes the leftmost, while
``tokenizers`` prefers one split of the piece to another. Only text that repeats itself can tell, as a run of ``=``;
the split with the longest left part is the one that such a run meets. Under ``unigram``, two paths of nearly the same
probability may fall either way. ``differences`` finds the texts that do not come out alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sentencepiece

from t2c_jax.data.spm import EOS, PAD, UNK, WHITESPACE
from t2c_jax.data.tokenizer import Tokenizer

_SPACE = "\u2581"  # SentencePiece's spelling of a space
_GIVEN = -0.1  # a log-probability: what SentencePiece's search counts a user-defined piece
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
    added = [i for i in ids if pieces.id_to_piece(i) in whitespace]
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


def tokenizer_config(vocab_size: int, names: Sequence[str]) -> dict[str, Any]:
    """The content of ``tokenizer_config.json``, which ``transformers`` reads beside ``tokenizer.json``.

    Args:
      vocab_size: pieces.
      names: of all pieces, to find the special ones.
    """
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": names[PAD],
        "eos_token": names[EOS],
        "unk_token": names[UNK],
        "split_special_tokens": True,  # "</s>" in a text is four characters, here as in training
        "clean_up_tokenization_spaces": False,
        "padding_side": "right",
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": int(1e30),  # relative positions have no end
    }


def differences(content: str, tokenizer: Tokenizer, texts: Sequence[str]) -> list[str] | None:
    """The texts that ``tokenizers`` reads as other ids than ours, or that it does not give back.

    Args:
      content: of ``tokenizer.json``.
      tokenizer: the one it was made of.
      texts: what to try.

    Returns:
      None where ``tokenizers`` is not installed.
    """
    try:
        from tokenizers import Tokenizer as Theirs
    except ImportError:
        return None
    theirs = Theirs.from_str(content)
    theirs.encode_special_tokens = True
    found = theirs.encode_batch(list(texts), add_special_tokens=False)
    expected = tokenizer.encode_batch(texts)
    return [
        text
        for text, other, ids in zip(texts, found, expected, strict=True)
        if other.ids != ids.tolist() or theirs.decode(other.ids) != text
    ]


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
