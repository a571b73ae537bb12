"""Drafts: guesses of an answer's next tokens, which one step of the decoder verifies.

A draft comes from one of three places:

- the source, where it holds the answer's last tokens (Saxena 2023, "Prompt Lookup Decoding", over the source);
- the answer itself, where it holds its last tokens before;
- a table of the training targets' n-grams: what followed the last tokens most often.

The draft with the most expected gain is taken, and is verified where the gain is worth the cost of a longer step.
Whatever the drafts are, answers are those of greedy search.

Letters: B rows, S source, T steps, D tokens of a draft, X source and answer, M places of the table.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt32

from t2c_jax.kernels.attention import target_platform

PAD = 0  # no draft
CONTEXT = 3  # the most tokens of a context in the table
LAST = 4  # the most tokens of the answer that are compared with source and answer
# The chance that a copied token is confirmed, by the number of tokens that match. Measured on NL2Bash and the
# quickstart; the first answers correct them (``Usefulness``).
_SOURCE_CHANCE = (0.0, 0.35, 0.42, 0.5, 0.5)
_ANSWER_CHANCE = (0.0, 0.4, 0.6, 0.7, 0.93)
_TRUST = 8.0  # drafts after which what was measured weighs as much as what was expected
_FORGETS = 0.98  # of what was measured, what is kept at each step
_LOOKS = 8  # steps in a row whose drafts are worth nothing, after which only every so many a step looks for drafts
MOST_TOKENS = 2**20
"""Tokens of the training targets that are enough for a table."""

_MOST_CONTEXTS = 2**17
_BITS = 21  # of a token id, three of which are one integer


class NgramTable(NamedTuple):
    """What follows contexts of one to ``CONTEXT`` tokens in the training targets: a hash table without chains.

    Attributes:
      hashes: of the context in each place; 0 where there is none.
      tokens: the likeliest continuation, each token the likeliest after the context and those before it.
      chance: of the first of these tokens.
      gain: how many of them are expected to be right.
    """

    hashes: UInt32[Array, " M"]
    tokens: Int[Array, "M D"]
    chance: Float[Array, " M"]
    gain: Float[Array, " M"]


class Usefulness(NamedTuple):
    """What drafts have been worth. It is kept when a row is given to another prompt.

    Attributes:
      expected: first tokens of drafts that were expected to be right, lately.
      right: those that were.
      idle: steps since drafts were verified; the same for all rows.
    """

    expected: Float[Array, " B"]
    right: Float[Array, " B"]
    idle: Int[Array, " B"]

    @classmethod
    def unknown(cls, rows: int) -> Usefulness:
        """Before the first draft."""
        return cls(jnp.zeros((rows,)), jnp.zeros((rows,)), jnp.zeros((rows,), jnp.int32))

    def looks(self) -> Bool[Array, ""]:
        """Whether this step looks for drafts."""
        idle = jnp.max(self.idle)
        return (idle < _LOOKS) | (idle % _LOOKS == 0)

    def trust(self) -> Float[Array, ""]:
        """The factor by which expectations have been wrong."""
        return (jnp.sum(self.right) + _TRUST) / (jnp.sum(self.expected) + _TRUST)

    def after(
        self, chance_B: Float[Array, " B"], is_right_B: Bool[Array, " B"], is_verified: Bool[Array, ""]
    ) -> Usefulness:
        """With the first tokens of this step's drafts: 0 as the chance, and False, where a row had none."""
        return Usefulness(
            _FORGETS * self.expected + chance_B,
            _FORGETS * self.right + is_right_B,
            jnp.where(is_verified, 0, self.idle + 1),
        )


class Drafts(NamedTuple):
    """A draft for each row.

    Attributes:
      tokens: ``PAD`` where there is none.
      chance: that the first token is right.
      gain: the number of tokens that are expected to be right.
    """

    tokens: Int[Array, "B D"]
    chance: Float[Array, " B"]
    gain: Float[Array, " B"]

    @classmethod
    def none(cls, rows: int, count: int) -> Drafts:
        """No drafts."""
        return cls(jnp.full((rows, count), PAD, jnp.int32), jnp.zeros((rows,)), jnp.zeros((rows,)))


def extra_cost(rows: int, drafts: int) -> float:
    """By which share a step of these rows is longer with drafts.

    A CPU multiplies several rows at the speed of its arithmetic, and a single one at that of its memory. Measured with
    NL2Bash's model on one core: 1.5, 1.8 and 2.4 times the step of one row at 1, 2 and 4 drafts; 1.8, 2.7 and 4.0 times
    that of eight. Accelerators are far from the speed of their arithmetic; theirs is an estimate.
    """
    if target_platform() != "cpu":
        return 0.02 * drafts
    return 0.15 + drafts * min(0.75, 0.25 + 0.06 * rows)


