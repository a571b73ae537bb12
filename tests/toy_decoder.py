"""A decoder so small that all of its sequences can be enumerated, and plain searches to compare with."""

import itertools
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np

from t2c_jax.decode.search import PAD, Shape, requests, search
from t2c_jax.tokenizers.sentencepiece import EOS


class Toy:
    """A decoder whose logits are a random function of all tokens fed so far, found through the ancestry alone.

    Its cache holds the token of every slot; a beam's history is what it can see, at the steps of the slots.
    """

    def __init__(self, vocabulary: int, steps: int, batch: int, seed: int, sharpness: float = 1.0) -> None:
        draw = np.random.default_rng(seed)
        self.vocabulary, self.steps, self.batch = vocabulary, steps, batch
        self.weights_BTVV = draw.normal(0, sharpness, (batch, steps, vocabulary, vocabulary)).astype(np.float32)
        self.bias_BTV = draw.normal(0, sharpness, (batch, steps, vocabulary)).astype(np.float32)

    @property
    def memory(self):
        """What differs between rows; a search may give its rows to other prompts."""
        return jnp.asarray(self.weights_BTVV), jnp.asarray(self.bias_BTV)

    def cache(self, rows: int, slots: int) -> jax.Array:
        return jnp.full((rows, slots), -1, jnp.int32)

    def step(self, memory, cache_BX, carry, tokens_BN, at):
        weights_BTVV, bias_BTV = memory
        rows_B1 = jnp.arange(tokens_BN.shape[0])[:, None]
        cache_BX = cache_BX.at[rows_B1, at.slots_BN].set(tokens_BN)
        seen_BNX = jnp.where(at.visible_BNX, cache_BX[:, None], -1)
        one_hot_BNXV = jax.nn.one_hot(seen_BNX, self.vocabulary)
        steps_BXT = jax.nn.one_hot(at.slot_steps_BX, self.steps)
        history_BNTV = jnp.einsum("bnxv,bxt->bntv", one_hot_BNXV, steps_BXT, precision="highest")
        logits_BNV = jnp.einsum("bntv,btvu->bnu", history_BNTV, weights_BTVV, precision="highest")
        return logits_BNV + jnp.take_along_axis(bias_BTV, at.steps_BN[..., None], axis=1), cache_BX, carry

    def log_p(self, row: int, sequence) -> float:
        """log p of a whole sequence, by the plain formula."""
        total, fed = 0.0, [PAD]
        for token in sequence:
            logits = self.bias_BTV[row, len(fed) - 1].astype(np.float64)
            for t, before in enumerate(fed):
                logits = logits + self.weights_BTVV[row, t, before]
            total += logits[token] - np.logaddexp.reduce(logits)
            fed.append(token)
        return total

    def ranked(self, row: int, alpha: float):
        """Every sequence that ends within the steps, best first."""
        others = [token for token in range(self.vocabulary) if token != EOS]
        ended = [(*body, EOS) for length in range(self.steps) for body in itertools.product(others, repeat=length)]
        scored = [(self.log_p(row, sequence) / len(sequence) ** alpha, sequence) for sequence in ended]
        return sorted(scored, reverse=True)


def searched(toy, shape, processors=(), source=None, **request):
    """The search of all rows together."""

    def run():
        asked = requests(toy.batch, shape.steps, **request)
        return search(toy.step, toy.memory, (), toy.cache, toy.batch, shape, processors, asked, source)

    return jax.device_get(jax.jit(run)())


def beam(toy, beams, alpha, processors=(), **request):
    return searched(toy, Shape(toy.steps, beams), processors, length_penalty=alpha, **request)


def greedy(toy, alpha=0.0, processors=()):
    return searched(toy, Shape(toy.steps), processors, length_penalty=alpha)


def padded(sequence, steps):
    return [*sequence, *(PAD,) * (steps - len(sequence))]


def plain_beam(toy, row, beams, alpha, bonus_V=None, *, groups=1, diversity=0.0, patience=0.0):
    """Beam search as one would write it down: no cache, no early end but that of ``patience``.

    Returns what has ended, best first, and what is live; (score, tokens) each. With ``groups``, a token loses
    ``diversity`` in rank for each beam of an earlier group that has just continued with it.
    """
    bonus_V = np.zeros(toy.vocabulary) if bonus_V is None else bonus_V
    size, ended = beams // groups, 0
    live, done = [[(0.0, ())] for _ in range(groups)], [[] for _ in range(groups)]
    length = 0
    for length in range(1, toy.steps + 1):  # noqa: B007 - read behind the loop
        taken = Counter()
        for group in range(groups):
            grown = [
                (toy.log_p(row, (*tokens, token)) + bonus_V[[*tokens, token]].sum(), (*tokens, token))
                for _, tokens in live[group]
                for token in range(toy.vocabulary)
            ]
            best = sorted(grown, key=lambda one: one[0] - diversity * taken[one[1][-1]], reverse=True)[: 2 * size]
            now = [(score / len(tokens) ** alpha, tokens) for score, tokens in best[:size] if tokens[-1] == EOS]
            ended += len(now)
            done[group] = sorted(done[group] + now, reverse=True)[:size]
            live[group] = [(score, tokens) for score, tokens in best if tokens[-1] != EOS][:size]
            taken.update(tokens[-1] for _, tokens in live[group])
        if patience and ended >= patience * beams:
            break
    normalised = [(score / length**alpha, tokens) for group in live for score, tokens in group]
    return sorted(itertools.chain(*done), reverse=True), sorted(normalised, reverse=True)
