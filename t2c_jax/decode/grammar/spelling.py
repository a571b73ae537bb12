"""What each token of a tokenizer writes, in bytes.

A grammar is a set of texts, and a model writes tokens. For every finished answer to be in the grammar, the bytes of a
token must be those that ``tokenizer.decode`` gives it. They are measured by decoding, because decoders differ:
WordPiece puts a space before a token unless it is the first one, Metaspace drops the spaces at the start of a text.

Letters: V vocabulary, U states of the UTF-8 automaton, N words of a mask.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from t2c_jax.errors import UserError
from t2c_jax.tokenizers.base import Tokenizer

_REPLACEMENT = "\ufffd"

# States of the UTF-8 automaton: 0 is the start of a character, 1 to 3 have so many bytes to come, and the others are
# behind a first byte that restricts the second one (RFC 3629, section 4).
_FIRST = {
    **dict.fromkeys(range(0x80), 0),
    **dict.fromkeys(range(0xC2, 0xE0), 1),
    **dict.fromkeys([*range(0xE1, 0xED), 0xEE, 0xEF], 2),
    **dict.fromkeys(range(0xF1, 0xF4), 3),
    0xE0: 4,
    0xED: 5,
    0xF0: 6,
    0xF4: 7,
}
_LATER = {
    1: (range(0x80, 0xC0), 0),
    2: (range(0x80, 0xC0), 1),
    3: (range(0x80, 0xC0), 2),
    4: (range(0xA0, 0xC0), 1),
    5: (range(0x80, 0xA0), 1),
    6: (range(0x90, 0xC0), 2),
    7: (range(0x80, 0x90), 2),
}
UTF8_STATES = 8


def _after(state: int, text: bytes) -> int:
    """The state behind ``text``, -1 where that is not UTF-8."""
    for byte in text:
        if state == 0:
            state = _FIRST.get(byte, -1)
        else:
            allowed, following = _LATER[state]
            state = following if byte in allowed else -1
        if state < 0:
            return -1
    return state


@dataclass(frozen=True)
class Spelling:
    """The text of each id, where the id is the first of an answer and where it is a later one.

    Attributes:
      size: of the vocabulary.
      first, later: bytes of each id; None where an answer under a grammar must not hold it.
      before: ids that precede the text of every answer.
      after: ids that end an answer, the last of which is eos.
    """

    size: int
    first: tuple[bytes | None, ...]
    later: tuple[bytes | None, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    @classmethod
    @functools.lru_cache(maxsize=4)  # it takes a second where the vocabulary is large
    def of(
        cls, tokenizer: Tokenizer, *, special_pieces: bool = False, setting: str = "config.decode.grammar"
    ) -> Spelling:
        """Measures what ``tokenizer.decode`` makes of each id.

        Args:
          tokenizer: decodes the answers.
          special_pieces: whether answers may hold the tokenizer's special pieces, and decoding writes them.
          setting: the config field that needs it, for messages.

        Raises:
          UserError: what a token writes depends on more than whether it comes first.
        """
        eos, unk = tokenizer.eos, tokenizer.unk
        special = tokenizer.special_ids if special_pieces else frozenset()
        surfaces = [surface if i not in (eos, unk) else b"" for i, surface in enumerate(tokenizer.surfaces)]
        writable = [i for i, surface in enumerate(surfaces) if surface or i in special]
        decode = partial(tokenizer.decode, special_pieces=special_pieces)
        anchor = next(
            (i for i in writable if (text := decode([i])).isalnum() and decode([i, i]).startswith(text)), None
        )
        first: list[bytes | None] = [None] * len(surfaces)
        later = list(first)
        if anchor is None:
            raise UserError(f"{setting} needs a tokenizer with a piece of letters; this run's has none")
        prefix = decode([anchor])
        for i in writable:
            first[i] = _bytes_of(decode([i]), surfaces[i])
            text = decode([anchor, i])
            later[i] = _bytes_of(text.removeprefix(prefix), surfaces[i]) if text.startswith(prefix) else None
            later[i] = later[i] or None  # a token without text would let an answer grow without end
        before, after = tokenizer.target_before, tokenizer.target_after
        after = (*after[: after.index(eos)], eos) if eos in after else (eos,)
        spelling = cls(len(surfaces), tuple(first), tuple(later), tuple(before), after)
        _check(spelling, decode, setting)
        return spelling

    @cached_property
    def same_everywhere(self) -> bool:
        """Whether every id writes the same as the first of an answer and later."""
        return self.first == self.later

    @property
    def longest(self) -> int:
        """Bytes of the longest token."""
        return max(len(text) for text in (*self.first, *self.later) if text is not None)

    def utf8_states(self, texts: Sequence[bytes | None]) -> np.ndarray:
        """The state behind each id for each state before it, int8 (U, V); -1 where that would not be UTF-8."""
        states_UV = np.full((UTF8_STATES, len(texts)), -1, np.int8)
        for i, text in enumerate(texts):
            if text is None:
                continue
            states_UV[0, i] = _after(0, text)
            if not text or 0x80 <= text[0] < 0xC0:
                states_UV[1:, i] = [_after(state, text) for state in range(1, UTF8_STATES)]
        return states_UV


def packed(allowed_V: np.ndarray) -> np.ndarray:
    """Booleans as bits, 32 a uint32 word, the lowest first, along the last axis."""
    *leading, size = allowed_V.shape
    words = -(-size // 32)
    padded = np.zeros((*leading, words * 32), bool)
    padded[..., :size] = allowed_V
    return np.packbits(padded, axis=-1, bitorder="little").view("<u4").astype(np.uint32)


def _bytes_of(text: str, surface: bytes) -> bytes | None:
    if _REPLACEMENT not in text:
        return text.encode("utf-8")
    return surface if surface.decode("utf-8", "replace") == text else None


def _check(spelling: Spelling, decode: partial[str], setting: str) -> None:
    """Compares the text of sequences that hold all ids with the bytes of their tokens."""
    whole = [i for i, text in enumerate(spelling.later) if text is not None and spelling.first[i] is not None]
    whole = [i for i in whole if _after(0, spelling.first[i] or b"") == 0 and _after(0, spelling.later[i] or b"") == 0]
    order = np.random.default_rng(0).permutation(whole).tolist()
    for start in range(0, len(order), 8):
        ids = order[start : start + 8]
        expected = (spelling.first[ids[0]] or b"") + b"".join(spelling.later[i] or b"" for i in ids[1:])
        if decode(ids) != expected.decode("utf-8"):
            raise UserError(
                f"{setting} does not work with this run's tokenizer: what a token writes depends on the tokens around"
                f" it, as in {decode(ids)!r}; leave it empty or use another tokenizer"
            )
