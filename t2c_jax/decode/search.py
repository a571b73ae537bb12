"""Greedy and beam search over a cache pytree, as one compiled loop of static shapes.

Letters: B batch, W beams, T steps, V vocabulary, X cache slots (T x W), C candidates (2 x W).

A decoder's cache is written once a step and never reordered. Slot ``t * W + w`` holds what beam w was fed at step t,
and the ancestry table says for every live beam which slot of each step it descends from; beams read each other's slots
through it. Reordering the cache instead would move all of it at every token.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from t2c_jax.decode.logits_processors import FORBIDDEN, LogitsProcessor

PAD = 0  # fills a sequence after its end
_WORST = FORBIDDEN  # the score of a hypothesis that does not exist


class DecoderStep(Protocol):
    """One decoder step: feeds a token to each beam and returns the logits of the next."""

    def __call__(
        self, tokens_BW: Int[Array, "B W"], step: Int[Array, ""], cache: Any, visible_BWX: Bool[Array, "B W X"]
    ) -> tuple[Float[Array, "B W V"], Any]:
        """Logits, and the cache with slots ``step * W`` to ``step * W + W - 1`` written."""
        ...


class Hypotheses(NamedTuple):
    """The found sequences of each prompt, best first."""

    tokens: Int[Array, "B W T"]  # without a start token; eos where it ended, then padding
    scores: Float[Array, "B W"]  # log-probability over length**alpha
    finished: Bool[Array, "B W"]  # False where the steps ran out before eos


def _process(
    processors: Sequence[LogitsProcessor],
    states: tuple[Any, ...],
    logits_BWV: Float[Array, "B W V"],
    tokens_BWT: Int[Array, "B W T"],
    step: Int[Array, ""],
) -> tuple[Float[Array, "B W V"], Float[Array, "B W"], tuple[Any, ...]]:
    """The logits to rank by, what to subtract of them for a score, and the processors' next states."""
    log_z_BW = jax.nn.logsumexp(logits_BWV, axis=-1)
    following = []
    for processor, state in zip(processors, states, strict=True):
        logits_BWV, state = processor(state, logits_BWV, tokens_BWT, step)
        following.append(state)
    return logits_BWV, log_z_BW, tuple(following)


def ensemble(members: Sequence[tuple[DecoderStep, Any]]) -> tuple[DecoderStep, list[Any]]:
    """Several decoders over one vocabulary as one: the logarithm of their mean probability (Sutskever et al. 2014)."""
    steps = [step for step, _ in members]

    def together(
        tokens_BW: Int[Array, "B W"], step: Int[Array, ""], cache: Any, visible_BWX: Bool[Array, "B W X"]
    ) -> tuple[Float[Array, "B W V"], Any]:
        results = [one(tokens_BW, step, part, visible_BWX) for one, part in zip(steps, cache, strict=True)]
        logits_BWV = results[0][0]
        if len(results) > 1:
            log_p_MBWV = jnp.stack([jax.nn.log_softmax(logits, axis=-1) for logits, _ in results])
            logits_BWV = jax.nn.logsumexp(log_p_MBWV, axis=0) - math.log(len(results))
        return logits_BWV, [part for _, part in results]

    return together, [cache for _, cache in members]


def _normalised(log_p: Array, length: Array | int, length_penalty: float) -> Array:
    return log_p / jnp.asarray(length, jnp.float32) ** length_penalty


def search(
    step: DecoderStep,
    cache: Any,
    batch: int,
    steps: int,
    processors: Sequence[LogitsProcessor] = (),
    *,
    beams: int,
    length_penalty: float = 0.0,
    start: int = 0,
    eos: int = 1,
) -> Hypotheses:
    """``greedy_search`` for one beam, ``beam_search`` for several.

    Args:
      step: the decoder's.
      cache: the decoder's before the first step.
      batch: prompts.
      steps: tokens of an answer at most.
      processors: change the logits, in this order.
      beams: hypotheses kept.
      length_penalty: alpha in log p / length**alpha.
      start: the token that the decoder is fed first.
      eos: the token that ends an answer.
    """
    if beams == 1:
        return greedy_search(step, cache, batch, steps, processors, length_penalty=length_penalty, start=start, eos=eos)
    return beam_search(
        step, cache, batch, steps, processors, beams=beams, length_penalty=length_penalty, start=start, eos=eos
    )


