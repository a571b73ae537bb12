"""SentencePiece that loses nothing: ``decode(encode(text)) == text`` for every Unicode text.

What makes it so:

- identity normalisation, no dummy prefix, no whitespace removed, and byte fallback for rare characters;
- newlines, tabs and indentation are pieces of their own, given to the trainer as user-defined symbols;
- eos, pad and the sentinels are control pieces, which no text can spell: ``"</s>"`` in a text is four characters;
- SentencePiece writes a space as U+2581, so that a U+2581 in the text would come back as a space. Here it is
  encoded as its three bytes, as a rare character would be; other texts get exactly SentencePiece's own ids,
  and any SentencePiece runtime that reads ``spm.model`` gives the same.
"""

from __future__ import annotations

import io
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import sentencepiece

from t2c_jax import console
from t2c_jax.config import TokenizerConfig, to_dict
from t2c_jax.errors import UserError
from t2c_jax.workdir import StageResult, Workdir, digest, write_json

if TYPE_CHECKING:
    from t2c_jax.corpus.pairs import Pair

PAD, EOS, UNK = 0, 1, 2
MODEL = "spm.model"
CHECK = "check.json"
SPLITS = ("train", "dev", "test")

_SPACE = "\u2581"  # SentencePiece's spelling of a space
_UNTRAINABLE = re.compile("[\0\u2581\u2585]")  # SentencePiece's trainer skips a whole text that holds one of these
_WHITESPACE = [
    "\n",
    *("\n" + _SPACE * width for width in (2, 4, 6, 8, 12, 16, 20, 24)),
    *("\n" + "\t" * depth for depth in (1, 2, 3, 4)),
    *(_SPACE * width for width in range(2, 17)),
    *("\t" * depth for depth in (1, 2, 4)),
]
_SIDES = ("text", "code")


class Tokenizer:
    """Text to ids and back. Ids: 0 pad, 1 eos, 2 unk; there is no bos.

    Attributes:
      vocab_size: pieces, specials and sentinels counted in.
      digest: of the model file.
      sentinels: ids of <extra_id_0>, <extra_id_1>, ..., reserved for span corruption.
      is_byte: for each id, whether it is one of the 256 bytes that rare characters fall back to.
    """

    def __init__(self, model: bytes) -> None:
        """Reads a serialised SentencePiece model.

        Raises:
          ValueError: it is not one, or has other special ids.
        """
        try:
            self._model = sentencepiece.SentencePieceProcessor(model_proto=model)
        except RuntimeError as error:
            raise ValueError("not a SentencePiece model") from error
        if (self._model.pad_id(), self._model.eos_id(), self._model.unk_id()) != (PAD, EOS, UNK):
            raise ValueError("its special ids are not 0 pad, 1 eos, 2 unk")
        ids = range(self._model.get_piece_size())
        self.vocab_size = len(ids)
        self.digest = digest(model)
        self.sentinels = [i for i in ids if self._model.is_control(i) and i not in (PAD, EOS)]
        self.is_byte = np.array([self._model.is_byte(i) for i in ids])
        bytes_from = int(np.argmax(self.is_byte))
        self._space_bytes = [bytes_from + byte for byte in _SPACE.encode("utf-8")]
        self._surfaces = [self._surface(i) for i in ids]

    def _surface(self, i: int) -> bytes:
        piece = self._model.id_to_piece(i)
        if self._model.is_byte(i):
            return bytes([int(piece[1:-1], 16)])
        if self._model.is_control(i):
            return b""
        return piece.replace(_SPACE, " ").encode("utf-8")

    @classmethod
    def load(cls, directory: Path) -> Tokenizer:
        """Reads ``directory/spm.model``.

        Raises:
          UserError: it is missing or damaged.
        """
        path = Path(directory) / MODEL
        try:
            return cls(path.read_bytes())
        except FileNotFoundError:
            raise UserError(f"'{path}' does not exist; run t2c tokenizer, or t2c run") from None
        except ValueError as error:
            raise UserError(f"'{path}' is damaged: {error}; delete '{directory}' and run again") from None

    def encode(self, text: str) -> list[int]:
        """Ids of ``text``, without eos.

        Raises:
          UserError: as ``encode_batch``.
        """
        return self.encode_batch([text])[0].tolist()

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Int32 ids of each text, without eos; on all cores.

        Raises:
          UserError: a text holds a lone surrogate, which Unicode does not let anything write down.
        """
        space = _SPACE.encode("utf-8")
        try:
            parts = [text.encode("utf-8").split(space) for text in texts]
        except UnicodeEncodeError as error:
            place = error.object[max(error.start - 20, 0) : error.start + 20]
            raise UserError(f"a text is not valid Unicode: lone surrogate in {place!a}; re-encode the input") from None
        encoded = iter(self._model.encode(list(chain.from_iterable(parts)), num_threads=os.cpu_count() or 1))
        return [self._join(list(islice(encoded, len(of_text)))) for of_text in parts]

    def _join(self, parts: list[list[int]]) -> np.ndarray:
        ids = parts[0]
        for part in parts[1:]:
            ids = ids + self._space_bytes + part
        return np.array(ids, np.int32)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ``ids`` up to eos; pad and sentinels are silent, bytes that are not UTF-8 become U+FFFD."""
        surfaces = []
        for i in ids:
            if i == EOS:
                break
            surfaces.append(self._surfaces[i])
        return b"".join(surfaces).decode("utf-8", "replace")


