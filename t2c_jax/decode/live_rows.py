"""Rows of a search that a server fills, steps a few times, and frees, while other rows are in the middle of theirs.

``decode.slots`` searches prompts that are known beforehand, and returns to the host when they all have rows. Here the
host gets control back every few steps. In between it sends on what the rows have found, gives free rows to new
prompts, and takes rows from prompts that nobody waits for any more. None of that compiles a program.

Letters: B rows, W beams, T steps.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from t2c_jax.decode.logits_processors import FORBIDDEN
from t2c_jax.decode.search import Hypotheses, Requests, Search, SearchState
from t2c_jax.decode.slots import Pool


class Advanced(NamedTuple):
    """What the host learns after some steps.

    Attributes:
      active: rows that are not done.
      tokens: of each row; the first ``certain`` of them begin every answer that the search can still find.
      certain: how many tokens no later step can change.
      found: the hypotheses of rows that are done; of others, what they have so far.
      steps: that were made.
    """

    active: Bool[Array, " B"]
    tokens: Int[Array, "B T"]
    certain: Int[Array, " B"]
    found: Hypotheses
    steps: Int[Array, ""]


class Limit(NamedTuple):
    """When the host gets control back: after so many steps, or as soon as so many of the rows are done."""

    steps: Int[Array, ""]
    done: Int[Array, ""]


def admit(
    search: Search, rows: SearchState, pool: Pool, source: Int[Array, ""], request: Requests, row: Int[Array, ""]
) -> SearchState:
    """Gives a row to a prompt.

    Args:
      search: its steps.
      rows: of the search.
      pool: sources that were read.
      source: which of them the row answers.
      request: what is asked for; leaves (1, ...).
      row: its number; one past the last row is none.
    """
    # What was written to the cache for another prompt is seen by no beam.
    kept: dict[str, Any] = {"cache": rows.cache, "usefulness": rows.usefulness}
    memory, carry, tokens = jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, source, 1), pool)
    new = search.rows(memory, carry, request, (), rows.slot_steps.shape[1], source=tokens)

    def put(leaf: Array, value: Array) -> Array:
        return leaf.at[row].set(value[0].astype(leaf.dtype), mode="drop")

    filled = jax.tree.map(put, rows._replace(cache=(), usefulness=None), new._replace(usefulness=None))
    return filled._replace(**kept)


def advance(search: Search, rows: SearchState, kept_B: Bool[Array, " B"], limit: Limit) -> tuple[SearchState, Advanced]:
    """Steps all rows up to a limit. Rows that are not ``kept_B`` are freed first."""
    rows = rows._replace(active=rows.active & kept_B)

    def goes_on(state: tuple[SearchState, Array]) -> Bool[Array, ""]:
        done = jnp.sum(kept_B & ~state[0].active)
        return (state[1] < limit.steps) & (done < limit.done) & jnp.any(state[0].active)

    def step(state: tuple[SearchState, Array]) -> tuple[SearchState, Array]:
        return search.advance(state[0]), state[1] + 1

    rows, steps = jax.lax.while_loop(goes_on, step, (rows, jnp.int32(0)))
    tokens_BT, certain_B = _certain(rows)
    return rows, Advanced(rows.active, tokens_BT, certain_B, search.found(rows), steps)


def resized(rows: SearchState, row_R: Int[Array, " R"]) -> SearchState:
    """Other rows: each is one of the rows there were, or a free one where its number is past the last."""
    size = rows.active.shape[0]
    chosen: SearchState = jax.tree.map(lambda leaf: leaf[jnp.minimum(row_R, size - 1)], rows)
    return chosen._replace(active=chosen.active & (row_R < size))


def _certain(rows: SearchState) -> tuple[Int[Array, "B T"], Int[Array, " B"]]:
    """The tokens on which all hypotheses agree, ended ones included, since one of them begins the answer."""
    if rows.ended is None:
        return rows.tokens[:, 0], rows.step
    tokens_BWT = jnp.concatenate([rows.tokens, rows.ended.tokens], axis=1)
    scores_BW: Float[Array, "B W"] = jnp.concatenate([rows.scores, rows.ended.scores], axis=1)
    exists_BW = scores_BW > FORBIDDEN / 2
    first_B11 = jnp.argmax(exists_BW, axis=1)[:, None, None]
    tokens_BT = jnp.take_along_axis(tokens_BWT, first_B11, axis=1)[:, 0]
    is_same_BWT = (tokens_BWT == tokens_BT[:, None]) | ~exists_BW[..., None]
    is_chosen_BT = jnp.arange(tokens_BT.shape[1])[None] < rows.step[:, None]
    agree_BT = jnp.all(is_same_BWT, axis=1) & is_chosen_BT
    return tokens_BT, jnp.sum(jnp.cumprod(agree_BT, axis=1), axis=1)
