"""T5's names both ways: round trips, and logits and searches against ``transformers`` on the same weights."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from stored_arrays import read_arrays, unequal_copy
from tiny import MODEL, assert_same, both, decoder, drawn, encoder, on_device, reshaped

from t2c_jax.config import DecodeConfig
from t2c_jax.decode.logits_processors import NoRepeatNgram
from t2c_jax.decode.programs import search_function
from t2c_jax.errors import UserError
from t2c_jax.interop import t5
from t2c_jax.interop.source_config import model_config
from t2c_jax.models.definition import Definition

VOCABULARY = 48
T5 = replace(MODEL, encoder=encoder("t5", layers=3), decoder=decoder("t5"), width=24)
KINDS = [
    pytest.param(replace(reshaped(T5, activation=activation), tied_embeddings=tied), id=f"{activation}-{tied}")
    for activation in ("gated_gelu_tanh", "relu", "gelu", "gelu_tanh", "gated_silu")
    for tied in (True, False)
]
STEPS = 20


def their_tensors(config, seed=0):
    _, params = drawn(config, seed, VOCABULARY)
    return t5.params_to_huggingface(config, params), params


@pytest.mark.parametrize("config", KINDS)
def test_parameters_come_back(config):
    tensors, params = their_tensors(config)
    copies = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
    tensors |= {**dict.fromkeys(copies, tensors["shared.weight"]), "of.another.model": np.zeros(3)}
    found, left = read_arrays(t5, config, tensors)
    assert_same(found, params)
    assert left == {"of.another.model"}, "what was not used is left for the caller to refuse"


@pytest.mark.parametrize("config", KINDS)
def test_configs_come_back(config):
    config = replace(reshaped(config, norm_epsilon=1e-5, relative_max_distance=64), dropout=0.25)
    assert model_config(t5, t5.config_to_huggingface(config, VOCABULARY)) == config


SHAPE = {"d_model": 8, "d_kv": 4, "d_ff": 16, "num_layers": 2, "num_heads": 2}


@pytest.mark.parametrize(
    ("values", "names", "activation", "tied", "scaled"),
    [
        ({"model_type": "t5"}, (), "relu", True, True),  # T5 1.0's file says neither
        (
            {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
            (),
            "gated_gelu_tanh",
            False,
            True,
        ),  # v1.1, FLAN
        ({"model_type": "mt5"}, (), "gated_gelu_tanh", False, True),
        # As transformers 5 writes v1.1: tied, it says; the file tells.
        ({"tie_word_embeddings": True, "scale_decoder_outputs": False}, ("lm_head.weight",), "relu", False, True),
        ({"tie_word_embeddings": True, "scale_decoder_outputs": False}, (), "relu", True, False),
        ({"tie_word_embeddings": True, "scale_decoder_outputs": True}, ("lm_head.weight",), "relu", True, True),
    ],
)
def test_every_kind_of_t5_is_recognised(values, names, activation, tied, scaled):
    config = model_config(t5, {**SHAPE, **values}, names)
    assert (config.tied_embeddings, config.scale_tied_output, config.width) == (tied, scaled, 8)
    for side in (config.encoder, config.decoder):
        assert (side.type, side.activation, side.layers) == ("t5", activation, 2)
        assert (side.head_width, side.feed_forward, side.num_heads) == (4, 16, 2)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model_type": "umt5"}, "model_type='umt5' is no T5"),
        ({"feed_forward_proj": "gelu_fast"}, "feed_forward_proj='gelu_fast' is not supported; relu, gelu"),
        ({"d_model": "512"}, "d_model='512' must be a whole number"),
        ({"num_layers": 0}, "num_layers=0 must be"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings='yes' must be true or false"),
        ({"is_encoder_decoder": False}, "is_encoder_decoder"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
        ({"tie_word_embeddings": False, "scale_decoder_outputs": True}, "scale_decoder_outputs=true"),
    ],
)
def test_what_is_not_known_is_refused_by_its_key(values, message):
    with pytest.raises(UserError, match=message):
        model_config(t5, {**SHAPE, **values})


def test_tensors_that_do_not_fit_are_refused_by_name():
    tensors, _ = their_tensors(T5)
    query = "encoder.block.1.layer.0.SelfAttention.q.weight"
    with pytest.raises(UserError, match=f"lack the tensor '{query}', which a model of this config.json has"):
        read_arrays(t5, T5, {name: tensor for name, tensor in tensors.items() if name != query})
    with pytest.raises(UserError, match=rf"'{query}' is \(3, 24\); its config.json makes it \(16, 24\)"):
        read_arrays(t5, T5, {**tensors, query: tensors[query][:3]})
    with pytest.raises(UserError, match=r"no tensor 'shared\.weight'; is it a T5 with a decoder"):
        read_arrays(t5, T5, {})
    with pytest.raises(UserError, match=r"'shared\.weight' is \(48,\); a table of words has two axes"):
        read_arrays(t5, T5, {**tensors, "shared.weight": np.zeros(48)})


def test_copies_of_the_embedding_count_once_and_only_if_they_are_copies():
    tensors, params = their_tensors(T5)
    table = tensors.pop("shared.weight")
    tensors |= {"decoder.embed_tokens.weight": table, "lm_head.weight": table}
    found, left = read_arrays(t5, T5, tensors)
    assert_same(found, params)
    assert not left
    tensors |= {"shared.weight": table, "encoder.embed_tokens.weight": table}
    untied = replace(T5, tied_embeddings=False)
    for name in ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"):
        for wrong in (unequal_copy(table), table[:-1]):
            with pytest.raises(UserError, match=rf"tensor '{name}' differs from 'shared\.weight', .* are one table"):
                read_arrays(t5, T5, {**tensors, name: wrong})
    assert not read_arrays(t5, untied, {**tensors, "lm_head.weight": unequal_copy(table)})[1]


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"encoder": encoder()}, "train with config.model.encoder=t5"),
        ({"copy": True}, "train with config.model.copy=False"),
        ({"decoder": decoder("lstm")}, "train with config.model.decoder=t5"),
        (
            {"decoder": decoder("t5", num_heads=3)},
            "config.model.encoder.num_heads=2 and config.model.decoder.num_heads=3: T5's format has one value for both;"
            " train with equal ones",
        ),
        (both("t5", activation="gated_gelu"), "relu, gelu, gelu_tanh, gated_gelu_tanh, gated_silu are"),
    ],
)
def test_a_model_that_is_no_t5_is_refused_with_the_setting(change, key):
    reason = t5.why_not(replace(T5, **change))
    assert reason is not None
    assert reason.endswith(key)
    with pytest.raises(UserError):
        t5.params_to_huggingface(replace(T5, **change), {})
    assert t5.why_not(T5) is None


torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
torch.set_num_threads(1)  # its threads and XLA's wait for each other at these sizes


def theirs(config, scale=1.0):
    """Their model with weights of its own drawing, times ``scale``, as a checkpoint of theirs would hold them."""
    torch.manual_seed(0)
    model = transformers.T5ForConditionalGeneration(
        transformers.T5Config(**t5.config_to_huggingface(config, VOCABULARY))
    ).eval()
    if not config.tied_embeddings:  # version 5 ties them whatever the config says
        model.lm_head.weight = torch.nn.Parameter(torch.empty(VOCABULARY, config.width))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "layer_norm" in name:
                weight.uniform_(0.5, 1.5)
            elif "relative_attention_bias" in name or name == "lm_head.weight":
                weight.normal_(0, config.width**-0.5)
            weight.mul_(1 if "layer_norm" in name or name == "shared.weight" else scale)
    return model


def ours(model, config):
    """Their model's parameters as an import reads them."""
    weights = {name: weight.detach().numpy() for name, weight in model.state_dict().items()}
    params, left = read_arrays(t5, config, weights)
    assert not left
    return Definition(config, VOCABULARY), jax.tree.map(jnp.asarray, params)


