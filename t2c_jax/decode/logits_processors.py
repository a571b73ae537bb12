"""Logits processors: what changes the model's logits before a search ranks the next tokens.

Letters: B batch, W beams, T steps, V vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from t2c_jax.tokenizers.base import Tokenizer

FORBIDDEN = -1e9
"""The logit of a token that must not come next. It is finite, so that differences of two of them stay numbers."""


class Context(NamedTuple):
    """What a processor knows of the search.

    Attributes:
      tokens: each beam's, without a start token; those at ``step`` and later are not chosen yet.
      step: how many tokens are chosen in each row.
      requests: what each row's prompt asks for (``decode.search.Requests``).
      log_z: ``logsumexp`` of the model's own logits. A logit of this size is a log-probability of 0.
    """

    tokens: Int[Array, "B W T"]
    step: Int[Array, " B"]
    requests: Any
    log_z: Float[Array, "B W"]


class LogitsProcessor(ABC):
    """Changes the logits of the next token during a search: greedy, beam or sampling.

    A hypothesis scores the sum over its tokens of the processed logit minus ``logsumexp`` of the model's own logits.
    So a processor adds to the model's log-probabilities, and forbidding one token does not make the others likelier.
    Hypotheses are ranked by the score. Beside it, their log-probability without what processors add is reported.

    A processor may keep a state for each beam, such as the state of an automaton. It is a pytree whose leaves are
    (B, W, ...). The search carries it and calls ``gather`` wherever beams are reordered. A processor sees a token one
    call after it was chosen: as ``context.tokens`` at ``context.step - 1``. Rows are at steps of their own, and a row
    at step 0 has the state of ``start``.

    Attributes:
      max_bonus: the most that it adds to a logit. The beam search stops when no live hypothesis can still win, and the
        bound that decides it needs this number.
      looks_back: whether what it does depends on the answer so far, or it has a state. Drafts are verified faster
        where no processor does.
      reweights: whether it changes the logits of tokens that it allows. Such changes count in scores, and not in the
        log-probabilities that are reported.
    """

    max_bonus: float = 0.0
    looks_back: bool = True
    reweights: bool = True

    def start(self, rows: int, beams: int) -> Any:
        """The state before the first token; none by default."""
        return ()

    @abstractmethod
    def __call__(
        self, state: Any, logits_BWV: Float[Array, "B W V"], context: Context
    ) -> tuple[Float[Array, "B W V"], Any]:
        """The processed logits and the next state.

        Args:
          state: what ``start`` or the call before returned, gathered since.
          logits_BWV: of the next token, as the processors before left them.
          context: what was chosen so far.
        """

    def gather(self, state: Any, parents_BW: Int[Array, "B W"]) -> Any:
        """The state of new beams, each of which continues the old beam ``parents_BW``."""

        def gather_beams(leaf: Array) -> Array:
            index = parents_BW.reshape(*parents_BW.shape, *(1,) * (leaf.ndim - 2))
            return jnp.take_along_axis(leaf, index, axis=1)

        return jax.tree.map(gather_beams, state)


class TokenBonus(LogitsProcessor):
    """Adds a number to the log-probability of each token (Gu et al. 2016, equation 8)."""

    looks_back = False

    def __init__(self, bonus_V: np.ndarray) -> None:
        """Keeps a copy of the numbers."""
        self._bonus_V = np.array(bonus_V, np.float32)
        self.max_bonus = max(0.0, float(np.max(self._bonus_V)))

    def __call__(
        self, state: Any, logits_BWV: Float[Array, "B W V"], context: Context
    ) -> tuple[Float[Array, "B W V"], Any]:
        """The logits and the bonus."""
        return logits_BWV + jnp.asarray(self._bonus_V)[None, None], state


class ForbiddenTokens(LogitsProcessor):
    """Forbids some tokens at every step."""

    looks_back = reweights = False

    def __init__(self, tokens: Sequence[int]) -> None:
        """``tokens`` are ids."""
        self._tokens = np.array(tokens, np.int32)

    def __call__(
        self, state: Any, logits_BWV: Float[Array, "B W V"], context: Context
    ) -> tuple[Float[Array, "B W V"], Any]:
        """The logits, those of the tokens ``FORBIDDEN``."""
        forbidden_V = np.zeros(logits_BWV.shape[-1], bool)
        forbidden_V[self._tokens] = True
        return jnp.where(jnp.asarray(forbidden_V)[None, None], FORBIDDEN, logits_BWV), state


class NoRepeatNgram(LogitsProcessor):
    """Forbids the token that would make the last tokens equal to as many tokens before, as transformers does.

    The request says how many; 0 forbids nothing. There is no state: the tokens so far say all.
    """

    reweights = False

    def __call__(
        self, state: Any, logits_BWV: Float[Array, "B W V"], context: Context
    ) -> tuple[Float[Array, "B W V"], Any]:
        """The logits; ``FORBIDDEN`` for each token that once followed the same tokens, one fewer than the size."""
        tokens_BWT, step_B11 = context.tokens, context.step[:, None, None]
        size_B11 = context.requests.no_repeat_ngram_size[:, None, None]
        rows, beams, length = tokens_BWT.shape
        steps_11T = jnp.arange(length)[None, None]
        is_known_B1T = (size_B11 > 0) & (steps_11T >= size_B11 - 1) & (steps_11T < step_B11)

        def compare(back: Array, followed_BWT: Array) -> Array:
            last_BW1 = jnp.take_along_axis(tokens_BWT, jnp.maximum(step_B11 - back, 0), axis=2)
            return followed_BWT & ((jnp.roll(tokens_BWT, back, axis=2) == last_BW1) | (back >= size_B11))

        followed_BWT = jax.lax.fori_loop(
            1, jnp.max(size_B11), compare, jnp.broadcast_to(is_known_B1T, tokens_BWT.shape)
        )
        index = jnp.arange(rows)[:, None, None], jnp.arange(beams)[None, :, None], tokens_BWT
        return logits_BWV.at[index].min(jnp.where(followed_BWT, FORBIDDEN, jnp.inf)), state


class RepetitionPenalty(LogitsProcessor):
    """Makes the tokens of the answer so far less likely (Keskar et al. 2019, section 4.1), as transformers does.

    Their logits are divided by the penalty where they are positive, and multiplied by it where they are negative.
    """

    def __call__(
        self, state: Any, logits_BWV: Float[Array, "B W V"], context: Context
    ) -> tuple[Float[Array, "B W V"], Any]:
        """The logits; those of tokens before ``context.step`` penalised."""
        tokens_BWT = context.tokens
        rows, beams, length = tokens_BWT.shape
        index = jnp.arange(rows)[:, None, None], jnp.arange(beams)[None, :, None], tokens_BWT
        chosen_BWT = jnp.broadcast_to(jnp.arange(length)[None, None] < context.step[:, None, None], tokens_BWT.shape)
        seen_BWV = jnp.zeros(logits_BWV.shape, bool).at[index].max(chosen_BWT)
        penalty_B11 = context.requests.repetition_penalty[:, None, None]
        penalised_BWV = jnp.where(logits_BWV > 0, logits_BWV / penalty_B11, logits_BWV * penalty_B11)
        return jnp.where(seen_BWV & (logits_BWV > FORBIDDEN), penalised_BWV, logits_BWV), state


def unwritable(tokenizer: Tokenizer, *, special_pieces: bool = False) -> list[int]:
    """Ids that an answer must not hold: padding, sentinels and other specials, which decoding drops.

    The ids around every target are allowed, since the model was trained to write them. So is the unknown piece, by
    which the tokenizer represents what it cannot write.

    Args:
      tokenizer: decodes answers.
      special_pieces: whether decoding writes the tokenizer's special pieces; they are allowed then.
    """
    kept = {tokenizer.eos, tokenizer.unk, *tokenizer.target_before, *tokenizer.target_after}
    kept |= tokenizer.special_ids if special_pieces else frozenset()
    return [i for i, surface in enumerate(tokenizer.surfaces) if not surface and i not in kept]
