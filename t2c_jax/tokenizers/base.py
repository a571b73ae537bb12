"""What a tokenizer is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np

PAD, EOS, UNK = 0, 1, 2
"""The special ids of every tokenizer that is trained here; an imported one has its own."""


class Tokenizer(Protocol):
    """Text to ids and back.

    Attributes:
      vocab_size: pieces and specials counted in.
      digest: of what defines it.
      eos: the id that ends a target.
      start: the id that a decoder is fed first.
      before, after: ids around every source, eos counted in.
      target_before, target_after: ids around every target, eos counted in. Most models have the same around both;
        Gemma's begin a source with bos and end only targets with eos.
      unk: the id of what it cannot write; negative where it can write all.
      sentinels: ids reserved for span corruption.
      special_pieces: what a text may spell and ``encode_batch`` can read as one special piece, such as ``<nl>``.
      is_byte: for each id, whether it is one of the bytes that rare characters fall back to.
      surfaces: for each id the bytes of its text; empty for specials.
    """

    vocab_size: int
    digest: str
    eos: int
    start: int
    unk: int
    before: tuple[int, ...]
    after: tuple[int, ...]
    target_before: tuple[int, ...]
    target_after: tuple[int, ...]
    sentinels: list[int]
    special_pieces: tuple[str, ...]
    special_ids: frozenset[int]
    is_byte: np.ndarray
    surfaces: list[bytes]

    def __hash__(self) -> int:
        """Of the object itself."""
        ...

    def in_direction(self, direction: str) -> tuple[Tokenizer, Tokenizer]:
        """The one that reads sources and the one that writes targets: itself twice, unless its ids tell languages.

        Args:
          direction: config.data.direction.
        """
        ...

    def encode_batch(self, texts: Sequence[str], *, special_pieces: bool = False) -> list[np.ndarray]:
        """Int32 ids of each text, nothing around them; on all cores.

        Args:
          texts: any text.
          special_pieces: read ``special_pieces`` in a text as the pieces that they spell; by default they are
            characters like any others.

        Raises:
          UserError: a text holds a lone surrogate, which Unicode does not let anything write down.
        """
        ...

    def decode(self, ids: Iterable[int], *, special_pieces: bool = False) -> str:
        """The text of ``ids`` up to eos. Bytes that are not UTF-8 become U+FFFD.

        Args:
          ids: pieces.
          special_pieces: write ``special_pieces`` as they are spelt; by default they are silent, as all specials are.
        """
        ...
