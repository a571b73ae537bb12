"""A search that prompts join and leave at any time, for a server: the host's side of ``decode.live_rows``.

Letters: B rows.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

import jax
import numpy as np

from t2c_jax import mesh as meshes
from t2c_jax.config import DecodeConfig
from t2c_jax.data.prompt_encoder import EncodedPrompt
from t2c_jax.decode.encoder_outputs import LENGTHS, LONGEST, EncoderOutputs, Place
from t2c_jax.decode.generator import Generator
from t2c_jax.decode.grammar_filter import Session
from t2c_jax.decode.live_rows import Limit
from t2c_jax.decode.search import Hypotheses, SearchState
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
_TOGETHER = (1, 2, 4, 8)  # prompts that are read by one program
_SHRINKS_AFTER = 8  # advances in which fewer rows would do


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


class SearchGroup:
    """What searches beside each other have in common.

    Attributes:
      rows: numbers of rows that there are programs for.
      prompts: numbers of prompts that are read together.
    """

    def __init__(self, rows: Sequence[int], prompts: Sequence[int]) -> None:
        """Programs are compiled when they are first used, unless ``LiveSearch.warming`` is asked to."""
        self.rows, self.prompts = tuple(rows), tuple(prompts)


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
        outputs: EncoderOutputs,
        shared: SearchGroup | None = None,
    ) -> None:
        """Compiles nothing yet.

        Args:
          generator: its model and its prompts.
          settings: as ``live_settings`` makes them.
          models: laid out for steps (``Generator.laid_out``).
          most_rows: that are searched at once.
          outputs: of the generator's encoder (``encoder_outputs``).
          shared: of a search with the same arguments, beside which this one works.

        Raises:
          UserError: the settings need what the run does not have.
        """
        self._generator, self._settings, self._models, self._most_rows = generator, settings, models, most_rows
        self._programs, self._mesh = generator.programs(settings), generator.mesh
        self._outputs = outputs
        self._stop_states = STOP_STATES if settings.stop else 0
        self._follows_grammar, self._beams = bool(settings.grammar), settings.beam_size
        self._unit = self._mesh.shape["data"] * self._mesh.shape["fsdp"]
        self.shared = shared or SearchGroup(*self._sizes())
        self._rows: SearchState | None = None
        self._tickets: list[Hashable | None] = []  # of each row
        self._sessions: dict[str, tuple[ExitStack, Session]] = {}
        self._grammars: dict[Hashable, str] = {}  # of tickets that follow one
        self._spare = 0  # advances in which fewer rows would have done

    def beside(self) -> LiveSearch:
        """Another search of the same programs, without entries."""
        return LiveSearch(self._generator, self._settings, self._models, self._most_rows, self._outputs, self.shared)

    @property
    def busy(self) -> int:
        """Entries that have rows."""
        return sum(ticket is not None for ticket in self._tickets)

    @property
    def room(self) -> int:
        """Entries that can be given rows now."""
        return self.shared.rows[-1] - self.busy

    @property
    def rows(self) -> int:
        """Rows that a step computes."""
        return len(self._tickets)

    def admit(self, entries: Sequence[Entry], ahead: Sequence[Entry] = ()) -> None:
        """Gives rows to entries, ``room`` of them at most. Several prompts are read together.

        Args:
          entries: that get rows.
          ahead: those that come next, whose prompts are read too where that costs little.

        Raises:
          UserError: a grammar does not compile.
        """
        if len(entries) > self.room:
            raise ValueError(f"{len(entries)} entries for {self.room} rows")
        numbers = [self._session_of(entry) for entry in entries]
        with self._devices():
            places = self._read(entries, ahead)
            self._make_room(self.busy + len(entries))
            free = [row for row, ticket in enumerate(self._tickets) if ticket is None]
            for entry, number, (pool, place), row in zip(entries, numbers, places, free, strict=False):
                assert self._rows is not None
                self._rows = self._filled(self._rows, pool, place, entry, number, row)
                self._tickets[row] = entry.ticket

    def release(self, ticket: Hashable) -> None:
        """Frees the row of an entry whose answer nobody waits for."""
        self._tickets[self._tickets.index(ticket)] = None
        self._grammars.pop(ticket, None)

    def advance(self, steps: int, enough: int | None = None) -> tuple[list[Update], int]:
        """Steps all rows, until ``enough`` are done, or ``steps`` times.

        Args:
          steps: at most.
          enough: rows; None for all of them.

        Returns:
          What each entry has come to, and how many steps were made. Entries that are done have no row any more.
        """
        self._shrink()
        kept = np.array([ticket is not None for ticket in self._tickets])
        programs, limit = self._programs, _limit(steps, self.busy if enough is None else enough)
        with self._devices():
            self._rows, advanced = programs.advance(self._models, self._rows, kept, limit, programs.table)
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
        rows_of, prompts_of = self._sizes()
        prompt = self._no_one().prompt
        pools: list[Pool] = []
        outputs = self._outputs
        if outputs.sample is None:
            outputs.lengths = (LONGEST,)
        self.shared.rows, self.shared.prompts = tuple(rows_of[:1]), tuple(prompts_of[:1])
        made: list[SearchState] = []  # of each size

        def read(count: int, lengths: Sequence[int]) -> None:
            with outputs.compiling, self._devices():
                pools.append([outputs.read([prompt], length, count) for length in lengths][-1])
                self._settle(pools)

        def grow(size: int) -> None:
            before, programs = self.shared.rows[-1], self._programs
            none = np.full(max(size, before), size, np.int32)  # numbers past the last row
            with self._devices():
                if made:
                    rows: SearchState = self._settle(programs.resize(made.pop(), none[:size]))
                    self._settle(programs.resize(rows, none[:before]))
                else:
                    rows = self._settle(programs.blank(self._models, pools[0], rows=size).rows)
                for pool in pools:
                    rows = self._stepped(rows, pool)
                made.append(rows)

        read(prompts_of[0], outputs.lengths)
        grow(rows_of[0])
        if self._mesh.size == 1:  # several devices are not shared with what is compiled meanwhile
            yield
        if outputs.lengths != LENGTHS:
            read(prompts_of[0], LENGTHS)
            pools.pop()
            outputs.lengths = LENGTHS
            if self._mesh.size == 1:
                yield
        for count in prompts_of[1:]:
            read(count, LENGTHS)
            with self._devices():
                made[-1] = self._stepped(made[-1], pools[-1])
            self.shared.prompts = (*self.shared.prompts, count)
            if self._mesh.size == 1:
                yield
        for size in rows_of[1:]:
            grow(size)
            self.shared.rows = (*self.shared.rows, size)
            if self._mesh.size == 1:
                yield

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

    def _sizes(self) -> tuple[list[int], list[int]]:
        """Numbers of rows, and of prompts."""
        sizes = [self._most_rows]
        size = 1
        while size < self._most_rows and not self._follows_grammar:
            sizes.append(size)
            size *= _GROWTH
        units = [-(-size // self._unit) * self._unit for size in sorted(sizes)]
        prompts = [count for count in _TOGETHER if count <= self._most_rows] if self._unit == 1 else [self._unit]
        return list(dict.fromkeys(units)), prompts

    def _read(self, entries: Sequence[Entry], ahead: Sequence[Entry]) -> list[Place]:
        """Where the outputs of the encoder are for each entry."""
        wanted, more = [entry.prompt for entry in entries], [entry.prompt for entry in ahead]
        return self._outputs.places(wanted, more, self.shared.prompts)

    def _no_one(self) -> Entry:
        """For programs that are run for their own sake."""
        asked = DecodeConfig(beam_size=self._beams, max_tokens=1)
        return Entry("", self._generator.prompts.encode([""])[0], asked, np.zeros(2, np.uint32))

    def _stepped(self, rows: SearchState, pool: Pool) -> SearchState:
        """Rows that are all free, given to nobody and stepped."""
        size, programs = rows.active.shape[0], self._programs
        rows = self._settle(self._filled(rows, pool, 0, self._no_one(), 0, size))  # the row past the last is none
        rows, _ = programs.advance(self._models, rows, np.zeros(size, bool), _limit(1, 1), programs.table)
        return self._settle(rows)

    def _filled(self, rows: SearchState, pool: Pool, place: int, entry: Entry, session: int, row: int) -> SearchState:
        """The rows with one of them given to an entry: with none where its number is past the last."""
        request = requests_of(entry.settings, entry.key[None], session, self._stop_states)
        filled: SearchState = self._programs.admit(rows, pool, np.int32(place), request, np.int32(row))
        return filled

    def _make_room(self, count: int) -> None:
        size = next(size for size in self.shared.rows if size >= count)
        if size > self.rows:
            self._resize(size)

    def _shrink(self) -> None:
        fewer = next(size for size in self.shared.rows if size >= self.busy)
        self._spare = self._spare + 1 if fewer < self.rows else 0
        if self._spare > _SHRINKS_AFTER:
            with self._devices():
                self._resize(fewer)

    def _resize(self, size: int) -> None:
        """Moves the entries to the first of ``size`` rows; without rows so far they are made, of the smallest size.

        It goes from a size to the next one, so that few programs are needed.
        """
        self._spare = 0
        programs, sizes = self._programs, self.shared.rows
        if self._rows is None:
            sample = self._outputs.sample
            self._rows = self._settle(programs.blank(self._models, sample, rows=sizes[0]).rows)
            if self._mesh.size > 1 and sample is not None:  # as steps lay them out, for which programs are compiled
                self._rows = self._stepped(self._rows, sample)
            self._tickets = [None] * sizes[0]
        place, target = sizes.index(self.rows), sizes.index(size)
        while place != target:
            place += 1 if place < target else -1
            entries = [row for row, ticket in enumerate(self._tickets) if ticket is not None]
            none = sizes[place] - len(entries)
            places = np.array([*entries, *[self.rows] * none], np.int32)
            self._rows = self._settle(programs.resize(self._rows, places))
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
                programs.grammar.session(grammar, self.shared.rows[-1], self._beams, beside=cores() > 1)
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


def encoder_outputs(generator: Generator) -> EncoderOutputs:
    """What the encoder of a generator makes of prompts, for any live searches of it.

    Sources are padded to as many positions as the model reads, so that programs of steps are few.
    """
    prompts, mesh, reader = generator.prompts, generator.mesh, generator.reader
    unit = mesh.shape["data"] * mesh.shape["fsdp"]
    with jax.set_mesh(mesh):
        source = reader.length(generator.params, prompts.batch(prompts.encode([""]), unit, LONGEST))

    def encode(chosen: Sequence[EncodedPrompt], length: int, rows: int) -> Pool:
        placed = meshes.global_batch(prompts.batch(chosen, rows, length), mesh)
        pool: Pool = reader.read(generator.params, placed, length=source)
        return pool

    return EncoderOutputs(encode)


def _limit(steps: int, done: int) -> Limit:
    return Limit(np.int32(steps), np.int32(done))  # type: ignore[arg-type]
