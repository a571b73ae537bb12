"""BART and PLBART against ``transformers``' own, in float32, on the same weights: logits, steps, searches, training."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from stored_arrays import read_arrays
from tiny import compiled_on, make_mesh, on_device

from t2c_jax.config import DecodeConfig, Experiment, MeshConfig, OptimizerConfig, TrainConfig
from t2c_jax.decode.programs import search_function
from t2c_jax.interop import bart
from t2c_jax.interop.source_config import model_config
from t2c_jax.models.definition import Definition
from t2c_jax.train.batch_loss import loss_sums

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

VOCABULARY, STEPS = 48, 14
PAD, EOS = 1, 2
START = {"bart": 2, "plbart": 45}  # eos; the id of a language, which PLBART moves from a target's end to its front
IGNORED = -100  # what transformers calls a label that does not count
KINDS = pytest.mark.parametrize("kind", ["bart", "plbart"])


def theirs(kind, scale=1.0):
    """A model of unequal halves, its weights drawn at their own scale, times ``scale``; norms and biases drawn too."""
    torch.manual_seed(0)
    family = transformers.BartConfig if kind == "bart" else transformers.PLBartConfig
    config = family(
        vocab_size=VOCABULARY,
        d_model=24,
        encoder_layers=2,
        decoder_layers=3,
        encoder_attention_heads=4,
        decoder_attention_heads=3,
        encoder_ffn_dim=40,
        decoder_ffn_dim=56,
        max_position_embeddings=32,
        init_std=0.2,
        dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        decoder_start_token_id=START[kind],
        forced_eos_token_id=None,
    )
    model = getattr(transformers, f"{'Bart' if kind == 'bart' else 'PLBart'}ForConditionalGeneration")(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" in name and name.endswith("weight"):
                weight.uniform_(0.5, 1.5)
            elif weight.ndim == 1:
                weight.normal_(0, 0.2)
            else:
                weight.mul_(scale)
    return model


def ours(model):
    """Their config and weights as ours."""
    config = model_config(bart, model.config.to_dict())
    weights = {name: weight.detach().numpy().copy() for name, weight in model.state_dict().items()}
    params, left = read_arrays(bart, config, weights)
    assert not left
    return Definition(config, VOCABULARY), jax.tree.map(jnp.asarray, params)


def ragged_batch(kind, seed=1):
    """Sources of 9, 4, 30 tokens and targets of 5, 12, 26, padded at the end."""
    draw = np.random.default_rng(seed)
    source, target = np.full((3, 30), PAD, np.int32), np.full((3, 26), PAD, np.int32)
    short = [(9, 5), (4, 12)] if seed == 1 else draw.integers(3, 24, (2, 2)).tolist()
    for row, (s, t) in enumerate([*short, (30, 26)]):
        source[row, :s], target[row, :t] = draw.integers(3, 44, s), draw.integers(3, 44, t)
        last = [EOS, START[kind]] if kind == "plbart" else [EOS]
        source[row, s - len(last) : s] = target[row, t - len(last) : t] = last

    def positions(x):
        return np.broadcast_to(np.arange(x.shape[1], dtype=np.int32), x.shape)

    shifted = np.concatenate([np.full((3, 1), START[kind], np.int32), target[:, :-1]], axis=1)
    return {
        "encoder_input_tokens": source,
        "encoder_segment_ids": (source != PAD).astype(np.int32),
        "encoder_positions": positions(source),
        "decoder_target_tokens": target,
        "decoder_input_tokens": shifted,
        "decoder_segment_ids": (target != PAD).astype(np.int32),
        "decoder_positions": positions(target),
        "decoder_loss_weights": (target != PAD).astype(np.float32),
    }


def read_by(model, values):
    """What their model is called with: labels, from which it makes its decoder's input."""
    source = torch.from_numpy(values["encoder_input_tokens"]).long()
    labels = torch.from_numpy(values["decoder_target_tokens"]).long()
    return {
        "input_ids": source,
        "attention_mask": source.ne(PAD),
        # PLBART looks for padding, not for the label that does not count, to find the language.
        "labels": labels if model.config.model_type == "plbart" else labels.masked_fill(labels.eq(PAD), IGNORED),
    }


def their_loss(model, values):
    logits = model(**read_by(model, values)).logits
    labels = torch.from_numpy(values["decoder_target_tokens"]).long()
    flat = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=PAD)
    return logits, flat


@functools.cache
def forward(config):
    """Encoder states, logits, loss and its gradient; compiled once for both scales."""
    definition = Definition(config, VOCABULARY)

    def objective(params, values):
        sums = loss_sums(
            definition.bind, params, values, None, TrainConfig(z_loss=0.0), Experiment().data, training=True
        )
        return sums[1]["loss"] / sums[1]["weight"]

    def run(params, values):
        bound = definition.bind(params)
        logits = bound.logits(bound.predict(values).states_BTD)
        return bound.encode(values).states_BSE, logits, *jax.value_and_grad(objective)(params, values)

    return jax.jit(run)


