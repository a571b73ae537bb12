"""Reads the tokenizer of a Hugging Face model directory and writes it as ``huggingface.HuggingFaceTokenizer`` reads it.

It comes from ``tokenizer.json`` or, where a directory has only the files of older days, is built of them: BERT's
``vocab.txt``, GPT-2's ``vocab.json`` and ``merges.txt`` (RoBERTa's, BART's and CodeT5's too), T5's ``spiece.model``,
PLBART's ``sentencepiece.bpe.model``.
"""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sentencepiece
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from t2c_jax.errors import UserError
from t2c_jax.tokenizers.huggingface import MODEL, PLBART, SPECIALS, HuggingFaceTokenizer, byte_alphabet
from t2c_jax.workdir import write_json

FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    PLBART,
)
_ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_WORDPIECE = {"unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]"}
_WORDPIECE |= {"mask_token": "[MASK]"}
_ROBERTA = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "sep_token": "</s>", "pad_token": "<pad>"}
_ROBERTA |= {"cls_token": "<s>", "mask_token": "<mask>"}
_GPT2 = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>")
_GEMMA = {"bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>", "pad_token": "<pad>"}
_GEMMA |= {"mask_token": "<mask>"}
# PLBART's (Ahmad et al. 2021), by what tokenizer_config.json calls language_codes.
_LANGUAGES = {"base": ["java", "python", "en_XX"]}
_LANGUAGES["multi"] = [*_LANGUAGES["base"], "javascript", "php", "ruby", "go"]
_LANGUAGE_PIECES = [f"__{name}__" for name in _LANGUAGES["multi"]]
_T5 = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}