def train(config: TokenizerConfig, texts: Iterable[str]) -> bytes:
    """A serialised SentencePiece model, the same bytes for the same config and texts.

    The vocabulary has exactly ``config.vocab_size`` pieces: the model's shapes follow from the config alone.

    Raises:
      UserError: the texts are too few for so large a vocabulary, or their characters too many for so small a one.
    """
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=(_UNTRAINABLE.sub("\n", text) for text in texts),
            model_writer=model,
            model_type=config.model_type,
            vocab_size=config.vocab_size,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            add_dummy_prefix=False,
            byte_fallback=True,
            pad_id=PAD,
            eos_id=EOS,
            unk_id=UNK,
            bos_id=-1,
            control_symbols=[f"<extra_id_{k}>" for k in range(config.sentinels)],
            user_defined_symbols=_WHITESPACE,
            max_sentence_length=2**30,  # bytes; the default leaves out whatever is longer than 4192
            input_sentence_size=0,
            num_threads=8,  # unigram's sums depend on the number of threads, so it is not the machine's
            minloglevel=2,
        )
    except RuntimeError as error:
        raise _explained(config, error) from None
    return model.getvalue()


def _explained(config: TokenizerConfig, error: RuntimeError) -> Exception:
    message = str(error)
    asked = f"config.tokenizer.vocab_size={config.vocab_size}"
    if found := re.search(r"size too high .* value <= (\d+)", message):
        return UserError(f"{asked} is more than the corpus can fill; set it to {found[1]} at most, or add sources")
    if found := re.search(r"smaller than required_chars. \d+ vs (\d+)", message):
        return UserError(f"{asked} has no room for the corpus's characters; set it to {found[1]} at least")
    if "sentences_.empty()" in message:
        return UserError("the train split has no text to train a tokenizer on; add sources or relax config.corpus")
    return error


def drawn_evenly(pairs: Iterable[Pair], size: int, limit: int) -> Iterator[str]:
    """Text and code of evenly spaced pairs, at most ``limit`` strings out of ``size`` pairs."""
    kept = min(size, max(limit // 2, 1))
    for index, pair in enumerate(pairs):
        if index * kept // size != (index + 1) * kept // size:
            yield pair.text
            yield pair.code


def check(tokenizer: Tokenizer, pairs: Iterable[Pair]) -> dict[str, Any]:
    """Proves ``decode(encode(x)) == x`` for texts and codes, and counts what they cost.

    Returns:
      pairs, ids of those that do not come back (``failures``), and for each side characters, tokens, tokens per
      character, unk tokens, and the share of tokens that are fallback bytes.
    """
    counts = {side: Counter[str](dict.fromkeys(("characters", "tokens", "unk", "bytes"), 0)) for side in _SIDES}
    checked, failures = 0, []
    for batch in in_batches(pairs):
        checked += len(batch)
        lossy = set()
        for side in _SIDES:
            texts = [getattr(pair, side) for pair in batch]
            for pair, text, ids in zip(batch, texts, tokenizer.encode_batch(texts), strict=True):
                if tokenizer.decode(ids.tolist()) != text:
                    lossy.add(pair.id)
                counts[side].update(
                    characters=len(text),
                    tokens=len(ids),
                    unk=int((ids == UNK).sum()),
                    bytes=int(tokenizer.is_byte[ids].sum()),
                )
        failures += [pair.id for pair in batch if pair.id in lossy]
    return {
        "pairs": checked,
        "failures": failures,
        **{
            side: {
                "characters": count["characters"],
                "tokens": count["tokens"],
                "tokens_per_character": round(count["tokens"] / max(count["characters"], 1), 4),
                "unk": count["unk"],
                "byte_share": round(count["bytes"] / max(count["tokens"], 1), 6),
            }
            for side, count in counts.items()
        },
    }


def in_batches(pairs: Iterable[Pair], size: int = 1024) -> Iterator[list[Pair]]:
    """Pairs in lists of ``size``, the last one shorter."""
    pairs = iter(pairs)
    while batch := list(islice(pairs, size)):
        yield batch


def build_tokenizer(config: TokenizerConfig, workdir: Workdir, pairs: Callable[[str], Iterable[Pair]]) -> StageResult:
    """The tokenizer stage: trains on the train split, proves it lossless on every split.

    Args:
      config: the part of the experiment it reads.
      workdir: holds the finished corpus; gets ``tokenizer/`` with ``spm.model`` and ``check.json``.
      pairs: a split's pairs, in an order that is always the same.

    Raises:
      UserError: the corpus is missing, does not suit ``vocab_size``, or holds a pair that does not come back.
    """

    def build(directory: Path) -> dict[str, Any]:
        sizes = {split: sum(1 for _ in pairs(split)) for split in SPLITS}
        console.say(f"tokenizer: training {config.vocab_size:,} {config.model_type} pieces")
        model = train(config, drawn_evenly(pairs("train"), sizes["train"], config.max_sentences))
        (directory / MODEL).write_bytes(model)
        tokenizer = Tokenizer(model)
        report = {}
        with console.progress("tokenizer: encoded and decoded", sum(sizes.values()), "pairs") as bar:
            for split in SPLITS:
                report[split] = check(tokenizer, advancing(bar, pairs(split)))
        failures = [f"{split}:{id_}" for split in SPLITS for id_ in report[split]["failures"]]
        if failures:
            raise UserError(
                f"the tokenizer does not give back {len(failures)} pairs ({', '.join(failures[:3])}, ...);"
                " please report it with one of them"
            )
        write_json(directory / CHECK, report)
        return {"vocab_size": tokenizer.vocab_size, "digest": tokenizer.digest, "check": report}

    inputs = {"corpus": workdir.digest("corpus")}
    return workdir.stage("tokenizer", to_dict(config), inputs, build)


def advancing(bar: console.Bar, pairs: Iterable[Pair]) -> Iterator[Pair]:
    """The pairs, as they are; the bar moves along."""
    for pair in pairs:
        yield pair
        bar.advance()
