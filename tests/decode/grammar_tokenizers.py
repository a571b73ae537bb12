"""Tokenizers of every kind, small, and random walks through a grammar's masks."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_models import CODET5, GPT2, ROBERTA, TEXTS, byte_level, sentencepiece_unigram, wordpiece
from tokenizers import Tokenizer, models, pre_tokenizers

from t2c_jax.config import TokenizerConfig
from t2c_jax.decode.grammar.beams import Beams
from t2c_jax.decode.grammar.compiled import Grammar
from t2c_jax.tokenizers.huggingface_files import write_tokenizer
from t2c_jax.tokenizers.sentencepiece import SentencePieceTokenizer
from t2c_jax.tokenizers.training import train


def _word_level(directory: Path) -> None:
    """Words alone: what it decodes has a space between any two of them."""
    words = ["<pad>", "</s>", "<unk>", *"abcde0123", "SELECT", "FROM", "foo", "bar", "{", "}"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(words[:3])
    tokenizer.save(str(directory / "tokenizer.json"))


HUGGING_FACE: dict[str, tuple[Any, dict[str, Any]]] = {
    "wordpiece": (wordpiece, {"model_type": "bert"}),
    "gpt2": (lambda directory: byte_level(directory, GPT2), {"model_type": "gpt2", "eos_token_id": 0}),
    "roberta": (lambda directory: byte_level(directory, ROBERTA), {"model_type": "roberta"}),
    "codet5": (
        lambda directory: byte_level(directory, CODET5),
        {"model_type": "t5", "pad_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 0},
    ),
    "t5": (
        sentencepiece_unigram,
        {"model_type": "t5", "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0},
    ),
    "word_level": (
        _word_level,
        {"model_type": "t5", "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0},
    ),
}
KINDS = ("sentencepiece", *HUGGING_FACE)


@functools.cache
def tokenizer_of(kind: str) -> Any:
    """A tokenizer of this kind over a few texts."""
    if kind == "sentencepiece":
        return SentencePieceTokenizer(train(TokenizerConfig(vocab_size=400, sentinels=4), TEXTS))
    write, values = HUGGING_FACE[kind]
    with tempfile.TemporaryDirectory() as directory:
        source, target = Path(directory, "source"), Path(directory, "target")
        source.mkdir()
        target.mkdir()
        write(source)
        return write_tokenizer(source, values, 400, target)


def allowed(mask_N: np.ndarray, size: int) -> np.ndarray:
    """The ids of a mask."""
    return np.flatnonzero(np.unpackbits(mask_N.view(np.uint8), bitorder="little")[:size])


def walk(grammar: Grammar, eos: int, seed: int, steps: int = 60, rows: int = 1) -> list[list[int]]:
    """Answers that follow random allowed tokens, each up to its eos; those that do not end are left out."""
    random, size = np.random.default_rng(seed), grammar.spelling.size
    beams = Beams(grammar, rows, 1)
    for row in range(rows):
        beams.reset(row)
    answers: list[list[int]] = [[] for _ in range(rows)]
    for _ in range(steps):
        masks_BWN = beams.masks()
        chosen: dict[int, tuple[list[int], list[int]]] = {}
        for row in range(rows):
            ids = allowed(masks_BWN[row, 0], size)
            if ids.size and eos not in answers[row]:
                token = eos if eos in ids and random.random() < 0.4 else int(random.choice(ids))
                chosen[row] = [token], [0]
                answers[row].append(token)
        beams.advance(chosen)
    return [answer for answer in answers if eos in answer]
