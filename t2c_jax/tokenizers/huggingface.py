"""A tokenizer that came with an imported model: WordPiece, BPE or Unigram, by Hugging Face's ``tokenizers``.

Its directory holds two files. ``tokenizer.json`` is the library's own format. ``specials.json`` says what a model's
files tell in many places: the ids ``eos, start, unk, pad``, the ids ``before`` and ``after`` every source,
``target_before`` and ``target_after`` where those around targets are others, and ``vocab_size``, the rows of the
model's embedding, of which the last may stand for nothing. Where ids say which language a text is of, as PLBART's do,
``languages`` has those of texts and of code: they come after a source and a target, and the target's starts the
decoder. ``direction`` is the one that the model was tuned for. PLBART's own file lies beside the two
for exports.

Special pieces are not read out of a text unless the caller asks for it: ``"[SEP]"`` is five characters, and where a
Unigram model finds a special among its pieces all the same, that is unknown. Those that only structure the input (eos,
padding, start, unknown, and what is put around every text) are never read. What does not come back through
``decode(encode(x))``, letter case and runs of spaces with many of these models, is lost; nothing is cleaned up beyond.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, decoders

from t2c_jax.errors import UserError
from t2c_jax.tokenizers.layout_words import from_words, to_words
from t2c_jax.workdir import digest

MODEL, SPECIALS, PLBART = "tokenizer.json", "specials.json", "sentencepiece.bpe.model"

_SPACE = "\u2581"  # Metaspace's spelling of a space
_CONTINUES = "##"  # WordPiece's mark of a piece within a word


class HuggingFaceTokenizer:
    """A ``Tokenizer`` over ``directory/tokenizer.json`` and ``directory/specials.json``."""

    def __init__(self, directory: Path) -> None:
        """Reads both files.

        Raises:
          ValueError: one is missing or damaged, or the two do not fit each other.
        """
        try:
            model, specials = (Path(directory) / MODEL).read_bytes(), (Path(directory) / SPECIALS).read_bytes()
        except FileNotFoundError as error:
            raise ValueError(f"'{error.filename}' is missing") from None
        self._read_specials(specials)
        try:
            self._tokenizer, layout = Tokenizer.from_buffer(model), json.loads(model)
        except Exception as error:  # the library raises nothing more exact
            raise ValueError(f"'{MODEL}' is not a tokenizer: {error}") from None
        size = self._tokenizer.get_vocab_size(with_added_tokens=True)
        pieces = self._tokenizer.get_vocab(with_added_tokens=True)
        if max(pieces.values(), default=-1) >= self.vocab_size:
            raise ValueError(f"its {size} pieces exceed the model's {self.vocab_size} embeddings")
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True
        if isinstance(self._tokenizer.decoder, decoders.WordPiece):
            self._tokenizer.decoder = decoders.WordPiece(prefix=_CONTINUES, cleanup=False)
        self.digest = digest(model, specials)
        structural = {self.eos, self.start, self.pad, self.unk, *self._around, *self.languages.values()}
        readable = {
            i: added.content
            for i, added in self._tokenizer.get_added_tokens_decoder().items()
            if added.special and i not in structural
        }
        self.special_pieces, self.special_ids = tuple(readable.values()), frozenset(readable)
        layout["added_tokens"] = [added for added in layout["added_tokens"] if added["id"] not in structural]
        self._special_reader = Tokenizer.from_str(json.dumps(layout)) if readable else self._tokenizer
        self._special_reader.no_truncation()
        self._special_reader.no_padding()
        self._silent = {self.eos, self.start, self.pad, *self._around}
        self._silent |= {i for i, added in self._tokenizer.get_added_tokens_decoder().items() if added.special}
        self._forbidden = np.isin(np.arange(self.vocab_size), list(self._silent - {self.unk}))
        self._forbidden_beside_readable = self._forbidden & ~np.isin(np.arange(self.vocab_size), list(readable))
        self.is_byte = np.zeros(self.vocab_size, bool)
        self.surfaces = [b""] * self.vocab_size
        self._fill(layout, pieces)
        self.sentinels = [pieces[name] for name in map("<extra_id_{}>".format, range(len(pieces))) if name in pieces]

    def _read_specials(self, text: bytes) -> None:
        try:
            values = json.loads(text)
            self.vocab_size, self.eos, self.start, self.unk, self.pad = (
                _integer(values[name]) for name in ("vocab_size", "eos", "start", "unk", "pad")
            )
            self.before, self.after = (tuple(map(_integer, values[name])) for name in ("before", "after"))
            self.target_before, self.target_after = (
                tuple(map(_integer, values.get(f"target_{name}", values[name]))) for name in ("before", "after")
            )
            self.languages = {side: _integer(i) for side, i in values.get("languages", {}).items()}
            self.is_laid_out_in_words = values.get("layout") == "words"
            self.direction = str(values.get("direction", ""))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"'{SPECIALS}' is damaged: {error!r}") from None
        ids = (self.eos, self.start, self.pad, *self._around, *self.languages.values())
        if not all(0 <= i < self.vocab_size for i in ids) or self.unk >= self.vocab_size:
            raise ValueError(f"'{SPECIALS}' names ids beyond its vocab_size")

    @property
    def _around(self) -> tuple[int, ...]:
        return (*self.before, *self.after, *self.target_before, *self.target_after)

    def in_direction(self, direction: str) -> tuple[HuggingFaceTokenizer, HuggingFaceTokenizer]:
        """Of ``text_to_code`` or ``code_to_text``: what reads sources, and what writes targets."""
        if not self.languages:
            return self, self
        sides = ("text", "code") if direction == "text_to_code" else ("code", "text")
        source, target = (self.languages[side] for side in sides)
        made = []
        for side in sides:
            tokenizer = copy.copy(self)
            tokenizer.start, tokenizer.after, tokenizer.target_after = (
                target,
                (*self.after, source),
                (*self.after, target),
            )
            tokenizer.is_laid_out_in_words = self.is_laid_out_in_words and side == "code"
            made.append(tokenizer)
        return made[0], made[1]

    def _fill(self, layout: dict[str, Any], pieces: dict[str, int]) -> None:
        """Sets the text of each id, as bytes."""
        kind = layout["model"].get("type")
        surface = _bytes_of if is_byte_level(layout) else _wordpiece if kind == "WordPiece" else _metaspace
        falls_back = bool(layout["model"].get("byte_fallback"))
        added = self._tokenizer.get_added_tokens_decoder()
        for piece, i in pieces.items():
            if i in self._silent:
                continue
            if falls_back and (byte := _fallback(piece)) is not None:
                self.surfaces[i], self.is_byte[i] = byte, True
            else:
                # An added piece is written as it is, but for its spaces, which Metaspace and Gemma's decoder make.
                plain = i in added and surface is not _metaspace
                self.surfaces[i] = piece.encode("utf-8") if plain else surface(piece)

    def encode_batch(self, texts: Sequence[str], *, special_pieces: bool = False) -> list[np.ndarray]:
        """Int32 ids of each text, nothing around them; on all cores.

        Args:
          texts: any text.
          special_pieces: read ``special_pieces`` in a text as the pieces that they spell.

        Raises:
          UserError: a text holds a lone surrogate, which Unicode does not let anything write down.
        """
        for text in texts:
            try:
                text.encode("utf-8")
            except UnicodeEncodeError as error:
                place = error.object[max(error.start - 20, 0) : error.start + 20]
                raise UserError(
                    f"a text is not valid Unicode: lone surrogate in {place!a}; re-encode the input"
                ) from None
        if self.is_laid_out_in_words:
            texts = [to_words(text) for text in texts]
        reader = self._special_reader if special_pieces else self._tokenizer
        forbidden_V = self._forbidden_beside_readable if special_pieces else self._forbidden
        encoded = reader.encode_batch_fast(list(texts), add_special_tokens=False)
        return [self._without_specials(np.array(one.ids, np.int32), forbidden_V) for one in encoded]

    def _without_specials(self, ids: np.ndarray, forbidden_V: np.ndarray) -> np.ndarray:
        special = forbidden_V[ids]
        if not special.any():
            return ids
        return np.where(special, self.unk, ids).astype(np.int32) if self.unk >= 0 else ids[~special]

    def decode(self, ids: Iterable[int], *, special_pieces: bool = False) -> str:
        """The text of ``ids`` up to eos. Bytes that are not UTF-8 become U+FFFD.

        Args:
          ids: pieces.
          special_pieces: write ``special_pieces`` as they are spelt; by default they are silent, as all specials are.
        """
        silent = self._silent - self.special_ids if special_pieces else self._silent
        kept, is_whole = [], False
        for i in ids:
            if i == self.eos:
                is_whole = True
                break
            if i not in silent:
                kept.append(int(i))
        text: str = self._tokenizer.decode(kept, skip_special_tokens=False)
        return from_words(text, is_whole=is_whole) if self.is_laid_out_in_words else text


def byte_alphabet() -> dict[str, int]:
    """GPT-2's letter for each byte: its own where that prints, one from U+0100 on where it does not."""
    prints = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in prints]
    return {chr(byte): byte for byte in prints} | {chr(256 + i): byte for i, byte in enumerate(others)}


_ALPHABET = byte_alphabet()


def _bytes_of(piece: str) -> bytes:
    known = all(letter in _ALPHABET for letter in piece)
    return bytes(_ALPHABET[letter] for letter in piece) if known else piece.encode("utf-8")


def _wordpiece(piece: str) -> bytes:
    return piece.removeprefix(_CONTINUES).encode("utf-8")


def _metaspace(piece: str) -> bytes:
    return piece.replace(_SPACE, " ").encode("utf-8")


def _fallback(piece: str) -> bytes | None:
    fits = len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">")
    try:
        return bytes([int(piece[3:5], 16)]) if fits else None
    except ValueError:
        return None


def is_byte_level(layout: Any) -> bool:
    """Whether a ByteLevel step is among the pre-tokenizers or decoders."""
    search: list[Any] = [layout.get("pre_tokenizer"), layout.get("decoder")]
    while search:
        part = search.pop()
        if isinstance(part, dict):
            if part.get("type") == "ByteLevel":
                return True
            search.extend(part.values())
        elif isinstance(part, list):
            search.extend(part)
    return False


def _integer(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(f"{value!r} is not an id")
    return value
