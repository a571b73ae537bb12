"""A decoder so small that all of its sequences can be enumerated, and plain searches to compare with."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from t2c_jax.decode.search import PAD, beam_search, greedy_search
from t2c_jax.tokenizers.sentencepiece import EOS


class Toy:
    """A decoder whose logits are a random function of all tokens fed so far, found through the ancestry alone.

    Its cache holds the token of every slot; a beam's history is what it can see, in the order of the steps.
    """

    def __init__(self, vocabulary: int, steps: int, batch: int, seed: int, sharpness: float = 1.0) -> None:
        draw = np.random.default_rng(seed)
        self.vocabulary, self.steps, self.batch = vocabulary, steps, batch
        self.weights_BTVV = draw.normal(0, sharpness, (batch, steps, vocabulary, vocabulary)).astype(np.float32)
        self.bias_BTV = draw.normal(0, sharpness, (batch, steps, vocabulary)).astype(np.float32)

    def cache(self, beams: int) -> jax.Array:
        return jnp.full((self.batch, self.steps * beams), -1, jnp.int32)

    def step(self, tokens_BW, step, cache_BX, visible_BWX):
        beams = tokens_BW.shape[1]
        cache_BX = jax.lax.dynamic_update_slice(cache_BX, tokens_BW, (0, step * beams))
        seen_BWX = jnp.where(visible_BWX, cache_BX[:, None], -1)
        one_hot_BWXV = jax.nn.one_hot(seen_BWX, self.vocabulary)
        history_BWTV = one_hot_BWXV.reshape(*tokens_BW.shape, self.steps, beams, self.vocabulary).sum(3)
        logits_BWV = jnp.einsum("bwtv,btvu->bwu", history_BWTV, self.weights_BTVV, precision="highest")
        return logits_BWV + jnp.asarray(self.bias_BTV)[:, step][:, None], cache_BX

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


def beam(toy, beams, alpha, processors=()):
    def run():
        arguments = toy.step, toy.cache(beams), toy.batch, toy.steps, processors
        return beam_search(*arguments, beams=beams, length_penalty=alpha)

    return jax.device_get(jax.jit(run)())


def greedy(toy, alpha=0.0, processors=()):
    def run():
        return greedy_search(toy.step, toy.cache(1), toy.batch, toy.steps, processors, length_penalty=alpha)

    return jax.device_get(jax.jit(run)())


def padded(sequence, steps):
    return [*sequence, *(PAD,) * (steps - len(sequence))]


def plain_beam(toy, row, beams, alpha, bonus_V=None):
    """Beam search as one would write it down, to the last step: no cache, no early end."""
    bonus_V = np.zeros(toy.vocabulary) if bonus_V is None else bonus_V
    live, done = [(0.0, ())], []
    for _ in range(toy.steps):
        grown = [
            (toy.log_p(row, (*tokens, token)) + bonus_V[[*tokens, token]].sum(), (*tokens, token))
            for _, tokens in live
            for token in range(toy.vocabulary)
        ]
        best = sorted(grown, reverse=True)[: 2 * beams]
        done += [(score / len(tokens) ** alpha, tokens) for score, tokens in best[:beams] if tokens[-1] == EOS]
        live = [(score, tokens) for score, tokens in best if tokens[-1] != EOS][:beams]
    return sorted(done, reverse=True)[:beams], [(score / toy.steps**alpha, tokens) for score, tokens in live]
