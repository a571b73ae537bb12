"""Tasks over identifiers (Wang et al. 2021, "CodeT5", section 3.2): naming masked ones, and tagging.

Letters: N tokens or windows, O occurrences of identifiers, M distinct names, W windows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from t2c_jax.data.tasks.task import KNOWN_IDENTIFIERS, Example, ExampleIndex, Task, TaskSetup
from t2c_jax.data.tasks.windows import windows

if TYPE_CHECKING:
    from t2c_jax.data.tokens import Tokens

UNKNOWN = 2**16 - 1
"""The occurrence code of a token that may or may not belong to an identifier."""

_NOTHING = np.zeros(0, np.int32)
_RECORDS_AT_ONCE = 1 << 14  # whose tokens are in memory together, tens of megabytes


def masked_identifiers(tokens_N: np.ndarray, names_N: np.ndarray, sentinels: Sequence[int], room: int) -> Example:
    """A sentinel of its own replaces each distinct identifier everywhere; the target lists their names.

    Wang et al. 2021, "CodeT5", section 3.2 ("masked identifier prediction"). Of f ( x , y ) x with f, x and y as
    identifiers: the source is <0> ( <1> , <2> ) <1>, the target <0> f <1> x <2> y. Names for which no sentinel or no
    room is left stay in the source. The paper works on whole names. Here identifiers are distinct where their tokens
    are (``languages.identifiers.spelt``), so that source and target together give the code back token by token: a name
    that is spelt by other tokens in a second place has a second sentinel.

    Args:
      tokens_N: code.
      names_N: ``occurrence_codes`` of its tokens.
      sentinels: ids.
      room: tokens of the target at most.
    """
    begins_O, ends_O, names_O = occurrences(names_N)
    _, first_M, number_O = np.unique(names_O, return_index=True, return_inverse=True)
    order_M = np.argsort(first_M)
    first_M = first_M[order_M]
    rank_M = np.empty_like(order_M)
    rank_M[order_M] = np.arange(len(order_M))
    costs_M = np.cumsum(ends_O[first_M] - begins_O[first_M] + 1)
    kept = min(int(np.searchsorted(costs_M, room, "right")), len(sentinels))
    number_O = rank_M[number_O]
    masked_O = number_O < kept
    ids = np.asarray(sentinels, np.int32)
    source_N, keeps_N = tokens_N.astype(np.int32), np.ones(len(tokens_N), bool)
    for begin, end, number in zip(begins_O[masked_O], ends_O[masked_O], number_O[masked_O], strict=True):
        keeps_N[begin:end] = False
        source_N[begin], keeps_N[begin] = ids[number], True
    target = [
        part
        for number, occurrence in enumerate(first_M[:kept])
        for part in (ids[number : number + 1], tokens_N[begins_O[occurrence] : ends_O[occurrence]].astype(np.int32))
    ]
    return Example((source_N[keeps_N],), np.concatenate([_NOTHING, *target]))


def masked_lengths(
    codes_N: np.ndarray, sequences: np.ndarray, windows_W: np.ndarray, sentinels: int, room: int
) -> tuple[np.ndarray, np.ndarray]:
    """Tokens of the source and of the target that ``masked_identifiers`` makes of each window, of all of them at once.

    Planning rows needs the lengths of a whole corpus at every start, and examples one by one would take minutes. Of
    f ( x , y ) x as there (Wang et al. 2021, section 3.2), whose codes are 1 0 4 0 5 0 4, the source has 7 tokens and
    the target 6. As two windows, f ( x and , y ) x, the sources have 3 and 4, the targets 4 and 4.

    Args:
      codes_N: ``occurrence_codes`` of sequences one after the other.
      sequences: where each begins.
      windows_W: where each window begins, every sequence's first among them. An identifier that two windows share
        belongs to neither.
      sentinels: how many there are.
      room: tokens of a target at most.
    """
    is_edge_N = np.diff(codes_N, prepend=-1) != 0
    is_edge_N[sequences] = True
    edges = np.flatnonzero(is_edge_N)
    ends = np.append(edges[1:], len(codes_N))
    window_O = np.searchsorted(windows_W, edges, "right") - 1
    whole = _named(codes_N[edges]) & (ends <= np.append(windows_W[1:], len(codes_N))[window_O])
    window_O, name_O, length_O = window_O[whole], codes_N[edges[whole]].astype(np.int64), (ends - edges)[whole]
    name_O = (name_O - 1) // 2
    key_O = window_O * (name_O.max(initial=0) + 1) + name_O
    _, first_M, number_O = np.unique(key_O, return_index=True, return_inverse=True)
    order_M = np.argsort(first_M)
    first_M, rank_M = first_M[order_M], np.argsort(order_M)
    window_M, cost_M = window_O[first_M], length_O[first_M] + 1
    opens_M = np.searchsorted(window_M, window_M)  # a window's first name
    spent_M = np.cumsum(cost_M)
    spent_M -= (spent_M - cost_M)[opens_M]
    kept_M = (spent_M <= room) & (np.arange(len(first_M)) - opens_M < sentinels)
    masked_O = kept_M[rank_M[number_O]]

    def by_window(windows: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        return np.bincount(windows, tokens, len(windows_W)).astype(np.int64)

    lengths_W = np.diff(windows_W, append=len(codes_N))
    sources_W = lengths_W - by_window(window_O[masked_O], length_O[masked_O] - 1)
    return sources_W, by_window(window_M[kept_M], cost_M[kept_M])


def occurrence_codes(occurrences_N: np.ndarray, names_O: Sequence[int]) -> np.ndarray:
    """A code for each token: 0 for no identifier, ``UNKNOWN``, or 1 + 2 name + the parity of its occurrence.

    Both of CodeT5's tasks over identifiers (Wang et al. 2021, section 3.2) need no more. The parity separates an
    occurrence from the next one of the same name where they touch. With tokens of occurrences 0 1 1 2 (0 for none) of
    the names 0 and 0: 0 1 1 2.

    Args:
      occurrences_N: 1 + the occurrence that each token belongs to, 0 for none, -1 where that is unknown.
      names_O: the name of each occurrence, numbered; the same number for the same tokens alone.
    """
    names = np.concatenate([[0], np.asarray(names_O, np.int64)])
    codes_N = 1 + 2 * names[np.maximum(occurrences_N, 0)] + (occurrences_N + 1) % 2
    return np.where(occurrences_N > 0, codes_N, np.where(occurrences_N < 0, UNKNOWN, 0))


def _named(codes_N: np.ndarray) -> np.ndarray:
    return (codes_N > 0) & (codes_N < UNKNOWN)


def occurrences(codes_N: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Begins, ends and names of the occurrences that ``occurrence_codes`` encodes.

    Of the codes 1 4 4 0 1: [0, 1), [1, 3) and [4, 5) of the names 0, 1 and 0.
    """
    edges = np.flatnonzero(np.diff(codes_N.astype(np.int64), prepend=0, append=0))
    begins = edges[:-1][_named(codes_N[edges[:-1]])] if len(edges) else edges
    ends = edges[np.searchsorted(edges, begins, "right")] if len(edges) else edges
    return begins, ends, (codes_N[begins].astype(np.int64) - 1) // 2


