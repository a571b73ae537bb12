"""Greedy search, sampling and beam search: one step of many rows, each at a step of its own.

A row of the batch holds one answer and its beams. Rows are independent: ``decode.slots`` gives a row that has ended to
the next prompt while the others are in the middle of theirs.

A decoder's cache is never reordered. Each beam has a table of the cache slots that it sees. New beams inherit the table
of the beam that they continue, and a slot that no beam sees is written again. So beams share the past that they have in
common, and the cache of W beams is little longer than that of one. Reordering the cache itself would move all of it at
every token.

Letters: B rows, W beams, N tokens of a step in each row, T steps, V vocabulary, X cache slots, C candidates (2 x W).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt32

from t2c_jax.decode import drafts as guesses
from t2c_jax.decode.drafts import Drafts, NgramTable, Usefulness
from t2c_jax.decode.grammar_filter import Following, GrammarFilter, masked
from t2c_jax.decode.logits_processors import FORBIDDEN, Context, LogitsProcessor
from t2c_jax.decode.sampling import draw
from t2c_jax.decode.stop_strings import automaton
from t2c_jax.mesh import row_shards
from t2c_jax.models.interface import RECENT, At

PAD = 0  # fills a sequence after its end
_WORST = FORBIDDEN  # the score of a hypothesis that does not exist
_FEW = 8  # minima are found faster than top_k ranks up to so many


class DecoderStep(Protocol):
    """One step of a decoder: feeds N tokens to each row and returns the logits of what follows each."""

    def __call__(
        self, memory: Any, cache: Any, carry: Any, tokens_BN: Int[Array, "B N"], at: At
    ) -> tuple[Float[Array, "B N V"], Any, Any]:
        """Logits, the cache with the tokens written, and the beams' states behind them (``models.interface``)."""
        ...


class Requests(NamedTuple):
    """What each row's prompt asks for: settings that no program is compiled for.

    Attributes:
      max_tokens: tokens of an answer at most.
      length_penalty: alpha in log p / length**alpha.
      patience: the beam search stops when this many times W hypotheses have ended; 0: when no live one can still win.
      diversity_penalty: what a token loses in rank for each beam of an earlier group that continues with it.
      temperature: logits are divided by it before a token is drawn; 0 takes the likeliest.
      top_k, top_p, min_p: which tokens may be drawn (``decode.sampling``).
      repetition_penalty: of the tokens of the answer so far (``logits_processors.RepetitionPenalty``).
      no_repeat_ngram_size: of n-grams that no answer holds twice (``logits_processors.NoRepeatNgram``).
      stop: the automaton of the stop strings (``stop_strings.automaton``); S is 0 where there are none.
      key: what is drawn is a function of it and the step.
      grammar: the session of ``grammar_filter`` that the row belongs to; 0 where it follows no grammar.
    """

    max_tokens: Int[Array, " B"]
    length_penalty: Float[Array, " B"]
    patience: Float[Array, " B"]
    diversity_penalty: Float[Array, " B"]
    temperature: Float[Array, " B"]
    top_k: Int[Array, " B"]
    top_p: Float[Array, " B"]
    min_p: Float[Array, " B"]
    repetition_penalty: Float[Array, " B"]
    no_repeat_ngram_size: Int[Array, " B"]
    stop: Int[Array, "B S 256"]
    key: UInt32[Array, "B 2"]
    grammar: Int[Array, " B"]


def requests(
    rows: int,
    max_tokens: int,
    *,
    length_penalty: float = 0.0,
    patience: float = 0.0,
    diversity_penalty: float = 0.0,
    temperature: float = 0.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    repetition_penalty: float = 1.0,
    no_repeat_ngram_size: int = 0,
    stop: Sequence[str] = (),
    stop_states: int | None = None,
    keys: np.ndarray | None = None,
    grammar: int = 0,
) -> Requests:
    """The same request for each of some rows, with ``keys`` (rows, 2) of their own; NumPy arrays.

    ``stop_states`` is the size of the automaton that the program is compiled for, where it is not that of ``stop``.
    """
    stop_S256 = automaton(tuple(stop), stop_states)

    def filled(value: float, kind: Any = np.float32) -> Any:
        return np.full(rows, value, kind)

    return Requests(
        max_tokens=filled(max_tokens, np.int32),
        length_penalty=filled(length_penalty),
        patience=filled(patience),
        diversity_penalty=filled(diversity_penalty),
        temperature=filled(temperature),
        top_k=filled(top_k, np.int32),
        top_p=filled(top_p),
        min_p=filled(min_p),
        repetition_penalty=filled(repetition_penalty),
        no_repeat_ngram_size=filled(no_repeat_ngram_size, np.int32),
        stop=np.broadcast_to(stop_S256, (rows, *stop_S256.shape)),  # type: ignore[arg-type]
        key=np.zeros((rows, 2), np.uint32) if keys is None else keys,  # type: ignore[arg-type]
        grammar=filled(grammar, np.int32),
    )


class Hypotheses(NamedTuple):
    """The sequences that were found for each prompt, finished ones first, best first.

    Attributes:
      tokens: without a start token; eos where a sequence ended, then padding.
      scores: what they are ranked by, over length**alpha: the sum of what processors made of the log-probabilities.
      finished: False where the search stopped before eos.
      lengths: tokens of each, eos included.
      log_p: the sum of the model's own log-probabilities; None where it is the score times length**alpha, since no
        processor reweights tokens.
    """

    tokens: Int[Array, "B W T"]
    scores: Float[Array, "B W"]
    finished: Bool[Array, "B W"]
    lengths: Int[Array, "B W"]
    log_p: Float[Array, "B W"] | None


