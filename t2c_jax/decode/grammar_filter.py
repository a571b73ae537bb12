"""A grammar in a search: the host says, once a step, which continuations the grammar allows.

A compiled search asks the host through a callback. The host follows the hypotheses of each row (``grammar.beams``): it
begins anew where a row is at step 0, and otherwise continues with the row's last tokens.

Greedy and beam search ask about the best continuations of each row alone, because a mask of the whole vocabulary takes
many times as long. The answer is exact: where these are not enough, the search asks for the masks of the row, and ranks
again. Once the host has answered, it knows what the search chooses. It continues the hypotheses in a thread of its own,
while the decoder computes the next logits.

Letters: B rows, W beams, C candidates, A arguments of a callback, V vocabulary, N words of a mask, M bits of one.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt32

from t2c_jax.decode.grammar.beams import Beams
from t2c_jax.decode.grammar.compiled import Grammar
from t2c_jax.decode.host_call import call_host
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

    def packed(self, more_BC: Int[Array, "B C"] | None = None) -> Int[Array, "B A"]:
        """As one array, since every argument of a callback takes time; ``more_BC`` behind it."""
        columns = [jnp.where(self.active, self.grammar, 0)[:, None], self.step[:, None], self.last, self.parents]
        return jnp.concatenate(columns if more_BC is None else [*columns, more_BC], axis=1)


class Session:
    """The hypotheses of one search."""

    def __init__(self, number: int, beams: Beams, *, beside: bool) -> None:
        """No rows yet.

        Args:
          number: by which rows say that they belong to it.
          beams: all free.
          beside: whether hypotheses are continued in a thread of their own, while the decoder computes.
        """
        self.number, self._beams, self._beside = number, beams, beside
        self._used: set[int] = set()  # rows
        self._ahead: dict[int, tuple[list[int], list[int]]] = {}  # tokens and parents of rows that are ahead
        self._thread = ThreadPoolExecutor(1)
        self._continued: Future[None] | None = None
        self._error: Exception | None = None

    def close(self) -> None:
        """Ends the thread."""
        self._thread.shutdown()

    def check(self) -> None:
        """Raises the error that following the grammar had, if it had one. The rows have ended unfinished then."""
        if self._error is not None:
            raise self._error

    def follow(self, rows: dict[int, tuple[int, list[int], list[int]]]) -> None:
        """Brings the hypotheses up to the step.

        Args:
          rows: step, last tokens and parents of each row of the session that chooses a token.
        """
        self._keep_error(lambda: self._follow(rows))

    def _follow(self, rows: dict[int, tuple[int, list[int], list[int]]]) -> None:
        if self._continued is not None:
            self._continued.result()
            self._continued = None
        else:
            self._beams.advance(self._ahead)
        for row in self._used - rows.keys():
            self._beams.free(row)
        self._used = set(rows)
        behind = {}
        for row, (step, tokens, parents) in rows.items():
            if step == 0:
                self._beams.reset(row)
            elif row not in self._ahead:
                behind[row] = tokens, parents
            elif self._ahead[row] != (tokens, parents):
                raise RuntimeError(f"row {row} continued with {tokens, parents} and not with {self._ahead[row]}")
        self._ahead = {}
        self._beams.advance(behind)

    def judge(self, row: int, places: list[int], size: int) -> tuple[list[int], bool]:
        """``Beams.judge`` of places in W x V; after an error nothing is allowed, and that is enough."""
        judged = self._keep_error(lambda: self._beams.judge(row, (divmod(place, size) for place in places)))
        if judged is None:
            return [], True
        allowed, is_enough = judged
        if is_enough:
            live = [divmod(places[index], size) for index in allowed]
            live = [(beam, token) for beam, token in live if token != self._beams.end]
            if live:
                self._ahead[row] = [token for _, token in live], [beam for beam, _ in live]
        return judged

    def continue_ahead(self) -> None:
        """Begins to continue the hypotheses with what was judged. Until it has ended, only ``follow`` may be called."""
        if self._beside and self._error is None:
            self._continued = self._thread.submit(self._beams.advance, dict(self._ahead))

    def masks(self, rows: list[int]) -> np.ndarray | None:
        """``Beams.masks``; None after an error."""
        return self._keep_error(lambda: self._beams.masks(rows))

    def _keep_error(self, call: Callable[[], T]) -> T | None:
        """Keeps an error for ``check``: out of a callback it would come as another type, with XLA's own text."""
        if self._error is not None:
            return None
        try:
            return call()
        except Exception as error:
            self._error = error
            return None


