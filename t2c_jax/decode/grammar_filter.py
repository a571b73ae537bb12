"""A grammar in a search: the host says, once a step, which continuations the grammar allows.

A compiled search asks the host through a callback. The host follows the hypotheses of each row (``grammar.beams``): it
begins anew where a row is at step 0, and otherwise continues with the row's last tokens.

Greedy and beam search ask about the best continuations of each row alone, because a mask of the whole vocabulary takes
many times as long. The answer is exact: where these are not enough, the masks of the row come back as well, and the
search ranks again.

Letters: B rows, W beams, C candidates, V vocabulary, N words of a mask, M bits of one.
"""

from __future__ import annotations

import functools
import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import io_callback
from jaxtyping import Array, Bool, Float, Int, UInt32

from t2c_jax.decode.grammar.beams import Beams
from t2c_jax.decode.grammar.compiled import Grammar
from t2c_jax.decode.grammar.engine import GrammarError
from t2c_jax.decode.grammar.spelling import packed
from t2c_jax.errors import UserError

T = TypeVar("T")
_ALL = np.uint32(0xFFFFFFFF)


class Following(NamedTuple):
    """What the host has to know to follow the rows.

    Attributes:
      grammar: the session of each row; 0 where it follows no grammar.
      active: rows that choose a token in this step.
      step: tokens chosen.
      last: the last token of each beam.
      parents: the beam that each beam was before it.
    """

    grammar: Int[Array, " B"]
    active: Bool[Array, " B"]
    step: Int[Array, " B"]
    last: Int[Array, "B W"]
    parents: Int[Array, "B W"]


class Verdict(NamedTuple):
    """Which continuations are allowed.

    Attributes:
      allowed: candidates that are allowed. Those that cannot be chosen, since there are better ones, are not marked.
      incomplete: whether a row needs other tokens than the candidates.
      masks: allowed tokens, where ``incomplete``: bit ``i % 32`` of word ``i // 32`` is token i.
    """

    allowed: Bool[Array, "B C"]
    incomplete: Bool[Array, ""]
    masks: UInt32[Array, "B W N"]