def propose(
    last_BM: Int[Array, "B M"],
    source_BS: Int[Array, "B S"],
    answer_BT: Int[Array, "B T"],
    step_B: Int[Array, " B"],
    count: int,
    table: NgramTable | None,
) -> Drafts:
    """The draft of each row that is expected to gain most.

    Args:
      last_BM: the tokens fed last, the latest first; 0 before the first.
      source_BS: the source as target tokens; 0 where nothing can be copied.
      answer_BT: the answer so far.
      step_B: its length.
      count: D.
      table: of the training targets; None where there are none.
    """
    found = [_of_source(last_BM, source_BS, count), _of_answer(last_BM, answer_BT, step_B, count)]
    if table is not None:
        found.append(_of_table(last_BM, table))
    best = found[0]
    for other in found[1:]:
        is_better_B = other.gain > best.gain
        best = Drafts(
            jnp.where(is_better_B[:, None], other.tokens, best.tokens),
            jnp.where(is_better_B, other.chance, best.chance),
            jnp.where(is_better_B, other.gain, best.gain),
        )
    return best


def _matched(last_BM: Int[Array, "B M"], tokens_BX: Int[Array, "B X"]) -> Int[Array, "B X"]:
    """How many of the last tokens end at each place."""
    length = tokens_BX.shape[1]
    matched_BX = jnp.zeros_like(tokens_BX)
    is_match_BX = tokens_BX > PAD
    for back in range(LAST):
        before_BX = jnp.pad(tokens_BX, ((0, 0), (back, 0)))[:, :length]
        is_match_BX &= (before_BX == last_BM[:, back, None]) & (last_BM[:, back, None] > PAD)
        matched_BX += is_match_BX
    return matched_BX


def _copied(
    tokens_BX: Int[Array, "B X"], place_BD: Int[Array, "B D"], matched_B: Int[Array, " B"], chances: tuple[float, ...]
) -> Drafts:
    """The tokens at the given places, which follow so many that match; no draft where the first one is not there."""
    length, count = tokens_BX.shape[1], place_BD.shape[1]
    copied_BD = jnp.take_along_axis(tokens_BX, jnp.clip(place_BD, 0, length - 1), axis=1)
    copied_BD = jnp.where((matched_B[:, None] > 0) & (place_BD < length), copied_BD, PAD)
    gains = [sum(chance**n for n in range(1, count + 1)) for chance in chances]
    found_B = jnp.where(copied_BD[:, 0] > PAD, matched_B, 0)
    return Drafts(copied_BD, jnp.array(chances, jnp.float32)[found_B], jnp.array(gains, jnp.float32)[found_B])


def _of_source(last_BM: Int[Array, "B M"], source_BS: Int[Array, "B S"], count: int) -> Drafts:
    """What follows the longest match in the source, the first among equals."""
    matched_BS = _matched(last_BM, source_BS)
    first_B = jnp.argmax(matched_BS, axis=1)
    place_BD = first_B[:, None] + 1 + jnp.arange(count)[None]
    return _copied(source_BS, place_BD, jnp.max(matched_BS, axis=1), _SOURCE_CHANCE)


def _of_answer(
    last_BM: Int[Array, "B M"], answer_BT: Int[Array, "B T"], step_B: Int[Array, " B"], count: int
) -> Drafts:
    """What follows the longest match in the answer before its end, the last among equals; again and again."""
    place_1T = jnp.arange(answer_BT.shape[1])[None]
    is_before_BT = place_1T < step_B[:, None] - 1
    matched_BT = jnp.where(is_before_BT, _matched(last_BM, answer_BT), 0)
    rank_BT = matched_BT * answer_BT.shape[1] + jnp.where(is_before_BT, place_1T, 0)
    first_B1 = jnp.argmax(rank_BT, axis=1)[:, None] + 1
    period_B1 = jnp.maximum(step_B[:, None] - first_B1, 1)
    place_BD = first_B1 + jnp.arange(count)[None] % period_B1
    return _copied(answer_BT, place_BD, jnp.max(matched_BT, axis=1), _ANSWER_CHANCE)


def _of_table(last_BM: Int[Array, "B M"], table: NgramTable) -> Drafts:
    """The continuation of the longest context that the table holds."""
    table = NgramTable(*map(jnp.asarray, table))
    places = table.hashes.shape[0]
    hash_BC = jnp.stack(hashes([last_BM[:, back] for back in range(CONTEXT)])[::-1], axis=1)
    place_BC = (hash_BC & np.uint32(places - 1)).astype(jnp.int32)
    is_there_BC = table.hashes[place_BC] == hash_BC
    longest_B1 = jnp.argmax(is_there_BC, axis=1)[:, None]
    is_found_B = jnp.any(is_there_BC, axis=1)
    place_B = jnp.take_along_axis(place_BC, longest_B1, axis=1)[:, 0]
    return Drafts(
        jnp.where(is_found_B[:, None], table.tokens[place_B], PAD),
        jnp.where(is_found_B, table.chance[place_B], 0.0),
        jnp.where(is_found_B, table.gain[place_B], 0.0),
    )