class GrammarFilter:
    """Asks the host from within compiled programs. Programs outlast searches: each search is a session of its own."""

    def __init__(self) -> None:
        """There are no sessions yet."""
        self._sessions: dict[int, Session] = {}
        self._numbers = itertools.count(1)

    @contextmanager
    def session(self, grammar: Grammar, rows: int, beams: int, *, beside: bool = True) -> Iterator[Session]:
        """The hypotheses of a search of ``rows`` rows, for as long as the context lasts.

        Args:
          grammar: that they follow.
          rows: of the search.
          beams: of each row.
          beside: whether a core is free while the decoder computes.

        Raises:
          UserError: there are several processes, each of which would see a part of the rows, or JAX has no CPU.
        """
        if jax.process_count() > 1:
            raise UserError("config.decode.grammar works in one process; answer in one, or set it to ''")
        try:
            jax.local_devices(backend="cpu")
        except RuntimeError:
            raise UserError("config.decode.grammar needs the CPU as well: add cpu to JAX_PLATFORMS") from None
        session = Session(next(self._numbers), Beams(grammar, rows, beams), beside=beside)
        self._sessions[session.number] = session
        try:
            yield session
        finally:
            del self._sessions[session.number]
            session.close()

    def judge(
        self, following: Following, flat_BC: Int[Array, "B C"], size: int
    ) -> tuple[Bool[Array, "B C"], Bool[Array, " B"]]:
        """Which of the best continuations are allowed, and whether a row has enough of them (``Beams.judge``).

        Args:
          following: of the rows.
          flat_BC: places in W x V, the best continuations first.
          size: of the vocabulary, V.
        """
        batch, count = flat_BC.shape
        shape = jax.ShapeDtypeStruct((batch, count + 1), jnp.bool_)
        width = following.last.shape[1]
        found = call_host(functools.partial(self._judge, width, size), shape, following.packed(flat_BC))
        return found[:, :count], found[:, count]

    def masks(self, following: Following, size: int, *, is_judged: bool = False) -> UInt32[Array, "B W N"]:
        """The allowed tokens of each beam as bits.

        Args:
          following: of the rows.
          size: of the vocabulary.
          is_judged: whether ``judge`` was asked in this step, of these and all other rows.
        """
        batch, width = following.last.shape
        shape = jax.ShapeDtypeStruct((batch, width, -(-size // 32)), jnp.uint32)
        asked = functools.partial(self._masks, width, shape.shape, is_judged)
        return call_host(asked, shape, following.packed())

    def _judge(self, width: int, size: int, packed_BA: np.ndarray) -> np.ndarray:
        rows = packed_BA.tolist()
        first = 2 + 2 * width
        count = len(rows[0]) - first
        found, judged, is_complete = self._follow(width, rows), [[True] * (count + 1)] * len(rows), True
        for session, own in found:
            for row in own:
                allowed, is_enough = session.judge(row, rows[row][first:], size)
                marks = [False] * count + [is_enough]
                for place in allowed:
                    marks[place] = True
                judged[row] = marks
                is_complete &= is_enough
        if is_complete:  # otherwise the search asks for masks first
            for session, _ in found:
                session.continue_ahead()
        return np.array(judged, bool)

    def _masks(self, width: int, shape: tuple[int, ...], is_judged: bool, packed_BA: np.ndarray) -> np.ndarray:
        rows = packed_BA.tolist()
        found = self._rows_of_sessions(rows) if is_judged else self._follow(width, rows)
        masks_BWN = np.full(shape, _ALL, np.uint32)
        for session, own in found:
            masks_BWN[own] = 0
            words_BWN = session.masks(own)
            if words_BWN is not None:
                masks_BWN[own, :, : words_BWN.shape[-1]] = words_BWN[own]
            if is_judged:
                session.continue_ahead()
        return masks_BWN

    def _follow(self, width: int, rows: list[list[int]]) -> list[tuple[Session, list[int]]]:
        """Brings the sessions up to the step. Returns those that have rows, and their rows."""
        found = self._rows_of_sessions(rows)
        for session, own in found:
            session.follow(
                {row: (rows[row][1], rows[row][2 : 2 + width], rows[row][2 + width : 2 + 2 * width]) for row in own}
            )
        return found

    def _rows_of_sessions(self, rows: list[list[int]]) -> list[tuple[Session, list[int]]]:
        numbers = [row[0] for row in rows]
        return [
            (self._sessions[number], [row for row, other in enumerate(numbers) if other == number])
            for number in sorted({*numbers} - {0})
        ]


def masked(logits_BWV: Float[Array, "B W V"], masks_BWN: UInt32[Array, "B W N"], forbidden: float) -> Array:
    """The logits, those of tokens whose bits are not set ``forbidden``."""
    size = logits_BWV.shape[-1]
    bits_BWNM = (masks_BWN[..., None] >> jnp.arange(32, dtype=jnp.uint32)[None, None, None]) & 1
    allowed_BWV = bits_BWNM.reshape(*masks_BWN.shape[:-1], -1)[..., :size] != 0
    return jnp.where(allowed_BWV, logits_BWV, forbidden)
