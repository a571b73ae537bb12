"""Answers to prompts: batches of a few static shapes, each through a compiled search.

Letters: B batch, S source, W beams, T steps.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from t2c_jax import mesh as meshes
from t2c_jax.config import DecodeConfig
from t2c_jax.data.prompt_encoder import EncodedPrompt, PromptEncoder
from t2c_jax.decode.logits_processors import LogitsProcessor, processors_of, unwritable
from t2c_jax.decode.search import Hypotheses, ensemble, search
from t2c_jax.models.definition import Definition
from t2c_jax.tokenizers.base import Tokenizer
from t2c_jax.workdir import digest

_COMPILED = 16  # searches of different settings whose programs are kept


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
    """

    best: str
    score: float
    finished: bool
    prompt_truncated: bool
    candidates: tuple[str, ...]


@dataclass(frozen=True)
class Member:
    """A model with its parameters."""

    definition: Definition
    params: Any


class Generator:
    """Answers prompts with one set of parameters, or with an ensemble of several.

    Prompts are sorted by length and padded to a few shapes, and a batch is either full or a single prompt. So a few
    programs are compiled, however many prompts there are. Programs are kept by the settings of the search.
    """

    def __init__(
        self,
        members: Sequence[Member],
        prompts: PromptEncoder,
        tokenizer: Tokenizer,
        decode: DecodeConfig,
        mesh: Mesh,
        inverse_frequency: Callable[[], np.ndarray] | None = None,
    ) -> None:
        """Compiles nothing yet.

        Args:
          members: models over the same tokenizers; several make an ensemble.
          prompts: encodes prompts.
          tokenizer: decodes answers.
          decode: the settings of calls that bring none.
          mesh: the mesh on which the parameters are placed.
          inverse_frequency: gives ``log(N / n)`` of each token, for config.decode.idf_weight.
        """
        self.members = list(members)
        self.params = [member.params for member in members]
        self.prompts, self.tokenizer, self.decode, self.mesh = prompts, tokenizer, decode, mesh
        self._definitions = [member.definition for member in members]
        self._inverse_frequency = inverse_frequency
        self._search = functools.lru_cache(_COMPILED)(self._compiled)
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
        answers: list[Answer | None] = [None] * len(sources)
        for rows in _batches([source.size for source in read], settings.batch_size):
            found = self._run([read[row] for row in rows], settings)
            for position, row in enumerate(rows):
                # Hypotheses come best first, finished ones before others.
                kept = max(1, int(found.finished[position].sum()))
                texts = [
                    self.tokenizer.decode(tokens.tolist(), special_pieces=settings.special_pieces)
                    for tokens in found.tokens[position, :kept]
                ]
                answers[row] = Answer(
                    best=texts[0],
                    score=float(found.scores[position, 0]),
                    finished=bool(found.finished[position, 0]),
                    prompt_truncated=read[row].truncated,
                    candidates=tuple(dict.fromkeys(texts)),
                )
            advance(len(rows))
        return [answer for answer in answers if answer is not None]

    def digest(self) -> str:
        """Of the parameters: a digest of each array's sum, by which two checkpoints differ."""
        sums = jax.jit(lambda params: jax.tree.map(lambda leaf: leaf.astype("float32").sum(), params))(self.params)
        return digest(*(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(jax.device_get(sums))))

    def _run(self, prompts: Sequence[EncodedPrompt], settings: DecodeConfig) -> Hypotheses:
        rows = 1 if len(prompts) == 1 else settings.batch_size
        rows = -(-rows // self._unit) * self._unit
        batch = self.prompts.batch(prompts, rows)
        local = meshes.local_rows(self.mesh, rows)
        # The batch has its size in its shape; most tokenizers have no special piece to write.
        special_pieces = settings.special_pieces and bool(self.tokenizer.special_ids)
        compiled = self._search(replace(settings, batch_size=1, special_pieces=special_pieces))
        with jax.set_mesh(self.mesh):
            placed = meshes.global_batch({name: values[local] for name, values in batch.items()}, self.mesh)
            return jax.device_get(compiled(self.params, placed))

    def _compiled(self, settings: DecodeConfig) -> Callable[..., Hypotheses]:
        tokenizer = self.tokenizer
        processors = processors_of(
            settings, unwritable(tokenizer, special_pieces=settings.special_pieces), self._inverse_frequency
        )
        function = search_function(
            self._definitions,
            settings,
            processors,
            start=tokenizer.start,
            eos=tokenizer.eos,
            memory=meshes.memory_bytes(jax.local_devices()[0]),
        )
        return jax.jit(function, out_shardings=meshes.replicated(self.mesh))  # every process gets all answers


def _batches(lengths: Sequence[int], size: int) -> Iterator[list[int]]:
    order = sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
    for start in range(0, len(order), size):
        yield order[start : start + size]


def search_function(
    definitions: Sequence[Definition],
    decode: DecodeConfig,
    processors: Sequence[LogitsProcessor] = (),
    *,
    start: int = 0,
    eos: int = 1,
    memory: int | None = None,
) -> Callable[..., Hypotheses]:
    """The search as a function of (each model's parameters, the encoder's part of a batch), to be jitted.

    Args:
      definitions: of the models.
      decode: the settings of the search.
      processors: change the logits, in this order.
      start, eos: the tokens that a sequence begins and ends with.
      memory: bytes of a device, half of which gathered parameters may take; None where a device has none of its own.
    """

    def searched(params: Sequence[Any], batch: Mapping[str, jax.Array]) -> Hypotheses:
        share = None if memory is None else memory // 2 // len(definitions)
        models = [
            definition.bind(_all_gather_params(definition, each, share))
            for definition, each in zip(definitions, params, strict=True)
        ]
        rows, steps, beams = next(iter(batch.values())).shape[0], decode.max_tokens, decode.beam_size
        step, cache = ensemble([model.start(batch, beams=beams, steps=steps) for model in models])
        penalty = decode.length_penalty
        return search(step, cache, rows, steps, processors, beams=beams, length_penalty=penalty, start=start, eos=eos)

    return searched


def _all_gather_params(definition: Definition, params: Any, limit: int | None) -> Any:
    """The parameters, with those that every step reads gathered over ``fsdp`` if they take at most ``limit`` bytes.

    Otherwise each step of the search would gather them again to compute one token a row.
    """
    every_step = {name: part for name, part in params.items() if name != "encoder"}
    names = definition.axis_names()
    names = {name: names[name] for name in every_step}
    if limit is not None and meshes.gathered_bytes(every_step, names, definition.config.dtype) > limit:
        return params
    return {**params, **meshes.gather(every_step, names)}
