"""Rows that are given on: each answer is that of its prompt alone, whoever had the row before."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_decoder import Toy, searched

from t2c_jax.decode.search import Search, Shape, requests
from t2c_jax.decode.slots import Pool, Slots, Waiting, run

PROMPTS, ROWS, POOL = 14, 3, 4


def answers(toy, shape, alpha):
    """Through ``ROWS`` rows, a pool after the other."""
    search = Search(toy.step, shape)
    start = jax.tree.map(lambda leaf: jnp.zeros((ROWS, *leaf.shape[1:])), toy.memory)
    cache, asked = toy.cache(ROWS, shape.slots), requests(ROWS, shape.steps)
    rows = search.rows(start, (), asked, cache, shape.slots, active=False)
    state = Slots(rows, jnp.full((ROWS,), -1, jnp.int32))
    advance = jax.jit(functools.partial(run, search))
    found, steps = {}, 0
    for first in range(0, PROMPTS, POOL):
        tickets = list(range(first, min(first + POOL, PROMPTS)))
        padded = np.array([*tickets, *[0] * (POOL - len(tickets))], np.int32)
        pool = Pool(jax.tree.map(lambda leaf, padded=padded: leaf[padded], toy.memory), (), None)
        asked = requests(POOL, shape.steps, length_penalty=alpha)
        order, total = np.arange(POOL, dtype=np.int32), np.array([len(tickets)], np.int32)
        more = np.bool_(tickets[-1] + 1 < PROMPTS)
        state, results = advance(state, pool, Waiting(order, padded, asked, total), more)
        assert results.admitted.tolist() == [len(tickets)]
        steps += int(results.steps[0])
        for place in range(int(results.total[0])):
            ticket = int(results.ticket[place])
            assert ticket not in found
            found[ticket] = results.tokens[place], results.scores[place], results.finished[place]
    return found, steps


@pytest.mark.parametrize("beams", [1, 3])
def test_each_answer_is_that_of_its_prompt_alone(beams):
    toy = Toy(vocabulary=5, steps=9, batch=PROMPTS, seed=5, sharpness=2.0)
    shape = Shape(9, beams)
    together = searched(toy, shape, length_penalty=0.6)
    found, steps = answers(toy, shape, 0.6)
    assert sorted(found) == list(range(PROMPTS))
    for ticket, (tokens, scores, finished) in found.items():
        np.testing.assert_array_equal(tokens, together.tokens[ticket])
        np.testing.assert_array_equal(finished, together.finished[ticket])
        np.testing.assert_allclose(scores, together.scores[ticket], rtol=1e-5)
    if beams == 1:
        lengths = (together.tokens[:, 0] != 0).sum(axis=1)
        waiting = sum(lengths[first : first + ROWS].max() for first in range(0, PROMPTS, ROWS))
        assert lengths.sum() / ROWS <= steps < waiting, "rows that have ended are given on"
