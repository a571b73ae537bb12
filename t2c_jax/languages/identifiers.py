"""Where the identifiers of some code are, and which tokens belong to them (Wang et al. 2021, "CodeT5", section 3.2).

Python is read by ``languages.python.names``, other languages by Pygments: what its lexer calls a name is an identifier,
except names of tags and entities. At the lexer's first error the known part ends. Behind it, identifiers are unknown,
which is not the same as absent.

Letters: T tokens, I occurrences of identifiers.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from pygments import token

from t2c_jax.languages.aliases import canonical
from t2c_jax.languages.lexers import find_lexer
from t2c_jax.languages.python import names as python_names

Span = tuple[int, int]
_NAME = re.compile(r"[^\W\d][\w$]*|\$[\w$]+")  # of Java.util.List three, of PHP's $x one
_OF_MARKUP = (token.Name.Tag, token.Name.Entity)


class Identifiers(NamedTuple):
    """The identifiers of some code, in offsets in its UTF-8 bytes.

    Attributes:
      spans: (start, end) of every occurrence of an identifier, in the order of the code; they do not overlap.
      known: nothing is known behind this offset.
    """

    spans: list[Span]
    known: int


def identifiers(code: str, language: str) -> Identifiers:
    """The identifiers of some code.

    Args:
      code: of any form; the known part ends at the lexer's first error.
      language: by any of its common names; for a language without a lexer nothing is known.
    """
    if canonical(language) == "python":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the lexer's warnings are of what is read, not of ours
            spans, known = python_names.names(code)
    else:
        spans, known = _by_pygments(code, language)
    if code.isascii():
        return Identifiers(spans, known)
    return Identifiers(list(_in_bytes(code, spans)), len(_utf8(code[:known])))


def aligned(code: str, found: Identifiers, piece_lengths: Sequence[int]) -> np.ndarray:
    """Which identifier each token belongs to.

    Args:
      code: the tokens' surfaces, end to end.
      found: its identifiers.
      piece_lengths: UTF-8 bytes of each token's surface.

    Returns:
      Int32 (T,): 0 for a token that overlaps no identifier, else 1 + the index in ``found.spans`` of the first that it
      overlaps; -1 where that is not known, as of all tokens whose lengths do not add up to the code's.
    """
    lengths_T = np.asarray(piece_lengths, np.int64)
    ends_T = np.cumsum(lengths_T)
    if not len(lengths_T) or ends_T[-1] != len(_utf8(code)):
        return np.full(len(lengths_T), -1, np.int32)
    starts_I, ends_I = np.array(found.spans, np.int64).reshape(-1, 2).T
    starts_T = ends_T - lengths_T
    first_T = np.searchsorted(ends_I, starts_T, side="right")  # the first identifier that ends behind the token's start
    begins_T = np.append(starts_I, ends_T[-1])[first_T]
    overlaps_T = (begins_T < ends_T) & (lengths_T > 0)
    return np.where(overlaps_T, first_T + 1, np.where(ends_T > found.known, -1, 0)).astype(np.int32)


def spelt(occurrences_T: np.ndarray, tokens_T: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Which spelling each occurrence has: the sequence of tokens that it is made of.

    A name may be other tokens elsewhere, with the space or the bracket before it in the piece. Those are two spellings,
    so that it is known which tokens a spelling stands for wherever it occurs. Of the pieces x, " =", " x", "+f" and "x"
    the first and the last are spelt alike, the third is not.

    Args:
      occurrences_T: as ``aligned`` gives them.
      tokens_T: ids.

    Returns:
      Int32 (T,): as they came, but for tokens of identifiers 1 + the number of their occurrence among those that have
      tokens; and for each of these occurrences the number of its spelling, from 0 in the order in which spellings first
      appear. An occurrence with a token of no bytes inside it counts as two.
    """
    inside_T = occurrences_T > 0
    begins_T = inside_T & (np.diff(occurrences_T, prepend=0) != 0)
    ends_T = inside_T & (np.diff(occurrences_T, append=0) != 0)
    numbers: dict[bytes, int] = {}
    places = zip(np.flatnonzero(begins_T).tolist(), (np.flatnonzero(ends_T) + 1).tolist(), strict=True)
    spellings = [numbers.setdefault(tokens_T[begin:end].tobytes(), len(numbers)) for begin, end in places]
    return np.where(inside_T, np.cumsum(begins_T), occurrences_T).astype(np.int32), spellings


def _utf8(code: str) -> bytes:
    return code.encode("utf-8", "surrogatepass")


def _in_bytes(code: str, spans: Sequence[Span]) -> Iterator[Span]:
    """Offsets in characters to offsets in bytes."""
    characters = offset = 0
    for start, end in spans:
        begin = offset + len(_utf8(code[characters:start]))
        characters, offset = end, begin + len(_utf8(code[start:end]))
        yield begin, offset


def _by_pygments(code: str, language: str) -> tuple[list[Span], int]:
    """Identifiers, and where the known part ends, in offsets in characters."""
    spans: list[Span] = []
    lexer = find_lexer(language)
    if lexer is None:
        return spans, 0
    for offset, kind, text in lexer.get_tokens_unprocessed(code):
        if kind in token.Error:
            return spans, offset
        if kind in token.Name and not any(kind in other for other in _OF_MARKUP):
            spans += [(offset + found.start(), offset + found.end()) for found in _NAME.finditer(text)]
    return spans, len(code)
