"""Every encoder with every decoder: cached steps are the full forward, packed rows are single ones, all can learn."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from stored_paths import stored
from tiny import (
    CAPPED,
    DATA,
    MERGED,
    MODEL,
    VOCABULARY,
    assert_close,
    drawn,
    flat,
    mixture,
    on_device,
    pairs,
    random_paths,
)

from t2c_jax.config import Experiment, TrainConfig, decoders, encoders
from t2c_jax.data.pipeline import Batches
from t2c_jax.data.templates import SourceTemplate
from t2c_jax.data.tokens import Tokens
from t2c_jax.decode.search import for_each_beam
from t2c_jax.models.definition import Definition
from t2c_jax.models.interface import RECENT, At
from t2c_jax.papers.code2seq.config import PathsConfig
from t2c_jax.papers.code2seq.features import PathFeatures
from t2c_jax.train.batch_loss import loss_sums

# Sums of a few hundred float32 terms in another order: 1e-6 apart at most, and one digit of room.
ROUNDING = 2e-5
PRETRAINED = {
    "vocab_size": VOCABULARY,
    "width": 16,
    "layers": 2,
    "num_heads": 2,
    "feed_forward": 24,
    "positions": 64,
    "norm_epsilon": 1e-5,
}


def model(encoder, decoder, copy=False, layers=1, bidirectional=True, mix_layers=False, **attention):
    """``attention``, ``input_feeding`` and ``bridge`` are a recurrent decoder's."""
    if encoder in ("bert", "gpt2", "modernbert"):
        reader = {**PRETRAINED, "mix_layers": mix_layers}
    else:
        reader = {"paths": {}, "lstm": {"bidirectional": bidirectional}, "gru": {"bidirectional": bidirectional}}.get(
            encoder, {}
        ) | ({} if encoder == "paths" else {"layers": layers})
    return replace(
        MODEL,
        encoder=tiny.encoder(encoder, **reader),
        decoder=tiny.decoder(decoder, layers=layers, **attention),
        copy=copy,
    )


# Each encoder meets each decoder; each way of attention, feeding, bridging and copying is met with both cells.
MODELS = {
    "transformer-transformer": model("transformer", "transformer"),
    "transformer-transformer copy": model("transformer", "transformer", copy=True),
    "t5-t5 untied": replace(model("t5", "t5"), tied_embeddings=False),
    "transformer-t5 of other shapes": replace(
        model("transformer", "t5"), decoder=tiny.decoder("t5", layers=1, num_heads=3, head_width=6, feed_forward=20)
    ),
    "transformer-lstm fed": model("transformer", "lstm", layers=2),
    "transformer-gru additive copy": model("transformer", "gru", copy=True, attention="additive", input_feeding=False),
    "lstm-transformer": model("lstm", "transformer"),
    "lstm-lstm copied state": model(
        "lstm", "lstm", layers=2, attention="none", input_feeding=False, bridge="copy", bidirectional=False
    ),
    "lstm-lstm no attention": model("lstm", "lstm", attention="none", input_feeding=False),
    "lstm-lstm fed copy": model("lstm", "lstm", copy=True),
    "lstm-lstm additive fed": model("lstm", "lstm", attention="additive"),
    "lstm-gru": model("lstm", "gru", input_feeding=False, bidirectional=False),
    "gru-transformer copy": model("gru", "transformer", copy=True, bidirectional=False),
    "gru-lstm additive": model("gru", "lstm", attention="additive", input_feeding=False),
    "gru-gru copied state": model(
        "gru", "gru", attention="multiplicative", bridge="copy", bidirectional=False, input_feeding=True
    ),
    "gru-gru additive fed copy": model("gru", "gru", layers=2, copy=True, attention="additive"),
    "gru-gru no attention copy": model("gru", "gru", copy=True, attention="none", input_feeding=False),
}
MODELS |= {
    "transformer-transformer merged": MERGED,
    "transformer-transformer capped": CAPPED,
    "bert-transformer": model("bert", "transformer"),
    "bert-lstm mixed layers": model("bert", "lstm", mix_layers=True),
    "bert-gru copy": model("bert", "gru", copy=True, input_feeding=False),
    "gpt2-transformer copy": model("gpt2", "transformer", copy=True),
    "gpt2-lstm": model("gpt2", "lstm", attention="none", input_feeding=False),
    "gpt2-gru": model("gpt2", "gru", attention="additive"),
    "bart-bart": model("bart", "bart"),
    "bart-lstm": model("bart", "lstm"),
    "bert-bart copy": model("bert", "bart", copy=True),
    "modernbert-gru mixed layers": model("modernbert", "gru", mix_layers=True, input_feeding=False),
    "paths-transformer": model("paths", "transformer"),
    "paths-lstm": model("paths", "lstm"),
    "paths-gru additive": model("paths", "gru", attention="additive", input_feeding=False),
}
PACKABLE = {name: config for name, config in MODELS.items() if config.encoder.features == "tokens"}
each_model = pytest.mark.parametrize("config", MODELS.values(), ids=MODELS)
STEPS, BATCH, SOURCE, BEAMS = 5, 3, 10, 3
SLOTS = 2 * STEPS * BEAMS  # half of them are never used


