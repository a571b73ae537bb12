"""The probability of each token of an answer, with the likeliest others in its place.

A search knows the sum of its answer's log-probabilities. Here the answer is fed to the decoder once more, so that the
search does no more for answers whose tokens nobody asks about.

Letters: B rows, T steps, V vocabulary, K alternatives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from t2c_jax import mesh as meshes
from t2c_jax.data.prompt_encoder import EncodedPrompt
from t2c_jax.decode.generator import Generator
from t2c_jax.decode.grammar.spelling import Spelling
from t2c_jax.decode.scorer import TeacherForcing
from t2c_jax.decode.search import PAD
from t2c_jax.errors import UserError

MOST_ALTERNATIVES = 20
END = b"</s>"
_SHORT = 64  # positions of the encoder: prompts are read as one so long, or as one of the longest
_LONGEST = 1 << 30


@dataclass(frozen=True)
class TokenScore:
    """A token in an answer.

    Attributes:
      text: the bytes that it writes there; the end token as ``</s>``, other special tokens as nothing.
      log_probability: the model's own, in nats.
      alternatives: (bytes, log-probability) of the likeliest tokens in its place, the likeliest first.
    """

    text: bytes
    log_probability: float
    alternatives: tuple[tuple[bytes, float], ...] = ()


class TokenScorer:
    """Scores the tokens of answers, in one thread at a time. Two programs are compiled, when they are needed."""

    def __init__(self, generator: Generator, steps: int) -> None:
        """Compiles nothing yet.

        Args:
          generator: whose answers are scored.
          steps: tokens of an answer at most.
        """
        self._generator, self._steps = generator, steps
        self._unit = generator.mesh.shape["data"] * generator.mesh.shape["fsdp"]
        self._compiled = jax.jit(self._scores, out_shardings=meshes.replicated(generator.mesh))
        self._first, self._later = _texts(generator)

    def __call__(self, prompt: EncodedPrompt, ids: Sequence[int], alternatives: int) -> list[TokenScore]:
        """A score for each token of an answer but the one that ends it.

        Args:
          prompt: what is answered.
          ids: of the answer.
          alternatives: of each token, ``MOST_ALTERNATIVES`` at most.
        """
        generator, eos = self._generator, self._generator.tokenizer.eos
        own = list(ids)[: self._steps]
        targets_BT = np.full((self._unit, self._steps), PAD, np.int32)
        targets_BT[:, : len(own)] = own
        batch = generator.prompts.batch([prompt], self._unit, _SHORT if prompt.size <= _SHORT else _LONGEST)
        with jax.set_mesh(generator.mesh):
            placed = meshes.global_batch({**batch, "targets": targets_BT}, generator.mesh)
            found = jax.device_get(self._compiled(generator.params, placed, np.int32(len(own))))
        log_p_T, best_p_TK, best_TK = (each[:, 0] for each in found)
        scores = []
        for step, token in enumerate(own):
            if token == eos:
                break
            texts = self._later if step else self._first
            others = zip(best_TK[step, :alternatives].tolist(), best_p_TK[step, :alternatives].tolist(), strict=True)
            scores.append(
                TokenScore(texts[token], float(log_p_T[step]), tuple((texts[other], p) for other, p in others))
            )
        return scores

    def _scores(
        self, params: Sequence[Any], batch: Mapping[str, jax.Array], count: Int[Array, ""]
    ) -> tuple[Float[Array, "T B"], Float[Array, "T B K"], Int[Array, "T B K"]]:
        source = {name: values for name, values in batch.items() if name != "targets"}
        targets_BT = batch["targets"]
        rows, steps = targets_BT.shape
        forced = TeacherForcing(self._generator, params, source, targets_BT)
        most = min(MOST_ALTERNATIVES, self._generator.tokenizer.vocab_size)

        def step(t: Int[Array, ""], state: Any) -> Any:
            inner, (log_p_TB, best_p_TBK, best_TBK) = state
            inner, logits_BV = forced.step(inner, t)
            log_p_BV = jax.nn.log_softmax(logits_BV, axis=-1)
            own_B = jnp.take_along_axis(log_p_BV, targets_BT[:, t, None], axis=-1)[:, 0]
            best_p_BK, best_BK = jax.lax.top_k(log_p_BV, most)
            return inner, (
                log_p_TB.at[t].set(own_B),
                best_p_TBK.at[t].set(best_p_BK),
                best_TBK.at[t].set(best_BK),
            )

        none = (
            jnp.zeros((steps, rows)),
            jnp.zeros((steps, rows, most)),
            jnp.zeros((steps, rows, most), jnp.int32),
        )
        found: tuple[Array, Array, Array] = jax.lax.fori_loop(0, count, step, (forced.start, none))[1]
        return found


def _texts(generator: Generator) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """What each id writes as the first of an answer, and later."""
    tokenizer = generator.tokenizer
    surfaces = tuple(surface or b"" for surface in tokenizer.surfaces)
    surfaces = (*surfaces[: tokenizer.eos], END, *surfaces[tokenizer.eos + 1 :])
    surfaces += (b"",) * (tokenizer.vocab_size - len(surfaces))  # a padded table has rows that are no pieces
    try:
        spelling = Spelling.of(tokenizer)
    except UserError:  # what a token writes depends on more than whether it is the first: its own text has to do
        return surfaces, surfaces

    def filled(texts: Sequence[bytes | None]) -> tuple[bytes, ...]:
        known = {i: text for i, text in enumerate(texts) if text is not None}
        return tuple(known.get(i, surface) for i, surface in enumerate(surfaces))

    return filled(spelling.first), filled(spelling.later)