def greedy_search(
    step: DecoderStep,
    cache: Any,
    batch: int,
    steps: int,
    processors: Sequence[LogitsProcessor] = (),
    *,
    length_penalty: float = 0.0,
    start: int = 0,
    eos: int = 1,
) -> Hypotheses:
    """The best token at every step, until every prompt has ended; arguments and scores are those of ``search``."""
    slots_T = jnp.arange(steps)

    def unfinished(state: tuple[Any, ...]) -> Bool[Array, ""]:
        t, _, _, _, _, done_B, _, _ = state
        return (t < steps) & ~jnp.all(done_B)

    def advance(state: tuple[Any, ...]) -> tuple[Any, ...]:
        t, last_B, tokens_BT, scores_B, lengths_B, done_B, cache, states = state
        visible_BWX = jnp.broadcast_to(slots_T <= t, (batch, 1, steps))
        logits_BWV, cache = step(last_B[:, None], t, cache, visible_BWX)
        logits_BWV, log_z_BW, states = _process(processors, states, logits_BWV, tokens_BT[:, None], t)
        logits_BV = logits_BWV[:, 0]
        token_B = jnp.where(done_B, PAD, jnp.argmax(logits_BV, axis=-1))
        log_p_B = jnp.max(logits_BV, axis=-1) - log_z_BW[:, 0]
        scores_B = jnp.where(done_B, scores_B, scores_B + log_p_B)
        tokens_BT = jax.lax.dynamic_update_slice(tokens_BT, token_B[:, None], (0, t))
        lengths_B = jnp.where(done_B, lengths_B, t + 1)
        return t + 1, token_B, tokens_BT, scores_B, lengths_B, done_B | (token_B == eos), cache, states

    first = (
        jnp.zeros((), jnp.int32),
        jnp.full((batch,), start, jnp.int32),
        jnp.full((batch, steps), PAD, jnp.int32),
        jnp.zeros((batch,), jnp.float32),
        jnp.ones((batch,), jnp.int32),
        jnp.zeros((batch,), bool),
        cache,
        tuple(processor.start(batch, 1) for processor in processors),
    )
    _, _, tokens_BT, scores_B, lengths_B, done_B, _, _ = jax.lax.while_loop(unfinished, advance, first)
    scores_B = _normalised(scores_B, lengths_B, length_penalty)
    return Hypotheses(tokens_BT[:, None], scores_B[:, None], done_B[:, None])


