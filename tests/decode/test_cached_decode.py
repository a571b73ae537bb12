"""A decoder step over the cache gives the logits of a full forward over the beam's own history."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import MODEL, VOCABULARY, drawn

STEPS, BATCH, SOURCE = 7, 3, 10


def prompts(seed=0):
    draw = np.random.default_rng(seed)
    lengths = np.array([10, 4, 7], np.int32)
    tokens = draw.integers(3, VOCABULARY, (BATCH, SOURCE)).astype(np.int32)
    return tokens * (np.arange(SOURCE) < lengths[:, None]), lengths


def full_forward(definition, params, source, lengths, history):
    """Logits at every position of ``history``, which starts with pad, by teacher forcing."""

    @jax.jit
    def forward(params, source, lengths, history):
        model = definition.bind(params)
        batch = {
            "encoder_input_tokens": source,
            "encoder_segment_ids": (jnp.arange(SOURCE)[None] < lengths[:, None]).astype(jnp.int32),
            "encoder_positions": jnp.broadcast_to(jnp.arange(SOURCE)[None], source.shape),
            "decoder_input_tokens": history,
            "decoder_segment_ids": jnp.ones_like(history),
            "decoder_positions": jnp.broadcast_to(jnp.arange(history.shape[1])[None], history.shape),
        }
        return model.logits(model.states(batch))

    return np.asarray(forward(params, source, lengths, history))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("position", ["rope", "t5"])
def test_cached_steps_are_the_full_forward(position, beams, tied):
    """Beams are made to descend from each other at random; each must see its own ancestors and no others."""
    config = replace(MODEL, position=position, tied_embeddings=tied)
    definition, params = drawn(config)
    source, lengths = prompts()
    draw = np.random.default_rng(1)

    @jax.jit
    def start(params, source, lengths):
        return definition.bind(params).start(source, lengths, beams=beams, steps=STEPS)[1]

    @jax.jit
    def advance(params, source, lengths, tokens, t, cache, visible):
        step, _ = definition.bind(params).start(source, lengths, beams=beams, steps=STEPS)
        return step(tokens, t, cache, visible)

    cache = start(params, source, lengths)
    ancestors = np.zeros((BATCH, beams, 0), int)  # the slot of each step, within the step
    histories = np.zeros((BATCH, beams, 0), np.int32)
    crossed = False
    for t in range(STEPS):
        if t:
            parents = draw.integers(0, beams, (BATCH, beams))
            ancestors = np.take_along_axis(ancestors, parents[..., None], axis=1)
            histories = np.take_along_axis(histories, parents[..., None], axis=1)
        ancestors = np.concatenate([ancestors, np.tile(np.arange(beams)[None, :, None], (BATCH, 1, 1))], axis=2)
        tokens = (
            draw.integers(3, VOCABULARY, (BATCH, beams)).astype(np.int32) if t else np.zeros((BATCH, beams), np.int32)
        )
        histories = np.concatenate([histories, tokens[..., None]], axis=2)
        crossed |= bool((ancestors != np.arange(beams)[None, :, None]).any())
        visible = np.zeros((BATCH, beams, STEPS, beams), bool)
        for row, beam, past in np.ndindex(BATCH, beams, t + 1):
            visible[row, beam, past, ancestors[row, beam, past]] = True
        logits, cache = advance(
            params, source, lengths, tokens, np.int32(t), cache, visible.reshape(BATCH, beams, STEPS * beams)
        )
        for beam in range(beams):
            padded = np.pad(histories[:, beam], ((0, 0), (0, STEPS - 1 - t)))  # causal: what comes after is not seen
            expected = full_forward(definition, params, source, lengths, padded)[:, t]
            # Float32 sums in another order.
            np.testing.assert_allclose(logits[:, beam], expected, rtol=0, atol=2e-5)
    assert crossed == (beams > 1)


def test_padding_of_the_source_is_not_seen():
    """A prompt's logits do not change with the bucket it is padded to, nor with what stands in the padding."""
    definition, params = drawn()
    source, lengths = prompts()

    def first(source):
        step, cache = definition.bind(params).start(jnp.asarray(source), jnp.asarray(lengths), beams=1, steps=2)
        return step(
            jnp.zeros((BATCH, 1), jnp.int32),
            jnp.int32(0),
            cache,
            jnp.ones((BATCH, 1, 2), bool) & (jnp.arange(2) < 1)[None, None],
        )[0]

    dirty = np.where(source == 0, 9, source)
    np.testing.assert_array_equal(first(source), first(dirty))
    np.testing.assert_allclose(first(source), first(np.pad(source, ((0, 0), (0, 6)))), atol=1e-5)
