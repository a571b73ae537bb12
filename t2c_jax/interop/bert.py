"""BERT, RoBERTa and CodeBERT from Hugging Face: their config.json and tensors as ``models.pretrained.bert`` has them.

Letters: E encoder's width, F feed-forward, H heads, K head width.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from t2c_jax.config import ModelConfig
from t2c_jax.interop.source_config import Fields
from t2c_jax.interop.weights import Blocks, Tensors
from t2c_jax.models.pretrained.config import BertConfig

# Heads for the tasks it was trained on, and buffers that hold nothing learned.
IGNORED = (
    r"^((bert|roberta)\.)?(pooler\..*|embeddings\.(position_ids|token_type_ids))$"
    r"|^(cls|lm_head|classifier|qa_outputs)\."
)
# Of heads that are left out, and of training: a run has its own dropout.
WITHOUT_EFFECT = (
    *("pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers", "pooler_size_per_head", "pooler_type"),
    *("hidden_dropout_prob", "attention_probs_dropout_prob", "tie_word_embeddings"),
)
ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "relu": "relu",
}
_WORDS = "embeddings.word_embeddings.weight"


def config_from_huggingface(fields: Fields, names: Collection[str] = ()) -> ModelConfig:
    """The model section with this encoder, from config.json alone; ``names`` of tensors are not needed.

    Raises:
      UserError: a value is missing or wrong, or asks for a variant that ``models.pretrained.bert`` is not.
    """
    fields.must_be("position_embedding_type", "absolute")
    fields.must_be("is_decoder", False)
    fields.must_be("is_encoder_decoder", False)
    fields.must_be("add_cross_attention", False)
    fields.must_be("directionality", "bidi")
    fields.must_be("pruned_heads", {})
    roberta = fields.value("model_type") == "roberta"
    sizes = BertConfig(
        vocab_size=fields.integer("vocab_size"),
        width=fields.integer("hidden_size"),
        layers=fields.integer("num_hidden_layers"),
        num_heads=fields.integer("num_attention_heads"),
        feed_forward=fields.integer("intermediate_size"),
        positions=fields.integer("max_position_embeddings"),
        first_position=fields.integer("pad_token_id", 1, least=0) + 1 if roberta else 0,
        token_types=fields.integer("type_vocab_size", 2, least=0),
        activation=fields.choice("hidden_act", "gelu", ACTIVATIONS),  # type: ignore[arg-type]
        norm_epsilon=fields.positive("layer_norm_eps", 1e-12),
    )
    return ModelConfig(encoder=sizes)


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
    tensors, sizes = Tensors(read, names, prefix), config.encoder
    assert isinstance(sizes, BertConfig)
    heads_EHK = (sizes.width, sizes.num_heads, sizes.width // sizes.num_heads)
    blocks = Blocks(tensors, "encoder.layer.{}.", sizes.layers)
    attention: dict[str, Any] = {}
    for name in ("query", "key", "value"):  # theirs is (H x K, E)
        theirs = f"attention.self.{name}"
        attention[name] = blocks.stack(f"{theirs}.weight", lambda kernel: kernel.T.reshape(heads_EHK))
        attention[f"{name}_bias"] = blocks.stack(f"{theirs}.bias", lambda bias: bias.reshape(heads_EHK[1:]))
    attention["output"] = blocks.stack("attention.output.dense.weight", lambda kernel: kernel.reshape(heads_EHK))
    attention["output_bias"] = blocks.stack("attention.output.dense.bias")
    encoder: dict[str, Any] = {
        "tokens": tensors.one(_WORDS),
        "positions": tensors.one("embeddings.position_embeddings.weight"),
        "norm": tensors.norm("embeddings.LayerNorm"),
        "blocks": {
            "attention": attention,
            "attention_norm": blocks.norm("attention.output.LayerNorm"),
            "feed_forward": {
                "up": blocks.stack("intermediate.dense.weight", np.transpose),
                "up_bias": blocks.stack("intermediate.dense.bias"),
                "down": blocks.stack("output.dense.weight"),
                "down_bias": blocks.stack("output.dense.bias"),
            },
            "feed_forward_norm": blocks.norm("output.LayerNorm"),
        },
    }
    if sizes.token_types:
        encoder["token_types"] = tensors.one("embeddings.token_type_embeddings.weight")
    return {"encoder": encoder}