def top_k(x_BWV: Float[Array, "B W V"], count: int) -> tuple[Float[Array, "B W C"], Int[Array, "B W C"]]:
    """``jax.lax.top_k``, the order among equals included, but faster on a CPU where V is large.

    The ``count`` best are within the ``count`` chunks of V with the largest maxima: every other chunk has as many
    better ones before it. Maxima are found at memory speed, and few values are left to rank.
    """
    size = x_BWV.shape[-1]
    chunk = 1
    while size % (2 * chunk) == 0 and (2 * chunk) ** 2 * count <= size:
        chunk *= 2
    if chunk < 8:
        return jax.lax.top_k(x_BWV, count)
    x_BWNM = x_BWV.reshape(*x_BWV.shape[:2], size // chunk, chunk)
    _, chunks_BWC = jax.lax.top_k(jnp.max(x_BWNM, axis=-1), count)
    chunks_BWC = jnp.sort(chunks_BWC, axis=-1)  # so that equals stay in the order of V
    kept_BWCM = jnp.take_along_axis(x_BWNM, chunks_BWC[..., None], axis=2)
    best_BWC, place_BWC = jax.lax.top_k(kept_BWCM.reshape(*x_BWV.shape[:2], count * chunk), count)
    chunk_BWC = jnp.take_along_axis(chunks_BWC, place_BWC // chunk, axis=2)
    return best_BWC, chunk_BWC * chunk + place_BWC % chunk


class _Beams(NamedTuple):
    step: Int[Array, ""]
    last: Int[Array, "B W"]
    tokens: Int[Array, "B W T"]
    scores: Float[Array, "B W"]
    ancestors: Int[Array, "B W T"]
    done_tokens: Int[Array, "B W T"]
    done_scores: Float[Array, "B W"]
    cache: Any
    states: tuple[Any, ...]  # of the processors


def beam_search(
    step: DecoderStep,
    cache: Any,
    batch: int,
    steps: int,
    processors: Sequence[LogitsProcessor] = (),
    *,
    beams: int,
    length_penalty: float,
    start: int = 0,
    eos: int = 1,
) -> Hypotheses:
    """Beam search; finished hypotheses are ranked by ``log p / length**length_penalty``, eos counted.

    The arguments are those of ``search``. Each step looks at the 2W best continuations, so that W live ones are left
    however many of them are eos. A continuation ends a hypothesis if it is eos and among the best W. The search stops
    when the best live hypothesis can no longer replace the worst finished one. The bound assumes that all tokens to
    come have probability 1 and the largest bonus, and that the hypothesis gets the length that suits it best, so
    nothing is cut off. Where fewer than W have finished when the steps run out, live ones come behind them.
    """
    candidates = 2 * beams
    slots_T, own_W = jnp.arange(steps), jnp.arange(beams)
    max_bonus = sum(processor.max_bonus for processor in processors)

    def pick(rows: Array, index: Array) -> Array:
        return jnp.take_along_axis(rows, index.reshape(*index.shape, *(1,) * (rows.ndim - 2)), axis=1)

    def unfinished(state: _Beams) -> Bool[Array, ""]:
        best_possible_B = _normalised(state.scores[:, 0], steps, length_penalty)
        if max_bonus:
            reach_B = state.scores[:, 0] + (steps - state.step) * max_bonus
            best_possible_B = _normalised(reach_B, jnp.where(reach_B > 0, state.step + 1, steps), length_penalty)
        return (state.step < steps) & jnp.any(best_possible_B > jnp.min(state.done_scores, axis=1))

    def advance(state: _Beams) -> _Beams:
        t = state.step
        here_T = slots_T == t
        ancestors_BWT = jnp.where(here_T[None, None], own_W[None, :, None], state.ancestors)
        seen_BWTW = ancestors_BWT[..., None] == own_W[None, None, None]
        seen_BWTW &= (slots_T <= t)[None, None, :, None]
        logits_BWV, cache = step(state.last, t, state.cache, seen_BWTW.reshape(batch, beams, steps * beams))

        # The best 2W of each beam hold the best 2W of all, so the whole vocabulary is ranked once only.
        top = min(candidates, logits_BWV.shape[-1])
        logits_BWV, log_z_BW, states = _process(processors, state.states, logits_BWV, state.tokens, t)
        best_BWC, token_BWC = top_k(logits_BWV, top)
        total_BWC = (state.scores - log_z_BW)[..., None] + best_BWC
        scores_BC, flat_BC = jax.lax.top_k(total_BWC.reshape(batch, beams * top), candidates)
        token_BC = pick(token_BWC.reshape(batch, beams * top), flat_BC)
        parent_BC = flat_BC // top
        grown_BCT = jnp.where(here_T[None, None], token_BC[..., None], pick(state.tokens, parent_BC))

        ended_BC = token_BC == eos
        # A continuation of a beam that is not there, while there are fewer than W, ends nothing.
        counts_BC = ended_BC & (jnp.arange(candidates) < beams)[None] & (scores_BC > _WORST / 2)
        ended_scores_BC = jnp.where(counts_BC, _normalised(scores_BC, t + 1, length_penalty), _WORST)
        done_scores, index = jax.lax.top_k(jnp.concatenate([state.done_scores, ended_scores_BC], axis=1), beams)
        done_tokens = pick(jnp.concatenate([state.done_tokens, grown_BCT], axis=1), index)

        live_scores, index = jax.lax.top_k(jnp.where(ended_BC, _WORST, scores_BC), beams)
        parent_BW = pick(parent_BC, index)
        return _Beams(
            step=t + 1,
            last=pick(token_BC, index),
            tokens=pick(grown_BCT, index),
            scores=live_scores,
            ancestors=pick(ancestors_BWT, parent_BW),
            done_tokens=done_tokens,
            done_scores=done_scores,
            cache=cache,
            states=tuple(processor.gather(each, parent_BW) for processor, each in zip(processors, states, strict=True)),
        )

    blank = jnp.full((batch, beams, steps), PAD, jnp.int32)
    first_W = jnp.where(own_W == 0, 0.0, _WORST)  # all beams start equal: one of them is enough
    first = _Beams(
        step=jnp.zeros((), jnp.int32),
        last=jnp.full((batch, beams), start, jnp.int32),
        tokens=blank,
        scores=jnp.broadcast_to(first_W, (batch, beams)),
        ancestors=blank,
        done_tokens=blank,
        done_scores=jnp.full((batch, beams), _WORST),
        cache=cache,
        states=tuple(processor.start(batch, beams) for processor in processors),
    )
    end = jax.lax.while_loop(unfinished, advance, first)
    found_BW = end.done_scores > _WORST
    # Finished ones first, in their order; then live ones in theirs.
    rank = jnp.concatenate([jnp.where(found_BW, 2.0, 0.0), jnp.ones((batch, beams))], axis=1)
    _, index = jax.lax.top_k(rank, beams)  # top_k keeps the order among equals
    live_scores = _normalised(end.scores, jnp.maximum(end.step, 1), length_penalty)
    return Hypotheses(
        tokens=pick(jnp.concatenate([end.done_tokens, end.tokens], axis=1), index),
        scores=pick(jnp.concatenate([end.done_scores, live_scores], axis=1), index),
        finished=pick(jnp.concatenate([found_BW, jnp.zeros_like(found_BW)], axis=1), index),
    )
