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

import os
from collections.abc import Iterable, Sequence
from itertools import chain, islice

import numpy as np
import sentencepiece

from t2c_jax.errors import UserError
from t2c_jax.tokenizers.base import EOS, PAD, UNK
from t2c_jax.workdir import digest

MODEL = "spm.model"

SPACE = "\u2581"
"""How SentencePiece writes a space."""

WHITESPACE = [
    "\n",
    *("\n" + SPACE * width for width in (2, 4, 6, 8, 12, 16, 20, 24)),
    *("\n" + "\t" * depth for depth in (1, 2, 3, 4)),
    *(SPACE * width for width in range(2, 17)),
    *("\t" * depth for depth in (1, 2, 4)),
]


_FEW = 8  # texts: for a list of them, SentencePiece starts threads


class SentencePieceTokenizer:
    """A ``Tokenizer`` over SentencePiece. Ids: 0 pad, 1 eos, 2 unk; there is no bos."""

    eos, start, unk = EOS, PAD, UNK
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = (EOS,)
    target_before, target_after = before, after
    special_pieces: tuple[str, ...] = ()
    special_ids: frozenset[int] = frozenset()

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
        self._space_bytes = [bytes_from + byte for byte in SPACE.encode("utf-8")]
        self.surfaces = [self._surface(i) for i in ids]

    def in_direction(self, direction: str) -> tuple[SentencePieceTokenizer, SentencePieceTokenizer]:
        """Itself twice: none of its ids tells a language."""
        return self, self

    def _surface(self, i: int) -> bytes:
        piece = self._model.id_to_piece(i)
        if self._model.is_byte(i):
            return bytes([int(piece[1:-1], 16)])
        if self._model.is_control(i):
            return b""
        return piece.replace(SPACE, " ").encode("utf-8")

    def encode_batch(self, texts: Sequence[str], *, special_pieces: bool = False) -> list[np.ndarray]:
        """Int32 ids of each text, without eos; on all cores. No text can spell a special piece.

        Raises:
          UserError: a text holds a lone surrogate, which Unicode does not let anything write down.
        """
        space = SPACE.encode("utf-8")
        try:
            parts = [text.encode("utf-8").split(space) for text in texts]
        except UnicodeEncodeError as error:
            place = error.object[max(error.start - 20, 0) : error.start + 20]
            raise UserError(f"a text is not valid Unicode: lone surrogate in {place!a}; re-encode the input") from None
        pieces = list(chain.from_iterable(parts))
        if len(pieces) < _FEW:
            encoded = map(self._model.encode, pieces)
        else:
            encoded = iter(self._model.encode(pieces, num_threads=os.cpu_count() or 1))
        return [self._join(list(islice(encoded, len(of_text)))) for of_text in parts]

    def _join(self, parts: list[list[int]]) -> np.ndarray:
        ids = parts[0]
        for part in parts[1:]:
            ids = ids + self._space_bytes + part
        return np.array(ids, np.int32)

    def decode(self, ids: Iterable[int], *, special_pieces: bool = False) -> str:
        """The text of ``ids`` up to eos; pad and sentinels are silent, bytes that are not UTF-8 become U+FFFD."""
        surfaces = []
        for i in ids:
            if i == EOS:
                break
            surfaces.append(self.surfaces[i])
        return b"".join(surfaces).decode("utf-8", "replace")
