"""Tiny model directories as ``transformers`` writes them, with tokenizers trained on the spot."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

TEXTS = [
    "Return the first value of the list, or None where it is empty.",
    "def first(values):\n    return values[0] if values else None\n",
    "naïve café  résumé it's a test_case 你好",
    "{'a': 1}; <tag> 3.14 != x",
] * 4
ROWS = {"bert": 200, "roberta": 320, "gpt2": 320, "t5": 300, "bart": 320, "plbart": 140, "modernbert": 320}


def wordpiece(directory: Path) -> None:
    """BERT's ``vocab.txt``."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(
        TEXTS, trainers.WordPieceTrainer(vocab_size=150, special_tokens=specials, show_progress=False)
    )
    tokenizer.model.save(str(directory))


def byte_level(directory: Path, specials: list[str]) -> None:
    """``vocab.json`` and ``merges.txt`` of a byte-level BPE, its specials first."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.model.save(str(directory))


def sentencepiece_unigram(directory: Path, pieces: int = 64, texts: Iterable[str] = TEXTS) -> None:
    """T5's ``spiece.model``."""
    import sentencepiece

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_prefix=str(directory / "spiece"),
        vocab_size=pieces,
        model_type="unigram",
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )


def plbart_tokenizer(directory: Path, model_type: str = "bpe", **settings: Any) -> None:
    """PLBART's ``sentencepiece.bpe.model``, scaled down, and ``tokenizer_config.json``."""
    import sentencepiece

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*TEXTS, "NEW_LINE INDENT NEW_LINE DEDENT"] * 4),
        model_prefix=str(directory / "sentencepiece.bpe"),
        vocab_size=120 if model_type == "bpe" else 64,
        model_type=model_type,
        minloglevel=2,
    )
    (directory / "sentencepiece.bpe.vocab").unlink()
    values = {"tokenizer_class": "PLBartTokenizer", "language_codes": "base", **settings}
    (directory / "tokenizer_config.json").write_text(json.dumps(values))


MODERNBERT = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]


@functools.cache
def modernbert_tokenizer() -> Tokenizer:
    """ModernBERT's tokenizer in the layout in which it is published, scaled down: byte-level BPE, its specials last."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    )
    trained.normalizer = normalizers.NFC()
    trained.decoder = decoders.ByteLevel()
    trained.add_special_tokens(MODERNBERT)
    ids = {name: trained.token_to_id(name) for name in MODERNBERT}
    trained.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:0 [SEP]:0",
        special_tokens=[(name, ids[name]) for name in ("[CLS]", "[SEP]")],
    )
    return trained


def modernbert_files(directory: Path) -> None:
    """``tokenizer.json`` and ``tokenizer_config.json``."""
    modernbert_tokenizer().save(str(directory / "tokenizer.json"))
    roles = {f"{role}_token": f"[{role.upper()}]" for role in ("unk", "cls", "sep", "pad", "mask")}
    values = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 8192, **roles}
    (directory / "tokenizer_config.json").write_text(json.dumps(values))


GEMMA_SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"]
GEMMA_ADDED = ["<mask>", "[multimodal]", *(f"<unused{i}>" for i in range(4)), "<table>", "<h1>"]


def gemma(directory: Path) -> None:
    """Gemma 3's ``tokenizer.json`` in the layout in which it is published, scaled down; and ``tokenizer_config.json``.

    BPE with byte fallback over text whose spaces are U+2581; no pre-tokenization to speak of, for the text has no
    spaces when it comes to that; runs of newlines and of spaces are added pieces that are merged, too; the ids are
    specials, added pieces, bytes, and then pieces in the order of their merges.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    words = [word.replace(" ", "\u2581") for text in TEXTS for word in re.findall(" ?[^ ]+", text)]
    tokenizer.train_from_iterator(words, trainers.BpeTrainer(vocab_size=200, show_progress=False))
    trained = json.loads(tokenizer.to_str())["model"]
    runs = [letter * length for letter in ("\n", "\u2581") for length in range(2, 9)]
    merges = [[run[:-1], run[-1]] for run in runs] + trained["merges"]
    added = [*GEMMA_SPECIAL[:4], *GEMMA_ADDED, *GEMMA_SPECIAL[4:], "\n", *runs]
    pieces = [*added, *(f"<0x{byte:02X}>" for byte in range(256)), *trained["vocab"]]
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    bos = {"SpecialToken": {"id": "<bos>", "type_id": 0}}
    first, second = ({"Sequence": {"id": name, "type_id": number}} for number, name in enumerate("AB"))
    layout = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": i, "content": piece, **flags, "special": piece in GEMMA_SPECIAL} for i, piece in enumerate(added)
        ],
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
        "pre_tokenizer": {
            "type": "Split",
            "pattern": {"String": " "},
            "behavior": "MergedWithPrevious",
            "invert": False,
        },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [bos, first],
            "pair": [bos, first, {"SpecialToken": {"id": "<bos>", "type_id": 1}}, second],
            "special_tokens": {"<bos>": {"id": "<bos>", "ids": [2], "tokens": ["<bos>"]}},
        },
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": {piece: i for i, piece in enumerate(dict.fromkeys(pieces))},
            "merges": merges,
        },
    }
    settings = {"tokenizer_class": "GemmaTokenizer", "add_bos_token": True, "add_eos_token": False}
    settings |= {"bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>", "pad_token": "<pad>"}
    (directory / "tokenizer.json").write_text(json.dumps(layout, ensure_ascii=False), "utf-8")
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))


