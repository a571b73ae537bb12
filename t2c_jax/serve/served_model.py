"""A model that answers requests: its searches, what it offers, and how an answer becomes choices."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import jax
import numpy as np

from t2c_jax.config import DecodeConfig
from t2c_jax.data.infilling import InfillPrompts
from t2c_jax.data.prompt_encoder import EncodedPrompt
from t2c_jax.decode.embedder import Embedder
from t2c_jax.decode.encoder_outputs import EncoderOutputs
from t2c_jax.decode.generator import Answer, Generator, Hypothesis, sample_key
from t2c_jax.decode.live_search import Entry, LiveSearch, encoder_outputs, live_settings
from t2c_jax.decode.search import Hypotheses
from t2c_jax.decode.token_scores import TokenScore, TokenScorer
from t2c_jax.errors import UserError
from t2c_jax.mesh import in_order
from t2c_jax.models.adapted import LaidOut
from t2c_jax.retrieval.provenance import provenance
from t2c_jax.serve.api_errors import ApiError, invalid
from t2c_jax.serve.api_fields import Asked
from t2c_jax.serve.scheduler import Job, Observer, Scheduler
from t2c_jax.serve.text_stream import TextStream

_QUICK_CHARS, _QUICK_TOKENS = 4096, 1024  # of prompts and of answers: read and looked through in a few milliseconds

Rerank = Callable[[Sequence[str], Sequence[Answer]], list[Answer]]


@dataclass(frozen=True)
class Choice:
    """One answer as a response has it.

    Attributes:
      text: of the answer.
      finished: whether it ended by itself or before a stop string, and not by the number of tokens.
      tokens: of it.
      extra: fields beyond OpenAI's: ``log_probability``, ``provenance``, and where there are any ``confidence`` and
        ``neighbours``.
      scores: of its tokens; None where nobody asked.
    """

    text: str
    finished: bool
    tokens: int
    extra: dict[str, Any]
    scores: Sequence[TokenScore] | None = None


@dataclass(frozen=True)
class ServedPrompt:
    """A prompt of a request, encoded, with what its answers need.

    Attributes:
      source: the text; with a gap, the code on both of its sides.
      read: encoded.
      settings: of its search.
      lane: the settings that its programs are compiled for.
      choices: answers that are wanted.
      logprobs: alternatives of each token; None for no probabilities of tokens.
      fills: the answer fills a gap.
      is_quick: its choices are made in no more time than another thread takes to begin.
    """

    source: str
    read: EncodedPrompt
    settings: DecodeConfig
    lane: DecodeConfig
    choices: int
    logprobs: int | None = None
    fills: bool = False
    is_quick: bool = False

    @property
    def jobs(self) -> int:
        """How many rows answer it: one for each sample, one for a search that keeps several hypotheses."""
        return self.settings.samples

    @property
    def chooses(self) -> bool:
        """Whether the answers are the likeliest of more samples."""
        return self.jobs > 1 and self.jobs > self.choices


class ServedModel:
    """A generator behind a scheduler.

    Attributes:
      name: in requests.
      created: when it was loaded, in seconds since 1970.
      settings: of requests that name none.
      embedder: makes vectors; None where the model has no embedding head.
      fills: whether it fills in the middle.
      language: of the answers; empty if it is unknown.
      has_confidence: whether a reranker chooses the answer and says how likely it is right.
      is_ready: whether no request without a grammar waits for the compiler any more.
      step: of its checkpoint.
    """

    def __init__(
        self,
        name: str,
        generator: Generator,
        *,
        most_waiting: int = 256,
        embedder: Embedder | None = None,
        infills: InfillPrompts | None = None,
        rerank: Rerank | None = None,
        language: str = "",
        observer: Observer | None = None,
        rows: int | None = None,
        step: int = 0,
    ) -> None:
        """Starts the scheduler's threads; compiles nothing yet.

        Args:
          name: in requests.
          generator: answers; its ``decode`` are the settings of requests that name none.
          most_waiting: prompts that may wait for a row.
          embedder: makes vectors.
          infills: reads code with a gap; None for a model that was not trained to fill it.
          rerank: chooses among the candidates of the default search.
          language: of the answers.
          observer: is told of the scheduler's work.
          rows: prompts that are answered at once; by default config.decode.batch_size.
          step: of its checkpoint.
        """
        self.name, self.created, self.settings = name, int(time.time()), generator.decode
        self.embedder, self.language, self.has_confidence = embedder, language, rerank is not None
        self._infills, self.fills = infills, infills is not None
        self._generator, self._rerank, self._observer = generator, rerank, observer or Observer()
        self._searched: tuple[Sequence[LaidOut], EncoderOutputs] | None = None
        self.is_ready = False
        self.step = step
        self._embedding, self._scoring, self._compiling = threading.Lock(), threading.Lock(), threading.Lock()
        self._token_scorer: TokenScorer | None = None
        threads = generator.engines(rows := rows or self.settings.batch_size)
        self._rows = -(-rows // threads)  # of each thread
        self.scheduler = Scheduler(self._live_search, most_waiting, self._observer, threads)

    def warm_up(self) -> None:
        """Compiles the programs of the default search and of sampling; returns when both can answer a few prompts.

        The programs of more rows are compiled while these are used.

        Raises:
          UserError: the settings need what the run does not have.
        """
        sampling = replace(self.settings, beam_size=1, beam_groups=1, temperature=1.0, samples=1, rerank=False)
        lanes = [self._lane(settings) for settings in dict.fromkeys([replace(self.settings, rerank=False), sampling])]
        for preparing in [self.scheduler.prepare(lane) for lane in lanes]:
            preparing.result()
        self.is_ready = True

    def is_quick(self, asked: Asked) -> bool:
        """Whether the prompts of a request are read, and answers made, by the tokenizer alone: at once."""
        settings, chars = asked.settings, sum(map(len, [*asked.prompts, asked.suffix or ""]))
        tokens = len(asked.prompts) * max(asked.choices, settings.samples) * settings.max_tokens
        is_short = chars <= _QUICK_CHARS and tokens <= _QUICK_TOKENS
        looks_closely = self.has_confidence or settings.grammar or asked.logprobs is not None
        return is_short and not looks_closely and self._generator.prompts.is_quick

    def prompts_of(self, asked: Asked) -> list[ServedPrompt]:
        """The prompts of a request, encoded. It may take a while: retrieval and grammars are in it.

        Raises:
          ApiError: a prompt is too long, or the grammar or the stop strings are impossible.
        """
        settings = asked.settings
        read = self._read(asked)
        for number, each in enumerate(read, 1):
            if each.truncated and not asked.cuts:
                which = f" number {number}" if len(read) > 1 else ""
                raise ApiError(
                    400,
                    f"the prompt{which} is longer than this model reads ({each.size} tokens); shorten it",
                    param="prompt",
                    code="context_length_exceeded",
                )
        try:
            if settings.grammar:
                self._generator.grammar(settings)
        except UserError as error:
            raise invalid("grammar", f"is refused: {error}") from None
        try:
            lane = self._lane(settings)
        except UserError as error:
            raise invalid("stop", f"is refused: {error}") from None
        fills, behind, is_quick = asked.suffix is not None, asked.suffix or "", self.is_quick(asked)
        return [
            ServedPrompt(source + behind, each, settings, lane, asked.choices, asked.logprobs, fills, is_quick)
            for source, each in zip(asked.prompts, read, strict=True)
        ]

    def check_fills(self) -> InfillPrompts:
        """What reads code with a gap.

        Raises:
          ApiError: the model was not trained to fill it.
        """
        if self._infills is None:
            raise invalid("suffix", f"cannot be used: the model '{self.name}' was not trained to fill in the middle")
        return self._infills

    def job(
        self, prompt: ServedPrompt, sample: int, client: str, deadline: float, notify: Any, *, streams: bool
    ) -> Job:
        """A row's work for a prompt."""
        settings = prompt.settings
        job = Job(prompt.lane, client, deadline, notify, streams=streams and self.streams(prompt))
        job.entry = Entry(job, prompt.read, settings, sample_key(settings.seed, prompt.source, sample))
        return job

    def streams(self, prompt: ServedPrompt) -> bool:
        """Whether answers can be sent as they are found: not where they are chosen, or scored, at the end."""
        return not self._reranks(prompt) and not prompt.chooses and prompt.logprobs is None

    def stream(self, prompt: ServedPrompt) -> TextStream:
        """Tokens of an answer to text."""
        settings, tokenizer = prompt.settings, self._generator.tokenizer
        return TextStream(
            lambda tokens: tokenizer.decode(tokens, special_pieces=settings.special_pieces),
            settings.stop,
            prompt.read.quoted,
        )

    def choices(self, prompt: ServedPrompt, found: Hypotheses) -> list[Choice]:
        """The choices that a row's hypotheses come to, best first."""
        settings = prompt.settings
        hypotheses = self._generator.hypotheses(settings, found, prompt.read.quoted)
        answer = self._generator.answer(prompt.source, {0: hypotheses}, prompt.read)
        if self._reranks(prompt) and self._rerank is not None:
            (answer,) = self._rerank([prompt.source], [answer])
        count = 1 if settings.temperature else prompt.choices
        return [self._choice(prompt, each, answer) for each in answer.hypotheses[:count]]

    def embeddings(self, texts: Sequence[str]) -> tuple[np.ndarray, int]:
        """Unit vectors of texts, and how many tokens they have.

        Raises:
          ApiError: the model has no embedding head, or a text is too long.
        """
        if self.embedder is None:
            raise ApiError(400, f"the model '{self.name}' has no embedding head", param="model")
        read = self.embedder.read(texts)
        if any(each.truncated for each in read):
            raise invalid("input", "holds a text that is longer than this model reads", "context_length_exceeded")
        with self._embedding, in_order(self._generator.mesh):
            return self.embedder.embed_read(read), sum(each.size for each in read)

    def close(self, *, drain: bool = True) -> None:
        """Ends the scheduler."""
        self.scheduler.close(drain=drain)

    def _choice(self, prompt: ServedPrompt, hypothesis: Hypothesis, answer: Answer) -> Choice:
        neighbours = answer.neighbours
        scores = self._token_scores(prompt, hypothesis)
        copied = provenance(hypothesis.text, prompt.source, [text for each in neighbours for text in each.texts])
        extra: dict[str, Any] = {"log_probability": hypothesis.log_probability, "provenance": asdict(copied)}
        if answer.confidence is not None and hypothesis is answer.hypotheses[0]:
            extra["confidence"] = answer.confidence
        if neighbours:
            extra["neighbours"] = [each.to_dict() for each in neighbours]
        return Choice(hypothesis.text, hypothesis.finished, hypothesis.tokens, extra, scores)

    def _read(self, asked: Asked) -> list[EncodedPrompt]:
        if asked.suffix is None:
            return self._generator.prompts.encode(asked.prompts, special_pieces=asked.settings.special_pieces)
        return [self.check_fills().encode(before, asked.suffix, cut=asked.cuts) for before in asked.prompts]

    def _token_scores(self, prompt: ServedPrompt, hypothesis: Hypothesis) -> list[TokenScore] | None:
        if prompt.logprobs is None or not hypothesis.ids:
            return None
        with self._scoring, in_order(self._generator.mesh):
            if self._token_scorer is None:
                self._token_scorer = TokenScorer(self._generator, self._lane(self.settings).max_tokens)
            return self._token_scorer(prompt.read, hypothesis.ids, prompt.logprobs)

    def _reranks(self, prompt: ServedPrompt) -> bool:
        """A reranker answers for the search that it was fitted on, and for no other."""
        return self.has_confidence and not prompt.fills and prompt.settings == replace(self.settings, rerank=False)

    def _lane(self, settings: DecodeConfig) -> DecodeConfig:
        # With the longest answers of the model, so that shorter ones share the rows.
        return live_settings(self._generator, replace(settings, max_tokens=self.settings.max_tokens))

    def _live_search(self, lane: DecodeConfig) -> LiveSearch:
        with self._compiling:
            if self._searched is None:
                with in_order(self._generator.mesh):
                    models = jax.block_until_ready(self._generator.laid_out(self._generator.programs(lane)))
                self._searched = models, encoder_outputs(self._generator)
            models, outputs = self._searched
        return LiveSearch(self._generator, lane, models, self._rows, outputs)
