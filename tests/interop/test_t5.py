"""T5's names both ways: round trips, and logits and searches against ``transformers`` on the same weights."""

from dataclasses import replace

import pytest
from tiny import MODEL, assert_same, drawn

from t2c_jax.interop import t5

VOCABULARY = 48
T5 = replace(MODEL, position="t5", scale_attention=False, width=24, encoder_layers=2, decoder_layers=3)
KINDS = [
    pytest.param(replace(T5, activation=activation, tied_embeddings=tied), id=f"{activation}-{tied}")
    for activation in ("gated_gelu", "relu", "gelu", "gated_silu")
    for tied in (True, False)
]


def their_tensors(config, seed=0):
    _, params = drawn(config, seed, VOCABULARY)
    return t5.params_to_huggingface(config, params), params


@pytest.mark.parametrize("config", KINDS)
def test_parameters_come_back(config):
    tensors, params = their_tensors(config)
    names = {*tensors, "encoder.embed_tokens.weight", "decoder.embed_tokens.weight"}
    assert_same(t5.params_from_huggingface(config, tensors.__getitem__, names), params)
    assert not names


@pytest.mark.parametrize("config", KINDS)
def test_configs_come_back(config):
    config = replace(config, dropout=0.25, norm_epsilon=1e-5, relative_max_distance=64)
    assert t5.config_from_huggingface(t5.config_to_huggingface(config, VOCABULARY)) == config
