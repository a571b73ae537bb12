"""The hypotheses of a batch under a grammar.

Letters: B rows, R advanced rows, W beams, V vocabulary, U states of the UTF-8 automaton, N words of a mask.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from t2c_jax.decode.grammar.compiled import Grammar
from t2c_jax.decode.grammar.spelling import packed

if TYPE_CHECKING:
    from llguidance import LLMatcher

_FREE, _ACTIVE, _DEAD = 0, 1, 2


class Beams:
    """Follows the hypotheses of ``rows`` answers, ``beams`` each, and says which tokens may come next.

    A row is free, and allows all tokens, until ``reset`` begins an answer in it. A hypothesis is free again after its
    eos. A hypothesis whose last token was not allowed is dead, and allows nothing: a search keeps such hypotheses while
    it has fewer continuations than beams. One that the tokenizer cannot continue is dead, too.

    Hypotheses with the same tokens share a matcher and its mask, also those of different rows.
    """

    def __init__(self, grammar: Grammar, rows: int, beams: int) -> None:
        """All rows are free."""
        self._grammar = grammar
        self._before, self._after = grammar.spelling.before, grammar.spelling.after
        self._matchers: list[list[LLMatcher]] = [[grammar.root] * beams for _ in range(rows)]
        self._state_BW = np.full((rows, beams), _FREE, np.int8)
        self._utf8_BW = np.zeros((rows, beams), np.int8)
        self._ending_BW = np.zeros((rows, beams), np.int32)  # how many ids of ``after`` are written
        self._length_B = np.zeros(rows, np.int32)
        self._all_N = packed(np.ones(grammar.spelling.size, bool))
        self._before_PN = np.stack([*map(self._only, self._before), grammar.first_mask_N])
        self._after_PN = np.stack([*map(self._only, self._after), self._all_N])
        self._mask_BWN = np.broadcast_to(self._all_N, (rows, beams, grammar.words)).copy()
        self._stale_B = np.zeros(rows, bool)

    def _only(self, token: int) -> np.ndarray:
        return packed(np.arange(self._grammar.spelling.size) == token)

    def reset(self, row: int) -> None:
        """Begins an answer in a row."""
        self.free(row)
        self._state_BW[row] = _ACTIVE
        self._mask_BWN[row] = self._before_PN[0]

    def free(self, row: int) -> None:
        """Drops the answer of a row; the row allows all tokens."""
        self._matchers[row] = [self._grammar.root] * len(self._matchers[row])
        self._state_BW[row], self._utf8_BW[row], self._ending_BW[row], self._length_B[row] = _FREE, 0, 0, 0
        self._mask_BWN[row] = self._all_N
        self._stale_B[row] = False

    def masks(self) -> np.ndarray:
        """The tokens that may come next, uint32 (B, W, N): bit ``i % 32`` of word ``i // 32`` is token i.

        Eos is allowed exactly where the text is complete. The array is the object's own: copy it to keep it.

        Raises:
          GrammarError: the engine failed.
        """
        stale = np.flatnonzero(self._stale_B)
        if not stale.size:
            return self._mask_BWN
        state_RW, mask_RWN = self._state_BW[stale], self._mask_BWN[stale]
        mask_RWN[state_RW == _FREE] = self._all_N
        mask_RWN[state_RW == _DEAD] = 0
        ending_RW, length_R1 = self._ending_BW[stale], self._length_B[stale][:, None]
        active_RW = state_RW == _ACTIVE
        opening_RW = active_RW & (length_R1 <= len(self._before))
        mask_RWN[opening_RW] = self._before_PN[np.broadcast_to(length_R1, opening_RW.shape)[opening_RW]]
        closing_RW = active_RW & (ending_RW > 0)
        mask_RWN[closing_RW] = self._after_PN[ending_RW[closing_RW]]
        text_RW = active_RW & ~opening_RW & ~closing_RW
        if text_RW.any():
            mask_RWN[text_RW] = self._text_masks(stale, text_RW)
            self._state_BW[stale] = np.where(text_RW & ~mask_RWN.any(-1), _DEAD, state_RW)
        self._mask_BWN[stale] = mask_RWN
        self._stale_B[:] = False
        return self._mask_BWN

    def _text_masks(self, rows: np.ndarray, text_RW: np.ndarray) -> np.ndarray:
        """Masks of the hypotheses where ``text_RW``, one after the other."""
        held = [self._matchers[rows[position]][beam] for position, beam in np.argwhere(text_RW).tolist()]
        distinct = {id(matcher): matcher for matcher in held}
        place = {key: index for index, key in enumerate(distinct)}
        masks = self._grammar.bit_masks(list(distinct.values()))[[place[id(matcher)] for matcher in held]]
        masks &= self._grammar.writable_UN[self._utf8_BW[rows][text_RW]]
        if len(self._after) > 1:  # what may come in place of eos is the first of the ids that end an answer
            word, bit = divmod(self._after[-1], 32)
            complete = (masks[:, word] >> np.uint32(bit)) & 1 != 0
            masks[:, word] &= ~np.uint32(1 << bit)
            masks[complete] |= self._after_PN[0]
        return masks

    @property
    def dead_BW(self) -> np.ndarray:
        """Which hypotheses no token can continue."""
        self.masks()
        return self._state_BW == _DEAD

    def advance(self, tokens_BW: np.ndarray, parents_BW: np.ndarray, rows: Iterable[int] | None = None) -> None:
        """Continues hypotheses by a token.

        Args:
          tokens_BW: the last token of each new hypothesis.
          parents_BW: the hypothesis of the same row that each one continues.
          rows: those to continue, all by default; the others stay as they are. Free ones need not be left out.

        Raises:
          GrammarError: the engine failed.
        """
        wanted = range(len(self._matchers)) if rows is None else rows
        rows_R = np.array([row for row in wanted if self._state_BW[row].any()], np.int64)
        if not rows_R.size:
            return
        self.masks()
        own_R1, parents_RW = rows_R[:, None], np.asarray(parents_BW)[rows_R]
        tokens_RW = np.asarray(tokens_BW)[rows_R]
        state_RW, utf8_RW, ending_RW = (
            array_BW[own_R1, parents_RW] for array_BW in (self._state_BW, self._utf8_BW, self._ending_BW)
        )
        words_RW = self._mask_BWN[own_R1, parents_RW, tokens_RW >> 5]
        allowed_RW = (words_RW >> (tokens_RW & 31).astype(np.uint32)) & 1 != 0
        state_RW = np.where((state_RW == _ACTIVE) & ~allowed_RW, _DEAD, state_RW)

        written_R1 = self._length_B[own_R1] - len(self._before)
        text_RW = (state_RW == _ACTIVE) & (written_R1 >= 0)
        closing_RW = text_RW & ((ending_RW > 0) | (tokens_RW == self._after[0]))
        ending_RW = ending_RW + closing_RW
        state_RW = np.where(ending_RW == len(self._after), _FREE, state_RW)
        grows_RW = text_RW & ~closing_RW
        states_RW = np.where(
            written_R1 == 0, self._grammar.first_states_V[tokens_RW], self._grammar.states_UV[utf8_RW, tokens_RW]
        )
        utf8_RW = np.where(grows_RW, states_RW, utf8_RW)
        self._grow(rows_R, parents_RW, tokens_RW, grows_RW, (written_R1 == 0)[:, 0])
        self._state_BW[rows_R], self._utf8_BW[rows_R], self._ending_BW[rows_R] = state_RW, utf8_RW, ending_RW
        self._length_B[rows_R] += 1
        self._stale_B[rows_R] = True

    def _grow(
        self,
        rows_R: np.ndarray,
        parents_RW: np.ndarray,
        tokens_RW: np.ndarray,
        grows_RW: np.ndarray,
        first_R: np.ndarray,
    ) -> None:
        """Gives each hypothesis where ``grows_RW`` its parent's matcher after its token, and the others the root."""
        root, beams = self._grammar.root, parents_RW.shape[1]
        rows, parents, tokens, first = rows_R.tolist(), parents_RW.tolist(), tokens_RW.tolist(), first_R.tolist()
        children: defaultdict[int, dict[tuple[int, bool], list[tuple[int, int]]]] = defaultdict(dict)
        old: dict[int, LLMatcher] = {id(root): root}
        for position, beam in np.argwhere(grows_RW).tolist():
            row = rows[position]
            matcher = self._matchers[row][parents[position][beam]]
            old[id(matcher)] = matcher
            key = tokens[position][beam], first[position]
            children[id(matcher)].setdefault(key, []).append((row, beam))
        advanced = set(rows)
        kept = {id(root)}.union(
            *({id(matcher) for matcher in held} for row, held in enumerate(self._matchers) if row not in advanced)
        )
        for row in rows:
            self._matchers[row] = [root] * beams
        pairs: tuple[list[tuple[LLMatcher, int]], list[tuple[LLMatcher, int]]] = ([], [])
        for parent, groups in children.items():
            # The last child takes its parent's matcher, and the others copies, unless another row still holds it.
            copies = len(groups) - (parent not in kept)
            for index, ((token, is_first), holders) in enumerate(groups.items()):
                matcher = old[parent].deep_copy() if index < copies else old[parent]
                pairs[is_first].append((matcher, token))
                for row, beam in holders:
                    self._matchers[row][beam] = matcher
        for is_first in (False, True):
            self._grammar.feed(pairs[is_first], first=bool(is_first))