def read_json(path: Path, *, required: bool = False) -> dict[str, Any]:
    """A JSON object from a model directory; empty where the file is missing and need not be there.

    Raises:
      UserError: it is missing, or does not hold a JSON object.
    """
    try:
        values = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        if required:
            raise UserError(f"'{path}' does not exist; --from needs a Hugging Face model directory") from None
        return {}
    except (ValueError, RecursionError) as error:
        raise UserError(f"'{path}' is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise UserError(f"'{path}' must hold a JSON object")
    return values


class _Source:
    """A directory's settings, and the piece that plays each role."""

    def __init__(self, directory: Path, values: Mapping[str, Any]) -> None:
        self.directory, self.values = directory, values
        self.settings = read_json(directory / "tokenizer_config.json")
        self._map = read_json(directory / "special_tokens_map.json")
        name = str(self.settings.get("tokenizer_class") or "").removesuffix("Fast")
        by_class = {
            "RobertaTokenizer": _ROBERTA,
            "BertTokenizer": _WORDPIECE,
            "GPT2Tokenizer": _GPT2,
            "T5Tokenizer": _T5,
            "GemmaTokenizer": _GEMMA,
            "BartTokenizer": _ROBERTA,
            "PLBartTokenizer": _ROBERTA,
        }
        by_type = {"bert": _WORDPIECE, "roberta": _ROBERTA, "gpt2": _GPT2, "t5": _T5, "mt5": _T5}
        by_type |= {"t5gemma": _GEMMA, "t5gemma2": _GEMMA, "bart": _ROBERTA, "plbart": _ROBERTA}
        wordpiece = (directory / "vocab.txt").exists()
        merges = values["model_type"] == "t5" and (directory / "merges.txt").exists()  # CodeT5's, which is RoBERTa's
        guess = _WORDPIECE if wordpiece else _ROBERTA if merges else by_type.get(values["model_type"], {})
        self._defaults = by_class.get(name, guess)
        self.is_roberta, self.is_gemma = self._defaults is _ROBERTA, self._defaults is _GEMMA

    def has(self, *names: str) -> bool:
        return all((self.directory / name).exists() for name in names)

    def piece(self, role: str) -> str | None:
        for values in (self.settings, self._map):
            value = values.get(role)
            value = value.get("content") if isinstance(value, Mapping) else value
            if isinstance(value, str):
                return value
        return self._defaults.get(role)

    def special_pieces(self) -> list[str]:
        """All pieces that play a role, and the further ones that the files declare special."""
        extra = self._map.get("additional_special_tokens") or self.settings.get("additional_special_tokens") or []
        extra = [item.get("content") if isinstance(item, Mapping) else item for item in extra]
        return [piece for piece in (*map(self.piece, _ROLES), *extra) if isinstance(piece, str)]


def write_tokenizer(source: Path, values: Mapping[str, Any], rows: int, directory: Path) -> HuggingFaceTokenizer:
    """Writes a model directory's tokenizer and its special ids, and reads them back.

    Args:
      source: the Hugging Face model directory.
      values: its config.json.
      rows: rows of the model's embedding.
      directory: gets ``tokenizer.json`` and ``specials.json``, and PLBART's own file for exports.

    Raises:
      UserError: there is no tokenizer of a known kind, it is damaged, or it does not fit the model.
    """
    found = _Source(source, values)
    try:
        tokenizer = _tokenizer(found)
    except UserError:
        raise
    except Exception as error:  # the libraries raise nothing more exact
        raise UserError(f"the tokenizer in '{source}' is damaged: {error}; fetch it again") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    if isinstance(tokenizer.decoder, decoders.WordPiece):
        tokenizer.decoder = decoders.WordPiece(cleanup=False)
    tokenizer.save(str(directory / MODEL), pretty=False)
    write_json(directory / SPECIALS, {**_specials(found, tokenizer), "vocab_size": rows})
    if values["model_type"] == "plbart" and found.has(PLBART):
        shutil.copyfile(source / PLBART, directory / PLBART)
    try:
        return HuggingFaceTokenizer(directory)
    except ValueError as error:
        raise UserError(f"the tokenizer in '{source}' does not fit its model: {error}") from None


def _tokenizer(found: _Source) -> Tokenizer:
    directory = found.directory
    if found.has("tokenizer.json"):
        tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        special = {added.content for added in tokenizer.get_added_tokens_decoder().values() if added.special}
        _make_special(tokenizer, [piece for piece in found.special_pieces() if piece not in special])
        return tokenizer
    if found.has("vocab.txt"):
        tokenizer = _wordpiece(found)
    elif found.has("vocab.json", "merges.txt"):
        tokenizer = _byte_level(found)
    elif found.has("spiece.model"):
        tokenizer = _unigram(found)
    elif found.has(PLBART):
        tokenizer = _plbart(found)
    else:
        raise UserError(
            f"'{directory}' holds no tokenizer: tokenizer.json, vocab.txt, vocab.json with merges.txt, spiece.model, or"
            " sentencepiece.bpe.model"
        )
    added = read_json(directory / "added_tokens.json")
    known = tokenizer.get_vocab()
    tokenizer.add_tokens([piece for piece, _ in sorted(added.items(), key=lambda item: item[1]) if piece not in known])
    _make_special(tokenizer, found.special_pieces())
    return tokenizer


def _make_special(tokenizer: Tokenizer, pieces: list[str]) -> None:
    """Makes those of the pieces special that the tokenizer has."""
    wanted = [piece for piece in dict.fromkeys(pieces) if tokenizer.token_to_id(piece) is not None]
    tokenizer.add_special_tokens([AddedToken(piece, special=True, normalized=False) for piece in wanted])


def _wordpiece(found: _Source) -> Tokenizer:
    """BERT's (Devlin et al. 2019): words cut greedily into the longest pieces."""
    lines = (found.directory / "vocab.txt").read_text("utf-8").split("\n")
    vocab = {piece: i for i, piece in enumerate(lines[:-1] if not lines[-1] else lines)}
    unk, cls, sep = (str(found.piece(role)) for role in ("unk_token", "cls_token", "sep_token"))
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token=unk))
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=found.settings.get("tokenize_chinese_chars", True),
        strip_accents=found.settings.get("strip_accents"),
        lowercase=found.settings.get("do_lower_case", True),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing((sep, vocab[sep]), (cls, vocab[cls]))
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    return tokenizer