class Ended(NamedTuple):
    """The best hypotheses of a row that have ended, best first; scores of ``_WORST`` where there are fewer."""

    tokens: Int[Array, "B W T"]
    scores: Float[Array, "B W"]
    log_p: Float[Array, "B W"] | None
    total: Int[Array, " B"]  # of all that ended


class SearchState(NamedTuple):
    """The state of a search. All leaves have a leading axis B.

    Attributes:
      memory: what the decoder reads of the source.
      carry: the beams' states in the decoder.
      requests: what each row's prompt asks for.
      source: as target tokens, from which drafts are copied; None without drafts.
      usefulness: of drafts; None without drafts.
      cache: what the decoder keeps of the tokens fed.
      active: rows that are not done.
      step: tokens chosen.
      tokens: of the live beams.
      scores: sums of what processors made of their log-probabilities.
      log_p: sums of the model's own log-probabilities; None where these are the scores.
      slot_steps: the position of the token in each slot.
      visible: which slots hold a beam's past; None where a row has one beam, whose slots are its steps.
      ended: hypotheses that have ended; None where a row has one beam, which is done with it.
      parents: the beam that each beam was before the last step.
      states: of the processors.
    """

    memory: Any
    carry: Any
    requests: Requests
    source: Int[Array, "B S"] | None
    usefulness: Usefulness | None
    cache: Any
    active: Bool[Array, " B"]
    step: Int[Array, " B"]
    tokens: Int[Array, "B W T"]
    scores: Float[Array, "B W"]
    log_p: Float[Array, "B W"] | None
    slot_steps: Int[Array, "B X"]
    visible: Bool[Array, "B W X"] | None
    ended: Ended | None
    parents: Int[Array, "B W"]
    states: tuple[Any, ...]


class Fed(NamedTuple):
    """Rows whose last tokens were fed, and the logits of what follows them.

    Attributes:
      logits: of each token that was fed.
      rows: with cache and carry behind the step, everything else before it.
      drafted: tokens that were fed behind the last chosen one, to be confirmed.
    """

    logits: Float[Array, "B N V"]
    rows: SearchState
    drafted: Int[Array, "B D"]


@dataclass(frozen=True)
class Shape:
    """What the program of a search is compiled for.

    Attributes:
      steps: tokens of an answer at most.
      beams: hypotheses kept; 1 for greedy search and sampling.
      groups: of beams, each of which avoids the tokens of those before it (Vijayakumar et al. 2018).
      sampling: whether tokens are drawn; one beam.
      drafts: tokens that are guessed, and verified in one step; one beam, and nothing is drawn.
      start: the token that the decoder is fed first.
      eos: the token that ends an answer.
    """

    steps: int
    beams: int = 1
    groups: int = 1
    sampling: bool = False
    drafts: int = 0
    start: int = 0
    eos: int = 1

    @property
    def slots(self) -> int:
        """Cache slots that are enough for every row."""
        return self.steps * self.beams + self.drafts


def ensemble(members: Sequence[DecoderStep]) -> DecoderStep:
    """Several decoders over one vocabulary as one: the logarithm of their mean probability (Sutskever et al. 2014).

    Memories, caches and states are sequences of the members'.
    """

    def together(
        memory: Any, cache: Any, carry: Any, tokens_BN: Int[Array, "B N"], at: At
    ) -> tuple[Float[Array, "B N V"], Any, Any]:
        parts = zip(members, memory, cache, carry, strict=True)
        results = [one(*state, tokens_BN, at) for one, *state in parts]  # type: ignore[call-arg]
        logits_BNV = results[0][0]
        if len(results) > 1:
            log_p_MBNV = jnp.stack([jax.nn.log_softmax(logits, axis=-1) for logits, _, _ in results])
            logits_BNV = jax.nn.logsumexp(log_p_MBNV, axis=0) - math.log(len(results))
        return logits_BNV, [cache for _, cache, _ in results], [carry for _, _, carry in results]

    return together


