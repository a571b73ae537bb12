"""Continuous batching: rows of a search that end are given to waiting prompts, within one compiled program.

Prompts are read by the encoder ahead of time, a pool of them at once. The program takes a prompt from the pool
whenever a row is free, steps all rows, and writes out each row that is done. It returns to the host when the pool is
empty. So no row waits for another, and the host is asked once per pool, not per token.

Where rows are split over devices, pool, entries and results are as well, and each device gives its rows to its entries.

Letters: B rows, P prompts of a pool, E entries, O results, G groups of rows (one a device), W beams, T steps.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from t2c_jax.decode.search import PAD, Requests, Search, SearchState
from t2c_jax.mesh import row_shards


class Pool(NamedTuple):
    """Sources that were read; leaves (P, ...)."""

    memory: Any
    carry: Any
    source: Int[Array, "P S"] | None  # as target tokens, where sources are tokens


class Waiting(NamedTuple):
    """Entries that wait for a row, in their order. Several may answer the same source.

    Attributes:
      source: the row of the pool, counted within its group.
      ticket: by which the answer is known, at least 0.
      requests: what is asked.
      total: entries of each group; those behind them are none.
    """

    source: Int[Array, " E"]
    ticket: Int[Array, " E"]
    requests: Requests
    total: Int[Array, " G"]


class Results(NamedTuple):
    """The answers of rows that are done, in the order in which they ended.

    Attributes:
      ticket: of each.
      tokens, scores, finished, lengths, log_p: as in ``decode.search.Hypotheses``.
      total: answers of each group; those behind them are none.
      admitted: entries of each group that were given a row.
      steps: of the program; the same for all groups.
    """

    ticket: Int[Array, " O"]
    tokens: Int[Array, "O W T"]
    scores: Float[Array, "O W"]
    finished: Bool[Array, "O W"]
    lengths: Int[Array, "O W"]
    log_p: Float[Array, "O W"] | None
    total: Int[Array, " G"]
    admitted: Int[Array, " G"]
    steps: Int[Array, " G"]


class Slots(NamedTuple):
    """The rows and the ticket that each answers."""

    rows: SearchState
    ticket: Int[Array, " B"]


def run(search: Search, slots: Slots, pool: Pool, waiting: Waiting, more: Bool[Array, ""]) -> tuple[Slots, Results]:
    """Steps until every waiting entry has a row and another row is free, or all is done.

    Args:
      search: its steps.
      slots: the rows as the call before left them.
      pool: the sources of the entries.
      waiting: the entries.
      more: whether other entries will follow; without them, the rows are searched to their end.
    """
    shape, groups = search.shape, waiting.total.shape[0]
    size = waiting.ticket.shape[0] + slots.ticket.shape[0]
    results = Results(
        ticket=jnp.full((size,), -1, jnp.int32),
        tokens=jnp.full((size, shape.beams, shape.steps), PAD, jnp.int32),
        scores=jnp.zeros((size, shape.beams), jnp.float32),
        finished=jnp.zeros((size, shape.beams), bool),
        lengths=jnp.zeros((size, shape.beams), jnp.int32),
        log_p=None if slots.rows.log_p is None else jnp.zeros((size, shape.beams), jnp.float32),
        total=jnp.zeros((groups,), jnp.int32),
        admitted=jnp.zeros((groups,), jnp.int32),
        steps=jnp.zeros((groups,), jnp.int32),
    )

    def goes_on(state: tuple[Slots, Results]) -> Bool[Array, ""]:
        (rows, _), results = state
        waits_G = results.admitted < waiting.total
        # Not while another group waits: the host brings more only when all of these have a row.
        starved = more & ~jnp.any(waits_G) & ~jnp.all(rows.active)
        return (jnp.any(rows.active) | jnp.any(waits_G)) & ~starved

    def step(state: tuple[Slots, Results]) -> tuple[Slots, Results]:
        slots, results = state
        slots, admitted = _by_group(functools.partial(_admit, search), slots, pool, waiting, results.admitted)
        slots = slots._replace(rows=search.advance(slots.rows))
        results = results._replace(admitted=admitted, steps=results.steps + 1)
        slots, results = _by_group(functools.partial(_collect, search), slots, results)
        return slots, results

    return jax.lax.while_loop(goes_on, step, (slots, results))


def _by_group(function: Callable[..., Any], *trees: Any) -> Any:
    """The function of each device's part of the leaves."""
    if row_shards() == 1:
        return function(*trees)
    rows = PartitionSpec(("data", "fsdp"))
    return jax.shard_map(
        function, in_specs=(rows,) * len(trees), out_specs=rows, axis_names={"data", "fsdp"}, check_vma=False
    )(*trees)


