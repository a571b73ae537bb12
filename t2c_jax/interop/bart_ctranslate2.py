"""BART as CTranslate2 has it: post-norm blocks with biases, learned positions, a norm over what is embedded.

CTranslate2 has no PLBART by that name; it is BART with scaled embeddings, which it computes.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from t2c_jax.config import ModelConfig
from t2c_jax.models.definition import Params
from t2c_jax.models.pretrained.config import BartConfig


def specification(config: ModelConfig, params: Params, activations: Mapping[str, Any]) -> Any:
    """A ``TransformerSpec`` with copies of the parameters, its vocabulary and config yet to be set.

    Args:
      config: of a model whose sides are BART's.
      params: its parameters.
      activations: CTranslate2's, by the names that they have here.
    """
    transformer: Any = importlib.import_module("ctranslate2.specs.transformer_spec")
    sides: list[Any] = []
    for sizes, kind in ((config.encoder, "TransformerEncoderSpec"), (config.decoder, "TransformerDecoderSpec")):
        assert isinstance(sizes, BartConfig)
        shape = {"pre_norm": False, "activation": activations[sizes.activation], "layernorm_embedding": True}
        sides.append(getattr(transformer, kind)(sizes.layers, sizes.num_heads, **shape))
    spec = transformer.TransformerSpec(*sides)
    for side, name in zip(sides, ("encoder", "decoder"), strict=True):
        side.scale_embeddings = config.scale_embeddings
        side.position_encodings.encodings = _copied(params[name]["input"]["positions"])
        _fill_norm(side.layernorm_embedding, params[name]["input"]["norm"])
        for i, layer in enumerate(side.layer):
            _fill_layer(layer, params[name]["blocks"], i)
    table_VD = params["embedding"]["embedding"]
    spec.encoder.embeddings[0].weight = _copied(table_VD)
    spec.decoder.embeddings.weight = _copied(table_VD)
    spec.decoder.projection.weight = _copied(table_VD if config.tied_embeddings else params["output"])
    if config.tied_embeddings and config.scale_tied_output:
        spec.decoder.scale_outputs = config.width**-0.5
    return spec


def _fill_layer(spec: Any, blocks: Mapping[str, Any], i: int) -> None:
    _fill_attention(spec.self_attention, blocks["attention"], blocks["attention_norm"], i)
    if "cross_attention" in blocks:
        _fill_attention(spec.attention, blocks["cross_attention"], blocks["cross_norm"], i)
    forward = blocks["feed_forward"]
    _fill_norm(spec.ffn.layer_norm, blocks["feed_forward_norm"], i)
    spec.ffn.linear_0.weight, spec.ffn.linear_0.bias = _copied(forward["up"][i].T), _copied(forward["up_bias"][i])
    spec.ffn.linear_1.weight, spec.ffn.linear_1.bias = _copied(forward["down"][i]), _copied(forward["down_bias"][i])


def _fill_attention(spec: Any, attention: Mapping[str, Any], norm: Mapping[str, Any], i: int) -> None:
    """Rows of a matrix are its outputs: queries, keys and values one below the other where one product makes them."""
    _fill_norm(spec.layer_norm, norm, i)
    inputs = [["query"], ["key", "value"]] if len(spec.linear) == 3 else [["query", "key", "value"]]
    for linear, names in zip(spec.linear, inputs, strict=False):
        kernels = [attention[name][i] for name in names]
        linear.weight = _copied(np.concatenate([kernel.reshape(len(kernel), -1).T for kernel in kernels]))
        linear.bias = _copied(np.concatenate([attention[f"{name}_bias"][i].ravel() for name in names]))
    output = attention["output"][i]
    spec.linear[-1].weight = _copied(output.reshape(len(output), -1))
    spec.linear[-1].bias = _copied(attention["output_bias"][i])


def _fill_norm(spec: Any, norm: Mapping[str, Any], i: int | None = None) -> None:
    scale, bias = norm["scale"], norm["bias"]
    spec.gamma, spec.beta = (_copied(each if i is None else each[i]) for each in (scale, bias))


def _copied(array: Any) -> np.ndarray:
    return np.array(array, np.float32, order="C")
