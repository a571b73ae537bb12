"""The hypotheses of a batch under a grammar.

Letters: B rows, W beams, V vocabulary, U UTF-8 states, N words of a mask.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from t2c_jax.decode.grammar.engine import Engine
from t2c_jax.decode.grammar.spelling import packed

if TYPE_CHECKING:
    from llguidance import LLMatcher

_FREE, _ACTIVE, _DEAD = range(3)


class Beams:
    """Follows the hypotheses of ``rows`` answers, ``beams`` each, and says which tokens may come next.

    A row is free, and allows all tokens, until ``reset`` begins an answer in it. A hypothesis is free again after its
    eos. A hypothesis whose last token was not allowed is dead, and allows nothing: a search keeps such hypotheses while
    it has fewer continuations than beams. One that the tokenizer cannot continue is dead, too.

    There are two ways to ask: ``masks`` looks at the whole vocabulary, ``judge`` at the likeliest tokens alone, which
    takes a small part of the time. Hypotheses with the same tokens share a matcher, also those of different rows.

    Plain lists hold the state: there are few hypotheses, and calls of NumPy would take more time than the work.
    """

    def __init__(self, grammar: Engine, rows: int, beams: int) -> None:
        """All rows are free."""
        self._grammar, self._beams = grammar, beams
        self._before, self._after = grammar.spelling.before, grammar.spelling.after
        self._matchers: list[list[LLMatcher]] = [[]] * rows
        self._state: list[list[int]] = [[]] * rows
        self._utf8: list[list[int]] = [[]] * rows
        self._ending: list[list[int]] = [[]] * rows  # how many ids of ``after`` are written
        self._has_mask: list[list[bool]] = [[]] * rows
        self._length = [0] * rows
        self._verdicts: list[dict[tuple[int, int], bool]] = [{}] * rows
        self._all_N = packed(np.ones(grammar.spelling.size, bool))
        self._before_PN = np.stack([*map(self._only, self._before), grammar.first_mask_N])
        self._after_PN = np.stack([*map(self._only, self._after), self._all_N])
        self._mask_BWN = np.zeros((rows, beams, grammar.words), np.uint32)
        for row in range(rows):
            self.free(row)

    def _only(self, token: int) -> np.ndarray:
        return packed(np.arange(self._grammar.spelling.size) == token)

    @property
    def end(self) -> int:
        """The token that ends a text."""
        return self._after[0]

    def reset(self, row: int) -> None:
        """Begins an answer in a row."""
        self.free(row)
        self._state[row] = [_ACTIVE] * self._beams
        self._mask_BWN[row] = self._before_PN[0]

    def free(self, row: int) -> None:
        """Drops the answer of a row; the row allows all tokens."""
        beams = self._beams
        self._matchers[row], self._state[row] = [self._grammar.root] * beams, [_FREE] * beams
        self._utf8[row], self._ending[row], self._length[row] = [0] * beams, [0] * beams, 0
        self._mask_BWN[row], self._has_mask[row], self._verdicts[row] = self._all_N, [True] * beams, {}

    def masks(self, rows: Iterable[int] | None = None) -> np.ndarray:
        """The tokens that may come next, uint32 (B, W, N): bit ``i % 32`` of word ``i // 32`` is token i.

        Eos is allowed exactly where the text is complete. The array is the object's own: copy it to keep it.

        Args:
          rows: those whose masks are wanted, all by default; the others may be out of date.

        Raises:
          GrammarError: the engine failed.
        """
        wanted = range(len(self._state)) if rows is None else rows
        places = [(row, beam) for row in wanted for beam, known in enumerate(self._has_mask[row]) if not known]
        if not places:
            return self._mask_BWN
        held = [self._matchers[row][beam] for row, beam in places]
        distinct = {id(matcher): matcher for matcher in held}
        index = {key: place for place, key in enumerate(distinct)}
        masks = self._grammar.bit_masks(list(distinct.values()))[[index[id(matcher)] for matcher in held]]
        masks &= self._grammar.writable_UN[[self._utf8[row][beam] for row, beam in places]]
        if len(self._after) > 1:  # what may come in place of eos is the first of the ids that end an answer
            word, bit = divmod(self._after[-1], 32)
            complete = (masks[:, word] >> np.uint32(bit)) & 1 != 0
            masks[:, word] &= ~np.uint32(1 << bit)
            masks[complete] |= self._after_PN[0]
        for (row, beam), mask_N in zip(places, masks, strict=True):
            self._mask_BWN[row, beam], self._has_mask[row][beam] = mask_N, True
            if not mask_N.any():
                self._state[row][beam] = _DEAD
        return self._mask_BWN

    @property
    def dead_BW(self) -> np.ndarray:
        """Which hypotheses no token can continue."""
        self.masks()
        return np.array(self._state) == _DEAD

    def judge(self, row: int, continuations: Iterable[tuple[int, int]]) -> tuple[list[int], bool]:
        """Which of a row's best continuations are allowed, until there are as many as a search needs.

        These are W that do not end their hypothesis, and all better ones. Where there is one hypothesis, its end is
        enough.

        Args:
          row: the row.
          continuations: hypothesis and token of each, the best first.

        Returns:
          The places of those that are allowed, and whether they are as many as a search needs.

        Raises:
          GrammarError: the engine failed.
        """
        wanted, end, allowed = self._beams, self._after[0], []
        for place, (beam, token) in enumerate(continuations):
            if self._allows(row, beam, token):
                allowed.append(place)
                wanted -= token != end or self._beams == 1
                if not wanted:
                    return allowed, True
        return allowed, False

    def _allows(self, row: int, beam: int, token: int) -> bool:
        """Whether a token may continue a hypothesis."""
        verdict = self._verdicts[row].get((beam, token))
        if verdict is None:
            if self._has_mask[row][beam]:
                verdict = bool(int(self._mask_BWN[row, beam, token >> 5]) >> (token & 31) & 1)
            else:
                matcher, utf8 = self._matchers[row][beam], self._utf8[row][beam]
                verdict = self._grammar.allows(matcher, utf8, token, is_end=token == self._after[0])
            self._verdicts[row][beam, token] = verdict
        return verdict

    def advance(self, continued: Mapping[int, tuple[Sequence[int], Sequence[int]]]) -> None:
        """Continues hypotheses by a token; free ones stay free.

        Args:
          continued: of each row to continue the last token of each new hypothesis, and the hypothesis of the row that
            it continues.

        Raises:
          GrammarError: the engine failed.
        """
        # The parents' matchers, with the places of the new hypotheses that continue them, by token.
        children: dict[int, tuple[LLMatcher, dict[tuple[int, bool], list[tuple[int, int]]]]] = {}
        grown: dict[int, list[LLMatcher]] = {}
        for row, (tokens, parents) in continued.items():
            old = self._state[row], self._utf8[row], self._ending[row]
            if not any(old[0]):
                continue
            state, utf8, ending = ([values[parent] for parent in parents] for values in old)
            known = [True] * self._beams
            is_text, is_first = self._length[row] >= len(self._before), self._length[row] == len(self._before)
            grown[row] = [self._grammar.root] * self._beams
            for beam, (token, parent) in enumerate(zip(tokens, parents, strict=True)):
                if state[beam] == _ACTIVE and not self._allows(row, parent, token):
                    state[beam] = _DEAD
                if state[beam] != _ACTIVE or not is_text:
                    continue
                if ending[beam] or token == self._after[0]:
                    ending[beam] += 1
                    if ending[beam] == len(self._after):
                        state[beam] = _FREE
                    continue
                utf8[beam], known[beam] = self._grammar.utf8_after(utf8[beam], token, first=is_first), False
                matcher = self._matchers[row][parent]
                _, tokens_of = children.setdefault(id(matcher), (matcher, {}))
                tokens_of.setdefault((token, is_first), []).append((row, beam))
            self._state[row], self._utf8[row], self._ending[row] = state, utf8, ending
            self._has_mask[row], self._verdicts[row] = known, {}
            self._length[row] += 1
            self._set_known_masks(row)
        self._grow(children, grown)

    def _set_known_masks(self, row: int) -> None:
        """Sets the masks of a row that are known without the engine."""
        length = self._length[row]
        for beam, known in enumerate(self._has_mask[row]):
            if known:
                state, ending = self._state[row][beam], self._ending[row][beam]
                if state == _DEAD:
                    mask_N: np.ndarray | int = 0
                elif state == _FREE:
                    mask_N = self._all_N
                elif ending:
                    mask_N = self._after_PN[ending]
                else:
                    mask_N = self._before_PN[length]
                self._mask_BWN[row, beam] = mask_N

    def _grow(
        self,
        children: Mapping[int, tuple[LLMatcher, Mapping[tuple[int, bool], Sequence[tuple[int, int]]]]],
        grown: dict[int, list[LLMatcher]],
    ) -> None:
        """Gives the hypotheses matchers after their tokens."""
        kept = {id(self._grammar.root)}
        for row, held in enumerate(self._matchers):
            if row not in grown and any(self._state[row]):
                kept.update(map(id, held))
        pairs: tuple[list[tuple[LLMatcher, int]], list[tuple[LLMatcher, int]]] = ([], [])
        for key, (parent, groups) in children.items():
            # The last child takes its parent's matcher, and the others copies, unless another row still holds it.
            copies = len(groups) - (key not in kept)
            for index, ((token, begins), places) in enumerate(groups.items()):
                matcher = parent.deep_copy() if index < copies else parent
                pairs[begins].append((matcher, token))
                for row, beam in places:
                    grown[row][beam] = matcher
        for row, matchers in grown.items():
            self._matchers[row] = matchers
        for is_first in (False, True):
            self._grammar.feed(pairs[is_first], first=is_first)
