"""A config.json is read whole: a key that is not understood stops the import, for every architecture."""

import functools
import importlib
import operator

import pytest

from t2c_jax.errors import UserError
from t2c_jax.interop.import_model import FAMILIES
from t2c_jax.interop.source_config import WITHOUT_EFFECT, Fields, model_config

transformers = pytest.importorskip("transformers")


def written(kind, **values):
    """What ``transformers`` writes of a model of its default shape."""
    return {**transformers.AutoConfig.for_model(kind).to_dict(), **values}


def read(kind, values):
    return model_config(importlib.import_module(FAMILIES[kind]), values)


@pytest.mark.parametrize("kind", FAMILIES)
def test_every_key_that_transformers_writes_is_understood(kind):
    read(kind, written(kind))


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_key_that_is_not_understood_is_named(kind):
    with pytest.raises(UserError, match=rf"not understood for model_type='{kind}': attention_sinks=4; .* Delete a key"):
        read(kind, written(kind, attention_sinks=4))
    read(kind, written(kind, attention_sinks=None))


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_quantized_model_is_refused(kind):
    with pytest.raises(UserError, match="quantization_config is set; import the model in float32 or bfloat16"):
        read(kind, written(kind, quantization_config={"bits": 4}))


# Keys of the files at the hub that today's classes no longer write.
PAST = {
    "t5": {"n_positions": 512, "output_past": True, "task_specific_params": {"summarization": {"num_beams": 4}}},
    "bert": {"directionality": "bidi", "pooler_fc_size": 768, "pooler_type": "first_token_transform"},
    "roberta": {"output_past": True, "gradient_checkpointing": False, "finetuning_task": None, "torchscript": False},
    "bart": {"add_bias_logits": False, "normalize_before": False, "normalize_embedding": True, "classif_dropout": 0.1}
    | {"num_hidden_layers": 12},
    "modernbert": {"global_attn_every_n_layers": 3, "global_rope_theta": 160000.0, "layer_norm_eps": 1e-5},
    "gpt2": {"n_ctx": 1024, "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}}},
}


@pytest.mark.parametrize("kind", PAST)
def test_files_of_the_past_are_read(kind):
    assert read(kind, written(kind, **PAST[kind])) == read(kind, written(kind))


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("bert", {"directionality": "unidi"}),
        ("bert", {"pruned_heads": {"1": [0]}}),
        ("gpt2", {"pruned_heads": {"1": [0]}}),
        ("bart", {"normalize_before": True}),
        ("bart", {"add_final_layer_norm": True}),
        ("bart", {"num_hidden_layers": 6}),
        ("plbart", {"tie_word_embeddings": False}),
        ("modernbert", {"norm_bias": True}),
        ("t5", {"dense_act_fn": "silu"}),
        ("t5", {"is_gated_act": True}),
        ("t5", {"tie_encoder_decoder": True}),
        ("t5", {"is_decoder": True}),
    ],
)
def test_what_is_understood_and_not_built_is_refused(kind, values):
    (name,) = values
    with pytest.raises(UserError, match=rf"config\.json: {name}=.* is not supported"):
        read(kind, written(kind, **values))


# In a half: the whole model's counts.
OF_THE_WHOLE = ("is_encoder_decoder", "tie_word_embeddings")
# Neither by transformers: logits are the decoder's, T5Gemma 2 has no soft-cap of scores, and the encoder's eoi counts.
NEVER_READ = {
    "t5gemma": [("encoder", "final_logit_softcapping")],
    "t5gemma2": [
        ("eoi_token_index",),
        ("encoder", "text_config", "final_logit_softcapping"),
        ("encoder", "text_config", "attn_logit_softcapping"),
        ("decoder", "attn_logit_softcapping"),
    ],
}


def places(values, path=()):
    """Every key of a config.json that is no section, by its path."""
    for name, value in values.items():
        if isinstance(value, dict) and name not in ("id2label", "label2id", "vision_config"):
            yield from places(value, (*path, name))
        else:
            yield (*path, name)


def another(value):
    """Of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return 2 * value if value >= 1 else value + 0.5
    if isinstance(value, list):
        return [*value[1:], value[0] if len(set(value)) > 1 else "chunked_attention"]
    return "another" if isinstance(value, str) else 3


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_key_changes_the_model_or_is_refused_or_is_listed_as_one_without_effect(kind):
    family = importlib.import_module(FAMILIES[kind])
    listed = {*WITHOUT_EFFECT, *family.WITHOUT_EFFECT}
    plain = read(kind, written(kind))
    for path in places(written(kind)):
        values = written(kind)
        *sections, name = path
        section = functools.reduce(operator.getitem, sections, values)
        elsewhere = name in ("vocab_size", "model_type") or (sections and name in OF_THE_WHOLE)
        if name in listed or elsewhere or path in NEVER_READ.get(kind, ()):
            continue
        section[name] = another(section[name])
        try:
            same = read(kind, values) == plain
        except UserError:
            continue
        assert not same, path


def test_both_generations_of_modernberts_keys_say_the_same():
    new = written("modernbert", local_attention=32)
    old = {name: value for name, value in new.items() if name not in ("layer_types", "rope_parameters")}
    old |= {"global_attn_every_n_layers": 3, "global_rope_theta": 5000.0, "local_rope_theta": 70.0}
    new["rope_parameters"]["full_attention"]["rope_theta"] = 5000.0
    new["rope_parameters"]["sliding_attention"]["rope_theta"] = 70.0
    encoder = read("modernbert", old).encoder
    assert encoder == read("modernbert", new).encoder
    assert (encoder.layer_kinds, encoder.window) == (("full", "local", "local"), 16)
    assert (encoder.rope_theta, encoder.local_rope_theta) == (5000.0, 70.0)
    new["rope_parameters"]["full_attention"]["rope_type"] = "yarn"
    with pytest.raises(UserError, match=r"rope_parameters\.full_attention\.rope_type='yarn' is not supported"):
        read("modernbert", new)


def test_keys_within_sections_are_read_or_named_too():
    fields = Fields(
        {"decoder": {"layers": 2, "rope_tetha": 1, "extra": "x" * 90}, "widht": 3, "note": 1, "empty": None}
    )
    half = fields.section("decoder")
    half.integer("layers")
    half.positive("rope_theta", 10000.0)
    fields.integer("width", 8)
    assert fields.unread(["note"]) == [
        "widht=3 (did you mean 'width'?)",
        "decoder.rope_tetha=1 (did you mean 'rope_theta'?)",
        f"decoder.extra='{'x' * 56}...",
    ]
    with pytest.raises(UserError, match=r"config\.json: decoder\.layers=2 is not supported; 3 is"):
        half.must_be("layers", 3)
    with pytest.raises(UserError, match=r"config\.json: widht=3 must be an object"):
        fields.section("widht")
