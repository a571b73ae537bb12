"""BERT, RoBERTa and CodeBERT from Hugging Face: their config.json and their tensors as ``models.bert`` has them.

Letters: E encoder's width, F feed-forward, H heads, K head width.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from t2c_jax.config import ModelConfig, PretrainedConfig
from t2c_jax.interop.fields import Fields
from t2c_jax.interop.weights import Tensors

# Heads for the tasks it was trained on, and buffers that hold nothing learned.
IGNORED = (
    r"^((bert|roberta)\.)?(pooler\..*|embeddings\.(position_ids|token_type_ids))$"
    r"|^(cls|lm_head|classifier|qa_outputs)\."
)
ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "relu": "relu",
}
_WORDS = "embeddings.word_embeddings.weight"


def config_from_huggingface(values: Mapping[str, Any], names: Collection[str] = ()) -> ModelConfig:
    """The model section that has this encoder; config.json tells it whatever the ``names`` of the tensors are.

    Raises:
      UserError: a value is missing or wrong, or asks for a variant that ``models.bert`` is not.
    """
    fields = Fields(values)
    fields.must_be("position_embedding_type", "absolute")
    fields.must_be("is_decoder", False)
    fields.must_be("add_cross_attention", False)
    roberta = values["model_type"] == "roberta"
    sizes = PretrainedConfig(
        vocab_size=fields.integer("vocab_size"),
        width=fields.integer("hidden_size"),
        layers=fields.integer("num_hidden_layers"),
        heads=fields.integer("num_attention_heads"),
        feed_forward=fields.integer("intermediate_size"),
        positions=fields.integer("max_position_embeddings"),
        first_position=fields.integer("pad_token_id", 1, least=0) + 1 if roberta else 0,
        token_types=fields.integer("type_vocab_size", 2, least=0),
        activation=fields.choice("hidden_act", "gelu", ACTIVATIONS),  # type: ignore[arg-type]
        norm_epsilon=fields.positive("layer_norm_eps", 1e-12),
    )
    return replace(ModelConfig(), encoder="bert", pretrained=sizes)


def params_from_huggingface(
    config: ModelConfig, read: Callable[[str], np.ndarray], names: set[str]
) -> dict[str, dict[str, Any]]:
    """The encoder's parameters, blocks stacked on a leading layer axis, float32.

    Args:
      config: as ``config_from_huggingface`` makes it.
      read: a tensor by name.
      names: loses each name that is read; what stays has no place in the encoder.

    Raises:
      UserError: a tensor is missing or of another shape.
    """
    prefix = next((head for head in ("bert.", "roberta.") if head + _WORDS in names), "")
    tensors, sizes = Tensors(read, names, prefix), config.pretrained
    heads_EHK = (sizes.width, sizes.heads, sizes.width // sizes.heads)
    block = "encoder.layer.{}."

    def linear(name: str, change: Callable[[np.ndarray], np.ndarray], bias_shape: tuple[int, ...]) -> Any:
        kernel = tensors.stack(f"{block}{name}.weight", sizes.layers, change)
        return kernel, tensors.stack(f"{block}{name}.bias", sizes.layers, lambda bias: bias.reshape(bias_shape))

    def norm(name: str) -> dict[str, Any]:
        scale = tensors.stack(f"{block}{name}.weight", sizes.layers)
        return {"scale": scale, "bias": tensors.stack(f"{block}{name}.bias", sizes.layers)}

    attention: dict[str, Any] = {}
    for name in ("query", "key", "value"):  # theirs is (H x K, E)
        attention[name], attention[f"{name}_bias"] = linear(
            f"attention.self.{name}", lambda kernel: kernel.T.reshape(heads_EHK), heads_EHK[1:]
        )
    attention["output"], attention["output_bias"] = linear(
        "attention.output.dense", lambda kernel: kernel.reshape(heads_EHK), (sizes.width,)
    )
    up, up_bias = linear("intermediate.dense", np.transpose, (sizes.feed_forward,))
    down, down_bias = linear("output.dense", lambda kernel: kernel, (sizes.width,))
    encoder: dict[str, Any] = {
        "tokens": tensors.one(_WORDS),
        "positions": tensors.one("embeddings.position_embeddings.weight"),
        "norm": {
            "scale": tensors.one("embeddings.LayerNorm.weight"),
            "bias": tensors.one("embeddings.LayerNorm.bias"),
        },
        "blocks": {
            "attention": attention,
            "attention_norm": norm("attention.output.LayerNorm"),
            "feed_forward": {"up": up, "up_bias": up_bias, "down": down, "down_bias": down_bias},
            "feed_forward_norm": norm("output.LayerNorm"),
        },
    }
    if sizes.token_types:
        encoder["token_types"] = tensors.one("embeddings.token_type_embeddings.weight")
    return {"encoder": encoder}
