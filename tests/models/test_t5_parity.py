"""The model under T5's settings against ``transformers``' T5, in float32, on the same weights."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from stored_arrays import read_arrays
from tiny import MODEL, compiled_on, decoder, encoder, make_mesh, on_device, reshaped

from t2c_jax.config import Experiment, MeshConfig, OptimizerConfig, TrainConfig
from t2c_jax.interop import t5
from t2c_jax.interop.source_config import model_config
from t2c_jax.models.definition import Definition
from t2c_jax.train.batch_loss import loss_sums

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

VOCABULARY = 48
T5 = replace(MODEL, encoder=encoder("t5"), decoder=decoder("t5", layers=3), width=24)
IGNORED = -100  # what transformers calls a label that does not count


def theirs(config, scale):
    """Their model with weights drawn at their own scale, times ``scale``; no file and no network."""
    torch.manual_seed(0)
    activation = {"gated_gelu_tanh": "gated-gelu", "relu": "relu"}[config.encoder.activation]
    model = transformers.T5ForConditionalGeneration(
        transformers.T5Config(
            vocab_size=VOCABULARY,
            d_model=config.width,
            d_kv=config.encoder.head_width,
            d_ff=config.encoder.feed_forward,
            num_layers=config.encoder.layers,
            num_decoder_layers=config.decoder.layers,
            num_heads=config.encoder.num_heads,
            relative_attention_num_buckets=config.encoder.relative_buckets,
            relative_attention_max_distance=config.encoder.relative_max_distance,
            feed_forward_proj=activation,
            layer_norm_epsilon=config.encoder.norm_epsilon,
            tie_word_embeddings=config.tied_embeddings,
            scale_decoder_outputs=config.tied_embeddings,
            dropout_rate=0.0,
            pad_token_id=0,
            eos_token_id=1,
            decoder_start_token_id=0,
        )
    ).eval()
    if not config.tied_embeddings:  # version 5 ties them whatever the config says
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "layer_norm" in name:
                weight.uniform_(0.5, 1.5)
            elif "relative_attention_bias" in name or name == "lm_head.weight":
                weight.normal_(0, config.width**-0.5)
            weight.mul_(1 if "layer_norm" in name or name == "shared.weight" else scale)
    return model


def ours(model, config):
    """Their weights as our parameters."""
    weights = {name: weight.detach().numpy() for name, weight in model.state_dict().items()}

    def attention(prefix):
        """A kernel leads with the width: theirs is (H x K, D) for three of them, (D, H x K) for the fourth."""
        shape = (config.width, config.encoder.num_heads, config.encoder.head_width)
        names = {"query": "q", "key": "k", "value": "v"}
        kernels = {our: weights[f"{prefix}.{their}.weight"].T.reshape(shape) for our, their in names.items()}
        return {**kernels, "output": weights[f"{prefix}.o.weight"].reshape(shape)}

    def feed_forward(prefix):
        dense = f"{prefix}.DenseReluDense"
        if not config.encoder.activation.startswith("gated"):
            return {"gate": weights[f"{dense}.wi.weight"].T, "down": weights[f"{dense}.wo.weight"]}
        gate, up = weights[f"{dense}.wi_0.weight"].T, weights[f"{dense}.wi_1.weight"].T
        return {"gate": gate, "up": up, "down": weights[f"{dense}.wo.weight"]}

    def norm(prefix):
        return {"scale": weights[f"{prefix}.layer_norm.weight"]}

    def encoder_block(i):
        layer = f"encoder.block.{i}.layer"
        return {
            "attention_norm": norm(f"{layer}.0"),
            "attention": attention(f"{layer}.0.SelfAttention"),
            "feed_forward_norm": norm(f"{layer}.1"),
            "feed_forward": feed_forward(f"{layer}.1"),
        }

    def decoder_block(i):
        layer = f"decoder.block.{i}.layer"
        return {
            "attention_norm": norm(f"{layer}.0"),
            "attention": attention(f"{layer}.0.SelfAttention"),
            "cross_norm": norm(f"{layer}.1"),
            "cross_attention": attention(f"{layer}.1.EncDecAttention"),
            "feed_forward_norm": norm(f"{layer}.2"),
            "feed_forward": feed_forward(f"{layer}.2"),
        }

    def stack(side, block, layers):
        return {
            "blocks": jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(block, range(layers))),
            "norm": {"scale": weights[f"{side}.final_layer_norm.weight"]},
            "bias": {"table": weights[f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"]},
        }

    params = {
        "embedding": {"embedding": weights["shared.weight"]},
        "encoder": stack("encoder", encoder_block, config.encoder.layers),
        "decoder": stack("decoder", decoder_block, config.decoder.layers),
    }
    if not config.tied_embeddings:
        params["output"] = weights["lm_head.weight"]
    params = jax.tree.map(jnp.asarray, params)
    abstract = Definition(config, VOCABULARY).abstract_params()
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, abstract)
    return params


def ragged_batch(seed=1):
    """Texts of 9, 4, 30 tokens and codes of 5, 12, 26, long enough for the far buckets, padded at the end.

    With another seed the first two texts and codes have other lengths too.
    """
    draw = np.random.default_rng(seed)
    source, target = np.zeros((3, 30), np.int32), np.zeros((3, 26), np.int32)
    short = [(9, 5), (4, 12)] if seed == 1 else draw.integers(2, 24, (2, 2)).tolist()
    for row, (s, t) in enumerate([*short, (30, 26)]):
        source[row, :s], target[row, :t] = draw.integers(2, VOCABULARY, s), draw.integers(2, VOCABULARY, t)
        source[row, s - 1] = target[row, t - 1] = 1

    def positions(x):
        return np.broadcast_to(np.arange(x.shape[1], dtype=np.int32), x.shape)

    return {
        "encoder_input_tokens": source,
        "encoder_segment_ids": (source > 0).astype(np.int32),
        "encoder_positions": positions(source),
        "decoder_target_tokens": target,
        "decoder_input_tokens": np.pad(target, ((0, 0), (1, 0)))[:, :-1] * (target > 0),
        "decoder_segment_ids": (target > 0).astype(np.int32),
        "decoder_positions": positions(target),
        "decoder_loss_weights": (target > 0).astype(np.float32),
    }


def loss_of(definition, params, values):
    train, data = TrainConfig(z_loss=0.0), Experiment().data
    sums = loss_sums(definition.bind, params, values, None, train, data, training=True)[1]
    return sums["loss"] / sums["weight"]


@functools.cache
def forward(config):
    """Compiled once for both scales."""
    definition = Definition(config, VOCABULARY)

    def run(params, values):
        bound = definition.bind(params)
        encoded = bound.encode(values).states_BSE
        return encoded, bound.logits(bound.predict(values).states_BTD), loss_of(definition, params, values)

    return jax.jit(run)


@pytest.mark.parametrize("scan", [True, False])
@pytest.mark.parametrize("scale", [1.0, 4.0])
@pytest.mark.parametrize(
    ("activation", "tied"), [("gated_gelu_tanh", True), ("gated_gelu_tanh", False), ("relu", True), ("relu", False)]
)
def test_logits_encoder_states_and_loss(activation, tied, scale, scan):
    config = replace(reshaped(T5, activation=activation), tied_embeddings=tied, scan=scan)
    model = theirs(config, scale)
    values = ragged_batch()
    source = torch.from_numpy(values["encoder_input_tokens"]).long()
    labels = torch.from_numpy(values["decoder_target_tokens"]).long()
    with torch.no_grad():
        expected = model(
            input_ids=source, attention_mask=source.ne(0), labels=labels.masked_fill(labels.eq(0), IGNORED)
        )
    encoded, logits, loss = forward(config)(ours(model, config), on_device(values))
    real_source, real_target = values["encoder_segment_ids"] > 0, values["decoder_segment_ids"] > 0
    their_logits = expected.logits.numpy()[real_target]
    assert np.abs(their_logits).max() > scale * 0.5, "logits near zero would agree whatever the model"
    # Both are float32 with another order of summation. At T5's own scale that is 1e-5. Weights four times as large
    # make attention scores of hundreds, rounded to 1e-5 each, and the softmax turns that into as much in every weight.
    tolerance = (1e-5 if scale == 1.0 else 1e-4) * max(1.0, float(np.abs(their_logits).max()))
    np.testing.assert_allclose(np.asarray(logits)[real_target], their_logits, rtol=0, atol=tolerance)
    their_encoded = expected.encoder_last_hidden_state.numpy()[real_source]
    np.testing.assert_allclose(np.asarray(encoded)[real_source], their_encoded, rtol=0, atol=tolerance)
    np.testing.assert_allclose(loss, expected.loss.item(), rtol=1e-5)


def test_fine_tuning_goes_as_in_transformers():
    """From weights as ``t2c import`` reads them: the first gradient, and the loss at each of ten AdamW steps."""
    model = theirs(replace(T5, tied_embeddings=True), 1.0)
    weights = {name: weight.detach().numpy().copy() for name, weight in model.state_dict().items()}
    config = replace(model_config(t5, model.config.to_dict(), weights), dropout=0.0)
    start, left = read_arrays(t5, config, weights)
    assert not left
    batches = [ragged_batch(seed) for seed in range(10)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.98), eps=1e-8, weight_decay=0.01)
    expected, gradients = [], {}

    def their_loss(values):
        source, labels = (
            torch.from_numpy(values[name]).long() for name in ("encoder_input_tokens", "decoder_target_tokens")
        )
        labels = labels.masked_fill(labels.eq(0), IGNORED)
        return model(input_ids=source, attention_mask=source.ne(0), labels=labels).loss

    with torch.no_grad():
        untrained = [their_loss(values).item() for values in batches]
    for values in batches:
        optimizer.zero_grad()
        loss = their_loss(values)
        loss.backward()
        gradients = gradients or {name: weight.grad.numpy().copy() for name, weight in model.named_parameters()}
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        expected.append(loss.item())

    gradient_of = jax.jit(jax.grad(functools.partial(loss_of, Definition(config, VOCABULARY))))
    gradient = gradient_of(jax.tree.map(jnp.asarray, start), on_device(batches[0]))
    written = t5.params_to_huggingface(config, jax.device_get(gradient))
    for name, wanted in gradients.items():
        # A gradient goes through every rounded weight twice.
        size = 1e-4 * float(np.abs(wanted).max())
        np.testing.assert_allclose(written[name], wanted, rtol=0, atol=size + 1e-6, err_msg=name)

    experiment = Experiment(
        model=config,
        optimizer=OptimizerConfig(schedule="constant", warmup_steps=0, decay_mask="", clip_norm=1.0),
        train=TrainConfig(z_loss=0.0, steps=10),
        mesh=MeshConfig(data=1),
    )
    compiled = compiled_on(make_mesh(experiment, jax.devices()[:1]), experiment, VOCABULARY)
    state = compiled.init()
    state["params"] = jax.tree.map(jnp.asarray, start)
    found = []
    for values in batches:
        state, metrics = compiled.train_step(state, on_device(values))
        found.append(float(metrics["loss"]) / float(metrics["weight"]))
    assert (np.abs(np.subtract(expected, untrained))[-3:] > 0.05).all(), "else it would agree whatever the steps do"
    # Adam divides by the root of tiny second moments in the first steps, and so blows up what rounds otherwise (1e-6).
    np.testing.assert_allclose(found, expected, rtol=1e-4)
