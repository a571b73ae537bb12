"""The hypotheses of a batch under a grammar.

Letters: B rows, R advanced rows, W beams, C candidates, V vocabulary, U UTF-8 states, N words of a mask.
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

    There are two ways to ask: ``masks`` looks at the whole vocabulary, ``judge`` at the likeliest tokens alone, which
    takes a small part of the time. Hypotheses with the same tokens share a matcher, also those of different rows.
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
        self._has_mask_BW = np.ones((rows, beams), bool)
        self._verdicts: list[dict[tuple[int, int], bool]] = [{} for _ in range(rows)]

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
        self._mask_BWN[row], self._has_mask_BW[row] = self._all_N, True
        self._verdicts[row] = {}

    def masks(self, wanted_BW: np.ndarray | None = None) -> np.ndarray:
        """The tokens that may come next, uint32 (B, W, N): bit ``i % 32`` of word ``i // 32`` is token i.

        Eos is allowed exactly where the text is complete. The array is the object's own: copy it to keep it.

        Args:
          wanted_BW: the hypotheses whose masks are to be right; all by default.

        Raises:
          GrammarError: the engine failed.
        """
        missing_BW = ~self._has_mask_BW if wanted_BW is None else wanted_BW & ~self._has_mask_BW
        places = np.argwhere(missing_BW).tolist()
        if places:
            held = [self._matchers[row][beam] for row, beam in places]
            distinct = {id(matcher): matcher for matcher in held}
            place = {key: index for index, key in enumerate(distinct)}
            masks = self._grammar.bit_masks(list(distinct.values()))[[place[id(matcher)] for matcher in held]]
            masks &= self._grammar.writable_UN[self._utf8_BW[missing_BW]]
            if len(self._after) > 1:  # what may come in place of eos is the first of the ids that end an answer
                word, bit = divmod(self._after[-1], 32)
                complete = (masks[:, word] >> np.uint32(bit)) & 1 != 0
                masks[:, word] &= ~np.uint32(1 << bit)
                masks[complete] |= self._after_PN[0]
            self._mask_BWN[missing_BW] = masks
            self._state_BW[missing_BW] = np.where(masks.any(-1), _ACTIVE, _DEAD)
            self._has_mask_BW[missing_BW] = True
        return self._mask_BWN

    @property
    def dead_BW(self) -> np.ndarray:
        """Which hypotheses no token can continue."""
        self.masks()
        return self._state_BW == _DEAD

    def judge(
        self, beams_BC: np.ndarray, tokens_BC: np.ndarray, rows: Iterable[int] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Which of the best continuations of each row are allowed, until as many as there are hypotheses are found.

        Args:
          beams_BC: the hypothesis that each continuation continues, the best continuations first.
          tokens_BC: its token.
          rows: those to judge, all by default.

        Returns:
          ``allowed_BC``: continuations that are allowed. After W of them that do not end their hypothesis, no others
          are looked at, and none is marked.
          ``open_B``: rows with fewer, so that masks are needed.

        Raises:
          GrammarError: the engine failed.
        """
        allowed_BC, open_B = np.zeros(tokens_BC.shape, bool), np.zeros(len(tokens_BC), bool)
        beams, tokens = beams_BC.tolist(), tokens_BC.tolist()
        for row in range(len(tokens)) if rows is None else rows:
            wanted, allowed = len(self._matchers[row]), allowed_BC[row]
            for place, (beam, token) in enumerate(zip(beams[row], tokens[row], strict=True)):
                if self._allows(row, beam, token):
                    allowed[place] = True
                    wanted -= token != self._after[0]
                    if not wanted:
                        break
            open_B[row] = wanted > 0
        return allowed_BC, open_B

    def _allows(self, row: int, beam: int, token: int) -> bool:
        """Whether a token may continue a hypothesis."""
        verdict = self._verdicts[row].get((beam, token))
        if verdict is None:
            if self._has_mask_BW[row, beam]:
                verdict = bool(self._mask_BWN[row, beam, token >> 5] >> np.uint32(token & 31) & 1)
            else:
                verdict = self._grammar.allows(
                    self._matchers[row][beam], int(self._utf8_BW[row, beam]), token, is_end=token == self._after[0]
                )
            self._verdicts[row][beam, token] = verdict
        return verdict

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
        own_R1, parents_RW = rows_R[:, None], np.asarray(parents_BW)[rows_R]
        tokens_RW = np.asarray(tokens_BW)[rows_R]
        state_RW, utf8_RW, ending_RW = (
            array_BW[own_R1, parents_RW] for array_BW in (self._state_BW, self._utf8_BW, self._ending_BW)
        )
        parents, tokens = parents_RW.tolist(), tokens_RW.tolist()
        allowed_RW = np.array(
            [
                [self._allows(row, beam, token) for beam, token in zip(*pairs, strict=True)]
                for row, *pairs in zip(rows_R.tolist(), parents, tokens, strict=True)
            ]
        )
        state_RW = np.where((state_RW == _ACTIVE) & ~allowed_RW, _DEAD, state_RW)

        written_R1 = self._length_B[own_R1] - len(self._before)
        text_RW = (state_RW == _ACTIVE) & (written_R1 >= 0)
        closing_RW = text_RW & ((ending_RW > 0) | (tokens_RW == self._after[0]))
        ending_RW = ending_RW + closing_RW
        state_RW = np.where(ending_RW == len(self._after), _FREE, state_RW)
        grows_RW = text_RW & ~closing_RW
        is_first_R1 = written_R1 == 0
        if self._grammar.spelling.same_everywhere:
            states_RW = self._grammar.states_UV[utf8_RW, tokens_RW]
        else:
            states_RW = np.where(
                is_first_R1, self._grammar.first_states_V[tokens_RW], self._grammar.states_UV[utf8_RW, tokens_RW]
            )
        utf8_RW = np.where(grows_RW, states_RW, utf8_RW)
        self._grow(rows_R.tolist(), parents, tokens, grows_RW, is_first_R1[:, 0].tolist())
        self._state_BW[rows_R], self._utf8_BW[rows_R], self._ending_BW[rows_R] = state_RW, utf8_RW, ending_RW
        self._length_B[rows_R] += 1
        self._set_known_masks(rows_R)

    def _set_known_masks(self, rows_R: np.ndarray) -> None:
        """Sets the masks that are known without the engine, and forgets the others."""
        state_RW, ending_RW = self._state_BW[rows_R], self._ending_BW[rows_R]
        opening_R = self._length_B[rows_R] <= len(self._before)
        text_RW = (state_RW == _ACTIVE) & (ending_RW == 0) & ~opening_R[:, None]
        self._has_mask_BW[rows_R] = ~text_RW
        for row in rows_R.tolist():
            self._verdicts[row] = {}
        if text_RW.all():
            return
        for position, beam in np.argwhere(~text_RW).tolist():
            row, state = rows_R[position], state_RW[position, beam]
            if state == _DEAD:
                self._mask_BWN[row, beam] = 0
            elif state == _FREE:
                self._mask_BWN[row, beam] = self._all_N
            elif ending_RW[position, beam]:
                self._mask_BWN[row, beam] = self._after_PN[ending_RW[position, beam]]
            else:
                self._mask_BWN[row, beam] = self._before_PN[self._length_B[row]]

    def _grow(
        self,
        rows: list[int],
        parents: list[list[int]],
        tokens: list[list[int]],
        grows_RW: np.ndarray,
        first: list[bool],
    ) -> None:
        """Gives each hypothesis where ``grows_RW`` its parent's matcher after its token, and the others the root."""
        root = self._grammar.root
        children: defaultdict[int, dict[tuple[int, bool], list[tuple[int, int]]]] = defaultdict(dict)
        old: dict[int, LLMatcher] = {}
        for position, beam in np.argwhere(grows_RW).tolist():
            row = rows[position]
            matcher = self._matchers[row][parents[position][beam]]
            old[id(matcher)] = matcher
            key = tokens[position][beam], first[position]
            children[id(matcher)].setdefault(key, []).append((row, beam))
        kept = {id(root)}
        if len(rows) < len(self._matchers):
            advanced = set(rows)
            for row, held in enumerate(self._matchers):
                if row not in advanced:
                    kept.update(map(id, held))
        for row in rows:
            self._matchers[row] = [root] * grows_RW.shape[1]
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