def test_the_table_meets_every_encoder_and_decoder():
    """T5's modules are the Transformer's, so pairs of the one stand for pairs of the other.

    BART's sides pass and read what the Transformer's do, and ModernBERT passes what BERT does.
    """
    met = {(config.encoder.type, config.decoder.type) for config in MODELS.values()}
    assert {("t5", "t5"), ("bart", "bart"), ("bart", "lstm"), ("bert", "bart"), ("modernbert", "gru")} <= met
    alike = {"t5", "bart", "modernbert"}
    wanted = {(encoder, decoder) for encoder in encoders for decoder in decoders if not alike & {encoder, decoder}}
    assert wanted <= met


def prompts(config):
    if config.encoder.features != "tokens":
        return random_paths(rows=BATCH, paths=SOURCE, vocabulary=VOCABULARY)
    draw = np.random.default_rng(0)
    lengths = np.array([10, 4, 7], np.int32)
    segments = (np.arange(SOURCE) < lengths[:, None]).astype(np.int32)
    # From few tokens, so that sources hold some more than once: copies add up.
    tokens = draw.integers(3, 9, (BATCH, SOURCE)).astype(np.int32) * segments
    positions = np.broadcast_to(np.arange(SOURCE, dtype=np.int32), tokens.shape)
    return {"encoder_input_tokens": tokens, "encoder_segment_ids": segments, "encoder_positions": positions}


def learnt(config):
    """A model whose pointer goes on in the source, as one freshly drawn does not yet."""
    definition, params = drawn(config)
    if config.copy:
        follow = np.random.default_rng(2).normal(size=params["pointer"]["follow"].shape).astype(np.float32)
        params = {**params, "pointer": {**params["pointer"], "follow": jnp.asarray(follow)}}
    return definition, params


def padded(source, dirty):
    """The source in a longer row; ``dirty`` puts tokens where nothing is to be read."""
    # Paths have nodes and tokens beside their places in a row, and these are padded as well.
    wide = {name: np.pad(values, ((0, 0), (0, 6), *[(0, 2)] * (values.ndim - 2))) for name, values in source.items()}
    if "encoder_positions" in source:
        wide["encoder_positions"] = np.broadcast_to(np.arange(SOURCE + 6, dtype=np.int32), (BATCH, SOURCE + 6))
    if dirty:
        away = wide["encoder_segment_ids"] == 0
        for name in wide.keys() - {"encoder_segment_ids", "encoder_positions"}:
            wide[name][away] = 9
    return wide


