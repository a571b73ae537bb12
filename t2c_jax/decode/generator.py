"""Prompts in, answers out: in buckets of static shape, through a compiled search.

Letters: B batch, S source, W beams, T steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from t2c_jax import mesh as meshes
from t2c_jax.config import DecodeConfig
from t2c_jax.data.prompt_encoder import Inputs, Source
from t2c_jax.decode.search import Hypotheses, Rules, beam_search, ensemble, greedy_search
from t2c_jax.models.definition import Definition
from t2c_jax.tokenizers.base import Tokenizer
from t2c_jax.train.mesh_selection import memory_bytes
from t2c_jax.workdir import digest


@dataclass(frozen=True)
class Answer:
    """What the search found for one prompt.

    Attributes:
      best: the text of the best hypothesis.
      score: its log-probability over length**alpha.
      finished: False where config.decode.max_tokens ran out first.
      prompt_truncated: True where the text was longer than config.data.encoder_length.
      candidates: the distinct texts of all finished hypotheses, best first; ``best`` is the first of them, finished or
        not.
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
    """Answers prompts with one set of parameters, or with the average of several.

    Prompts are sorted by length and padded to a handful of shapes, and a batch is either full or a single prompt; so a
    handful of programs is compiled, however many prompts there are.
    """

    def __init__(
        self,
        members: Sequence[Member],
        inputs: Inputs,
        tokenizer: Tokenizer,
        decode: DecodeConfig,
        mesh: Mesh,
        bonus_V: np.ndarray | None = None,
    ) -> None:
        """Compiles nothing yet.

        Args:
          members: models over the same tokenizers; several make an ensemble.
          inputs: reads prompts.
          tokenizer: writes answers.
          decode: the search.
          mesh: what the parameters lie on.
          bonus_V: added to each token's log-probability.
        """
        self.members = list(members)
        self.params = [member.params for member in members]
        self.inputs, self.tokenizer, self.decode, self.mesh = inputs, tokenizer, decode, mesh
        rules = Rules(tokenizer.start, tokenizer.eos, bonus_V)
        memory = memory_bytes(jax.local_devices()[0])
        search = search_function([member.definition for member in members], decode, rules, memory)
        # Every process gets all answers.
        self._search = jax.jit(search, out_shardings=meshes.replicated(mesh))
        self._unit = mesh.shape["data"] * mesh.shape["fsdp"]

    def generate(self, sources: Sequence[str], advance: Callable[[int], object] = lambda _: None) -> list[Answer]:
        """An answer for each source, in their order; ``advance`` is told how many more are done."""
        read = self.inputs.read(sources)
        answers: list[Answer | None] = [None] * len(sources)
        for rows in self._batches([source.size for source in read]):
            found = self._run([read[row] for row in rows])
            for position, row in enumerate(rows):
                # Hypotheses come best first, finished ones before others.
                kept = max(1, int(found.finished[position].sum()))
                texts = [self.tokenizer.decode(tokens.tolist()) for tokens in found.tokens[position, :kept]]
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
        """Of the parameters: a sum over each array, which tells two checkpoints apart."""
        sums = jax.jit(lambda params: jax.tree.map(lambda leaf: leaf.astype("float32").sum(), params))(self.params)
        return digest(*(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(jax.device_get(sums))))

    def _batches(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        order = sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
        for start in range(0, len(order), self.decode.batch_size):
            yield order[start : start + self.decode.batch_size]

    def _run(self, prompts: Sequence[Source]) -> Hypotheses:
        rows = 1 if len(prompts) == 1 else self.decode.batch_size
        rows = -(-rows // self._unit) * self._unit
        batch = self.inputs.batch(prompts, rows)
        mine = meshes.local_rows(self.mesh, rows)
        with jax.set_mesh(self.mesh):
            here = meshes.global_batch({name: values[mine] for name, values in batch.items()}, self.mesh)
            return jax.device_get(self._search(self.params, here))


def search_function(
    definitions: Sequence[Definition], decode: DecodeConfig, rules: Rules, memory: int | None = None
) -> Callable[..., Hypotheses]:
    """The search as a function of (each model's parameters, the encoder's part of a batch), to be jitted.

    Args:
      definitions: of the models.
      decode: the search.
      rules: what may follow what.
      memory: bytes of a device, half of which may hold what is gathered; None where it has none of its own.
    """

    def search(params: Sequence[Any], batch: Mapping[str, jax.Array]) -> Hypotheses:
        own = rules._replace(no_repeat_ngram_size=decode.no_repeat_ngram_size)
        room = None if memory is None else memory // 2 // len(definitions)
        models = [
            definition.bind(_at_hand(definition, one, room))
            for definition, one in zip(definitions, params, strict=True)
        ]
        rows, steps = next(iter(batch.values())).shape[0], decode.max_tokens
        step, cache = ensemble([model.start(batch, beams=decode.beam_size, steps=steps) for model in models])
        penalty = decode.length_penalty
        if decode.beam_size == 1:
            return greedy_search(step, cache, rows, steps, own, length_penalty=penalty)
        return beam_search(step, cache, rows, steps, own, beams=decode.beam_size, length_penalty=penalty)

    return search


def _at_hand(definition: Definition, params: Any, room: int | None) -> Any:
    """The parameters, those that every step reads gathered from ``fsdp`` where so many bytes of a device take them.

    Split as they lie, each step of the search would send all of them round again to compute one token a row.
    """
    every_step = {name: part for name, part in params.items() if name != "encoder"}
    names = definition.axis_names()
    names = {name: names[name] for name in every_step}
    if room is not None and meshes.gathered_bytes(every_step, names, definition.config.dtype) > room:
        return params
    return {**params, **meshes.gather(every_step, names)}
