"""A search that prompts join and leave at any time, for a server: the host's side of ``decode.live_rows``.

Letters: B rows.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import jax
import numpy as np

from t2c_jax import mesh as meshes
from t2c_jax.config import DecodeConfig
from t2c_jax.data.prompt_encoder import EncodedPrompt
from t2c_jax.decode.generator import Generator
from t2c_jax.decode.grammar_filter import Session
from t2c_jax.decode.search import Hypotheses, Requests, SearchState
from t2c_jax.decode.settings import requests_of
from t2c_jax.decode.slots import Pool
from t2c_jax.errors import UserError
from t2c_jax.models.adapted import LaidOut
from t2c_jax.workers import cores

T = TypeVar("T")
STOP_STATES = 256
"""States of the automaton of stop strings that the programs are compiled for."""
STOP_BYTES = STOP_STATES - 2
"""Bytes that the stop strings of a prompt have at most, together."""
_GROWTH = 4  # times as many rows have programs of their own
_TOGETHER = (1, 2, 4, 8)  # prompts that are read, and given rows, by one program
_SHRINKS_AFTER = 8  # advances in which fewer rows would do
_ENCODED_BYTES = 256 << 20  # of encoder outputs that are kept
_LONGEST = 1 << 30
_LENGTHS = (32, 64, _LONGEST)  # positions of the encoder: a prompt is read as one of the first of these that holds it


@dataclass(frozen=True)
class Entry:
    """A prompt that wants a row.

    Attributes:
      ticket: by which its answer is known.
      prompt: encoded.
      settings: of its search; ``Generator.compiled_settings`` of them are those of the live search.
      key: of what is drawn (``sample_key``).
    """

    ticket: Hashable
    prompt: EncodedPrompt
    settings: DecodeConfig
    key: np.ndarray


@dataclass(frozen=True)
class Update:
    """What a row has come to.

    Attributes:
      ticket: of its entry.
      tokens: that begin the answer, whatever follows.
      found: the hypotheses, once it is done; None before.
      error: why there is no answer; None where there is one.
    """

    ticket: Hashable
    tokens: np.ndarray
    found: Hypotheses | None = None
    error: UserError | None = None


class Sizes:
    """The sizes that there are programs of; searches beside each other share them.

    Attributes:
      rows: numbers of rows.
      prompts: that are read and given rows together.
      sample: what the encoder makes of some prompt; None before there is any.
    """

    def __init__(self, rows: Sequence[int], prompts: Sequence[int]) -> None:
        """Sizes whose programs are compiled when they are first used, unless ``LiveSearch.warming`` is asked to."""
        self.rows, self.prompts = tuple(rows), tuple(prompts)
        self.sample: Pool | None = None


class LiveSearch:
    """The rows of searches that run the same programs. One thread calls it.

    A step of a few rows takes less time than one of many, so there are programs of a few sizes, and the rows move from
    one to the other as entries come and go. Rows that follow a grammar stay where they are, since the host follows
    them by their numbers.
    """

    def __init__(
        self,
        generator: Generator,
        settings: DecodeConfig,
        models: Sequence[LaidOut],
        most_rows: int,
        sizes: Sizes | None = None,
    ) -> None:
        """Compiles nothing yet.

        Args:
          generator: its model and its prompts.
          settings: as ``live_settings`` makes them.
          models: laid out for steps (``Generator.laid_out``).
          most_rows: that are searched at once.
          sizes: of a search with the same arguments, beside which this one works.

        Raises:
          UserError: the settings need what the run does not have.
        """
        self._generator, self._settings, self._models, self._most_rows = generator, settings, models, most_rows
        self._programs, self._mesh = generator.programs(settings), generator.mesh
        self._stop_states = STOP_STATES if settings.stop else 0
        self._follows_grammar, self._beams = bool(settings.grammar), settings.beam_size
        self._unit = self._mesh.shape["data"] * self._mesh.shape["fsdp"]
        self.sizes = sizes or self._sizes()
        prompts = generator.prompts
        longest = prompts.batch(prompts.encode([""]), self._unit, _LONGEST)
        with jax.set_mesh(self._mesh):
            self._source = self._programs.source_length(generator.params, longest)
        self._rows: SearchState | None = None
        self._tickets: list[Hashable | None] = []  # of each row
        self._encoded: OrderedDict[int, tuple[Pool, list[bytes]]] = OrderedDict()
        self._places: dict[bytes, tuple[int, int]] = {}  # of a prompt: its pool in ``_encoded``, and its row there
        self._pools, self._encoded_bytes = 0, 0  # read so far; kept now
        self._sessions: dict[str, tuple[ExitStack, Session]] = {}
        self._grammars: dict[Hashable, str] = {}  # of tickets that follow one
        self._spare = 0  # advances in which fewer rows would have done

    def beside(self) -> LiveSearch:
        """Another search of the same programs, without entries."""
        return LiveSearch(self._generator, self._settings, self._models, self._most_rows, self.sizes)

    @property
    def busy(self) -> int:
        """Entries that have rows."""
        return sum(ticket is not None for ticket in self._tickets)

    @property
    def room(self) -> int:
        """Entries that can be given rows now."""
        return self.sizes.rows[-1] - self.busy

    @property
    def rows(self) -> int:
        """Rows that a step computes."""
        return len(self._tickets)

    def admit(self, entries: Sequence[Entry]) -> None:
        """Gives rows to entries, ``room`` of them at most. Several prompts are read together.

        Raises:
          UserError: a grammar does not compile.
        """
        if len(entries) > self.room:
            raise ValueError(f"{len(entries)} entries for {self.room} rows")
        numbers = [self._session_of(entry) for entry in entries]
        with self._devices():
            places = self._read([entry.prompt for entry in entries])
            self._make_room(self.busy + len(entries))
            free = iter([row for row, ticket in enumerate(self._tickets) if ticket is None])
            by_pool: dict[int, list[tuple[Entry, int, int, int]]] = {}
            for entry, number, (pool, place) in zip(entries, numbers, places, strict=True):
                by_pool.setdefault(pool, []).append((entry, number, place, next(free)))
            for pool, chosen in by_pool.items():
                self._fill(self._encoded[pool][0], chosen)
                for entry, _, _, row in chosen:
                    self._tickets[row] = entry.ticket
            self._forget()

    def release(self, ticket: Hashable) -> None:
        """Frees the row of an entry whose answer nobody waits for."""
        self._tickets[self._tickets.index(ticket)] = None
        self._grammars.pop(ticket, None)

    def advance(self, steps: int) -> tuple[list[Update], int]:
        """Steps all rows, until all are done or ``steps`` times.

        Returns:
          What each entry has come to, and how many steps were made. Entries that are done have no row any more.
        """
        self._shrink()
        kept = np.array([ticket is not None for ticket in self._tickets])
        programs = self._programs
        with self._devices():
            self._rows, advanced = programs.advance(self._models, self._rows, kept, np.int32(steps), programs.table)
            advanced = jax.device_get(advanced)
        errors = self._grammar_errors()
        updates = []
        for row, ticket in enumerate(self._tickets):
            if ticket is None:
                continue
            error = errors.get(self._grammars.get(ticket, ""))
            tokens = advanced.tokens[row, : advanced.certain[row]]
            if error is None and advanced.active[row]:
                updates.append(Update(ticket, tokens))
                continue
            found = None if error else jax.tree.map(lambda leaf, row=row: leaf[row], advanced.found)
            updates.append(Update(ticket, tokens, found, error))
            self.release(ticket)
        self._end_sessions(errors)
        return updates, int(advanced.steps)

    def warm_up(self) -> None:
        """Compiles all programs."""
        for _ in self.warming():
            pass

    def warming(self) -> Iterator[None]:
        """Compiles the programs, size by size, and uses no others meanwhile; each item is a size that is ready.

        Another thread than the one that calls the search may ask for the items.
        """
        sizes = self._sizes()
        prompt, asked = self._generator.prompts.encode([""])[0], DecodeConfig(beam_size=self._beams, max_tokens=1)
        entry = Entry("", prompt, asked, np.zeros(2, np.uint32))
        pools: list[Pool] = []
        self.sizes.rows, self.sizes.prompts = sizes.rows[:1], sizes.prompts[:1]
        made: list[SearchState] = []  # of each size

        def read(count: int) -> None:
            with self._devices():
                pools.append([self._encode([prompt], length, count) for length in _LENGTHS][-1])
                self._settle(pools)

        def step(rows: SearchState, pool: Pool) -> SearchState:
            size = rows.active.shape[0]
            rows = self._filled(rows, pool, [(entry, 0, 0, size)])  # the row past the last is none
            kept, programs = np.zeros(size, bool), self._programs
            rows, _ = programs.advance(self._models, rows, kept, np.int32(1), programs.table)
            return self._settle(rows)

        def grow(size: int) -> None:
            before, programs = self.sizes.rows[-1], self._programs
            none = np.full(max(size, before), size, np.int32)  # numbers past the last row
            with self._devices():
                if made:
                    rows: SearchState = programs.resize(made.pop(), none[:size])
                    programs.resize(rows, none[:before])
                else:
                    rows = programs.blank(self._models, pools[0], rows=size).rows
                for pool in pools:
                    rows = step(rows, pool)
                made.append(rows)

        read(sizes.prompts[0])
        self.sizes.sample = pools[0]
        grow(sizes.rows[0])
        if self._mesh.size == 1:  # several devices are not shared with what is compiled meanwhile
            yield
        for count in sizes.prompts[1:]:
            read(count)
            with self._devices():
                made[-1] = step(made[-1], pools[-1])
            self.sizes.prompts = (*self.sizes.prompts, count)
            if self._mesh.size == 1:
                yield
        for size in sizes.rows[1:]:
            grow(size)
            self.sizes.rows = (*self.sizes.rows, size)
            if self._mesh.size == 1:
                yield

        if self._mesh.size > 1:  # as steps lay them out: those of ``blank`` are laid out otherwise, and steps hang
            self._rows, self._tickets = made[-1], [None] * self.sizes.rows[-1]

    def close(self) -> None:
        """Ends the threads of grammars."""
        for stack, _ in self._sessions.values():
            stack.close()
        self._sessions.clear()

    @contextmanager
    def _devices(self) -> Iterator[None]:
        """The devices; where there are several, no other thread has them until the rows are there."""
        with jax.set_mesh(self._mesh), meshes.in_order(self._mesh):
            yield
            self._settle(self._rows)

    def _settle(self, tree: T) -> T:
        """Waits for arrays on several devices: on a CPU, collectives of two programs at once wait for each other."""
        return tree if self._mesh.size == 1 else jax.block_until_ready(tree)

    def _sizes(self) -> Sizes:
        sizes = [self._most_rows]
        size = 1
        while size < self._most_rows and not self._follows_grammar:
            sizes.append(size)
            size *= _GROWTH
        units = [-(-size // self._unit) * self._unit for size in sorted(sizes)]
        prompts = [count for count in _TOGETHER if count <= self._most_rows] if self._unit == 1 else [self._unit]
        return Sizes(list(dict.fromkeys(units)), prompts)

    def _read(self, prompts: Sequence[EncodedPrompt]) -> list[tuple[int, int]]:
        """For each prompt the pool that has what the encoder makes of it, and its row. Known ones are not read again.

        Those of one length are read together, for a prompt is read as if it were as long as the longest beside it.
        """
        keys = [_content(prompt) for prompt in prompts]
        new = {key: prompt for key, prompt in zip(keys, prompts, strict=True) if key not in self._places}
        by_length: dict[int, list[Any]] = {}
        for key, prompt in new.items():
            by_length.setdefault(next(length for length in _LENGTHS if prompt.size <= length), []).append(key)
        for length, waiting in by_length.items():
            while waiting:
                count = next((size for size in self.sizes.prompts if size >= len(waiting)), self.sizes.prompts[-1])
                chosen, waiting = waiting[:count], waiting[count:]
                pool = self._encode([new[key] for key in chosen], length, count)
                self._pools, self._encoded_bytes = self._pools + 1, self._encoded_bytes + _bytes(pool)
                self._encoded[self._pools] = pool, chosen
                self._places |= {key: (self._pools, place) for place, key in enumerate(chosen)}
        places = [self._places[key] for key in keys]
        for number in dict.fromkeys(number for number, _ in places):
            self._encoded.move_to_end(number)
        return places

    def _forget(self) -> None:
        """Drops the outputs of the encoder that were not needed for longest."""
        while self._encoded_bytes > _ENCODED_BYTES and len(self._encoded) > 1:
            _, (pool, keys) = self._encoded.popitem(last=False)
            self._encoded_bytes -= _bytes(pool)
            for key in keys:
                del self._places[key]

    def _encode(self, prompts: Sequence[EncodedPrompt], length: int, rows: int) -> Pool:
        batch = self._generator.prompts.batch(prompts, rows, length)
        placed = meshes.global_batch(batch, self._mesh)
        pool: Pool = self._programs.read(self._generator.params, placed, length=self._source)
        if self.sizes.sample is None:
            self.sizes.sample = pool
        return pool

    def _fill(self, pool: Pool, chosen: Sequence[tuple[Entry, int, int, int]]) -> None:
        """Puts entries into rows: each with the number of its grammar's session, its place in the pool, and its row."""
        assert self._rows is not None
        size = _size(pool) if self._mesh.size == 1 else 1  # rows of several devices are filled one by one
        for start in range(0, len(chosen), size):
            self._rows = self._filled(self._rows, pool, chosen[start : start + size])

    def _filled(self, rows: SearchState, pool: Pool, chosen: Sequence[tuple[Entry, int, int, int]]) -> SearchState:
        """The rows with as many entries as the pool has room for, at most."""
        count, size = _size(pool), rows.active.shape[0]
        asked = [
            requests_of(entry.settings, entry.key[None], number, self._stop_states) for entry, number, _, _ in chosen
        ]
        asked += asked[:1] * (count - len(chosen))
        source, rows_P = np.zeros(count, np.int32), np.full(count, size, np.int32)  # the row past the last is none
        source[: len(chosen)] = [place for _, _, place, _ in chosen]
        rows_P[: len(chosen)] = [row for _, _, _, row in chosen]
        requests = Requests(*(np.concatenate(leaves) for leaves in zip(*asked, strict=True)))  # type: ignore[arg-type]
        filled: SearchState = self._programs.admit(self._models, rows, pool, source, requests, rows_P)
        return filled

    def _make_room(self, count: int) -> None:
        size = next(size for size in self.sizes.rows if size >= count)
        if size > self.rows:
            self._resize(size)

    def _shrink(self) -> None:
        fewer = next(size for size in self.sizes.rows if size >= self.busy)
        self._spare = self._spare + 1 if fewer < self.rows else 0
        if self._spare > _SHRINKS_AFTER:
            with self._devices():
                self._resize(fewer)

    def _resize(self, size: int) -> None:
        """Moves the entries to the first of ``size`` rows; without rows so far they are made, of the smallest size.

        It goes from a size to the next one, so that few programs are needed.
        """
        self._spare = 0
        programs, sizes = self._programs, self.sizes.rows
        if self._rows is None:
            self._rows = programs.blank(self._models, self.sizes.sample, rows=sizes[0]).rows
            self._tickets = [None] * sizes[0]
        place, target = sizes.index(self.rows), sizes.index(size)
        while place != target:
            place += 1 if place < target else -1
            entries = [row for row, ticket in enumerate(self._tickets) if ticket is not None]
            none = sizes[place] - len(entries)
            self._rows = programs.resize(self._rows, np.array([*entries, *[self.rows] * none], np.int32))
            self._tickets = [*(self._tickets[row] for row in entries), *[None] * none]

    def _session_of(self, entry: Entry) -> int:
        """The number of the session of an entry's grammar; 0 where it follows none."""
        spec, programs = entry.settings.grammar, self._programs
        if programs.grammar is None or not spec:
            return 0
        name = f"{entry.settings.max_tokens} {spec}"  # whether an answer can end depends on its length
        if name not in self._sessions:
            stack = ExitStack()
            grammar = self._generator.grammar(entry.settings)
            session = stack.enter_context(
                programs.grammar.session(grammar, self.sizes.rows[-1], self._beams, beside=cores() > 1)
            )
            self._sessions[name] = stack, session
        self._grammars[entry.ticket] = name
        return self._sessions[name][1].number

    def _grammar_errors(self) -> dict[str, UserError]:
        errors = {}
        for name, (_, session) in self._sessions.items():
            try:
                session.check()
            except UserError as error:
                errors[name] = error
        return errors

    def _end_sessions(self, names: dict[str, UserError]) -> None:
        """Ends the sessions that failed, and those without entries."""
        used = set(self._grammars.values()) - names.keys()
        for name in self._sessions.keys() - used:
            self._sessions.pop(name)[0].close()


def live_settings(generator: Generator, settings: DecodeConfig) -> DecodeConfig:
    """The settings of the live search that answers a prompt with these settings.

    They are what programs are compiled for, with room for any stop strings where the tokenizer allows it.

    Raises:
      UserError: the stop strings are too long.
    """
    if sum(len(text.encode("utf-8")) for text in settings.stop) > STOP_BYTES:
        raise UserError(f"the stop strings are longer than {STOP_BYTES} bytes together")
    room = ("." * STOP_BYTES,)
    stop = () if settings.grammar or not (settings.stop or generator.spells(settings.special_pieces)) else room
    return generator.compiled_settings(replace(settings, stop=stop))


def _size(pool: Pool) -> int:
    """Prompts of it."""
    return int(jax.tree.leaves(pool)[0].shape[0])


def _bytes(pool: Pool) -> int:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(pool))


def _content(prompt: EncodedPrompt) -> bytes:
    """What is equal where prompts are read alike."""
    leaves: list[Any] = jax.tree.leaves(prompt.value)
    return b"".join(np.asarray(leaf).tobytes() + b"|" for leaf in leaves)