ROBERTA = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
CODET5 = ["<pad>", "<s>", "</s>", "<unk>", "<mask>", "<extra_id_1>", "<extra_id_0>"]
GPT2 = ["<|endoftext|>"]


def model(kind: str, head: bool = False, **values: Any) -> Any:
    """A tiny model, randomly drawn: the bare one, or with the head of its pre-training."""
    import torch
    import transformers as t

    torch.manual_seed(0)
    rows = ROWS[kind]
    if kind == "gpt2":
        sizes = {"n_embd": 24, "n_layer": 2, "n_head": 4, "n_positions": 64, "bos_token_id": 0, "eos_token_id": 0}
        return (t.GPT2LMHeadModel if head else t.GPT2Model)(t.GPT2Config(**{"vocab_size": rows, **sizes, **values}))
    if kind == "t5":
        sizes = {"d_model": 24, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": 0}
        return t.T5ForConditionalGeneration(t.T5Config(**{"vocab_size": rows, **sizes, **values}))
    if kind in ("bart", "plbart"):
        halves = {"layers": 2, "attention_heads": 2, "ffn_dim": 48}
        sizes = {f"{half}_{name}": value for half in ("encoder", "decoder") for name, value in halves.items()}
        config, name = (t.BartConfig, "Bart") if kind == "bart" else (t.PLBartConfig, "PLBart")
        sizes |= {"d_model": 24, "max_position_embeddings": 64, "init_std": 0.3}
        whole = getattr(t, f"{name}ForConditionalGeneration")
        return whole(config(**{"vocab_size": rows, "forced_eos_token_id": None, **sizes, **values}))
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    if kind == "modernbert":
        sizes |= {"num_hidden_layers": 5, "local_attention": 6, "vocab_size": rows, "reference_compile": False}
        cls, sep, pad = map(modernbert_tokenizer().token_to_id, ("[CLS]", "[SEP]", "[PAD]"))
        sizes |= {"cls_token_id": cls, "bos_token_id": cls, "sep_token_id": sep, "eos_token_id": sep}
        config = t.ModernBertConfig(**{**sizes, "pad_token_id": pad, **values})
        return (t.ModernBertForMaskedLM if head else t.ModernBertModel)(config)
    if kind == "bert":
        config = t.BertConfig(**{"vocab_size": rows, "max_position_embeddings": 64, **sizes, **values})
        return (t.BertForMaskedLM if head else t.BertModel)(config)
    config = t.RobertaConfig(**{"vocab_size": rows, "max_position_embeddings": 66, **sizes, **values})
    return (t.RobertaForMaskedLM if head else t.RobertaModel)(config)


def tokenizer_files(kind: str, directory: Path) -> None:
    """The tokenizer's files as they were in the days before ``tokenizer.json``."""
    if kind == "bert":
        wordpiece(directory)
    elif kind == "t5":
        sentencepiece_unigram(directory)
    elif kind == "gemma":
        gemma(directory)
    elif kind == "plbart":
        plbart_tokenizer(directory)
    elif kind == "modernbert":
        modernbert_files(directory)
    else:
        byte_level(directory, GPT2 if kind == "gpt2" else ROBERTA)


def write(kind: str, directory: Path, head: bool = False, **values: Any) -> Any:
    """A whole model directory; returns the model, ready to evaluate."""
    directory.mkdir(parents=True, exist_ok=True)
    made = model(kind, head, **values).eval()
    made.save_pretrained(str(directory))
    tokenizer_files(kind, directory)
    return made
