"""Text in, code out: prompts in buckets of static shape, through a compiled search.

Letters: B batch, S source, W beams, T steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from t2c_jax import mesh as meshes
from t2c_jax.config import DataConfig, DecodeConfig
from t2c_jax.data.objectives import source
from t2c_jax.data.tokenizer import Tokenizer
from t2c_jax.decode.search import Hypotheses, beam_search, greedy_search
from t2c_jax.models.functional import Definition
from t2c_jax.workdir import digest


@dataclass(frozen=True)
class Answer:
    """The best hypothesis for one prompt."""

    code: str
    score: float  # log-probability over length**alpha
    finished: bool  # False where config.decode.max_tokens ran out first
    prompt_truncated: bool  # True where the text was longer than config.data.encoder_length


class Generator:
    """Answers prompts with one set of parameters.

    Prompts are sorted by length and padded to the next power of two, and a batch is either full or a single prompt;
    so a handful of shapes is compiled, however many prompts there are.
    """

    def __init__(
        self,
        definition: Definition,
        params: Any,
        tokenizer: Tokenizer,
        data: DataConfig,
        decode: DecodeConfig,
        mesh: Mesh,
    ) -> None:
        self.params, self.tokenizer, self.data, self.decode, self.mesh = params, tokenizer, data, decode, mesh
        self._prefix = np.array(tokenizer.encode(data.prefix), np.int32)
        # Every process gets all answers.
        self._search = jax.jit(_search_function(definition, decode), out_shardings=meshes.replicated(mesh))
        self._unit = mesh.shape["data"] * mesh.shape["fsdp"]

    def generate(self, texts: Sequence[str], advance: Callable[[int], object] = lambda _: None) -> list[Answer]:
        """An answer for each text, in their order; ``advance`` is told how many more are done."""
        room = self.data.encoder_length - 1 - len(self._prefix)
        encoded = self.tokenizer.encode_batch(texts)
        answers: list[Answer | None] = [None] * len(texts)
        for rows in self._batches([min(len(tokens), room) for tokens in encoded]):
            found = self._run([source(encoded[row][:room], self._prefix) for row in rows])
            for position, row in enumerate(rows):
                tokens = found.tokens[position, 0]
                answers[row] = Answer(
                    code=self.tokenizer.decode(tokens.tolist()),
                    score=float(found.scores[position, 0]),
                    finished=bool(found.finished[position, 0]),
                    prompt_truncated=len(encoded[row]) > room,
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

    def _run(self, prompts: Sequence[np.ndarray]) -> Hypotheses:
        rows = 1 if len(prompts) == 1 else self.decode.batch_size
        rows = -(-rows // self._unit) * self._unit
        longest = max(len(prompt) for prompt in prompts)
        length = min(self.data.encoder_length, max(16, 1 << (longest - 1).bit_length()))
        tokens = np.zeros((rows, length), np.int32)
        lengths = np.ones((rows,), np.int32)  # rows that only fill the shape are prompts of a single pad
        for row, prompt in enumerate(prompts):
            tokens[row, : len(prompt)] = prompt
            lengths[row] = len(prompt)
        local = rows // jax.process_count()
        mine = slice(jax.process_index() * local, (jax.process_index() + 1) * local)
        with jax.set_mesh(self.mesh):
            batch = meshes.global_batch({"tokens": tokens[mine], "lengths": lengths[mine]}, self.mesh)
            return jax.device_get(self._search(self.params, batch["tokens"], batch["lengths"]))


def _search_function(definition: Definition, decode: DecodeConfig) -> Callable[..., Hypotheses]:
    def search(params: Any, tokens_BS: jax.Array, lengths_B: jax.Array) -> Hypotheses:
        model = definition.bind(params)
        batch, steps = tokens_BS.shape[0], decode.max_tokens
        step, cache = model.start(tokens_BS, lengths_B, beams=decode.beam_size, steps=steps)
        if decode.beam_size == 1:
            return greedy_search(step, cache, batch, steps)
        penalty = decode.length_penalty
        return beam_search(step, cache, batch, steps, beams=decode.beam_size, length_penalty=penalty)

    return search