def padded_batch():
    """Sources of 9, 4, 30 tokens and targets of 5, 12, 26, padded at the end."""
    draw = np.random.default_rng(1)
    source, target = np.zeros((3, 30), np.int32), np.zeros((3, 26), np.int32)
    for row, (s, t) in enumerate([(9, 5), (4, 12), (30, 26)]):
        source[row, :s], target[row, :t] = draw.integers(2, VOCABULARY, s), draw.integers(2, VOCABULARY, t)
        source[row, s - 1] = target[row, t - 1] = 1
    batch = {}
    for side, tokens, key in (("encoder", source, "input"), ("decoder", target, "target")):
        batch[f"{side}_{key}_tokens"] = tokens
        batch[f"{side}_segment_ids"] = (tokens > 0).astype(np.int32)
        batch[f"{side}_positions"] = np.broadcast_to(np.arange(tokens.shape[1], dtype=np.int32), tokens.shape)
    batch["decoder_input_tokens"] = np.pad(target, ((0, 0), (1, 0)))[:, :-1] * (target > 0)
    return batch


def their_logits(model, batch):
    source = torch.from_numpy(batch["encoder_input_tokens"]).long()
    fed = torch.from_numpy(batch["decoder_input_tokens"]).long()
    with torch.no_grad():
        found = model(input_ids=source, attention_mask=source.ne(0), decoder_input_ids=fed).logits
    return found.numpy()[batch["decoder_segment_ids"] > 0]


