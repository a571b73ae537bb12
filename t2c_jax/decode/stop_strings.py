"""Stop strings: texts before which an answer ends.

The bytes of an answer run through an automaton that finds all strings at once (Aho and Corasick 1975). A string may
begin and end within tokens, and cross any number of them. The automaton is a setting of each row, so a program is
compiled for its size alone.

Letters: B rows, W beams, S states, T steps, V vocabulary.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from t2c_jax.decode.grammar.spelling import Spelling
from t2c_jax.decode.logits_processors import FORBIDDEN, Context, LogitsProcessor

_LEAST = 16  # states of the smallest automaton; larger ones have a power of two


def states_of(strings: Sequence[str]) -> int:
    """S of an automaton that has room for these strings; 0 without any."""
    if not strings:
        return 0
    needed = 2 + sum(len(string.encode("utf-8")) for string in strings)
    return max(_LEAST, 1 << (needed - 1).bit_length())


def stop_of(states: int) -> tuple[str, ...]:
    """Strings whose automaton has this size, one that ``states_of`` returns."""
    return ("." * (states - 2),) if states else ()


@functools.lru_cache
def automaton(strings: tuple[str, ...], states: int | None = None) -> np.ndarray:
    """The state behind each state and byte, int16 (S, 256), not to be changed.

    State 0 is the start. The last state is behind the first string that was found, and is never left.

    Args:
      strings: that end an answer.
      states: S, at least ``states_of(strings)``, which it is by default. With room to spare one program serves all.
    """
    last = (states_of(strings) if states is None else states) - 1
    if last < 0:
        return np.zeros((0, 256), np.int16)
    children: list[dict[int, int]] = [{}]
    is_end = np.zeros(last + 1, bool)
    for string in strings:
        state = 0
        for byte in string.encode("utf-8"):
            if byte not in children[state]:
                children[state][byte] = len(children)
                children.append({})
            state = children[state][byte]
        is_end[state] = True
    following = np.zeros((last + 1, 256), np.int16)
    waiting = deque([(0, 0)])  # states in the order of their depth, each with that of its longest proper suffix
    while waiting:
        state, suffix = waiting.popleft()
        is_end[state] |= is_end[suffix]
        following[state] = behind_suffix = following[suffix].copy()
        for byte, child in children[state].items():
            following[state, byte] = child
            waiting.append((child, int(behind_suffix[byte]) if state else 0))
    following = np.where(is_end[following], last, following).astype(np.int16)
    following[last] = last
    following.flags.writeable = False
    return following


def before_stop(text: str, strings: Sequence[str]) -> str | None:
    """The text before the first of the strings in it; None if it holds none."""
    places = [place for string in strings if (place := text.find(string)) >= 0]
    return text[: min(places)] if places else None


class StopStrings(LogitsProcessor):
    """Once an answer holds a stop string, eos comes next, with a log-probability of 0.

    So greedy search, beam search and sampling need not know of it, and an answer scores what it takes to reach the end
    of the string.
    """

    reweights = False

    def __init__(self, spelling: Spelling, eos: int) -> None:
        """``spelling`` has the bytes of each token."""
        self._eos, self._opening = eos, len(spelling.before)
        texts = [text or b"" for text in (*spelling.later, *spelling.first)]
        self._bytes_N = np.frombuffer(b"".join(texts) or b"\0", np.uint8)
        lengths = np.array([len(text) for text in texts], np.int32)
        # Rows: a token that is not the first of its answer, and one that is.
        self._length_2V = lengths.reshape(2, -1)
        self._begin_2V = (np.cumsum(lengths, dtype=np.int32) - lengths).reshape(2, -1)

    def start(self, rows: int, beams: int) -> Int[Array, "B W"]:
        """The automaton's start."""
        return jnp.zeros((rows, beams), jnp.int32)

    def __call__(
        self, state: Any, logits_BWV: Float[Array, "B W V"], context: Context
    ) -> tuple[Float[Array, "B W V"], Any]:
        """The logits; of hypotheses that have reached a stop string, all but that of eos ``FORBIDDEN``."""
        following_BS256 = context.requests.stop
        before_B11 = context.step[:, None, None] - 1
        token_BW = jnp.take_along_axis(context.tokens, jnp.maximum(before_B11, 0), axis=-1)[..., 0]
        is_first_B1 = (before_B11[..., 0] == self._opening).astype(jnp.int32)
        begin_BW = jnp.asarray(self._begin_2V)[is_first_B1, token_BW]
        length_BW = jnp.where(before_B11[..., 0] >= 0, jnp.asarray(self._length_2V)[is_first_B1, token_BW], 0)
        bytes_N = jnp.asarray(self._bytes_N)

        def feed(place: Array, state_BW: Array) -> Array:
            byte_BW = bytes_N[jnp.minimum(begin_BW + place, bytes_N.shape[0] - 1)]
            # Row by row: an index of rows would have the devices of a mesh exchange states for each byte.
            next_BW = jax.vmap(lambda row, state, byte: row[state, byte])(following_BS256, state_BW, byte_BW)
            return jnp.where(place < length_BW, next_BW.astype(jnp.int32), state_BW)

        state_BW = jax.lax.fori_loop(0, jnp.max(length_BW), feed, state)
        reached_BW1 = (state_BW == following_BS256.shape[1] - 1)[..., None]
        is_eos_V = (jnp.arange(logits_BWV.shape[-1]) == self._eos)[None, None]
        forced_BWV = jnp.where(is_eos_V, context.log_z[..., None], FORBIDDEN)
        return jnp.where(reached_BW1, forced_BWV, logits_BWV), state_BW