def _byte_level(found: _Source) -> Tokenizer:
    """GPT-2's (Radford et al. 2019, section 2.2): byte pairs merged within words, over a letter for each byte."""
    vocab, merges = (str(found.directory / name) for name in ("vocab.json", "merges.txt"))
    spaced = bool(found.settings.get("add_prefix_space", False))
    tokenizer = Tokenizer(models.BPE.from_file(vocab, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=spaced)
    tokenizer.decoder = decoders.ByteLevel()
    if found.is_roberta:
        sep, cls = str(found.piece("sep_token")), str(found.piece("cls_token"))
        ids = json.loads(Path(vocab).read_text("utf-8"))
        tokenizer.post_processor = processors.RobertaProcessing((sep, ids[sep]), (cls, ids[cls]), True, spaced)
    return tokenizer


def _proto(path: Path) -> Any:
    """A SentencePiece model's own format."""
    format_: Any = importlib.import_module("sentencepiece.sentencepiece_model_pb2")  # imports protobuf, so only here
    return format_.ModelProto.FromString(path.read_bytes())


def _reads_words(tokenizer: Tokenizer, proto: Any) -> None:
    """SentencePiece's normalisation, and words that begin with its spelling of a space."""
    if proto.normalizer_spec.precompiled_charsmap:
        tokenizer.normalizer = normalizers.Precompiled(proto.normalizer_spec.precompiled_charsmap)
    metaspace = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), metaspace])
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")


def _unigram(found: _Source) -> Tokenizer:
    """T5's SentencePiece (Raffel et al. 2020, section 2.2.1), its sentinels after the model's own pieces."""
    path = found.directory / "spiece.model"
    proto = _proto(path)
    pieces = sentencepiece.SentencePieceProcessor(model_proto=path.read_bytes())
    if proto.trainer_spec.model_type != proto.trainer_spec.UNIGRAM:
        raise UserError(f"'{path}' is no Unigram model; save the tokenizer as tokenizer.json with transformers")
    sentinels = [f"<extra_id_{i}>" for i in reversed(range(int(found.settings.get("extra_ids", 100))))]
    vocab = [(piece.piece, piece.score) for piece in proto.pieces] + [(name, 0.0) for name in sentinels]
    tokenizer = Tokenizer(models.Unigram(vocab, unk_id=pieces.unk_id(), byte_fallback=proto.trainer_spec.byte_fallback))
    _reads_words(tokenizer, proto)
    eos = str(found.piece("eos_token"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=["$A", eos], special_tokens=[(eos, pieces.eos_id())]
    )
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in sentinels])
    return tokenizer


def _plbart(found: _Source) -> Tokenizer:
    """PLBART's SentencePiece under fairseq's ids: four specials, the pieces behind the model's own three, languages."""
    proto, codes = _proto(found.directory / PLBART), found.settings.get("language_codes", "base")
    if codes not in _LANGUAGES:
        raise UserError(f"tokenizer_config.json: language_codes={codes!r} must be one of {', '.join(_LANGUAGES)}")
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    behind = [*(f"__{name}__" for name in _LANGUAGES[codes]), *(["<mask>"] if codes == "base" else [])]
    own = [(piece.piece, piece.score) for piece in proto.pieces[3:]]
    vocab = [*((name, 0.0) for name in specials), *own, *((name, 0.0) for name in behind)]
    model: Any
    if proto.trainer_spec.model_type == proto.trainer_spec.UNIGRAM:
        model = models.Unigram(vocab, unk_id=3)
    else:
        # SentencePiece merges any two neighbours whose concatenation is a piece, best score first.
        known, merges = {piece for piece, _ in own}, []
        for piece, _ in sorted(own, key=lambda one: -one[1]):
            cuts = ((piece[:cut], piece[cut:]) for cut in range(len(piece) - 1, 0, -1))
            merges += [(left, right) for left, right in cuts if left in known and right in known]
        ids = {piece: i for i, (piece, _) in enumerate(vocab)}
        model = models.BPE(ids, merges, unk_token="<unk>", fuse_unk=True)
    tokenizer = Tokenizer(model)
    _reads_words(tokenizer, proto)
    tokenizer.post_processor = processors.TemplateProcessing(single=["$A", "</s>"], special_tokens=[("</s>", 2)])
    _make_special(tokenizer, [*specials, *behind])
    return tokenizer


