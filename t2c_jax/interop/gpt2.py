"""GPT-2 from Hugging Face: its config.json and its tensors as ``models.pretrained.gpt2`` has them.

Letters: E encoder's width, F feed-forward, H heads, K head width.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from t2c_jax.config import ModelConfig
from t2c_jax.interop.bert import ACTIVATIONS
from t2c_jax.interop.source_config import Fields
from t2c_jax.interop.weights import Blocks, Tensors
from t2c_jax.models.pretrained.config import GPT2Config

# The output table, most often the embedding again, and the causal mask that older files hold as buffers.
IGNORED = r"^lm_head\.weight$|^(transformer\.)?h\.\d+\.attn\.(bias|masked_bias)$"
# Of heads that are left out, of training (a run has its own dropout), of half precision; n_ctx is n_positions again.
WITHOUT_EFFECT = (
    *("summary_type", "summary_use_proj", "summary_activation", "summary_proj_to_labels", "summary_first_dropout"),
    *("resid_pdrop", "embd_pdrop", "attn_pdrop", "reorder_and_upcast_attn", "tie_word_embeddings", "n_ctx"),
)
_WORDS = "wte.weight"


def config_from_huggingface(fields: Fields, names: Collection[str] = ()) -> ModelConfig:
    """The model section with this encoder, from config.json alone; ``names`` of tensors are not needed.

    Raises:
      UserError: a value is missing or wrong, or asks for a variant that ``models.pretrained.gpt2`` is not.
    """
    fields.must_be("scale_attn_weights", True)
    fields.must_be("scale_attn_by_inverse_layer_idx", False)
    fields.must_be("is_encoder_decoder", False)
    fields.must_be("add_cross_attention", False)
    fields.must_be("pruned_heads", {})
    width = fields.integer("n_embd")
    sizes = GPT2Config(
        vocab_size=fields.integer("vocab_size"),
        width=width,
        layers=fields.integer("n_layer"),
        num_heads=fields.integer("n_head"),
        feed_forward=fields.integer("n_inner", 4 * width),
        positions=fields.integer("n_positions", 1024),
        activation=fields.choice("activation_function", "gelu_new", ACTIVATIONS),  # type: ignore[arg-type]
        norm_epsilon=fields.positive("layer_norm_epsilon", 1e-5),
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
    prefix = "transformer." if f"transformer.{_WORDS}" in names else ""
    tensors, sizes = Tensors(read, names, prefix), config.encoder
    assert isinstance(sizes, GPT2Config)
    blocks = Blocks(tensors, "h.{}.", sizes.layers)
    heads_EHK = (sizes.width, sizes.num_heads, sizes.width // sizes.num_heads)

    def third(shape: tuple[int, ...], index: int) -> Callable[[np.ndarray], np.ndarray]:
        """Queries, keys and values are one tensor there, side by side."""
        return lambda array: np.split(array, 3, axis=-1)[index].reshape(shape)

    attention: dict[str, Any] = {}
    for index, name in enumerate(("query", "key", "value")):
        attention[name] = blocks.stack("attn.c_attn.weight", third(heads_EHK, index))
        attention[f"{name}_bias"] = blocks.stack("attn.c_attn.bias", third(heads_EHK[1:], index))
    # Theirs are (inputs, outputs), so (H x K, E) and (F, E) here, which ours, leading with the width, are not.
    attention["output"] = blocks.stack("attn.c_proj.weight", lambda kernel: kernel.T.reshape(heads_EHK))
    attention["output_bias"] = blocks.stack("attn.c_proj.bias")
    encoder = {
        "tokens": tensors.one(_WORDS),
        "positions": tensors.one("wpe.weight"),
        "blocks": {
            "attention_norm": blocks.norm("ln_1"),
            "attention": attention,
            "feed_forward_norm": blocks.norm("ln_2"),
            "feed_forward": {
                "up": blocks.stack("mlp.c_fc.weight"),
                "up_bias": blocks.stack("mlp.c_fc.bias"),
                "down": blocks.stack("mlp.c_proj.weight", np.transpose),
                "down_bias": blocks.stack("mlp.c_proj.bias"),
            },
        },
        "norm": tensors.norm("ln_f"),
    }
    return {"encoder": encoder}
