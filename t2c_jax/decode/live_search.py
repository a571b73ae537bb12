"""A search that prompts join and leave at any time, for a server: the host's side of ``decode.live_rows``.

Letters: B rows.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from t2c_jax import mesh as meshes
from t2c_jax.config import DecodeConfig
from t2c_jax.data.prompt_encoder import EncodedPrompt
from t2c_jax.decode.generator import Generator
from t2c_jax.decode.grammar.spelling import Spelling
from t2c_jax.decode.grammar_filter import Session
from t2c_jax.decode.search import Hypotheses, SearchState
from t2c_jax.decode.settings import requests_of
from t2c_jax.decode.slots import Pool
from t2c_jax.errors import UserError
from t2c_jax.models.adapted import LaidOut
from t2c_jax.workers import cores

STOP_STATES = 256
"""States of the automaton of stop strings that the programs are compiled for."""
STOP_BYTES = STOP_STATES - 2
"""Bytes that the stop strings of a prompt have at most, together."""
_FEW = 4  # rows of the size between one and all
_SHRINKS_AFTER = 8  # advances in which fewer rows would do
_ENCODED = 256  # prompts whose encoder outputs are kept
_SHORT = 64  # positions of the encoder: prompts are read as one so long, or as one of the longest
_LONGEST = 1 << 30


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


class LiveSearch:
    """The rows of searches that run the same programs. One thread calls it.

    A step of a few rows takes less time than one of many, so there are programs of a few sizes, and the rows move from
    one to the other as entries come and go. Rows that follow a grammar stay where they are, since the host follows
    them by their numbers.
    """

    def __init__(self, generator: Generator, settings: DecodeConfig, models: Sequence[LaidOut], most_rows: int) -> None:
        """Compiles nothing yet.

        Args:
          generator: its model and its prompts.
          settings: as ``live_settings`` makes them.
          models: laid out for steps (``Generator.laid_out``).
          most_rows: that are searched at once.

        Raises:
          UserError: the settings need what the run does not have.
        """
        self._generator, self._models = generator, models
        self._programs, self._mesh = generator.programs(settings), generator.mesh
        self._stop_states = STOP_STATES if settings.stop else 0
        self._follows_grammar, self._beams = bool(settings.grammar), settings.beam_size
        self._unit = self._mesh.shape["data"] * self._mesh.shape["fsdp"]
        sizes = (most_rows,) if self._follows_grammar else (1, _FEW, most_rows)
        self.sizes = sorted({self._in_units(min(size, most_rows)) for size in sizes})
        prompts = generator.prompts
        longest = prompts.batch(prompts.encode([""]), self._unit, _LONGEST)
        with jax.set_mesh(self._mesh):
            self._source = self._programs.source_length(generator.params, longest)
        self._rows: SearchState | None = None
        self._tickets: list[Hashable | None] = []  # of each row
        self._encoded: OrderedDict[bytes, Pool] = OrderedDict()
        self._sessions: dict[str, tuple[ExitStack, Session]] = {}
        self._grammars: dict[Hashable, str] = {}  # of tickets that follow one
        self._spare = 0  # advances in which fewer rows would have done

    @property
    def busy(self) -> int:
        """Entries that have rows."""
        return sum(ticket is not None for ticket in self._tickets)

    @property
    def room(self) -> int:
        """Entries that can be given rows now."""
        return self.sizes[-1] - self.busy

    @property
    def rows(self) -> int:
        """Rows that a step computes."""
        return len(self._tickets)

    def admit(self, entries: Sequence[Entry]) -> None:
        """Gives rows to entries, ``room`` of them at most. Each prompt is read by itself.

        Raises:
          UserError: a grammar does not compile.
        """
        if len(entries) > self.room:
            raise ValueError(f"{len(entries)} entries for {self.room} rows")
        numbers = [self._session_of(entry) for entry in entries]
        with jax.set_mesh(self._mesh):
            for entry, number in zip(entries, numbers, strict=True):
                pool = self._read(entry.prompt)
                self._make_room(self.busy + 1, pool)
                row = self._tickets.index(None)
                self._fill(pool, entry, number, row)
                self._tickets[row] = entry.ticket

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
        call, programs = self._programs.call, self._programs
        with jax.set_mesh(self._mesh):
            self._rows, advanced = call(
                programs.advance, self._models, self._rows, kept, np.int32(steps), programs.table
            )
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
        """Compiles all programs; no entry has a row."""
        (prompt,) = self._generator.prompts.encode([""])
        entry = Entry("", prompt, DecodeConfig(beam_size=self._beams, max_tokens=1), np.zeros(2, np.uint32))
        with jax.set_mesh(self._mesh):
            for shortest in (_SHORT, _LONGEST):
                pool = self._encode(prompt, shortest)
            for size in self.sizes:
                self._resize(size, pool)
                self._fill(pool, entry, 0, size)  # the row past the last is none
                self.advance(1)
            self._resize(self.sizes[0], pool)

    def close(self) -> None:
        """Ends the threads of grammars."""
        for stack, _ in self._sessions.values():
            stack.close()
        self._sessions.clear()

    def _in_units(self, size: int) -> int:
        return -(-size // self._unit) * self._unit

    def _read(self, prompt: EncodedPrompt) -> Pool:
        """What the encoder makes of a prompt. Known ones are not read again."""
        key = _content(prompt)
        if key not in self._encoded:
            self._encoded[key] = self._encode(prompt, _SHORT if prompt.size <= _SHORT else _LONGEST)
        self._encoded.move_to_end(key)
        if len(self._encoded) > _ENCODED:
            self._encoded.popitem(last=False)
        return self._encoded[key]

    def _encode(self, prompt: EncodedPrompt, shortest: int) -> Pool:
        batch = self._generator.prompts.batch([prompt], self._unit, shortest)
        placed = meshes.global_batch(batch, self._mesh)
        pool: Pool = self._programs.call(self._programs.read, self._generator.params, placed, length=self._source)
        return pool

    def _fill(self, pool: Pool, entry: Entry, number: int, row: int) -> None:
        """Puts an entry into a row; ``number`` is that of its grammar's session."""
        asked = requests_of(entry.settings, np.repeat(entry.key[None], self._unit, axis=0), number, self._stop_states)
        rows = np.array([row, *[self.rows] * (self._unit - 1)], np.int32)
        source = np.zeros(self._unit, np.int32)
        call, programs = self._programs.call, self._programs
        self._rows = call(programs.admit, self._models, self._rows, pool, source, asked, rows)

    def _make_room(self, count: int, pool: Pool) -> None:
        size = next(size for size in self.sizes if size >= count)
        if size > self.rows:
            self._resize(size, pool)

    def _shrink(self) -> None:
        fewer = next(size for size in self.sizes if size >= self.busy)
        self._spare = self._spare + 1 if fewer < self.rows else 0
        if self._spare > _SHRINKS_AFTER:
            with jax.set_mesh(self._mesh):
                self._resize(fewer, None)

    def _resize(self, size: int, pool: Pool | None) -> None:
        """Moves the entries to the first of ``size`` rows; without rows so far they are made, of the smallest size.

        It goes from a size to the next one, so that few programs are needed.
        """
        self._spare = 0
        call, programs = self._programs.call, self._programs
        if self._rows is None:
            self._rows = call(programs.blank, self._models, pool, rows=self.sizes[0]).rows
            self._tickets = [None] * self.sizes[0]
        place, target = self.sizes.index(self.rows), self.sizes.index(size)
        while place != target:
            place += 1 if place < target else -1
            entries = [row for row, ticket in enumerate(self._tickets) if ticket is not None]
            none = self.sizes[place] - len(entries)
            self._rows = call(programs.resize, self._rows, np.array([*entries, *[self.rows] * none], np.int32))
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
                programs.grammar.session(grammar, self.sizes[-1], self._beams, beside=cores() > 1)
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
    stop = () if settings.grammar or not (settings.stop or _spells(generator, settings.special_pieces)) else room
    return generator.compiled_settings(replace(settings, stop=stop))


@functools.lru_cache(maxsize=64)
def _spells(generator: Generator, special_pieces: bool) -> bool:
    """Whether it is known what each token writes, which stop strings need."""
    try:
        Spelling.of(generator.tokenizer, special_pieces=special_pieces)
    except UserError:
        return False
    return True


def _content(prompt: EncodedPrompt) -> bytes:
    """What is equal where prompts are read alike."""
    leaves: list[Any] = jax.tree.leaves(prompt.value)
    return b"".join(np.asarray(leaf).tobytes() + b"|" for leaf in leaves)
