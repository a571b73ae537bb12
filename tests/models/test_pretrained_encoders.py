"""BERT, RoBERTa and GPT-2 encoders against ``transformers``' own, in float32, on the same weights."""

import functools
from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from stored_arrays import read_arrays
from tiny import MODEL, assert_close, drawn, on_device, row

from t2c_jax.config import ModelConfig
from t2c_jax.interop import bert, gpt2, modernbert
from t2c_jax.interop.source_config import model_config as read_config
from t2c_jax.interop.tensor_table import write_params
from t2c_jax.mesh import partition_spec
from t2c_jax.models.definition import Definition
from t2c_jax.models.pretrained.layers import LayerMix

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

VOCABULARY, LENGTH = 40, 12
KINDS = ("bert", "roberta", "gpt2", "modernbert")
SPECIALS = {"cls_token_id": 1, "bos_token_id": 1, "sep_token_id": 2, "eos_token_id": 2}
# Float32 on both sides; sums run in another order. States are of size 1, for both normalise them last.
TOLERANCE = 1e-4


def theirs(kind, scale=1.0, **values):
    """A tiny model with weights drawn at ``transformers``' own scale, times ``scale``; norms and biases drawn too."""
    torch.manual_seed(0)
    if kind == "gpt2":
        sizes = {"n_embd": 24, "n_layer": 3, "n_head": 4, "n_positions": 20}
        config = transformers.GPT2Config(vocab_size=VOCABULARY, **sizes, **values)
        model = transformers.GPT2Model(config)
    elif kind == "modernbert":
        # Layers 0 and 3 full, the others local; a window of 2 to each side, shorter than the rows; odd halves.
        sizes = {"hidden_size": 24, "num_hidden_layers": 5, "num_attention_heads": 2, "intermediate_size": 20}
        sizes |= {"local_attention": 4, "local_rope_theta": 100.0, "global_rope_theta": 3000.0, "pad_token_id": 0}
        config = transformers.ModernBertConfig(
            vocab_size=VOCABULARY, initializer_range=0.2, **SPECIALS, **{**sizes, **values}
        )
        model = transformers.ModernBertModel(config)
    else:
        sizes = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
        family = transformers.BertConfig if kind == "bert" else transformers.RobertaConfig
        config = family(vocab_size=VOCABULARY, max_position_embeddings=20, **sizes, **values)
        model = (transformers.BertModel if kind == "bert" else transformers.RobertaModel)(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 1 and name.endswith("weight"):
                weight.uniform_(0.5, 1.5)
            elif weight.ndim == 1:
                weight.normal_(0, 0.1)
            else:
                weight.mul_(scale)
    return model.eval()


def family_of(model):
    return {"gpt2": gpt2, "modernbert": modernbert}.get(model.config.model_type, bert)


def ours(model, **values) -> tuple[ModelConfig, dict]:
    """Their config and weights as ours."""
    family = family_of(model)
    config = read_config(family, model.config.to_dict())
    weights = {name: weight.detach().numpy() for name, weight in model.state_dict().items()}
    params, left = read_arrays(family, config, weights)
    assert all(name.startswith("pooler") for name in left), "every tensor but the pooler's is consumed"
    model_config = replace(MODEL, encoder=replace(config.encoder, **values))
    return model_config, params["encoder"]


@functools.cache
def encoding(config: ModelConfig):
    """A jitted function from parameters, a batch and a key to states and their summary, and the summary's pool."""
    definition, pools = Definition(config, 32), []

    def encode(params, batch, key):
        found = definition.bind(params).encode(batch, key)
        pools[:] = [summary.pool for summary in found.summaries]
        return found.states_BSE, found.summaries[0].states_BSC

    return jax.jit(encode), pools


def encoded(config: ModelConfig, encoder: dict, batch: dict, key=None):
    """Our states and the summary's place; decoder and embedding are drawn and never looked at."""
    _, params = drawn(config, vocabulary=32)
    extra = {name: value for name, value in params["encoder"].items() if name == "mix"}
    encode, pools = encoding(config)
    states, summary = encode({**params, "encoder": jax.tree.map(jnp.asarray, {**encoder, **extra})}, batch, key)
    return SimpleNamespace(states_BSE=states, summary_BSC=summary, pools=pools)


def sources(lengths=(12, 7, 3)):
    """Padded rows of one segment each, and their attention mask."""
    draw = np.random.default_rng(1)
    rows = [row([draw.integers(3, VOCABULARY, length).tolist()], LENGTH) for length in lengths]
    tokens, segments, positions = (np.concatenate(parts) for parts in zip(*rows, strict=True))
    names = ("encoder_input_tokens", "encoder_segment_ids", "encoder_positions")
    return on_device(dict(zip(names, (tokens, segments, positions), strict=True))), segments > 0


def read_by(model, batch, mask):
    """What their model is called with."""
    tokens = np.asarray(batch["encoder_input_tokens"])
    pad = 1 if model.config.model_type == "roberta" else 0  # its positions are counted by what is not padding
    tokens = torch.from_numpy(np.where(mask, tokens, pad)).long()
    return {"input_ids": tokens, "attention_mask": torch.from_numpy(mask).long()}


def reference(model, batch, mask, *, layers=False):
    with torch.no_grad():
        found = model(**read_by(model, batch, mask), output_hidden_states=True)
    return [state.numpy() for state in found.hidden_states] if layers else found.last_hidden_state.numpy()


@pytest.mark.parametrize("scan", [True, False], ids=["scanned", "unrolled"])
@pytest.mark.parametrize("scale", [1.0, 8.0])
@pytest.mark.parametrize("kind", KINDS)
def test_states_are_those_of_transformers(kind, scale, scan):
    model = theirs(kind, scale)
    config, encoder = ours(model)
    batch, mask = sources()
    states = encoded(replace(config, scan=scan), encoder, batch).states_BSE
    np.testing.assert_allclose(np.asarray(states)[mask], reference(model, batch, mask)[mask], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("bert", {"hidden_act": "gelu_new", "layer_norm_eps": 1e-3}),
        ("bert", {"hidden_act": "relu", "type_vocab_size": 5}),
        ("gpt2", {"activation_function": "gelu", "n_inner": 30, "layer_norm_epsilon": 1e-2}),
        ("modernbert", {"hidden_activation": "silu", "norm_eps": 1e-2, "global_attn_every_n_layers": 2}),
        ("modernbert", {"layer_types": [*["sliding_attention"] * 2, *["full_attention"] * 3]}),
    ],
    ids=["tanh", "relu", "gpt2", "modernbert", "other kinds of layers"],
)
def test_variants_of_the_config_are_kept(kind, values):
    model = theirs(kind, 4.0, **values)
    config, encoder = ours(model)
    batch, mask = sources()
    states = encoded(config, encoder, batch).states_BSE
    np.testing.assert_allclose(np.asarray(states)[mask], reference(model, batch, mask)[mask], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("scan", [True, False], ids=["scanned", "unrolled"])
@pytest.mark.parametrize("kind", ["bert", "gpt2", "modernbert"])
def test_a_fresh_mix_is_the_mean_of_the_embedding_and_all_layers(kind, scan):
    model = theirs(kind, 4.0)
    config, encoder = ours(model, mix_layers=True)
    batch, mask = sources()
    states = encoded(replace(config, scan=scan), encoder, batch).states_BSE
    layers = reference(model, batch, mask, layers=True)
    if kind == "gpt2":  # transformers normalises the last alone
        with torch.no_grad():
            layers[:-1] = [model.ln_f(torch.from_numpy(layer)).numpy() for layer in layers[:-1]]
    if kind == "modernbert":
        with torch.no_grad():
            layers[:-1] = [model.final_norm(torch.from_numpy(layer)).numpy() for layer in layers[:-1]]
    assert len(layers) == config.encoder.layers + 1
    np.testing.assert_allclose(np.asarray(states)[mask], np.mean(layers, axis=0)[mask], rtol=0, atol=TOLERANCE)


def test_a_mix_weighs_layers_by_a_softmax_and_scales_their_sum():
    mix = LayerMix(2, rngs=nnx.Rngs(0))
    mix.weights[...], mix.scale[...] = jnp.log(jnp.array([1.0, 2.0, 5.0])), jnp.array(4.0)
    np.testing.assert_allclose(mix.shares(), [0.5, 1.0, 2.5], rtol=1e-6)  # 4 x (1, 2, 5) / 8; float32's last digit


@pytest.mark.parametrize("kind", KINDS)
def test_packed_segments_are_read_as_if_alone(kind):
    config, encoder = ours(theirs(kind, 4.0))
    names = ("encoder_input_tokens", "encoder_segment_ids", "encoder_positions")
    one, other = [5, 6, 7, 8, 9], [10, 6, 11, 12]
    packed = encoded(config, encoder, on_device(dict(zip(names, row([one, other], LENGTH), strict=True)))).states_BSE
    for sequence, place in ((one, slice(0, 5)), (other, slice(5, 9))):
        alone = encoded(config, encoder, on_device(dict(zip(names, row([sequence], LENGTH), strict=True)))).states_BSE
        # The same sums over other rows of one product: float32's rounding at most.
        assert_close(packed[:, place], alone[:, : len(sequence)], tolerance=1e-5)


@pytest.mark.parametrize(
    ("kind", "pool"), [("bert", "first"), ("roberta", "first"), ("gpt2", "last"), ("modernbert", "first")]
)
def test_the_summary_is_where_each_network_gathers_it(kind, pool):
    config, encoder = ours(theirs(kind))
    found = encoded(config, encoder, sources()[0])
    assert found.pools == [pool]
    np.testing.assert_array_equal(found.summary_BSC, found.states_BSE)


def test_gpt2_never_looks_ahead_and_bert_does():
    for kind, changes in (("gpt2", False), ("bert", True)):
        config, encoder = ours(theirs(kind, 4.0))
        batch, _ = sources((12,))
        other = {**batch, "encoder_input_tokens": batch["encoder_input_tokens"].at[0, -1].set(5)}
        difference = np.abs(encoded(config, encoder, batch).states_BSE - encoded(config, encoder, other).states_BSE)[
            0, :-1
        ].max()
        assert (difference > 1e-3) == changes, kind


def test_modernberts_window_is_as_wide_as_theirs():
    """What is behind the reach of four local layers and none else changes nothing."""
    values = {"layer_types": ["sliding_attention"] * 4, "num_hidden_layers": 4}
    config, encoder = ours(theirs("modernbert", 1.0, **values))
    assert (config.encoder.layer_kinds, config.encoder.window) == (("local",), 2)
    batch, _ = sources((12,))
    other = {**batch, "encoder_input_tokens": batch["encoder_input_tokens"].at[0, -1].set(5)}
    found = [encoded(config, encoder, each).states_BSE for each in (batch, other)]
    changed = np.abs(found[0] - found[1]).max(axis=(0, 2)) > 0
    assert changed.tolist() == [False] * 3 + [True] * 9  # 2 tokens a layer


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_dropout_needs_a_key_and_half_precision_stays_near(kind):
    config, encoder = ours(theirs(kind, 4.0))
    batch, mask = sources()
    plain = np.asarray(encoded(config, encoder, batch).states_BSE)
    dropping = replace(config, dropout=0.5)
    np.testing.assert_array_equal(plain, encoded(dropping, encoder, batch).states_BSE)
    assert np.abs(plain - encoded(dropping, encoder, batch, jax.random.key(1)).states_BSE).max() > 0.1
    half = encoded(replace(config, dtype="bfloat16"), encoder, batch).states_BSE
    assert half.dtype == jnp.bfloat16
    # bfloat16 keeps 8 bits; three layers' errors add up on states of size 1.
    assert np.abs(plain - np.asarray(half, np.float32))[mask].mean() < 0.03


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_and_ten_steps_of_training_are_theirs(kind):
    """Through a fixed linear read-out, of padded rows; ModernBERT's windows are shorter than the rows."""
    model = theirs(kind, 2.0)
    config, encoder = ours(model)
    batch, mask = sources()
    draw = np.random.default_rng(0)
    readout_EC = draw.normal(0, 0.5, (24, 5)).astype(np.float32)
    labels_N = draw.integers(0, 5, mask.sum())
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.98), eps=1e-8, weight_decay=0.01)
    expected, first = [], {}
    for _ in range(10):
        optimizer.zero_grad()
        states = model(**read_by(model, batch, mask)).last_hidden_state[torch.from_numpy(mask)]
        loss = torch.nn.functional.cross_entropy(states @ torch.from_numpy(readout_EC), torch.from_numpy(labels_N))
        loss.backward()
        first = first or {
            name: weight.grad.numpy().copy() for name, weight in model.named_parameters() if weight.grad is not None
        }
        optimizer.step()
        expected.append(loss.item())

    definition, params = drawn(config, vocabulary=32)
    adam = optax.adamw(3e-3, b1=0.9, b2=0.98, eps=1e-8, weight_decay=0.01)

    @jax.jit
    def step(encoder, state):
        def loss(encoder):
            states_NE = definition.bind({**params, "encoder": encoder}).encode(batch).states_BSE[mask]
            return optax.softmax_cross_entropy_with_integer_labels(states_NE @ readout_EC, labels_N).mean()

        value, gradient = jax.value_and_grad(loss)(encoder)
        updates, state = adam.update(gradient, state, encoder)
        return optax.apply_updates(encoder, updates), state, value, gradient

    encoder = jax.tree.map(jnp.asarray, encoder)
    state, found, gradients = adam.init(encoder), [], []
    for _ in range(10):
        encoder, state, value, gradient = step(encoder, state)
        found.append(float(value))
        gradients.append(gradient)
    table = family_of(model).tensors(config.encoder)
    written = write_params(table, {"encoder": jax.device_get(gradients[0])})
    assert written.keys() == first.keys()
    for name, gradient in written.items():
        # A gradient goes through every rounded weight twice. That of a constant on all keys is 0 but for rounding.
        size = 1e-4 * float(np.abs(first[name]).max())
        np.testing.assert_allclose(gradient, first[name], rtol=0, atol=size + 1e-6, err_msg=name)
    assert expected[-1] < expected[0] - 0.2, "else it would agree whatever the steps do"
    # Adam divides by the root of tiny second moments in the first steps, and so blows up what rounds otherwise (1e-6).
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize("kind", ["bert", "gpt2", "modernbert"])
def test_rematerialised_gradients_are_the_same(kind):
    config, encoder = ours(theirs(kind, 4.0), mix_layers=True)
    batch, _ = sources()
    gradients = {}
    for remat in ("none", "dots", "full"):
        definition, params = drawn(replace(config, remat=remat), vocabulary=32)
        params["encoder"] = {**jax.tree.map(jnp.asarray, encoder), "mix": params["encoder"]["mix"]}

        def loss(params, definition=definition):
            return jnp.sum(jnp.sin(definition.bind(params).encode(batch).states_BSE))

        gradient = jax.jit(jax.grad(loss))(params)["encoder"]
        # A constant on all keys moves all of a query's scores alike: its gradient is 0 but for rounding.
        assert kind == "modernbert" or np.abs(gradient["blocks"]["attention"].pop("key_bias")).max() < 1e-5
        gradients[remat] = gradient
    for remat in ("dots", "full"):
        assert_close(gradients[remat], gradients["none"], tolerance=1e-5)  # the same products again, fused otherwise


def test_every_parameter_is_sharded_by_a_rule():
    for kind in ("bert", "gpt2"):
        config, _ = ours(theirs(kind), mix_layers=True)
        names = Definition(config, 32).axis_names()["encoder"]
        blocks = names["blocks"]
        assert partition_spec(blocks["attention"]["query"]) == jax.P(None, ("fsdp",), ("tensor",), None)
        assert blocks["attention"]["query"] == ("layers", "embed", "heads", "head_width")
        assert blocks["feed_forward"]["up_bias"] == ("layers", "mlp")
        assert names["tokens"] == ("source_vocab", "embed")
        assert names["mix"] == {"weights": ("layers",), "scale": ()}