@each_model
def test_cached_steps_are_the_full_forward_and_do_not_see_padding(config):
    """Beams descend from each other at random, their slots lie anywhere, and each sees its own ancestors alone.

    The steps read the source in longer rows than the forward pass does: neither the bucket that a prompt is padded to
    nor what stands in the padding changes anything.
    """
    definition, params = learnt(config)
    source, draw = prompts(config), np.random.default_rng(1)

    @jax.jit
    def search(params, source, parents_KBW, tokens_KBW, at_K):
        bound = definition.bind(params)
        memory, carry = bound.read(source)
        carry = for_each_beam(carry, BEAMS)
        steps = bound.steps()

        def one(state, fed):
            cache, carry = state
            parents, tokens, at = fed
            own = jax.tree.map(lambda leaf: jax.vmap(lambda x, i: x[i])(leaf, parents), carry)
            logits, *state = steps.step(memory, cache, own, tokens, at)
            return tuple(state), jax.nn.log_softmax(logits, axis=-1)

        return jax.lax.scan(one, (steps.cache(BATCH, SLOTS), carry), (parents_KBW, tokens_KBW, at_K))[1]

    @jax.jit
    def full(params, source, history):
        bound = definition.bind(params)
        batch = {
            **source,
            "decoder_input_tokens": history,
            "decoder_segment_ids": jnp.ones_like(history),
            "decoder_positions": jnp.broadcast_to(jnp.arange(STEPS)[None], history.shape),
        }
        prediction = bound.predict(batch)
        return mixture(prediction, bound.logits(prediction.states_BTD))

    ancestors, histories = np.zeros((BATCH, BEAMS, 0), int), np.zeros((BATCH, BEAMS, 0), np.int32)
    place = np.stack([draw.permutation(SLOTS)[: STEPS * BEAMS].reshape(STEPS, BEAMS) for _ in range(BATCH)])
    slot_steps = np.full((BATCH, SLOTS), 99, np.int32)
    fed_KBW, parents_KBW, places, seen = [], [], [], []
    for t in range(STEPS):
        parents = draw.integers(0, BEAMS, (BATCH, BEAMS)) if t else np.tile(np.arange(BEAMS), (BATCH, 1))
        ancestors = np.take_along_axis(ancestors, parents[..., None], axis=1)
        histories = np.take_along_axis(histories, parents[..., None], axis=1)
        ancestors = np.concatenate([ancestors, np.tile(np.arange(BEAMS)[None, :, None], (BATCH, 1, 1))], axis=2)
        fed = draw.integers(3, 9, (BATCH, BEAMS)).astype(np.int32) * (t > 0)  # what sources hold, to go on behind it
        histories = np.concatenate([histories, fed[..., None]], axis=2)
        visible = np.zeros((BATCH, BEAMS, SLOTS), bool)
        for row, beam, past in np.ndindex(BATCH, BEAMS, t + 1):
            visible[row, beam, place[row, past, ancestors[row, beam, past]]] = True
        np.put_along_axis(slot_steps, place[:, t], t, axis=1)
        recent = np.pad(histories, ((0, 0), (0, 0), (RECENT, 0)))[..., : -RECENT - 1 : -1]
        steps = np.full((BATCH, BEAMS), t, np.int32)
        places.append(At(steps, place[:, t].astype(np.int32), visible, slot_steps.copy(), recent, np.ones(BATCH, bool)))
        fed_KBW.append(fed)
        parents_KBW.append(parents)
        seen.append(histories)
    at_K = jax.tree.map(lambda *leaves: np.stack(leaves), *places)
    steps = np.stack(parents_KBW), np.stack(fed_KBW), at_K
    clean, dirty = (np.asarray(search(params, padded(source, dirty), *steps)) for dirty in (False, True))
    np.testing.assert_array_equal(clean, dirty)
    for t, beam in np.ndindex(STEPS, BEAMS):
        history = np.pad(seen[t][:, beam], ((0, 0), (0, STEPS - 1 - t)))
        expected = np.asarray(full(params, source, history))[:, t]
        np.testing.assert_allclose(clean[t][:, beam], expected, rtol=0, atol=ROUNDING)


TRAIN = Experiment(train=TrainConfig(loss_chunk_tokens=64, z_loss=1e-4))
PAIRS = 8
PATHS = PathsConfig(sampled=12, max_length=7, terminal_tokens=2)
ROWS = replace(DATA, encoder_length=21, decoder_length=30, batch_size=PAIRS)


class Letters:
    """A tokenizer with an id a letter, from 3."""

    vocab_size = VOCABULARY

    def encode_batch(self, texts):
        return [np.array([3 + ord(letter) % (VOCABULARY - 3) for letter in text], np.int32) for text in texts]


