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
from t2c_jax.decode.generator import Generator
from t2c_jax.decode.search import PAD, ensemble
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

    def __init__(self, generator: Generator, target: Callable[[np.ndarray], np.ndarray]) -> None:
        """Compiles nothing yet.

        Args:
          generator: has the parameters and encodes prompts.
          target: adds the special tokens to those of an answer, as in training (``TargetTemplate``).
        """
        self._generator, self._target = generator, target
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
        read = generator.prompts.encode([prompt for prompt, _ in pairs], special_pieces=generator.decode.special_pieces)
        answers = list(map(self._target, generator.tokenizer.encode_batch([answer for _, answer in pairs])))
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
        rows, steps = targets_BT.shape
        definitions = [member.definition for member in self._generator.members]
        models = [definition.bind(each) for definition, each in zip(definitions, params, strict=True)]
        read = [model.read(source, 1) for model in models]
        memory, carries = [each for each, _ in read], [each for _, each in read]
        laid_out = [model.steps() for model in models]
        step, caches = ensemble([each.step for each in laid_out]), [each.cache(rows, steps) for each in laid_out]
        all_B = jnp.ones((rows,), bool)
        slots_T = jnp.arange(steps)
        slot_steps_BT = jnp.broadcast_to(slots_T, (rows, steps))

        def advance(state: tuple[Any, Any, Array], t: Int[Array, ""]) -> tuple[tuple[Any, Any, Array], Array]:
            caches, carries, recent_BR = state
            steps_B1 = jnp.full((rows, 1), t)
            visible_BWX = jnp.broadcast_to(slots_T <= t, (rows, 1, steps))
            at = At(steps_B1, steps_B1, visible_BWX, slot_steps_BT, recent_BR[:, None], all_B)
            logits_BWV, caches, carries = step(memory, caches, carries, recent_BR[:, :1], at)
            target_B1 = targets_BT[:, t, None]
            log_p_BV = jax.nn.log_softmax(logits_BWV[:, 0], axis=-1)
            log_p_B = jnp.take_along_axis(log_p_BV, target_B1, axis=-1)[:, 0]
            recent_BR = jnp.concatenate([target_B1, recent_BR[:, :-1]], axis=1)
            return (caches, carries, recent_BR), log_p_B * weights_BT[:, t]

        first_BR = jnp.zeros((rows, RECENT), jnp.int32).at[:, 0].set(self._generator.tokenizer.start)
        _, log_p_TB = jax.lax.scan(advance, (caches, carries, first_BR), slots_T)
        return jnp.sum(log_p_TB, axis=0)