def hashes(last: list[Any]) -> list[Any]:
    """Hashes, none of them 0, of the contexts of the last token, the last two, and so on; JAX's and NumPy's arrays."""
    found: list[Any] = []
    mixed: Any = np.uint32(0)
    for token in last:
        mixed = (mixed ^ token.astype(np.uint32)) * np.uint32(0x9E3779B1) + np.uint32(0x85EBCA77)
        mixed = mixed ^ (mixed >> np.uint32(15))
        found.append(mixed | np.uint32(1 << 31))
    return found


def ngram_table(targets: Iterable[np.ndarray], count: int) -> NgramTable | None:
    """Counts what follows each context; NumPy arrays. None where no context occurs twice.

    Args:
      targets: what the decoder is fed and what ends it: the start token first. As many as are to be counted.
      count: D.
    """
    outside = np.zeros(CONTEXT, np.int64)
    parts = [outside]
    for target in targets:
        parts += [np.asarray(target, np.int64) + 1, outside]
    tokens_N = np.concatenate(parts)
    orders = [_continued(tokens_N, order) for order in range(1, CONTEXT + 1)]
    contexts = np.concatenate([keys for keys, *_ in orders])
    totals = np.concatenate([totals for *_, totals in orders])
    contexts = contexts[np.argsort(totals, kind="stable")[-_MOST_CONTEXTS:]]
    if not len(contexts):
        return None

    # The frequent ones are written last, over others of the same place.
    last = [((contexts >> (_BITS * back)) & (2**_BITS - 1)) - 1 for back in range(CONTEXT)]
    by_length = np.stack(hashes([np.maximum(token, 0) for token in last]), axis=1)
    length = (np.stack(last) >= 0).sum(axis=0)
    hashed = np.take_along_axis(by_length, length[:, None] - 1, axis=1)[:, 0]
    size = 2 ** int(np.ceil(np.log2(4 * len(contexts))))
    place = (hashed & np.uint32(size - 1)).astype(np.int64)
    draft, chance, gain = _chains(orders, contexts, count)
    leaves: list[Any] = []
    for values, kind in ((hashed, np.uint32), (draft, np.int32), (chance, np.float32), (gain, np.float32)):
        leaf = np.zeros((size, *values.shape[1:]), kind)
        leaf[place] = values
        leaves.append(leaf)
    return NgramTable(*leaves)


def _continued(tokens_N: np.ndarray, order: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Contexts of ``order`` tokens that occur twice or more: sorted keys, likeliest next tokens, chances, totals."""
    after = np.arange(CONTEXT, len(tokens_N))
    is_whole = np.all([tokens_N[after - back] > 0 for back in range(order + 1)], axis=0)
    after = after[is_whole]
    if not len(after):
        return after, after, after / 1.0, after
    keys = sum(tokens_N[after - 1 - back] << (_BITS * back) for back in range(order))
    contexts, number, totals = np.unique(keys, return_inverse=True, return_counts=True)
    pairs, counts = np.unique((number.astype(np.int64) << _BITS) + tokens_N[after], return_counts=True)
    number = pairs >> _BITS
    starts = np.flatnonzero(np.diff(number, prepend=-1))
    most = np.repeat(np.maximum.reduceat(counts, starts), np.diff(starts, append=len(pairs)))
    frequent = np.flatnonzero(counts == most)
    best = frequent[np.flatnonzero(np.diff(number[frequent], prepend=-1))]
    kept = totals > 1
    chance = counts[best] / (totals + 1.0)
    return contexts[kept], (pairs[best] & (2**_BITS - 1))[kept], chance[kept], totals[kept]


def _chains(
    orders: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]], contexts: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Likeliest continuations of contexts, token by token; the chance of the first, and the expected gain of all."""
    draft = np.zeros((len(contexts), count), np.int64)
    chain = np.ones(len(contexts))
    gain, chance = np.zeros(len(contexts)), np.zeros(len(contexts))
    for n in range(count):
        follows, p = np.zeros(len(contexts), np.int64), np.zeros(len(contexts))
        for order, (keys, following, chances, _) in enumerate(orders, 1):
            if not len(keys):
                continue
            wanted = contexts & (2 ** (_BITS * order) - 1)
            index = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
            is_there = keys[index] == wanted
            follows, p = np.where(is_there, following[index], follows), np.where(is_there, chances[index], p)
        draft[:, n] = np.where((chain > 0) & (follows > 0), follows - 1, PAD)
        chain = chain * np.where(draft[:, n] > PAD, p, 0.0)
        chance = chain if n == 0 else chance
        gain = gain + chain
        contexts = ((contexts << _BITS) | follows) & (2 ** (_BITS * CONTEXT) - 1)
    return draft, chance, gain
