"""The likelihood of given answers, by the decoder steps that the search takes.

Letters: B batch, T steps, V vocabulary, X cache slots (T, since there is one beam).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from t2c_jax import mesh as meshes
from t2c_jax.data.placeholders import named, with_names
from t2c_jax.decode.generator import Generator
from t2c_jax.decode.search import PAD, ensemble, for_each_beam
from t2c_jax.models.adapted import bound
from t2c_jax.models.interface import RECENT, At


@dataclass(frozen=True)
class Likelihood:
    """Of one answer given its prompt.

    Attributes:
      log_probability: in nats, summed over the answer's tokens and its special tokens.
      tokens: how many those are.
    """

    log_probability: float
    tokens: int


class Scorer:
    """Scores answers with the parameters of a generator."""

    def __init__(
        self, generator: Generator, target: Callable[[np.ndarray], np.ndarray], *, answers_are_texts: bool = False
    ) -> None:
        """Compiles nothing yet.

        Args:
          generator: has the parameters and encodes prompts.
          target: adds the special tokens to those of an answer, as in training (``TargetTemplate``).
          answers_are_texts: whose quotes have names under config.data.placeholders, in the code before them as well.
        """
        self._generator, self._target, self._names_answers = generator, target, answers_are_texts
        self._compiled = jax.jit(self._log_probability, out_shardings=meshes.replicated(generator.mesh))

    def score(
        self, pairs: Sequence[tuple[str, str]], *, advance: Callable[[int], object] = lambda _: None
    ) -> list[Likelihood]:
        """The likelihood of each pair's answer, given its prompt.

        Args:
          pairs: (prompt, answer) each. A prompt longer than config.data.encoder_length is cut, an answer never.
          advance: called with the number of pairs that were scored since the last call.
        """
        generator = self._generator
        if self._names_answers:
            answered = [(prompt, *named(answer)) for prompt, answer in pairs]
            pairs = [(with_names(prompt, quoted), text) for prompt, text, quoted in answered]
        read = generator.prompts.encode([prompt for prompt, _ in pairs], special_pieces=generator.decode.special_pieces)
        texts = [with_names(answer, each.quoted) for (_, answer), each in zip(pairs, read, strict=True)]
        answers = list(map(self._target, generator.tokenizer.encode_batch(texts)))
        unit = generator.mesh.shape["data"] * generator.mesh.shape["fsdp"]
        rows = -(-generator.decode.batch_size // unit) * unit
        order = sorted(range(len(pairs)), key=lambda row: (-len(answers[row]), -read[row].size, row))
        found: dict[int, Likelihood] = {}
        for start in range(0, len(order), rows):
            chosen = order[start : start + rows]
            steps = max(16, 1 << (len(answers[chosen[0]]) - 1).bit_length())  # powers of two: few programs
            targets_BT = np.full((rows, steps), PAD, np.int32)
            weights_BT = np.zeros((rows, steps), np.float32)
            for row, index in enumerate(chosen):
                targets_BT[row, : len(answers[index])] = answers[index]
                weights_BT[row, : len(answers[index])] = 1
            batch = generator.prompts.batch([read[index] for index in chosen], rows)
            batch |= {"targets": targets_BT, "weights": weights_BT}
            local = meshes.local_rows(generator.mesh, rows)
            with jax.set_mesh(generator.mesh):
                placed = meshes.global_batch({name: values[local] for name, values in batch.items()}, generator.mesh)
                log_p_B = jax.device_get(self._compiled(generator.params, placed))
            for row, index in enumerate(chosen):
                found[index] = Likelihood(float(log_p_B[row]), len(answers[index]))
            advance(len(chosen))
        return [found[index] for index in range(len(pairs))]

    def _log_probability(self, params: Sequence[Any], batch: Mapping[str, jax.Array]) -> Float[Array, " B"]:
        source = {name: values for name, values in batch.items() if name not in ("targets", "weights")}
        targets_BT, weights_BT = batch["targets"], batch["weights"]
        forced = TeacherForcing(self._generator, params, source, targets_BT)

        def advance(state: Any, t: Int[Array, ""]) -> tuple[Any, Array]:
            state, logits_BV = forced.step(state, t)
            log_p_BV = jax.nn.log_softmax(logits_BV, axis=-1)
            log_p_B = jnp.take_along_axis(log_p_BV, targets_BT[:, t, None], axis=-1)[:, 0]
            return state, log_p_B * weights_BT[:, t]

        _, log_p_TB = jax.lax.scan(advance, forced.start, jnp.arange(targets_BT.shape[1]))
        return jnp.sum(log_p_TB, axis=0)


class TeacherForcing:
    """The decoder steps of given answers; to be traced.

    Attributes:
      start: the state before the first step.
    """

    def __init__(
        self,
        generator: Generator,
        params: Sequence[Any],
        source: Mapping[str, jax.Array],
        targets_BT: Int[Array, "B T"],
    ) -> None:
        """Reads the sources.

        Args:
          generator: whose models these are.
          params: of them.
          source: the encoder's part of a batch.
          targets_BT: the answers.
        """
        rows, steps = targets_BT.shape
        definitions = [member.definition for member in generator.members]
        models = [bound(definition, each) for definition, each in zip(definitions, params, strict=True)]
        read = [model.read(source) for model in models]
        laid_out = [model.steps() for model in models]
        self._memory, self._targets_BT = [each for each, _ in read], targets_BT
        self._step, caches = ensemble([each.step for each in laid_out]), [each.cache(rows, steps) for each in laid_out]
        self._all_B, self._slots_T = jnp.ones((rows,), bool), jnp.arange(steps)
        self._slot_steps_BT = jnp.broadcast_to(self._slots_T, (rows, steps))
        first_BR = jnp.zeros((rows, RECENT), jnp.int32).at[:, 0].set(generator.tokenizer.start)
        self.start = caches, for_each_beam([each for _, each in read], 1), first_BR

    def step(self, state: Any, t: Int[Array, ""]) -> tuple[Any, Float[Array, "B V"]]:
        """The state behind a step, and the logits of its token; the answers' own tokens are fed."""
        caches, carries, recent_BR = state
        rows, steps = self._targets_BT.shape
        steps_B1 = jnp.full((rows, 1), t)
        visible_BWX = jnp.broadcast_to(self._slots_T <= t, (rows, 1, steps))
        at = At(steps_B1, steps_B1, visible_BWX, self._slot_steps_BT, recent_BR[:, None], self._all_B)
        logits_BWV, caches, carries = self._step(self._memory, caches, carries, recent_BR[:, :1], at)
        recent_BR = jnp.concatenate([self._targets_BT[:, t, None], recent_BR[:, :-1]], axis=1)
        return (caches, carries, recent_BR), logits_BWV[:, 0]