def our_logits(definition, params, batch):
    @jax.jit
    def forward(params, values):
        bound = definition.bind(params)
        prediction = bound.predict(values)
        return bound.logits(prediction.states_BTD)

    return np.asarray(forward(params, on_device(batch)))[batch["decoder_segment_ids"] > 0]


@pytest.mark.parametrize("scan", [True, False])
@pytest.mark.parametrize("scale", [1.0, 4.0])
@pytest.mark.parametrize("config", KINDS[:4])
def test_logits_are_theirs(config, scale, scan):
    config = replace(config, scan=scan)
    model, batch = theirs(config, scale), padded_batch()
    expected = their_logits(model, batch)
    assert np.abs(expected).max() > scale * 0.5, "logits near zero would agree whatever the model"
    # Both are float32 and sum in another order. Weights four times as large make attention scores of hundreds, rounded
    # to 1e-5 each, and the softmax turns that into as much in every weight.
    tolerance = (1e-5 if scale == 1.0 else 1e-4) * max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(our_logits(*ours(model, config), batch), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    "change",
    [{"scale_tied_output": False}, both("t5", activation="gelu_tanh"), both("t5", activation="gelu")],
    ids=["output not scaled", "gelu_tanh", "gelu"],
)
def test_what_t5_writes_otherwise_gives_the_same_logits(change, tmp_path):
    """A tied output that is not scaled becomes one of its own; the exact GELU and its approximation have two names."""
    config = replace(T5, **change)
    definition, params = drawn(config, 3, VOCABULARY)
    values = t5.config_to_huggingface(config, VOCABULARY)
    model = transformers.T5ForConditionalGeneration(transformers.T5Config(**values)).eval()
    tensors = {name: torch.tensor(value) for name, value in t5.params_to_huggingface(config, params).items()}
    lacking = model.load_state_dict(tensors, strict=False)
    assert not lacking.unexpected_keys
    batch = padded_batch()
    expected = our_logits(definition, params, batch)
    # As above.
    np.testing.assert_allclose(their_logits(model, batch), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("config", KINDS[:4])
def test_searches_find_their_tokens(config):
    """``early_stopping="never"`` is the exact bound; with it ``length_penalty`` means to them what it means to us, and
    ``no_repeat_ngram_size`` does anyway."""
    model, batch = theirs(config), padded_batch()
    definition, params = ours(model, config)
    source = torch.from_numpy(batch["encoder_input_tokens"]).long()
    read = {name: value for name, value in on_device(batch).items() if name.startswith("encoder")}

    def generated(eos, **settings):
        with torch.no_grad():
            found = model.generate(
                input_ids=source,
                attention_mask=source.ne(0),
                generation_config=transformers.GenerationConfig(
                    max_new_tokens=STEPS, do_sample=False, pad_token_id=0, eos_token_id=eos, decoder_start_token_id=0
                ),
                **settings,
            ).numpy()[:, 1:]
        found = np.pad(found, ((0, 0), (0, STEPS - found.shape[1])))
        after = np.cumsum(found == eos, axis=1) - (found == eos) > 0
        return np.where(after, 0, found)  # a beam that has ended is filled up with eos where pad is 0

    def searched(eos, beams, penalty, repeats=0):
        def run(params, read):
            processors = [NoRepeatNgram()] if repeats else []
            decode = DecodeConfig(
                beam_size=beams, max_tokens=STEPS, length_penalty=penalty, no_repeat_ngram_size=repeats
            )
            return search_function([definition], decode, processors, eos=eos)([params], read)

        return jax.jit(run)(params, read)

    eos = int(np.bincount(generated(1).ravel()).argmax())  # what it says anyway, so that sequences do end
    for repeats in (0, 2):
        np.testing.assert_array_equal(
            searched(eos, 1, 0.0, repeats).tokens[:, 0], generated(eos, no_repeat_ngram_size=repeats)
        )
    compared = 0
    for penalty, repeats in ((0.0, 0), (1.0, 0), (1.0, 2)):
        beams = searched(eos, 3, penalty, repeats)
        best_first = {"num_beams": 3, "num_return_sequences": 3, "length_penalty": penalty, "early_stopping": "never"}
        best_first["no_repeat_ngram_size"] = repeats
        found = generated(eos, **best_first).reshape(3, 3, STEPS)
        for row, (tokens, finished) in enumerate(zip(beams.tokens, beams.finished, strict=True)):
            # One cut short counts as ended to them, and may displace an ended one; what is left keeps its order.
            ended = found[row][(found[row] == eos).any(axis=1)]
            np.testing.assert_array_equal(np.asarray(tokens)[np.asarray(finished)][: len(ended)], ended)
            compared += len(ended)
    assert compared >= 3, "too few sequences ended to tell"