class Search:
    """The steps of a search with a decoder and processors, as functions of ``SearchState``; to be traced."""

    def __init__(
        self,
        step: DecoderStep,
        shape: Shape,
        processors: Sequence[LogitsProcessor] = (),
        grammar: GrammarFilter | None = None,
        table: NgramTable | None = None,
    ) -> None:
        """The steps of a search.

        Args:
          step: the decoder's.
          shape: of the search.
          processors: change the logits, in this order.
          grammar: forbids tokens after them.
          table: of the training targets, for drafts.
        """
        self._decoder, self.shape, self._processors = step, shape, tuple(processors)
        self._grammar, self._table = grammar, table
        self._looks_back = grammar is not None or any(processor.looks_back for processor in processors)
        self._max_bonus = sum(processor.max_bonus for processor in processors)
        self._reweights = any(processor.reweights for processor in processors)

    def rows(
        self,
        memory: Any,
        carry: Any,
        requests: Requests,
        cache: Any,
        slots: int,
        *,
        source: Int[Array, "B S"] | None = None,
        active: bool = True,
    ) -> SearchState:
        """Rows before their first step.

        Args:
          memory, carry: the decoder's; leaves (B, ...).
          requests: what each row's prompt asks for.
          cache: the decoder's, of ``slots`` slots.
          slots: ``shape.slots`` at most.
          source: as target tokens; not kept where no drafts are made.
          active: whether the rows are to be searched.
        """
        shape, batch = self.shape, requests.max_tokens.shape[0]
        blank = jnp.full((batch, shape.beams, shape.steps), PAD, jnp.int32)
        # All beams of a group start equal: one of them is enough.
        first_W = jnp.where(jnp.arange(shape.beams) % (shape.beams // shape.groups) == 0, 0.0, _WORST)
        several = shape.beams > 1
        return SearchState(
            memory=memory,
            carry=for_each_beam(carry, shape.beams),
            requests=Requests(*map(jnp.asarray, requests)),
            source=source if shape.drafts else None,
            usefulness=Usefulness.unknown(batch) if shape.drafts else None,
            cache=cache,
            active=jnp.full((batch,), active),
            step=jnp.zeros((batch,), jnp.int32),
            tokens=blank,
            scores=jnp.broadcast_to(first_W, (batch, shape.beams)),
            log_p=jnp.zeros((batch, shape.beams)) if self._reweights else None,
            slot_steps=jnp.broadcast_to(jnp.arange(slots), (batch, slots)),
            visible=jnp.zeros((batch, shape.beams, slots), bool) if several else None,
            ended=self._none_ended(batch) if several else None,
            parents=jnp.zeros((batch, shape.beams), jnp.int32),
            states=tuple(processor.start(batch, shape.beams) for processor in self._processors),
        )

    def advance(self, rows: SearchState) -> SearchState:
        """One step of all active rows."""
        if self.shape.beams > 1:
            return self._choose_beams(self._feed_beams(rows))
        if self.shape.drafts:
            return self._advance_with_drafts(rows)
        return self._advance_single(rows, jnp.zeros((rows.step.shape[0], 0), jnp.int32))

    def found(self, rows: SearchState) -> Hypotheses:
        """The hypotheses of rows that are done."""
        length_B = jnp.maximum(rows.step, 1)
        live_scores = _normalised(rows.scores, length_B, rows.requests)
        lengths_BW = jnp.broadcast_to(rows.step[:, None], live_scores.shape)
        if rows.ended is None:
            last_BW = jnp.take_along_axis(rows.tokens, (length_B - 1)[:, None, None], axis=-1)[..., 0]
            return Hypotheses(rows.tokens, live_scores, last_BW == self.shape.eos, lengths_BW, rows.log_p)
        ended_BW = rows.ended.scores > _WORST
        to_eos_BW = jnp.argmax(rows.ended.tokens == self.shape.eos, axis=-1) + 1
        ended = Hypotheses(rows.ended.tokens, rows.ended.scores, ended_BW, to_eos_BW, rows.ended.log_p)
        live = Hypotheses(rows.tokens, live_scores, jnp.zeros_like(ended_BW), lengths_BW, rows.log_p)
        both = jax.tree.map(lambda *leaves: jnp.concatenate(leaves, axis=1), ended, live)
        # Ended ones first, then live ones, then the places where fewer have ended than there are beams.
        place = jnp.concatenate([jnp.where(ended_BW, 0, 2), jnp.ones_like(ended_BW, int)], axis=1)
        index_BW = jnp.lexsort((-both.scores, place), axis=1)[:, : self.shape.beams]
        return jax.tree.map(lambda leaf: _pick(leaf, index_BW), both)

    def _none_ended(self, batch: int) -> Ended:
        beams, steps = self.shape.beams, self.shape.steps
        tokens = jnp.full((batch, beams, steps), PAD, jnp.int32)
        log_p = jnp.zeros((batch, beams)) if self._reweights else None
        return Ended(tokens, jnp.full((batch, beams), _WORST), log_p, jnp.zeros((batch,), jnp.int32))

    def _fed(self, tokens_BWT: Int[Array, "B W T"], steps_BN: Int[Array, "B N"]) -> Int[Array, "B N"]:
        """What is fed at the given steps: the start token, then what was chosen at the step before; 0 before all."""
        # Drafts may reach behind the last step. What is fed there is never used, but it must be a token.
        before_BN1 = jnp.clip(steps_BN - 1, 0, tokens_BWT.shape[-1] - 1)[..., None]
        chosen_BN = jnp.take_along_axis(tokens_BWT, before_BN1, axis=-1)[..., 0]
        return jnp.where(steps_BN > 0, chosen_BN, jnp.where(steps_BN == 0, self.shape.start, 0))

    def _recent(self, tokens_BWT: Int[Array, "B W T"], steps_BN: Int[Array, "B N"]) -> Int[Array, "B N R"]:
        return jnp.stack([self._fed(tokens_BWT, steps_BN - back) for back in range(RECENT)], axis=-1)

    def _process(
        self, rows: SearchState, states: tuple[Any, ...], logits_BWV: Float[Array, "B W V"], step_B: Int[Array, " B"]
    ) -> _Processed:
        log_z_BW = jax.nn.logsumexp(logits_BWV, axis=-1)
        context = Context(rows.tokens, step_B, rows.requests, log_z_BW)
        own_BWV = logits_BWV
        following = []
        for processor, state in zip(self._processors, states, strict=True):
            changed_BWV, state = processor(state, logits_BWV, context)
            if self._reweights and not processor.reweights:
                own_BWV = jnp.where(changed_BWV == logits_BWV, own_BWV, changed_BWV)
            logits_BWV = changed_BWV
            following.append(state)
        return _Processed(logits_BWV, own_BWV if self._reweights else None, log_z_BW, tuple(following))

    def _advance_with_drafts(self, rows: SearchState) -> SearchState:
        """A step that verifies drafts where they are expected to be worth it, and else one without."""
        count, batch = self.shape.drafts, rows.step.shape[0]
        if rows.source is None or rows.usefulness is None:
            raise ValueError("rows without a source to copy from")
        source_BS, tokens_BT = rows.source, rows.tokens[:, 0]

        def looked() -> Drafts:
            back_BM = rows.step[:, None] - jnp.arange(guesses.LAST)[None]
            return guesses.propose(self._fed(rows.tokens, back_BM), source_BS, tokens_BT, rows.step, count, self._table)

        looks = rows.usefulness.looks()
        found = jax.lax.cond(looks, looked, lambda: Drafts.none(batch, count))
        gain = rows.usefulness.trust() * jnp.sum(jnp.where(rows.active, found.gain, 0.0))
        extra = guesses.extra_cost(-(-batch // row_shards()), count)
        is_worth = gain > extra * jnp.sum(rows.active)

        # Loops of one turn or none: a branch would copy the caches.
        after = _once(is_worth, lambda rows: self._advance_single(rows, found.tokens), rows)
        after = _once(~is_worth, lambda rows: self._advance_single(rows, found.tokens[:, :0]), after)
        last_1 = self.shape.steps - 1
        first_B = jnp.take_along_axis(after.tokens[:, 0], jnp.minimum(rows.step, last_1)[:, None], axis=1)[:, 0]
        is_drafted_B = rows.active & (found.tokens[:, 0] > PAD)
        usefulness = rows.usefulness.after(
            jnp.where(is_drafted_B, found.chance, 0.0), is_drafted_B & (found.tokens[:, 0] == first_B), is_worth
        )
        return after._replace(usefulness=usefulness)

    def _advance_single(self, rows: SearchState, drafted_BD: Int[Array, "B D"]) -> SearchState:
        fed = self._feed_single(rows, drafted_BD)
        if drafted_BD.shape[1] and not self._looks_back:
            return self._choose_together(fed)
        return self._choose_single(fed)

    def _feed_single(self, rows: SearchState, drafted_BD: Int[Array, "B D"]) -> Fed:
        slots = rows.slot_steps.shape[1]
        step_B = jnp.where(rows.active, rows.step, 0)  # rows that are done see one slot, and need no more of the cache
        steps_BN = step_B[:, None] + jnp.arange(drafted_BD.shape[1] + 1)[None]
        # Tokens behind the step are overwritten by what is chosen; the drafts stand there meanwhile.
        tokens_BWT = _write(rows.tokens, drafted_BD, step_B)
        at = At(
            steps_BN=steps_BN,
            slots_BN=steps_BN,
            visible_BNX=jnp.arange(slots)[None, None] <= steps_BN[..., None],
            slot_steps_BX=rows.slot_steps,
            recent_BNR=self._recent(tokens_BWT, steps_BN),
            active_B=rows.active,
        )
        tokens_BN = self._fed(tokens_BWT, steps_BN)
        logits_BNV, cache, carry = self._decoder(rows.memory, rows.cache, rows.carry, tokens_BN, at)
        return Fed(logits_BNV, rows._replace(cache=cache, carry=carry), drafted_BD)

    def _choose_single(self, fed: Fed) -> SearchState:
        """The likeliest token, or a drawn one, and the drafts that the likeliest ones confirm."""
        shape, rows, logits_BNV, step_B = self.shape, fed.rows, fed.logits, fed.rows.step
        states, score_B, count_B = rows.states, rows.scores[:, 0], jnp.zeros_like(step_B)
        log_p_BW = rows.log_p
        active_B = going_B = rows.active
        tokens_BWT = rows.tokens
        drafts = fed.drafted.shape[1]
        for n in range(drafts + 1):
            seen = rows._replace(tokens=tokens_BWT)
            ranked_BWV, own_BWV, log_z_BW, after = self._process(seen, states, logits_BNV[:, n : n + 1], step_B + n)
            ranked_BV, token_B, value_B = self._likeliest(seen, ranked_BWV, step_B + n, going_B)
            if self._grammar is not None:  # an answer that nothing can continue ends unfinished
                active_B &= (value_B > FORBIDDEN / 2) | ~going_B
                going_B &= active_B
            if shape.sampling:
                token_B = draw(ranked_BV, token_B, rows.requests, step_B)
                value_B = jnp.take_along_axis(ranked_BV, token_B[:, None], axis=-1)[:, 0]
            here_BT = (jnp.arange(shape.steps)[None] == (step_B + n)[:, None]) & going_B[:, None]
            tokens_BWT = jnp.where(here_BT[:, None], token_B[:, None, None], tokens_BWT)
            score_B = jnp.where(going_B, score_B + value_B - log_z_BW[:, 0], score_B)
            if own_BWV is not None and log_p_BW is not None:
                own_BW = jnp.take_along_axis(own_BWV, token_B[:, None, None], axis=-1)[..., 0]
                log_p_BW = jnp.where(going_B[:, None], log_p_BW + own_BW - log_z_BW, log_p_BW)
            count_B += going_B
            states = after if n == 0 else _where(going_B, after, states)
            open_B = (token_B != shape.eos) & (step_B + n + 1 < rows.requests.max_tokens)
            active_B &= open_B | ~going_B
            if n < drafts:
                going_B &= open_B & (token_B == fed.drafted[:, n])
        return rows._replace(
            active=active_B,
            step=step_B + count_B,
            tokens=tokens_BWT,
            scores=score_B[:, None],
            log_p=log_p_BW,
            states=states,
        )

    def _choose_together(self, fed: Fed) -> SearchState:
        """``_choose_single`` where no processor looks at earlier tokens: all tokens of the step at once."""
        shape, rows, step_B = self.shape, fed.rows, fed.rows.step
        (batch, count, size), drafts = fed.logits.shape, fed.drafted.shape[1]
        processed = self._process(rows, rows.states, fed.logits, step_B)
        token_M, value_M = best(processed.logits.reshape(batch * count, size))
        token_BN, value_BN = token_M.reshape(batch, count), value_M.reshape(batch, count)
        nth_1N = jnp.arange(count)[None]
        open_BN = (token_BN != shape.eos) & (step_B[:, None] + nth_1N + 1 < rows.requests.max_tokens[:, None])
        confirmed_BD = open_BN[:, :drafts] & (token_BN[:, :drafts] == fed.drafted)
        confirmed_BN = jnp.pad(jnp.cumprod(confirmed_BD, axis=1) > 0, ((0, 0), (1, 0)), constant_values=True)
        going_BN = rows.active[:, None] & confirmed_BN
        count_B = jnp.sum(going_BN, axis=1)
        nth_BT = jnp.arange(shape.steps)[None] - step_B[:, None]
        chosen_BT = jnp.take_along_axis(token_BN, jnp.clip(nth_BT, 0, drafts), axis=1)
        is_chosen_BT = (nth_BT >= 0) & (nth_BT < count_B[:, None])
        log_p_BW = rows.log_p
        if processed.own is not None and log_p_BW is not None:
            own_BN = jnp.take_along_axis(processed.own, token_BN[..., None], axis=-1)[..., 0]
            own_B = jnp.sum(jnp.where(going_BN, own_BN - processed.log_z, 0.0), axis=1)
            log_p_BW = log_p_BW + own_B[:, None]
        score_B = jnp.sum(jnp.where(going_BN, value_BN - processed.log_z, 0.0), axis=1)
        return rows._replace(
            active=rows.active & jnp.all(open_BN | (nth_1N + 1 != count_B[:, None]), axis=1),
            step=step_B + count_B,
            tokens=jnp.where(is_chosen_BT, chosen_BT, rows.tokens[:, 0])[:, None],
            scores=rows.scores + score_B[:, None],
            log_p=log_p_BW,
        )

    def _likeliest(
        self, rows: SearchState, ranked_BWV: Float[Array, "B 1 V"], step_B: Int[Array, " B"], going_B: Bool[Array, " B"]
    ) -> tuple[Float[Array, "B V"], Int[Array, " B"], Float[Array, " B"]]:
        """The logits to draw from, the likeliest token that the grammar allows, and its logit."""
        if self._grammar is None:
            return ranked_BWV[:, 0], *best(ranked_BWV[:, 0])
        following = self._following(rows, step_B, going_B)
        if self.shape.sampling:  # what is drawn depends on all tokens
            ranked_BWV = masked(ranked_BWV, self._grammar.masks(following, ranked_BWV.shape[-1]), FORBIDDEN)
            return ranked_BWV[:, 0], *best(ranked_BWV[:, 0])
        value_B1, token_B1 = self._allowed(self._grammar, following, ranked_BWV, jnp.zeros_like(ranked_BWV[..., 0]), 1)
        return ranked_BWV[:, 0], token_B1[:, 0], value_B1[:, 0]

    def _following(self, rows: SearchState, step_B: Int[Array, " B"], active_B: Bool[Array, " B"]) -> Following:
        last_BW = self._fed_to_beams(rows.tokens, step_B)
        return Following(rows.requests.grammar, active_B, step_B, last_BW, rows.parents)

    @staticmethod
    def _allowed(
        grammar: GrammarFilter,
        following: Following,
        ranked_BWV: Float[Array, "B W V"],
        offset_BW: Float[Array, "B W"],
        count: int,
    ) -> tuple[Float[Array, "B C"], Int[Array, "B C"]]:
        """``top_k`` of what the grammar allows.

        After W continuations that do not end their hypothesis, which is all that a search needs, others may be missing;
        what is missing, or not there, is ``FORBIDDEN``.
        """
        size = ranked_BWV.shape[-1]
        rank_BA, flat_BA = top_k(ranked_BWV, offset_BW, min(2 * count + 2, ranked_BWV.shape[1] * size))
        allowed_BA, is_enough_B = grammar.judge(following, flat_BA, size)
        # Lower than what continues a hypothesis that is not there: that may be chosen, and is known to the host.
        rank_BC, index_BC = _top_k(jnp.where(allowed_BA, rank_BA, 2 * FORBIDDEN), count)
        flat_BC = _pick(flat_BA, index_BC)

        def ranked_anew() -> tuple[Array, Array]:
            open_B = following.active & ~is_enough_B
            masks_BWN = grammar.masks(following._replace(active=open_B), size, is_judged=True)
            anew_BC = top_k(masked(ranked_BWV, masks_BWN, FORBIDDEN), offset_BW, count)
            found: tuple[Array, Array] = _where(is_enough_B, (rank_BC, flat_BC), anew_BC)
            return found

        return jax.lax.cond(jnp.all(is_enough_B), lambda: (rank_BC, flat_BC), ranked_anew)

    def _feed_beams(self, rows: SearchState) -> Fed:
        shape, step_B, slots = self.shape, rows.step, rows.slot_steps.shape[1]
        if rows.visible is None:
            raise ValueError("rows of a single beam")
        steps_BW = jnp.broadcast_to(step_B[:, None], (step_B.shape[0], shape.beams))
        visible_BWX = rows.visible & rows.active[:, None, None]
        slots_BW = _free_slots(visible_BWX, shape.beams)
        own_BWX = jnp.arange(slots)[None, None] == slots_BW[..., None]
        visible_BWX |= own_BWX
        slot_steps_BX = jnp.where(jnp.any(own_BWX, axis=1), step_B[:, None], rows.slot_steps)
        recent_BWR = jnp.stack([self._fed_to_beams(rows.tokens, step_B - back) for back in range(RECENT)], axis=-1)
        at = At(steps_BW, slots_BW, visible_BWX, slot_steps_BX, recent_BWR, rows.active)
        logits_BWV, cache, carry = self._decoder(rows.memory, rows.cache, rows.carry, recent_BWR[..., 0], at)
        rows = rows._replace(cache=cache, carry=carry, slot_steps=slot_steps_BX, visible=visible_BWX)
        return Fed(logits_BWV, rows, jnp.zeros((step_B.shape[0], 0), jnp.int32))

    def _choose_beams(self, fed: Fed) -> SearchState:
        """The best continuations of all beams, in groups where ``shape.groups`` says so.

        Each step looks at the 2W best continuations, so that W live ones are left however many of them are eos. A
        continuation ends a hypothesis if it is eos and among the best W. A row is done when its best live hypothesis
        can no longer replace the worst ended one. The bound assumes that all tokens to come have probability 1 and the
        largest bonus, and that the hypothesis gets the length that suits it best, so nothing is cut off.
        """
        shape, rows, step_B = self.shape, fed.rows, fed.rows.step
        if rows.visible is None or rows.ended is None:
            raise ValueError("rows of a single beam")
        processed = self._process(rows, rows.states, fed.logits, step_B)
        if self._grammar is not None and shape.groups > 1:  # what a group ranks by depends on the groups before it
            masks_BWN = self._grammar.masks(self._following(rows, step_B, rows.active), fed.logits.shape[-1])
            processed = processed._replace(logits=masked(processed.logits, masks_BWN, FORBIDDEN))

        size = shape.beams // shape.groups
        parts: list[_Continued] = []
        for group in range(shape.groups):
            beams = slice(group * size, (group + 1) * size)
            taken_BC = jnp.concatenate([part.last for part in parts], axis=1) if parts else None
            parts.append(self._continue(processed, rows, rows.ended, beams, taken_BC))
        grown = jax.tree.map(lambda *leaves: jnp.concatenate(leaves, axis=1), *parts)
        parents_BW = grown.parents + jnp.repeat(jnp.arange(shape.groups) * size, size)[None]
        count_B = rows.ended.total + jnp.sum(grown.ended.total, axis=1)
        open_B = jnp.any(grown.open, axis=1) & (step_B + 1 < rows.requests.max_tokens)
        enough_B = (rows.requests.patience > 0) & (count_B >= rows.requests.patience * shape.beams)
        on_B = rows.active
        return rows._replace(
            carry=jax.tree.map(lambda leaf: _pick(leaf, parents_BW), rows.carry),
            active=on_B & open_B & ~enough_B,
            step=step_B + on_B,
            tokens=_where(on_B, grown.tokens, rows.tokens),
            scores=_where(on_B, grown.scores, rows.scores),
            log_p=_where(on_B, grown.log_p, rows.log_p),
            parents=parents_BW,
            visible=_pick(rows.visible, parents_BW),
            ended=_where(on_B, grown.ended._replace(total=count_B), rows.ended),
            states=tuple(
                processor.gather(each, parents_BW)
                for processor, each in zip(self._processors, processed.states, strict=True)
            ),
        )

    def _fed_to_beams(self, tokens_BWT: Int[Array, "B W T"], step_B: Int[Array, " B"]) -> Int[Array, "B W"]:
        """``_fed`` at one step of each row, for all of its beams."""
        before_B11 = jnp.maximum(step_B - 1, 0)[:, None, None]
        chosen_BW = jnp.take_along_axis(tokens_BWT, before_B11, axis=-1)[..., 0]
        return jnp.where(step_B[:, None] > 0, chosen_BW, jnp.where(step_B == 0, self.shape.start, 0)[:, None])

    def _continue(
        self,
        processed: _Processed,
        rows: SearchState,
        all_ended: Ended,
        group: slice,
        taken_BC: Int[Array, "B C"] | None,
    ) -> _Continued:
        """The best continuations of a group of beams; the groups before it have taken some tokens."""
        logits_BWV, log_z_BW = processed.logits[:, group], processed.log_z[:, group]
        own_BWV = None if processed.own is None else processed.own[:, group]
        scores_BW, tokens_BWT = rows.scores[:, group], rows.tokens[:, group]
        log_p_BW = None if rows.log_p is None else rows.log_p[:, group]
        ended = jax.tree.map(lambda leaf: leaf[:, group], all_ended._replace(total=rows.scores))
        shape, (batch, beams, size) = self.shape, logits_BWV.shape
        candidates = min(2 * beams, beams * size)
        ranked_BWV = logits_BWV
        if taken_BC is not None:
            counts_BV = jnp.zeros((batch, size)).at[jnp.arange(batch)[:, None], taken_BC].add(1.0)
            penalty_BV = rows.requests.diversity_penalty[:, None] * counts_BV
            ranked_BWV = logits_BWV - penalty_BV[:, None]
        offset_BW = scores_BW - log_z_BW
        if self._grammar is None or shape.groups > 1:
            rank_BC, flat_BC = top_k(ranked_BWV, offset_BW, candidates)
        else:
            following = self._following(rows, rows.step, rows.active)
            rank_BC, flat_BC = self._allowed(self._grammar, following, ranked_BWV, offset_BW, candidates)
        token_BC, parent_BC = flat_BC % size, flat_BC // size
        scores_BC = rank_BC
        if taken_BC is not None:  # a penalty changes the choice; scores are the model's
            scores_BC = rank_BC + _pick(penalty_BV, token_BC)
        log_p_BC = None
        if own_BWV is not None and log_p_BW is not None:
            own_BC = own_BWV[jnp.arange(batch)[:, None], parent_BC, token_BC]
            log_p_BC = _pick(log_p_BW - log_z_BW, parent_BC) + own_BC
        here_BT = jnp.arange(shape.steps)[None] == rows.step[:, None]
        grown_BCT = jnp.where(here_BT[:, None], token_BC[..., None], _pick(tokens_BWT, parent_BC))

        is_eos_BC = token_BC == shape.eos
        # A continuation of a beam that is not there, while there are fewer than W, ends nothing.
        counts_BC = is_eos_BC & (jnp.arange(candidates) < beams)[None] & (scores_BC > _WORST / 2)
        score_BC = jnp.where(counts_BC, _normalised(scores_BC, rows.step + 1, rows.requests), _WORST)
        ended_scores, index = jax.lax.top_k(jnp.concatenate([ended.scores, score_BC], axis=1), beams)
        ended_tokens = _pick(jnp.concatenate([ended.tokens, grown_BCT], axis=1), index)
        ended_log_p = None
        if log_p_BC is not None and ended.log_p is not None:
            ended_log_p = _pick(jnp.concatenate([ended.log_p, log_p_BC], axis=1), index)

        _, index = jax.lax.top_k(jnp.where(is_eos_BC, 2 * _WORST, rank_BC), beams)
        live_scores = jnp.where(_pick(is_eos_BC, index), _WORST, _pick(scores_BC, index))
        best_B = jnp.max(live_scores, axis=1)
        open_B = self._may_win(best_B, rows) > jnp.min(ended_scores, axis=1)
        if self._grammar is not None:  # which may allow nothing more
            open_B &= best_B > _WORST / 2
        return _Continued(
            tokens=_pick(grown_BCT, index),
            scores=live_scores,
            log_p=None if log_p_BC is None else _pick(log_p_BC, index),
            last=_pick(token_BC, index),
            parents=_pick(parent_BC, index),
            ended=Ended(ended_tokens, ended_scores, ended_log_p, jnp.sum(counts_BC, axis=1, keepdims=True)),
            open=open_B[:, None],
        )

    def _may_win(self, score_B: Float[Array, " B"], rows: SearchState) -> Float[Array, " B"]:
        """A bound of what a live hypothesis with this sum of log-probabilities may score when it has ended."""
        most_B = rows.requests.max_tokens
        if not self._max_bonus:
            return _normalised(score_B, most_B, rows.requests)
        reach_B = score_B + (most_B - rows.step - 1) * self._max_bonus
        return _normalised(reach_B, jnp.where(reach_B > 0, rows.step + 2, most_B), rows.requests)


class _Processed(NamedTuple):
    """What the processors made of a step's logits.

    Attributes:
      logits: to rank by.
      own: the model's own, where the processors allow a token; None where these are the logits.
      log_z: what to subtract of both for a log-probability.
      states: the processors' next.
    """

    logits: Float[Array, "B W V"]
    own: Float[Array, "B W V"] | None
    log_z: Float[Array, "B W"]
    states: tuple[Any, ...]


class _Continued(NamedTuple):
    """What a group of beams becomes; ``open``, and the total of those that end now, are of the group, (B, 1)."""

    tokens: Int[Array, "B W T"]
    scores: Float[Array, "B W"]
    log_p: Float[Array, "B W"] | None
    last: Int[Array, "B W"]
    parents: Int[Array, "B W"]
    ended: Ended
    open: Bool[Array, "B 1"]


def for_each_beam(carry: Any, beams: int) -> Any:
    """A decoder's state before its first step, leaves (B, ...), as that of each beam, (B, W, ...)."""
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[:, None], (leaf.shape[0], beams, *leaf.shape[1:])), carry)


def search(
    step: DecoderStep,
    memory: Any,
    carry: Any,
    cache: Callable[[int, int], Any],
    batch: int,
    shape: Shape,
    processors: Sequence[LogitsProcessor] = (),
    request: Requests | None = None,
    source: Int[Array, "B S"] | None = None,
    grammar: GrammarFilter | None = None,
    table: NgramTable | None = None,
) -> Hypotheses:
    """The whole search of a batch whose rows begin together and wait for each other.

    Args:
      step: the decoder's.
      memory, carry: the decoder's, of the batch; leaves (B, ...).
      cache: makes the decoder's empty cache for a number of rows and slots.
      batch: prompts.
      shape: of the search.
      processors: change the logits, in this order.
      request: what each row asks for; ``shape.steps`` tokens by default.
      source: as target tokens, for drafts.
      grammar: forbids tokens.
      table: of the training targets, for drafts.
    """
    made = Search(step, shape, processors, grammar, table)
    request = requests(batch, shape.steps) if request is None else request
    rows = made.rows(memory, carry, request, cache(batch, shape.slots), shape.slots, source=source)
    # The steps are counted for the compiler's sake, which learns how long the loop is at most.
    _, rows = jax.lax.while_loop(
        lambda state: (state[0] < shape.steps) & jnp.any(state[1].active),
        lambda state: (state[0] + 1, made.advance(state[1])),
        (jnp.zeros((), jnp.int32), rows),
    )
    return made.found(rows)


def _once(condition: Bool[Array, ""], function: Callable[[SearchState], SearchState], rows: SearchState) -> SearchState:
    """The function of the rows where the condition holds, and else the rows."""
    start = (condition, rows)
    return jax.lax.while_loop(lambda state: state[0], lambda state: (jnp.zeros((), bool), function(state[1])), start)[1]


def _normalised(scores: Array, length_B: Int[Array, " B"], requests: Requests) -> Array:
    """Log-probabilities (B, ...) over length**alpha."""
    divisor_B = length_B.astype(jnp.float32) ** requests.length_penalty
    return scores / divisor_B.reshape(-1, *(1,) * (scores.ndim - 1))


def _pick(leaf: Array, index_BW: Int[Array, "B W"]) -> Array:
    """Entries of the second axis."""
    return jnp.take_along_axis(leaf, index_BW.reshape(*index_BW.shape, *(1,) * (leaf.ndim - 2)), axis=1)


def _where(mask_B: Bool[Array, " B"], new: Any, old: Any) -> Any:
    """Trees of leaves (B, ...): the new one's rows where the mask is set."""
    return jax.tree.map(lambda a, b: jnp.where(mask_B.reshape(-1, *(1,) * (a.ndim - 1)), a, b), new, old)


def _write(tokens_BWT: Int[Array, "B 1 T"], drafted_BD: Int[Array, "B D"], step_B: Int[Array, " B"]) -> Array:
    for n in range(drafted_BD.shape[1]):
        here_BT = jnp.arange(tokens_BWT.shape[-1])[None] == (step_B + n)[:, None]
        tokens_BWT = jnp.where(here_BT[:, None], drafted_BD[:, n, None, None], tokens_BWT)
    return tokens_BWT


def _free_slots(visible_BWX: Bool[Array, "B W X"], count: int) -> Int[Array, "B W"]:
    """The first slots that no beam sees; the last slot, several times, where there are too few."""
    size = visible_BWX.shape[-1]
    index_1X = jnp.arange(size)[None]
    used_BX = jnp.any(visible_BWX, axis=1)
    if count > _FEW:
        found_BW = -jax.lax.top_k(-jnp.where(used_BX, size + index_1X, index_1X), count)[0]
        return jnp.minimum(found_BW, size - 1)
    found = []
    for _ in range(count):
        slot_B = jnp.min(jnp.where(used_BX, size - 1, index_1X), axis=1)
        found.append(slot_B)
        used_BX |= index_1X == slot_B[:, None]
    return jnp.stack(found, axis=1)


def _chunk(size: int, count: int) -> int:
    """A power of two that divides the size, so that ranking the chunks' maxima and then the best chunks is least."""
    chunk = 1
    while size % (2 * chunk) == 0 and (2 * chunk) ** 2 * count <= size:
        chunk *= 2
    return chunk


def best(x_BV: Float[Array, "B V"]) -> tuple[Int[Array, " B"], Float[Array, " B"]]:
    """``argmax``, the first among equals, and ``max``, but faster on a CPU, where XLA's argmax is scalar code."""
    size = x_BV.shape[-1]
    chunk = _chunk(size, 1)
    value_B = jnp.max(x_BV, axis=-1)
    if chunk < 8:
        return jnp.min(jnp.where(x_BV == value_B[:, None], jnp.arange(size)[None], size - 1), axis=-1), value_B
    x_BNM = x_BV.reshape(-1, size // chunk, chunk)
    first_B = jnp.argmax(jnp.max(x_BNM, axis=-1), axis=-1)
    part_BM = jnp.take_along_axis(x_BNM, first_B[:, None, None], axis=1)[:, 0]
    return first_B * chunk + jnp.argmax(part_BM, axis=-1), value_B


def top_k(
    x_BWV: Float[Array, "B W V"], offset_BW: Float[Array, "B W"], count: int
) -> tuple[Float[Array, "B C"], Int[Array, "B C"]]:
    """The best of ``x + offset`` in each row, and their places in W x V: ``jax.lax.top_k``, also among equals.

    It is faster on a CPU where V is large. The ``count`` best are within the ``count`` chunks of V with the largest
    maxima: every other chunk has as many better ones before it. Maxima are found at memory speed, and few values are
    left to rank.
    """
    rows, beams, size = x_BWV.shape
    chunk = _chunk(size, max(1, count // beams))
    if chunk < 8 or beams * size // chunk < 2 * count:
        return _top_k((x_BWV + offset_BW[..., None]).reshape(rows, beams * size), count)
    x_BWNM = x_BWV.reshape(rows, beams, size // chunk, chunk)
    most_BWN = jnp.max(x_BWNM, axis=-1) + offset_BW[..., None]
    _, chunks_BC = _top_k(most_BWN.reshape(rows, beams * size // chunk), count)
    chunks_BC = jnp.sort(chunks_BC, axis=-1)  # so that equals stay in their order
    kept_BCM = jnp.take_along_axis(x_BWNM.reshape(rows, -1, chunk), chunks_BC[..., None], axis=1)
    kept_BCM += jnp.take_along_axis(offset_BW, chunks_BC // (size // chunk), axis=1)[..., None]
    best_BC, place_BC = _top_k(kept_BCM.reshape(rows, count * chunk), count)
    chunk_BC = jnp.take_along_axis(chunks_BC, place_BC // chunk, axis=1)
    return best_BC, chunk_BC * chunk + place_BC % chunk


def _top_k(x_BV: Float[Array, "B V"], count: int) -> tuple[Float[Array, "B C"], Int[Array, "B C"]]:
    # Of a slice of the results XLA makes a slice of a whole sort.
    values, index = jax.lax.optimization_barrier(jax.lax.top_k(x_BV, count))
    return values, index