def _admit(
    search: Search, slots: Slots, pool: Pool, waiting: Waiting, first: Int[Array, " 1"]
) -> tuple[Slots, Int[Array, " 1"]]:
    """Gives free rows to waiting entries, one row after the other: each costs the copy of one source's memory."""
    # What was written to the cache for another prompt is seen by no beam.
    kept: dict[str, Any] = {"cache": slots.rows.cache, "usefulness": slots.rows.usefulness}

    def is_free(state: tuple[Slots, Array]) -> Array:
        slots, entry = state
        return (entry[0] < waiting.total[0]) & ~jnp.all(slots.rows.active)

    def fill(state: tuple[Slots, Array]) -> tuple[Slots, Array]:
        slots, entry = state
        memory, carry, source = jax.tree.map(lambda leaf: leaf[waiting.source[entry]], pool)
        requests = Requests(*(leaf[entry] for leaf in waiting.requests))
        new = search.rows(memory, carry, requests, (), slots.rows.slot_steps.shape[1], source=source)
        new = new._replace(usefulness=None)
        row = jnp.argmin(slots.rows.active)

        def put(leaf: Array, one: Array) -> Array:
            return jax.lax.dynamic_update_slice_in_dim(leaf, one.astype(leaf.dtype), row, axis=0)

        return jax.tree.map(put, slots, Slots(new, waiting.ticket[entry])), entry + 1

    slots = slots._replace(rows=slots.rows._replace(cache=(), usefulness=None))
    slots, entry = jax.lax.while_loop(is_free, fill, (slots, first))
    return slots._replace(rows=slots.rows._replace(**kept)), entry


def _collect(search: Search, slots: Slots, results: Results) -> tuple[Slots, Results]:
    """Writes out rows that are done; a loop of one turn or none, so that most steps pay nothing."""

    def is_done(state: tuple[Int[Array, " B"], Results]) -> Array:
        return jnp.any(~slots.rows.active & (state[0] >= 0))

    def write(state: tuple[Int[Array, " B"], Results]) -> tuple[Int[Array, " B"], Results]:
        ticket_B, results = state
        done_B = ~slots.rows.active & (ticket_B >= 0)
        found = search.found(slots.rows)
        size = results.ticket.shape[0]
        place_B = jnp.where(done_B, results.total + jnp.cumsum(done_B) - 1, size)

        def put(leaf: Array, value: Array) -> Array:
            return leaf.at[place_B].set(value, mode="drop")

        return jnp.where(done_B, -1, ticket_B), results._replace(
            ticket=put(results.ticket, ticket_B),
            tokens=put(results.tokens, found.tokens),
            scores=put(results.scores, found.scores),
            finished=put(results.finished, found.finished),
            lengths=put(results.lengths, found.lengths),
            log_p=None if results.log_p is None or found.log_p is None else put(results.log_p, found.log_p),
            total=results.total + jnp.sum(done_B, dtype=jnp.int32),
        )

    ticket, results = jax.lax.while_loop(is_done, write, (slots.ticket, results))
    return slots._replace(ticket=ticket), results
