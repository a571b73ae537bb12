"""ModernBERT and Ettin from Hugging Face: config.json and tensors as ``models.pretrained.modernbert`` has them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from t2c_jax.config import ModelConfig
from t2c_jax.errors import UserError
from t2c_jax.interop.source_config import MOST_LAYERS, Fields
from t2c_jax.interop.tensor_table import Layout, Tensor
from t2c_jax.models.pretrained.config import ModernBertConfig

# Heads for the tasks it was trained on.
IGNORED = r"^(head\.|classifier\.|decoder\.(weight|bias)$)"
# Of heads that are left out, of training, and of kernels; positions are rotary whatever position_embedding_type says,
# and every norm's epsilon is norm_eps.
WITHOUT_EFFECT = (
    *("classifier_activation", "classifier_bias", "classifier_pooling", "decoder_bias", "tie_word_embeddings"),
    *("attention_dropout", "embedding_dropout", "mlp_dropout", "initializer_cutoff_factor"),
    *("sparse_prediction", "sparse_pred_ignore_index", "reference_compile", "repad_logits_with_grad"),
    *("deterministic_flash_attn", "position_embedding_type", "layer_norm_eps", "unpad_inputs"),
)
ACTIVATIONS = {
    "gelu": "gated_gelu",
    "gelu_new": "gated_gelu_tanh",
    "gelu_pytorch_tanh": "gated_gelu_tanh",
    "silu": "gated_silu",
}
_KINDS = {"full_attention": "full", "sliding_attention": "local"}
_WORDS = "embeddings.tok_embeddings.weight"


def tensors(sizes: ModernBertConfig, prefix: str = "") -> Iterator[Tensor]:
    """Every tensor of the encoder."""
    yield Tensor(prefix + _WORDS, ("encoder", "tokens"))
    yield Tensor(f"{prefix}embeddings.norm.weight", ("encoder", "embedding_norm", "scale"))
    yield Tensor(f"{prefix}final_norm.weight", ("encoder", "norm", "scale"))
    for i in range(sizes.layers):
        block, layer, theirs = ("encoder", "blocks"), i - 1, f"{prefix}layers.{i}"
        if i == 0:  # its attention reads what the embedding's norm has just made
            block, layer = ("encoder", "first"), None  # type: ignore[assignment]
        else:
            yield Tensor(f"{theirs}.attn_norm.weight", (*block, "attention_norm", "scale"), layer)
        for part, name in enumerate(("query", "key", "value")):
            path = (*block, "attention", name)
            yield Tensor(f"{theirs}.attn.Wqkv.weight", path, layer, transposed=True, part=part, parts=3)
        yield Tensor(f"{theirs}.attn.Wo.weight", (*block, "attention", "output"), layer)
        yield Tensor(f"{theirs}.mlp_norm.weight", (*block, "feed_forward_norm", "scale"), layer)
        for part, name in enumerate(("gate", "up")):  # the activation is of the first half
            path = (*block, "feed_forward", name)
            yield Tensor(f"{theirs}.mlp.Wi.weight", path, layer, transposed=True, part=part, parts=2)
        yield Tensor(f"{theirs}.mlp.Wo.weight", (*block, "feed_forward", "down"), layer)


def config_from_huggingface(fields: Fields, names: Collection[str] = ()) -> ModelConfig:
    """The model section with this encoder, from config.json alone; ``names`` of tensors are not needed.

    Files of 2024 say which layers are full, and each kind's base, by keys that later ones do not have.

    Raises:
      UserError: a value is missing or wrong, or asks for a variant that ``models.pretrained.modernbert`` is not.
    """
    for name in ("attention_bias", "mlp_bias", "norm_bias"):
        fields.must_be(name, False)
    fields.must_be("is_encoder_decoder", False)
    fields.must_be("rope_scaling", None)
    layers = fields.integer("num_hidden_layers", 22, least=2, most=MOST_LAYERS)
    every = fields.integer("global_attn_every_n_layers", 3)
    thetas = {"full_attention": "global_rope_theta", "sliding_attention": "local_rope_theta"}
    defaults = {"full_attention": 160_000.0, "sliding_attention": 10_000.0}
    rope = fields.section("rope_parameters")
    for kind, older in thetas.items():
        own = rope.section(kind)
        own.must_be("rope_type", "default")
        defaults[kind] = own.positive("rope_theta", fields.positive(older, defaults[kind]))
    sizes = ModernBertConfig(
        vocab_size=fields.integer("vocab_size", 50368),
        width=fields.integer("hidden_size", 768),
        layers=layers,
        num_heads=fields.integer("num_attention_heads", 12),
        feed_forward=fields.integer("intermediate_size", 1152),
        positions=fields.integer("max_position_embeddings", 8192),
        activation=fields.choice("hidden_activation", "gelu", ACTIVATIONS),  # type: ignore[arg-type]
        norm_epsilon=fields.positive("norm_eps", 1e-5),
        layer_kinds=_layer_kinds(fields.value("layer_types"), layers, every),
        window=fields.integer("local_attention", 128, least=2) // 2,
        rope_theta=defaults["full_attention"],
        local_rope_theta=defaults["sliding_attention"],
    )
    return ModelConfig(encoder=sizes)


def _layer_kinds(types: Any, layers: int, every: int) -> tuple[str, ...]:
    """The shortest pattern that all layers repeat."""
    if types is None:
        types = ["sliding_attention" if i % every else "full_attention" for i in range(layers)]
    known = isinstance(types, list) and len(types) == layers and all(one in _KINDS for one in types)
    if not known:
        raise UserError(f"config.json: layer_types={types!r} must be {layers} of {', '.join(_KINDS)}")
    kinds = tuple(_KINDS[one] for one in types)
    period = next(n for n in range(1, layers + 1) if all(kinds[i] == kinds[i % n] for i in range(layers)))
    return kinds[:period]


def layout(config: ModelConfig, names: Collection[str]) -> Layout:
    """Where the encoder's parameters are among the checkpoint's tensors, of which ``names`` are the names."""
    prefix = "model." if any(name.startswith("model.") for name in names) else ""
    sizes = config.encoder
    assert isinstance(sizes, ModernBertConfig)
    return Layout(prefix + _WORDS, tensors(sizes, prefix))
