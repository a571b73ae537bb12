"""GPT-2 from Hugging Face: its config.json and its tensors as ``models.pretrained.gpt2`` has them."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from t2c_jax.config import ModelConfig
from t2c_jax.interop.bert import ACTIVATIONS
from t2c_jax.interop.source_config import Fields
from t2c_jax.interop.tensor_table import Layout, Tensor, dense_tensors, norm_tensors
from t2c_jax.models.pretrained.config import GPT2Config

# The output table, most often the embedding again, and the causal mask that older files hold as buffers.
IGNORED = r"^lm_head\.weight$|^(transformer\.)?h\.\d+\.attn\.(bias|masked_bias)$"
# Of heads that are left out, of training (a run has its own dropout), of half precision; n_ctx is n_positions again.
WITHOUT_EFFECT = (
    *("summary_type", "summary_use_proj", "summary_activation", "summary_proj_to_labels", "summary_first_dropout"),
    *("resid_pdrop", "embd_pdrop", "attn_pdrop", "reorder_and_upcast_attn", "tie_word_embeddings", "n_ctx"),
)
_WORDS = "wte.weight"


def tensors(sizes: GPT2Config, prefix: str = "") -> Iterator[Tensor]:
    """Every tensor of the encoder; its matrices are (inputs, outputs)."""
    yield Tensor(prefix + _WORDS, ("encoder", "tokens"))
    yield Tensor(f"{prefix}wpe.weight", ("encoder", "positions"))
    for i in range(sizes.layers):
        block, theirs = ("encoder", "blocks"), f"{prefix}h.{i}"
        yield from norm_tensors(f"{theirs}.ln_1", (*block, "attention_norm"), i)
        for kind in ("weight", "bias"):
            for part, name in enumerate(("query", "key", "value")):
                ours = name if kind == "weight" else f"{name}_bias"
                path, flat = (*block, "attention", ours), kind == "bias"
                yield Tensor(f"{theirs}.attn.c_attn.{kind}", path, i, flat=flat, part=part, parts=3)
        yield from dense_tensors(f"{theirs}.attn.c_proj", (*block, "attention", "output"), i, transposed=True)
        yield from norm_tensors(f"{theirs}.ln_2", (*block, "feed_forward_norm"), i)
        yield from dense_tensors(f"{theirs}.mlp.c_fc", (*block, "feed_forward", "up"), i)
        yield from dense_tensors(f"{theirs}.mlp.c_proj", (*block, "feed_forward", "down"), i, transposed=True)
    yield from norm_tensors(f"{prefix}ln_f", ("encoder", "norm"))


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


def layout(config: ModelConfig, names: Collection[str]) -> Layout:
    """Where the encoder's parameters are among the checkpoint's tensors, of which ``names`` are the names."""
    prefix = "transformer." if f"transformer.{_WORDS}" in names else ""
    sizes = config.encoder
    assert isinstance(sizes, GPT2Config)
    return Layout(prefix + _WORDS, tensors(sizes, prefix))
