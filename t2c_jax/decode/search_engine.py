"""One of the searches that a call is divided into: its rows on the devices, fed with prompts until all are answered."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from t2c_jax import mesh as meshes
from t2c_jax.decode.grammar_filter import Session
from t2c_jax.decode.programs import Programs
from t2c_jax.decode.search import Hypotheses, Requests
from t2c_jax.decode.slots import Pool, Slots, Waiting
from t2c_jax.models.adapted import LaidOut


@dataclass(frozen=True)
class SearchPlan:
    """How the prompts of a call are searched.

    Attributes:
      programs: of the search.
      models: laid out for steps. All searches read the same arrays, so the processor's cache holds them once.
      engines: searches that are run at once.
      rows: of each.
      source: positions of the memories.
    """

    programs: Programs
    models: Sequence[LaidOut]
    engines: int
    rows: int
    source: int


class SearchEngine:
    """One search's rows on the devices: fed a batch of prompts at a time, it gives the answers as they end."""

    def __init__(self, plan: SearchPlan, params: Sequence[Any], mesh: Mesh, grammar: Session | None) -> None:
        """All rows are free."""
        self._programs, self._models, self._rows, self._source = plan.programs, plan.models, plan.rows, plan.source
        self._params, self._mesh, self._grammar = params, mesh, grammar
        self._groups = mesh.shape["data"] * mesh.shape["fsdp"]
        self._slots: Slots | None = None
        self._pool: Pool | None = None
        self._open = 0  # entries without an answer
        self.steps = 0

    def feed(
        self,
        batch: Mapping[str, np.ndarray],
        waiting: Sequence[Sequence[tuple[int, int]]],
        asked: Callable[[Sequence[int]], Requests],
    ) -> Iterator[tuple[int, Hypotheses]]:
        """Tickets and answers that end until all entries have rows and another row is free.

        Args:
          batch: the encoder's part of a batch, a row for each source.
          waiting: for each group of rows, (row of the source within the group, ticket) of each entry.
          asked: the requests of given tickets.
        """
        self._read(batch)
        size = self._rows // self._groups
        turns = max(-(-len(entries) // size) for entries in waiting)
        for turn in range(turns):
            chunks = [list(entries[turn * size : (turn + 1) * size]) for entries in waiting]
            self._open += sum(map(len, chunks))
            while any(chunks):
                results = self._run(chunks, asked, more=True)
                yield from self._collect(results)
                chunks = [chunk[int(done) :] for chunk, done in zip(chunks, results.admitted, strict=True)]

    def drain(self, asked: Callable[[Sequence[int]], Requests]) -> Iterator[tuple[int, Hypotheses]]:
        """Tickets and answers of all entries that have rows."""
        while self._open:
            yield from self._collect(self._run([[]] * self._groups, asked, more=False))

    def _read(self, batch: Mapping[str, np.ndarray]) -> None:
        """Has the encoder read the sources of the next entries."""
        local = meshes.local_rows(self._mesh, self._rows)
        placed = meshes.global_batch({name: values[local] for name, values in batch.items()}, self._mesh)
        call, programs = self._programs.call, self._programs
        self._pool = call(programs.reader.read, self._params, placed, length=self._source)
        if self._slots is None:
            self._slots = call(programs.blank, self._models, self._pool, rows=self._rows)

    def _run(
        self, chunks: Sequence[Sequence[tuple[int, int]]], asked: Callable[[Sequence[int]], Requests], *, more: bool
    ) -> Any:
        size = self._rows // self._groups
        padded = [[*chunk, *[(0, -1)] * (size - len(chunk))] for chunk in chunks]
        source, ticket = np.array(padded, np.int32).reshape(-1, 2).T
        count = np.array([len(chunk) for chunk in chunks], np.int32)
        waiting = Waiting(source, ticket, asked(ticket.tolist()), count)  # type: ignore[arg-type]
        call, programs, table = self._programs.call, self._programs, self._programs.table
        self._slots, results = call(programs.run, self._models, self._slots, self._pool, waiting, np.bool_(more), table)
        results = jax.device_get(results)
        self.steps += int(results.steps[0])
        if self._grammar is not None:
            self._grammar.check()
        return results

    def _collect(self, results: Any) -> Iterator[tuple[int, Hypotheses]]:
        size = len(results.ticket) // self._groups
        for group, count in enumerate(results.total):
            for place in range(group * size, group * size + int(count)):
                self._open -= 1
                found = Hypotheses(results.tokens, results.scores, results.finished, results.lengths, results.log_p)
                yield int(results.ticket[place]), jax.tree.map(lambda leaf, place=place: leaf[place], found)