@pytest.mark.parametrize("scale", [1.0, 4.0])
@pytest.mark.parametrize(("kind", "scan"), [("bart", True), ("bart", False), ("plbart", True)])
def test_states_logits_loss_and_gradients(kind, scale, scan):
    model, values = theirs(kind, scale), ragged_batch(kind)
    definition, params = ours(model)
    states, logits, loss, gradient = forward(replace(definition.config, scan=scan))(params, on_device(values))
    their_logits, expected_loss = their_loss(model, values)
    expected_loss.backward()
    with torch.no_grad():
        encoded = model(**read_by(model, values)).encoder_last_hidden_state.numpy()
    real_source, real_target = values["encoder_segment_ids"] > 0, values["decoder_segment_ids"] > 0
    expected = their_logits.detach().numpy()[real_target]
    assert np.abs(expected).max() > scale, "logits near zero would agree whatever the model"
    # Both are float32 and sum in another order. Weights four times as large make attention scores of hundreds, rounded
    # to 1e-5 each, and the softmax turns that into as much in every weight.
    rounding = 1e-5 if scale == 1.0 else 1e-4
    tolerance = rounding * float(np.abs(expected).max())
    np.testing.assert_allclose(np.asarray(logits)[real_target], expected, rtol=0, atol=tolerance)
    np.testing.assert_allclose(np.asarray(states)[real_source], encoded[real_source], rtol=0, atol=5 * rounding)
    np.testing.assert_allclose(loss, expected_loss.item(), rtol=rounding)
    theirs_by_name = {name: weight.grad.numpy() for name, weight in model.named_parameters()}
    found = bart.params_to_huggingface(definition.config, jax.device_get(gradient))
    for name, expected in theirs_by_name.items():
        if "k_proj.bias" in name:
            continue  # it moves all scores of a query alike: its gradient is zero but for rounding
        # A gradient goes through every rounded weight twice.
        size = (1e-4 if scale == 1.0 else 5e-3) * float(np.abs(expected).max())
        np.testing.assert_allclose(found[name], expected, rtol=0, atol=size + 1e-6, err_msg=name)


@KINDS
def test_searches_find_their_tokens(kind):
    model, values = theirs(kind, 3.0), ragged_batch(kind)
    definition, params = ours(model)
    source = torch.from_numpy(values["encoder_input_tokens"]).long()
    read = {name: value for name, value in on_device(values).items() if name.startswith("encoder")}

    def generated(eos, **settings):
        generation = transformers.GenerationConfig(
            max_new_tokens=STEPS,
            do_sample=False,
            pad_token_id=PAD,
            eos_token_id=eos,
            decoder_start_token_id=START[kind],
        )
        with torch.no_grad():
            found = model.generate(
                input_ids=source, attention_mask=source.ne(PAD), generation_config=generation, **settings
            ).numpy()[:, 1:]
        found = np.pad(found, ((0, 0), (0, STEPS - found.shape[1])))
        after = np.cumsum(found == eos, axis=1) - (found == eos) > 0
        return np.where(after, 0, found)

    def searched(eos, beams):
        decode = DecodeConfig(beam_size=beams, max_tokens=STEPS, length_penalty=1.0)
        search = search_function([definition], decode, [], start=START[kind], eos=eos)
        return jax.jit(lambda params, read: search([params], read))(params, read)

    eos = int(np.bincount(generated(EOS).ravel())[3:].argmax()) + 3  # what it says anyway, so that sequences do end
    np.testing.assert_array_equal(searched(eos, 1).tokens[:, 0], generated(eos))
    beams, compared = searched(eos, 3), 0
    best_first = {"num_beams": 3, "num_return_sequences": 3, "length_penalty": 1.0, "early_stopping": "never"}
    found = generated(eos, **best_first).reshape(3, 3, STEPS)
    for row, (tokens, finished) in enumerate(zip(beams.tokens, beams.finished, strict=True)):
        # One cut short counts as ended to them, and may displace an ended one; what is left keeps its order.
        ended = found[row][(found[row] == eos).any(axis=1)]
        np.testing.assert_array_equal(np.asarray(tokens)[np.asarray(finished)][: len(ended)], ended)
        compared += len(ended)
    assert compared >= 3, "too few sequences ended to tell"


def test_fine_tuning_goes_as_in_transformers():
    """Ten AdamW steps on ten batches: the loss is theirs at each step."""
    kind = "plbart"  # BART with scaled embeddings and a start of its own
    model = theirs(kind)
    definition, start = ours(model)
    batches = [ragged_batch(kind, seed) for seed in range(10)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.98), eps=1e-8, weight_decay=0.01)
    with torch.no_grad():
        untrained = [their_loss(model, values)[1].item() for values in batches]
    expected = []
    for values in batches:
        optimizer.zero_grad()
        loss = their_loss(model, values)[1]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        expected.append(loss.item())
    experiment = Experiment(
        model=definition.config,
        optimizer=OptimizerConfig(
            learning_rate=3e-3, schedule="constant", warmup_steps=0, decay_mask="", clip_norm=1.0, weight_decay=0.01
        ),
        train=TrainConfig(z_loss=0.0, steps=10),
        mesh=MeshConfig(data=1),
    )
    compiled = compiled_on(make_mesh(experiment, jax.devices()[:1]), experiment, VOCABULARY)
    state = compiled.init()
    state["params"] = start
    found = []
    for values in batches:
        state, metrics = compiled.train_step(state, on_device(values))
        found.append(float(metrics["loss"]) / float(metrics["weight"]))
    assert (np.abs(np.subtract(expected, untrained))[-3:] > 0.05).all(), "else it would agree whatever the steps do"
    # Adam divides by the root of tiny second moments in the first steps, and so blows up what rounds otherwise (1e-6).
    np.testing.assert_allclose(found, expected, rtol=1e-4)