def _languages(found: _Source, vocab: Mapping[str, int]) -> dict[str, Any]:
    """The ids of a PLBART's languages: of texts and of code, and which of the two it was tuned to write.

    Code is Python where tokenizer_config.json does not say what else.
    """

    def named(key: str, default: str) -> str:
        name = str(found.settings.get(key) or default)
        piece = name if name in vocab else f"__{name}__"
        if piece not in vocab:
            raise UserError(f"tokenizer_config.json: {key}={name!r} is no language of this tokenizer")
        return piece

    text, code, direction = named("src_lang", "en_XX"), named("tgt_lang", "python"), "text_to_code"
    if code == "__en_XX__":
        text, code, direction = code, text, "code_to_text"
    ids = {"text": vocab[text], "code": vocab[code]}
    return {"languages": ids, "layout": "words" if code == "__python__" else "", "direction": direction}


def _specials(found: _Source, tokenizer: Tokenizer) -> dict[str, Any]:
    """The special ids, from config.json where it names them, else from the pieces that play the roles."""
    values, vocab = found.values, tokenizer.get_vocab()

    def of(role: str) -> int | None:
        return vocab.get(found.piece(role) or "")

    def named(key: str) -> int | None:
        value = values.get(key)
        value = value[0] if isinstance(value, list) and value else value  # several ends: the first is the usual one
        return value if type(value) is int and value >= 0 else None

    def first(*candidates: int | None) -> int | None:
        return next((candidate for candidate in candidates if candidate is not None), None)

    before, after = _around(tokenizer)
    decoder = values.get("decoder")
    if isinstance(decoder, Mapping):  # a model of two halves may name its ids in these alone
        values = {**decoder, **{name: value for name, value in values.items() if value is not None}}
    eos = first(named("eos_token_id"), of("eos_token"), of("sep_token"))
    if eos is None:
        raise UserError(
            f"'{found.directory}' names no end of a text: neither eos_token_id, nor eos_token, nor sep_token"
        )
    is_plbart = values["model_type"] == "plbart"
    languages = _languages(found, vocab) if is_plbart else {}
    if is_plbart:  # a language's id is put behind a text by the run's direction
        after = [i for i in after if i not in [vocab.get(piece) for piece in _LANGUAGE_PIECES]]
    pad = first(named("pad_token_id"), of("pad_token"), eos)
    bos = of("bos_token") if found.is_gemma else None
    start = first(named("decoder_start_token_id"), named("bos_token_id"), of("cls_token"), bos, pad)
    if values["model_type"] == "bart" and named("decoder_start_token_id") is None:
        start = eos
    writes_all = all(letter in vocab for letter in byte_alphabet()) or _writes_bytes(tokenizer, vocab)
    unk = -1 if writes_all else first(of("unk_token"), -1)
    specials = {"eos": eos, "start": start, "unk": unk, "pad": pad, "before": before, "after": after, **languages}
    if eos not in after:  # its sources have no end; a target has one, and what starts the decoder is not said twice
        specials["target_before"] = before[1:] if before[:1] == [start] else before
        specials["target_after"] = [*after, eos]
    return specials


def _writes_bytes(tokenizer: Tokenizer, vocab: Mapping[str, int]) -> bool:
    """Whether every byte has a piece, which characters without one fall back to."""
    if not all(f"<0x{byte:02X}>" in vocab for byte in range(256)):
        return False
    return bool(json.loads(tokenizer.to_str())["model"].get("byte_fallback"))


def _around(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """The ids that the tokenizer's post-processor puts before and after a text."""
    plain = tokenizer.encode("a", add_special_tokens=False).ids
    whole = tokenizer.encode("a", add_special_tokens=True).ids
    places = [i for i in range(len(whole) - len(plain) + 1) if whole[i : i + len(plain)] == plain]
    if not places:
        raise UserError("the tokenizer's post-processor does not keep a text whole")
    return whole[: places[0]], whole[places[0] + len(plain) :]