class Session:
    """The hypotheses of one search.

    Attributes:
      number: by which the rows of the search say that they belong to it.
    """

    def __init__(self, number: int, beams: Beams) -> None:
        """``beams`` are all free."""
        self.number, self._beams = number, beams
        self._error: GrammarError | None = None

    def check(self) -> None:
        """Raises the error that the grammar engine had, if it had one. The rows have ended unfinished then."""
        if self._error is not None:
            raise self._error

    def follow(self, own_B: np.ndarray, step_B: np.ndarray, last_BW: np.ndarray, parents_BW: np.ndarray) -> None:
        """Brings the hypotheses up to the step; ``own_B`` are the rows of the session that take it."""
        for row in np.flatnonzero(~own_B).tolist():
            self._beams.free(row)
        for row in np.flatnonzero(own_B & (step_B == 0)).tolist():
            self._beams.reset(row)
        going = np.flatnonzero(own_B & (step_B > 0)).tolist()
        self._keep_error(lambda: self._beams.advance(last_BW, parents_BW, going))

    def judge(
        self, beams_BC: np.ndarray, tokens_BC: np.ndarray, rows: Sequence[int]
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """``Beams.judge``; None after an error."""
        return self._keep_error(lambda: self._beams.judge(beams_BC, tokens_BC, rows))

    def masks(self, wanted_BW: np.ndarray) -> np.ndarray | None:
        """``Beams.masks``; None after an error."""
        return self._keep_error(lambda: self._beams.masks(wanted_BW))

    def _keep_error(self, call: Callable[[], T]) -> T | None:
        """Keeps an error for ``check``: out of a callback it would come as another type."""
        if self._error is not None:
            return None
        try:
            return call()
        except GrammarError as error:
            self._error = error
            return None


class GrammarFilter:
    """Asks the host from within compiled programs. Programs outlast searches: each search is a session of its own."""

    def __init__(self) -> None:
        """There are no sessions yet."""
        self._sessions: dict[int, Session] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    @contextmanager
    def session(self, grammar: Grammar, rows: int, beams: int) -> Iterator[Session]:
        """The hypotheses of a search of ``rows`` rows, for as long as the context lasts.

        Raises:
          UserError: there are several processes, each of which would see a part of the rows.
        """
        if jax.process_count() > 1:
            raise UserError("config.decode.grammar works in one process; answer in one, or set it to ''")
        with self._lock:
            session = Session(next(self._numbers), Beams(grammar, rows, beams))
            self._sessions[session.number] = session
        try:
            yield session
        finally:
            del self._sessions[session.number]

    def judge(self, following: Following, flat_BC: Int[Array, "B C"], size: int) -> Verdict:
        """Which of the best continuations are allowed.

        Args:
          following: of the rows.
          flat_BC: places in W x V, the best continuations first.
          size: of the vocabulary.
        """
        shapes = (
            jax.ShapeDtypeStruct(flat_BC.shape, jnp.bool_),
            jax.ShapeDtypeStruct((), jnp.bool_),
            jax.ShapeDtypeStruct((*following.last.shape, -(-size // 32)), jnp.uint32),
        )
        return Verdict(*io_callback(functools.partial(self._judge, size), shapes, following, flat_BC))

    def masks(self, following: Following, size: int) -> UInt32[Array, "B W N"]:
        """The allowed tokens of each beam as bits; ``size`` is that of the vocabulary."""
        shape = jax.ShapeDtypeStruct((*following.last.shape, -(-size // 32)), jnp.uint32)
        found: UInt32[Array, "B W N"] = io_callback(functools.partial(self._masks, size), shape, following)
        return found

    def _judge(self, size: int, following: Following, flat_BC: Any) -> tuple[np.ndarray, ...]:
        beams_BC, tokens_BC = np.divmod(np.asarray(flat_BC), size)
        batch, beams = following.last.shape
        allowed_BC, open_B = np.ones(tokens_BC.shape, bool), np.zeros(batch, bool)
        found = self._follow(following)
        for session, rows in found:
            judged = session.judge(beams_BC, tokens_BC, rows)
            allowed_BC[rows] = False if judged is None else judged[0][rows]
            if judged is not None:
                open_B[rows] = judged[1][rows]
        if not open_B.any():
            return allowed_BC, np.zeros((), bool), np.zeros((batch, beams, -(-size // 32)), np.uint32)
        allowed_BWV = np.zeros((batch, beams * size), bool)
        np.put_along_axis(allowed_BWV, np.asarray(flat_BC), allowed_BC, axis=-1)
        masks_BWN, is_free_B = packed(allowed_BWV.reshape(batch, beams, size)), np.ones(batch, bool)
        wanted_BW = np.broadcast_to(open_B[:, None], (batch, beams))
        for session, rows in found:
            is_free_B[rows] = False
            words_BWN = session.masks(wanted_BW)
            if words_BWN is not None:
                masks_BWN[open_B, :, : words_BWN.shape[-1]] = words_BWN[open_B]
        masks_BWN[is_free_B] = _ALL
        return allowed_BC, np.ones((), bool), masks_BWN

    def _masks(self, size: int, following: Following) -> np.ndarray:
        wanted_BW = np.zeros(following.last.shape, bool)
        masks_BWN = np.full((*wanted_BW.shape, -(-size // 32)), _ALL, np.uint32)
        for session, rows in self._follow(following):
            masks_BWN[rows], wanted_BW[rows] = 0, True
            words_BWN = session.masks(wanted_BW)
            if words_BWN is not None:
                masks_BWN[rows, :, : words_BWN.shape[-1]] = words_BWN[rows]
        return masks_BWN

    def _follow(self, following: Following) -> list[tuple[Session, list[int]]]:
        """Brings the sessions up to the step. Returns those that have rows, and their rows."""
        grammar_B, active_B, step_B, last_BW, parents_BW = (np.asarray(part) for part in following)
        found = []
        for number in np.unique(grammar_B[active_B & (grammar_B > 0)]).tolist():
            session, own_B = self._sessions[number], active_B & (grammar_B == number)
            session.follow(own_B, step_B, last_BW, parents_BW)
            found.append((session, np.flatnonzero(own_B).tolist()))
        return found


def masked(logits_BWV: Float[Array, "B W V"], masks_BWN: UInt32[Array, "B W N"], forbidden: float) -> Array:
    """The logits, those of tokens whose bits are not set ``forbidden``."""
    size = logits_BWV.shape[-1]
    bits_BWNM = (masks_BWN[..., None] >> jnp.arange(32, dtype=jnp.uint32)[None, None, None]) & 1
    allowed_BWV = bits_BWNM.reshape(*masks_BWN.shape[:-1], -1)[..., :size] != 0
    return jnp.where(allowed_BWV, logits_BWV, forbidden)
