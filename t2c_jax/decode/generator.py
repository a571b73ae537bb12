"""Answers to prompts: a few compiled programs, whatever prompts there are, whose rows are given on as they end.

Letters: B rows, S source, W beams, T steps, X cache slots.
"""

from __future__ import annotations

import functools
import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from t2c_jax import mesh as meshes
from t2c_jax.config import DecodeConfig
from t2c_jax.data.placeholders import with_texts
from t2c_jax.data.prompt_encoder import EncodedPrompt, PromptEncoder
from t2c_jax.data.retrieved import Retrieved
from t2c_jax.decode.drafts import NgramTable
from t2c_jax.decode.grammar.compiled import Grammar
from t2c_jax.decode.grammar.spelling import Spelling
from t2c_jax.decode.grammar_filter import GrammarFilter, Session
from t2c_jax.decode.logits_processors import FORBIDDEN
from t2c_jax.decode.programs import Programs, SourceReader
from t2c_jax.decode.search import Hypotheses, Requests
from t2c_jax.decode.search_engine import SearchEngine, SearchPlan
from t2c_jax.decode.settings import compiled_settings, processors_of, requests_of, shape_of
from t2c_jax.decode.stop_strings import before_stop
from t2c_jax.decode.threads import Shared, together
from t2c_jax.errors import UserError
from t2c_jax.models.adapted import LaidOut, SharedSteps
from t2c_jax.models.definition import Definition
from t2c_jax.retrieval.provenance import Provenance, provenance
from t2c_jax.tokenizers.base import Tokenizer
from t2c_jax.workdir import digest
from t2c_jax.workers import cores

_ROWS_OF_ENGINE = 8  # with fewer, reading the parameters is most of a step
_COMPILED = 16  # searches of different settings whose programs are kept


@dataclass(frozen=True)
class Hypothesis:
    """One answer to a prompt.

    Attributes:
      text: as the tokenizer decodes it.
      score: by which hypotheses are ranked: the log-probability, with what logits processors add, over length**alpha.
      log_probability: the model's own, summed over the tokens, the end token included. No temperature, truncation or
        processor is in it.
      finished: False where config.decode.max_tokens ran out before the end token.
      tokens: how many there are, the end token included.
      retrieved: True for the target of a neighbour that the search did not find; config.decode.rerank adds them.
      ids: the tokens; empty where they are not those of a search.
    """

    text: str
    score: float
    log_probability: float
    finished: bool
    tokens: int
    retrieved: bool = False
    ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class Answer:
    """The search's result for one prompt.

    Attributes:
      best: the text of the best hypothesis.
      score: its log-probability over length**alpha.
      finished: False where config.decode.max_tokens ran out before the end token.
      prompt_truncated: True where the prompt was longer than config.data.encoder_length, and was cut.
      candidates: the distinct texts of all finished hypotheses, best first. The first one is ``best``, which may be
        unfinished.
      hypotheses: all that the beam search kept, or all samples, best first, finished ones before others.
      neighbours: the training pairs that were read behind the prompt (config.data.retrieve), the nearest first.
      provenance: shares of ``best`` that were generated, copied from the prompt, and copied from neighbours.
      confidence: how likely ``best`` is right, if config.decode.rerank asks for it (``decode.rerank``).
    """

    best: str
    score: float
    finished: bool
    prompt_truncated: bool
    candidates: tuple[str, ...]
    hypotheses: tuple[Hypothesis, ...]
    neighbours: tuple[Retrieved, ...] = ()
    provenance: Provenance = field(default_factory=Provenance)
    confidence: float | None = None


@dataclass(frozen=True)
class Member:
    """A model with its parameters.

    Attributes:
      definition: of the model.
      params: nested dicts of arrays, or ``Adapted``.
      shared: the layout for steps, where other models have the same base; None for one of its own.
    """

    definition: Definition
    params: Any
    shared: SharedSteps | None = None