def identifier_tags(codes_N: np.ndarray) -> np.ndarray:
    """1 for tokens of identifiers, 0 for others, -1 where it is unknown (Wang et al. 2021, section 3.2, "identifier
    tagging").

    Of f ( x ) " with the occurrence codes 1 0 4 0 ``UNKNOWN``: 1 0 1 0 -1.
    """
    return np.where(codes_N == UNKNOWN, -1, codes_N > 0).astype(np.int32)


@dataclass(frozen=True)
class MaskedIdentifiers(Task):
    """Code whose masked identifiers are to be named (``masked_identifiers``).

    Attributes:
      sentinels: ids.
      length: tokens of a window at most.
      room: tokens of a target at most, special tokens not counted.
    """

    needs: ClassVar[str] = KNOWN_IDENTIFIERS
    sentinels: tuple[int, ...] = ()
    length: int = 0
    room: int = 0

    def index(self, tokens: Tokens, seed: int) -> ExampleIndex:
        """Windows that hold an identifier."""
        records_N, begins_N, ends_N = windows(tokens.code_lengths, self.length)
        lengths = [
            masked_lengths(codes, starts[is_first], starts, len(self.sentinels), self.room)
            for codes, starts, is_first in _codes_at_once(tokens, records_N, begins_N, ends_N)
        ]
        source_N, target_N = map(np.concatenate, zip((_NOTHING, _NOTHING), *lengths, strict=True))
        kept = target_N > 0
        source_N, target_N = source_N[kept] + self.source.extra_tokens, target_N[kept] + self.target.extra_tokens
        return ExampleIndex(records_N[kept], begins_N[kept], ends_N[kept], source_N, target_N)

    def _masked(self, tokens: Tokens, record: int, begin: int, end: int) -> Example:
        names = whole_occurrences(tokens.identifiers(record), begin, end)
        return masked_identifiers(tokens.code(record)[begin:end], names, self.sentinels, self.room)

    def example(self, tokens: Tokens, record: int, begin: int, end: int, seed: int, epoch: int) -> Example:
        """A window; nothing is sampled."""
        return self.in_templates(self._masked(tokens, record, begin, end))