def batches(config, tokens, pack=True):
    """The one batch of some pairs; where paths are read, those of a function for each pair in place of its text."""
    if config.encoder.features == "tokens":
        return Batches.of(tokens, replace(ROWS, pack=pack), 0, repeat=False)
    bodies = ("a + b", "a - b", "a.b", "b.a", "a[b]", "not a", "f(a, b)", "[a for a in b]")
    data = replace(ROWS, pack=False)
    paths = stored([f"def x(a, b):\n    return {body}\n" for body in bodies[: len(tokens)]], Letters(), PATHS)
    tokens = Tokens({**tokens.columns, **paths["columns"]}, features=paths["features"])
    rows = PathFeatures(PATHS).rows(tokens, SourceTemplate())
    return Batches.of(tokens, data, 0, source=rows, repeat=False)


@functools.cache
def gradient(config):
    """Compiled once for both tests below, whose batches have one shape."""
    definition = Definition(config, VOCABULARY)

    def objective(params, values):
        sums = loss_sums(definition.bind, params, values, None, TRAIN.train, TRAIN.data, training=True)[1]
        return sums["loss"], sums

    return jax.jit(jax.grad(objective, has_aux=True))


@pytest.mark.parametrize("config", PACKABLE.values(), ids=PACKABLE)
def test_packed_rows_are_single_ones(config):
    """Loss and gradients of a batch of several segments a row are those of its pairs, each alone in a row."""
    _, params = learnt(config)
    tokens = pairs(PAIRS, vocabulary=12)
    packed, alone = batches(config, tokens), batches(config, tokens, pack=False)
    assert packed.per_pass == alone.per_pass == 1, "all pairs must be in the first batch"
    assert packed.batch(0)["decoder_segment_ids"].max() >= 3, "rows must hold several pairs"
    one, other = (gradient(config)(params, on_device(made.batch(0))) for made in (packed, alone))
    # A bias on all keys moves all scores alike, so its gradient is zero but for rounding, which has no size to meet.
    one, other = ({k: v for k, v in flat(side).items() if not k.endswith("key_bias")} for side in (one, other))
    # A mix of layers is moved by their differences, two digits smaller than what they are differences of.
    mixed = {name for name in one if name.endswith("mix.weights")}
    for tolerance, names in ((ROUNDING, one.keys() - mixed), (50 * ROUNDING, mixed)):
        assert_close({name: one[name] for name in names}, {name: other[name] for name in names}, tolerance=tolerance)


class Adam:
    """Plain Adam on the host: nothing to compile for each model."""

    def __init__(self, leaves):
        self.means, self.squares = ([np.zeros_like(leaf) for leaf in leaves] for _ in range(2))
        self.step = 0

    def update(self, leaves, gradients, rate=2e-2):
        self.step += 1
        rate *= np.sqrt(1 - 0.999**self.step) / (1 - 0.9**self.step)
        self.means = [0.9 * m + 0.1 * g for m, g in zip(self.means, gradients, strict=True)]
        self.squares = [0.999 * s + 0.001 * g * g for s, g in zip(self.squares, gradients, strict=True)]
        return [
            (leaf - rate * m / (np.sqrt(s) + 1e-8)).astype(leaf.dtype)
            for leaf, m, s in zip(leaves, self.means, self.squares, strict=True)
        ]


@each_model
def test_it_learns_a_handful_of_pairs(config):
    _, params = learnt(config)
    values = on_device(batches(config, pairs(6, seed=3, vocabulary=12)).batch(0))
    leaves, structure = jax.tree.flatten(jax.device_get(params))
    adam = Adam(leaves)
    losses, right = [], False
    while len(losses) < 500 and not (right and losses[-1] < 0.04):
        gradients, sums = jax.device_get(gradient(config)(jax.tree.unflatten(structure, leaves), values))
        leaves = adam.update(leaves, [leaf / sums["weight"] for leaf in jax.tree.leaves(gradients)])
        losses.append(float(sums["nll"] / sums["weight"]))
        right = sums["correct"] == sums["weight"]
    assert losses[0] > 1.5
    assert losses[-1] < 0.05
    assert right, "every target is the likeliest token"