class Generator:
    """Answers prompts with one set of parameters, or with an ensemble of several.

    Prompts are sorted by length, longest first, and read by the encoder a batch at a time. The search has a fixed
    number of rows, which are given to the next prompt as they end (``decode.slots``); a single prompt has one of its
    own. So a few programs are compiled, however many prompts there are. Programs are kept by the settings of the
    search.

    Attributes:
      steps: of all searches so far, each of all rows of a program.
      reader: of sources.
    """

    def __init__(
        self,
        members: Sequence[Member],
        prompts: PromptEncoder,
        tokenizer: Tokenizer,
        decode: DecodeConfig,
        mesh: Mesh,
        inverse_frequency: Callable[[], np.ndarray] | None = None,
        ngram_table: Callable[[int], NgramTable | None] = lambda _: None,
    ) -> None:
        """Compiles nothing yet.

        Args:
          members: models over the same tokenizers; several make an ensemble.
          prompts: encodes prompts; its batches say what source tokens are as target tokens
            (``models.seq2seq.copied_tokens``).
          tokenizer: decodes answers.
          decode: the settings of calls that bring none.
          mesh: the mesh on which the parameters are placed.
          inverse_frequency: gives ``log(N / n)`` of each token, for config.decode.idf_weight.
          ngram_table: gives the table of the training targets for drafts of so many tokens, for
            config.decode.prompt_lookup.
        """
        self.members = list(members)
        self.params = [member.params for member in members]
        self.prompts, self.tokenizer, self.decode, self.mesh = prompts, tokenizer, decode, mesh
        self._definitions = [member.definition for member in members]
        self.reader = SourceReader(self._definitions, mesh)
        self._inverse_frequency = inverse_frequency
        self.steps, self._lock = 0, threading.Lock()
        self._kept: tuple[list[Any], Sequence[LaidOut]] | None = None
        self._ngram_table = functools.lru_cache(_COMPILED)(ngram_table)
        self._search = functools.lru_cache(_COMPILED)(self._compiled)
        self._grammars = functools.lru_cache(_COMPILED)(self._compiled_grammar)
        self.spells = functools.lru_cache(2)(self._spells)  # of this generator, which a cache of all would keep
        self._unit = mesh.shape["data"] * mesh.shape["fsdp"]

    def generate(
        self,
        sources: Sequence[str],
        settings: DecodeConfig | None = None,
        *,
        advance: Callable[[int], object] = lambda _: None,
    ) -> list[Answer]:
        """An answer for each source, in their order.

        Args:
          sources: the prompts.
          settings: of this call; the generator's own by default.
          advance: called with the number of prompts that were answered since the last call.

        Raises:
          UserError: the settings need what the run does not have.
        """
        settings = settings or self.decode
        read = self.prompts.encode(sources, special_pieces=settings.special_pieces)
        found: list[dict[int, list[Hypothesis]]] = [{} for _ in sources]
        for row, sample, hypotheses in self._answers(sources, read, settings):
            found[row][sample] = self.hypotheses(settings, hypotheses, read[row].quoted)
            if len(found[row]) == settings.samples:
                advance(1)
        return [self.answer(*each) for each in zip(sources, found, read, strict=True)]

    def digest(self) -> str:
        """Of the parameters: a digest of each array's sum, by which two checkpoints differ.

        The sums are of the bits, as integers that wrap around, since a sum of floats depends on its order, and so
        on the number of cores and devices.
        """

        def bits(leaf: jax.Array) -> jax.Array:
            kind = jnp.dtype(f"uint{8 * leaf.dtype.itemsize}")
            return jax.lax.bitcast_convert_type(leaf, kind).sum(dtype=jnp.uint32)

        sums = jax.device_get(jax.jit(lambda params: jax.tree.map(bits, params))(self.params))
        return digest(*(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(sums)))

    def hypotheses(self, settings: DecodeConfig, found: Hypotheses, quoted: Sequence[str] = ()) -> list[Hypothesis]:
        """Those of a row, as arrays of the host; the first one, and all others that are there.

        Args:
          settings: of the search.
          found: by it.
          quoted: by the prompt (``EncodedPrompt``).
        """
        hypotheses = []
        for beam, tokens in enumerate(found.tokens):
            score, finished, length = float(found.scores[beam]), bool(found.finished[beam]), int(found.lengths[beam])
            total = score * max(1, length) ** settings.length_penalty
            if beam and total < FORBIDDEN / 2:  # there were fewer continuations than beams
                continue
            ids = tokens[:length].tolist()
            text = self.tokenizer.decode(ids, special_pieces=settings.special_pieces)
            if (cut := before_stop(text, settings.stop)) is not None:
                text, finished = cut, True
            text = with_texts(text, quoted)
            log_p = total if found.log_p is None else float(found.log_p[beam])
            hypotheses.append(Hypothesis(text, score, log_p, finished, length, ids=tuple(ids)))
        return hypotheses

    def answer(self, source: str, samples: Mapping[int, Sequence[Hypothesis]], read: EncodedPrompt) -> Answer:
        """What the hypotheses of a prompt's samples come to.

        Args:
          source: the prompt.
          samples: ``hypotheses`` of each sample, by its number.
          read: the prompt, encoded.
        """
        hypotheses = [each for sample in sorted(samples) for each in samples[sample]]
        ranked = sorted(hypotheses, key=lambda each: (-each.finished, -each.score))
        finished = [each.text for each in ranked if each.finished]
        best = ranked[0]
        return Answer(
            best=best.text,
            score=best.score,
            finished=best.finished,
            prompt_truncated=read.truncated,
            candidates=tuple(dict.fromkeys(finished or [best.text])),
            hypotheses=tuple(ranked),
            neighbours=read.neighbours,
            provenance=provenance(best.text, source, [text for each in read.neighbours for text in each.texts]),
        )

    def _answers(
        self, sources: Sequence[str], read: Sequence[EncodedPrompt], settings: DecodeConfig
    ) -> Iterator[tuple[int, int, Hypotheses]]:
        """The number of a prompt and of a sample, and what was found for it, as rows end."""
        if not sources:
            return
        entries = len(sources) * settings.samples
        rows = 1 if entries == 1 else settings.batch_size
        engines = self.engines(rows)
        rows = -(-rows // (engines * self._unit)) * self._unit
        programs = self.programs(settings)
        order = sorted(range(len(read)), key=lambda row: (-read[row].size, row))
        # Where there are fewer prompts than engines, they share the samples.
        shares = min(settings.samples, max(1, engines // len(order)))
        work = [(row, range(share, settings.samples, shares)) for row in order for share in range(shares)]
        size = min(rows, -(-len(work) // engines))
        batches = Shared(work[start : start + size] for start in range(0, len(work), size))
        longest = self.prompts.batch([read[row] for row in order[:rows]], rows)
        with jax.set_mesh(self.mesh):
            source = self.reader.length(self.params, longest)
            plan = SearchPlan(programs, self.laid_out(programs), engines, rows, source)
        engine = functools.partial(self._engine, sources, read, settings, plan, batches)
        for ticket, found in together([engine] * engines):
            yield *divmod(ticket, settings.samples), found

    def compiled_settings(self, settings: DecodeConfig) -> DecodeConfig:
        """The settings that programs are kept by: searches of equal ones run the same programs."""
        # The batch has its size in its shape; most tokenizers have no special piece to write.
        special_pieces = settings.special_pieces and bool(self.tokenizer.special_ids)
        drafts = settings.prompt_lookup if self._looks_up(settings) else 0
        compiled = compiled_settings(replace(settings, special_pieces=special_pieces, prompt_lookup=drafts))
        limits = [definition.config.decoder.max_target_length for definition in self._definitions]
        return replace(compiled, max_tokens=min([compiled.max_tokens, *filter(None, limits)]))

    def programs(self, settings: DecodeConfig) -> Programs:
        """The programs of a search.

        Raises:
          UserError: the settings need what the run does not have.
        """
        for definition in self._definitions:
            longest = definition.config.decoder.max_target_length
            if longest is not None and settings.max_tokens > longest:
                raise UserError(
                    f"config.decode.max_tokens={settings.max_tokens} exceeds the decoder's {longest} positions"
                )
        return self._search(self.compiled_settings(settings))

    def laid_out(self, programs: Programs) -> Sequence[LaidOut]:
        """The models for steps. On a CPU they are kept for the next call: a short answer takes little longer."""
        if self.mesh.devices.flat[0].platform != "cpu":
            return self._lay_out(programs)
        with self._lock:
            if self._kept is None or self._kept[0] is not self.params:
                self._kept = self.params, self._lay_out(programs)
            return self._kept[1]

    def _lay_out(self, programs: Programs) -> Sequence[LaidOut]:
        shared = self.members[0].shared
        if shared is None:
            found: Sequence[LaidOut] = programs.call(programs.steps, self.params)
            return found
        (params,) = self.params  # a model over a shared base is no ensemble
        return [shared.of(params, lambda one: programs.call(programs.steps, [one])[0])]

    def engines(self, rows: int) -> int:
        """Searches that are run at once, each with a share of the rows.

        The cores of a CPU have little to do together in the step of a few rows, so each has rows of its own.
        """
        if self._unit > 1 or jax.process_count() > 1 or self.mesh.devices.flat[0].platform != "cpu":
            return 1
        return max(1, min(cores(), rows // _ROWS_OF_ENGINE))

    def _engine(
        self,
        sources: Sequence[str],
        read: Sequence[EncodedPrompt],
        settings: DecodeConfig,
        plan: SearchPlan,
        batches: Iterable[Sequence[tuple[int, Sequence[int]]]],
    ) -> Iterator[tuple[int, Hypotheses]]:
        """Tickets and answers for batches of (prompt, numbers of its samples), as rows end."""
        with jax.set_mesh(self.mesh), self._followed(settings, plan) as grammar:
            searched = SearchEngine(plan, self.params, self.mesh, grammar)
            asked = functools.partial(self._asked, sources, settings, grammar)
            for batch in batches:
                # Each device has every _unit-th prompt, so that all of them have about as many.
                parts = [batch[part :: self._unit] for part in range(self._unit)]
                waiting = [
                    [
                        (place, row * settings.samples + number)
                        for place, (row, own) in enumerate(part)
                        for number in own
                    ]
                    for part in parts
                ]
                arranged = self._arranged([[read[row] for row, _ in part] for part in parts], plan.rows)
                yield from searched.feed(arranged, waiting, asked)
            yield from searched.drain(asked)
            with self._lock:
                self.steps += searched.steps

    def _arranged(self, parts: Sequence[Sequence[EncodedPrompt]], rows: int) -> Mapping[str, np.ndarray]:
        """The encoder's part of a batch, in which each part of the prompts begins a part of the rows."""
        prompts = [prompt for part in parts for prompt in part]
        batch = self.prompts.batch(prompts, rows)
        free = iter(range(len(prompts), rows))  # rows without a prompt
        numbers, index = iter(range(len(prompts))), []
        for part in parts:
            own = [next(numbers) for _ in part]
            index += own + [next(free) for _ in range(rows // len(parts) - len(part))]
        return {name: values[index] for name, values in batch.items()}

    @contextmanager
    def _followed(self, settings: DecodeConfig, plan: SearchPlan) -> Iterator[Session | None]:
        """The session of the grammar that answers follow; None where they follow none."""
        programs = plan.programs
        if programs.grammar is None:
            yield None
            return
        compiled = programs.call(self.grammar, settings)
        beside = cores() > plan.engines
        with programs.grammar.session(compiled, plan.rows, settings.beam_size, beside=beside) as session:
            yield session

    def grammar(self, settings: DecodeConfig) -> Grammar:
        """The grammar of the settings, compiled for the tokenizer.

        Raises:
          UserError: as ``Grammar.compile``.
        """
        return self._grammars(settings.grammar, settings.max_tokens, settings.special_pieces)

    def _spells(self, special_pieces: bool) -> bool:
        """Whether it is known what each token writes, which stop strings need."""
        try:
            Spelling.of(self.tokenizer, special_pieces=special_pieces, setting="config.decode.stop")
        except UserError:
            return False
        return True

    def _compiled_grammar(self, spec: str, max_tokens: int, special_pieces: bool) -> Grammar:
        return Grammar.compile(spec, self.tokenizer, max_tokens, special_pieces=special_pieces)

    def _asked(
        self, sources: Sequence[str], settings: DecodeConfig, grammar: Session | None, tickets: Sequence[int]
    ) -> Requests:
        """What each entry asks for; a ticket below 0 is none."""
        samples = settings.samples
        keys = [sample_key(settings.seed, sources[ticket // samples], ticket % samples) for ticket in tickets]
        number = 0 if grammar is None else grammar.number
        return requests_of(settings, np.array(keys, np.uint32).reshape(-1, 2), number)

    def _looks_up(self, settings: DecodeConfig) -> bool:
        """Whether drafts can be copied and verified: greedy search, of decoders that can, over sources of tokens.

        Under a grammar the host follows each answer by one token a step.
        """
        models = [definition.config for definition in self._definitions]
        is_greedy = settings.beam_size == 1 and not settings.temperature and not settings.grammar
        return is_greedy and all(
            model.decoder.verifies_drafts and model.encoder.features == "tokens" for model in models
        )

    def _compiled(self, settings: DecodeConfig) -> Programs:
        tokenizer = self.tokenizer
        processors = processors_of(settings, tokenizer, self._inverse_frequency)
        shape = shape_of(settings, tokenizer.start, tokenizer.eos, settings.prompt_lookup)
        memory = meshes.memory_bytes(jax.local_devices()[0])
        grammar = GrammarFilter() if settings.grammar else None
        table = self._ngram_table(shape.drafts) if shape.drafts else None
        return Programs(
            self._definitions, self.reader, shape, processors, settings.stop, grammar, self.mesh, memory, table
        )


def sample_key(seed: int, source: str, sample: int) -> np.ndarray:
    """The random key of a sample: what is drawn depends on nothing else but the step."""
    words = hashlib.sha256(f"{seed} {sample} {source}".encode()).digest()[:8]
    return np.frombuffer(words, np.uint32)