@dataclass(frozen=True)
class IdentifierTagging(Task):
    """Code whose tokens the tagging head classifies as identifier or not; the decoder writes nothing.

    Attributes:
      length: tokens of a window at most.
    """

    needs: ClassVar[str] = KNOWN_IDENTIFIERS
    length: int = 0

    def index(self, tokens: Tokens, seed: int) -> ExampleIndex:
        """Windows in which some token is known to be an identifier or not."""
        records_N, begins_N, ends_N = windows(tokens.code_lengths, self.length)
        is_known = [
            np.logical_or.reduceat(codes != UNKNOWN, starts)
            for codes, starts, _ in _codes_at_once(tokens, records_N, begins_N, ends_N)
        ]
        kept = np.concatenate([np.zeros(0, bool), *is_known])
        records_N, begins_N, ends_N = records_N[kept], begins_N[kept], ends_N[kept]
        return ExampleIndex(
            records_N, begins_N, ends_N, ends_N - begins_N + self.source.extra_tokens, np.zeros_like(records_N)
        )

    def example(self, tokens: Tokens, record: int, begin: int, end: int, seed: int, epoch: int) -> Example:
        """A window and its tags; special tokens have none."""
        tags = identifier_tags(tokens.identifiers(record)[begin:end])
        before, after = (np.full(len(ids), -1, np.int32) for ids in (self.source.before, self.source.after))
        source = self.source(tokens.code(record)[begin:end])
        return Example((source,), _NOTHING, np.concatenate([before, tags, after]))


def _codes_at_once(
    tokens: Tokens, records_N: np.ndarray, begins_N: np.ndarray, ends_N: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Of all code's windows, those of some records at a time: the records' occurrence codes end to end, where each
    window begins in them, and whether it is the first of its record."""
    firsts = np.flatnonzero(begins_N == 0)[::_RECORDS_AT_ONCE].tolist()
    for some in (slice(*ends) for ends in pairwise([*firsts, len(records_N)])):
        codes = np.concatenate([tokens.identifiers(record) for record in np.unique(records_N[some]).tolist()])
        lengths = ends_N[some] - begins_N[some]
        yield codes, np.cumsum(lengths) - lengths, begins_N[some] == 0


def whole_occurrences(codes_N: np.ndarray, begin: int, end: int) -> np.ndarray:
    """The window's occurrence codes, 0 for an identifier that the window cuts."""
    window = codes_N[begin:end].copy()
    if begin and len(window) and codes_N[begin - 1] == window[0]:
        window[: int(np.argmax(np.append(window != window[0], True)))] = 0
    if end < len(codes_N) and len(window) and codes_N[end] == window[-1]:
        window[len(window) - int(np.argmax(np.append(window[::-1] != window[-1], True))) :] = 0
    return window


def build_masked_identifiers(setup: TaskSetup) -> MaskedIdentifiers:
    """The task of ``masked_identifiers``."""
    source, target = setup.room
    return MaskedIdentifiers(**setup.shared(), sentinels=setup.sentinels, length=source, room=target)


def build_identifier_tagging(setup: TaskSetup) -> IdentifierTagging:
    """The task of ``identifier_tagging``."""
    return IdentifierTagging(**setup.shared(), length=setup.room[0])
