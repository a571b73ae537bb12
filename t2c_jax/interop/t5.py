"""T5 under its two names: ``transformers``' state dict and config, and our parameters and ``ModelConfig``.

One table says which tensor is which, for both directions. T5 v1.0, v1.1, FLAN-T5, mT5, CodeT5 and CodeT5+ (up to 770M)
are all of this form: they differ in the feed-forward, and in whether the output table is the embedding.

Letters: D model, H heads, K head width, F feed-forward, V vocabulary, R relative buckets.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np

from t2c_jax.config import ModelConfig, field_names
from t2c_jax.errors import UserError
from t2c_jax.interop.source_config import Fields
from t2c_jax.interop.tensor_table import Layout, Tensor, write_params
from t2c_jax.models.definition import Params
from t2c_jax.models.transformer.config import T5Config, T5DecoderConfig, T5EncoderConfig

# transformers' "gelu" is the exact function; its "gated-gelu" is the tanh approximation, which it calls "gelu_new" too.
ACTIVATIONS = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gated-gelu": "gated_gelu_tanh",
    "gated-silu": "gated_silu",
}
_SPELLINGS = {
    **ACTIVATIONS,
    "gated-gelu_new": "gated_gelu_tanh",
    "gated-swish": "gated_silu",
    "gelu_pytorch_tanh": "gelu_tanh",
}
_TABLE, _OUTPUT = "shared.weight", "lm_head.weight"
_TABLE_COPIES = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
# In the first T5's files; neither its authors' code nor transformers ever reads it.
IGNORED = r"^decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight$"
# The length of its training texts.
WITHOUT_EFFECT = ("n_positions",)


def tensors(config: ModelConfig, words: str = _TABLE) -> Iterator[Tensor]:
    """Every tensor of the model, the embedding's copies aside; ``words`` is the one that is read in its place."""
    yield Tensor(words, ("embedding", "embedding"))
    encoder, decoder = sides(config)
    gated = encoder.activation.startswith("gated")
    for side, layers in (("encoder", encoder.layers), ("decoder", decoder.layers)):
        first = f"{side}.block.0.layer.0.SelfAttention"
        yield Tensor(f"{first}.relative_attention_bias.weight", (side, "bias", "table"))
        yield Tensor(f"{side}.final_layer_norm.weight", (side, "norm", "scale"))
        for i in range(layers):
            block, prefix = (side, "blocks"), f"{side}.block.{i}.layer"
            parts = [("attention_norm", "attention", "SelfAttention")]
            if side == "decoder":
                parts.append(("cross_norm", "cross_attention", "EncDecAttention"))
            for number, (norm, attention, theirs) in enumerate(parts):
                yield Tensor(f"{prefix}.{number}.layer_norm.weight", (*block, norm, "scale"), i)
                for short, ours in (("q", "query"), ("k", "key"), ("v", "value"), ("o", "output")):
                    name = f"{prefix}.{number}.{theirs}.{short}.weight"
                    yield Tensor(name, (*block, attention, ours), i, transposed=short != "o")
            prefix = f"{prefix}.{len(parts)}"
            yield Tensor(f"{prefix}.layer_norm.weight", (*block, "feed_forward_norm", "scale"), i)
            inputs = {"wi_0": "gate", "wi_1": "up"} if gated else {"wi": "gate"}
            for short, ours in {**inputs, "wo": "down"}.items():
                name = f"{prefix}.DenseReluDense.{short}.weight"
                yield Tensor(name, (*block, "feed_forward", ours), i, transposed=short != "wo")
    if not config.tied_embeddings:
        yield Tensor(_OUTPUT, ("output",))


def config_from_huggingface(fields: Fields, names: Collection[str] = ()) -> ModelConfig:
    """A ``config.json`` as a ``ModelConfig``.

    Args:
      fields: the file's content.
      names: the checkpoint's tensors. A config written by ``transformers`` 5 says ``tie_word_embeddings`` of every T5;
        an output table in the file of a model that does not scale its decoder's states is what tells v1.1 then.

    Raises:
      UserError: naming the key and the value that is not T5's or not known here.
    """
    family = fields.value("model_type", "t5")
    if family not in ("t5", "mt5"):
        raise UserError(f"config.json: model_type={family!r} is no T5; those of type t5 and mt5 are")
    fields.value("vocab_size")  # compared with the table's rows when the parameters are read
    fields.must_be("is_encoder_decoder", True)
    fields.must_be("is_decoder", False)
    fields.must_be("tie_encoder_decoder", False)
    spelling = fields.value("feed_forward_proj", "gated-gelu" if family == "mt5" else "relu")
    activation = fields.choice("feed_forward_proj", spelling, _SPELLINGS)
    # Newer files say the same twice.
    fields.must_be("dense_act_fn", "gelu_new" if spelling == "gated-gelu" else spelling.split("-")[-1])
    fields.must_be("is_gated_act", spelling.startswith("gated"))
    tied = fields.flag("tie_word_embeddings", family == "t5")
    scaled = fields.flag("scale_decoder_outputs", tied)
    if tied and not scaled and _OUTPUT in names:
        tied = False
    if scaled and not tied:
        raise UserError(
            "config.json: scale_decoder_outputs=true with tie_word_embeddings=false; T5 scales with tied tables only"
        )
    layers = fields.integer("num_layers", 6)
    shape: dict[str, Any] = {
        "num_heads": fields.integer("num_heads", 8),
        "head_width": fields.integer("d_kv", 64),
        "feed_forward": fields.integer("d_ff", 2048),
        "activation": activation,
        "relative_buckets": fields.integer("relative_attention_num_buckets", 32),
        "relative_max_distance": fields.integer("relative_attention_max_distance", 128),
        "norm_epsilon": fields.positive("layer_norm_epsilon", 1e-6),
    }
    return ModelConfig(
        encoder=T5EncoderConfig(layers=layers, **shape),
        decoder=T5DecoderConfig(layers=fields.integer("num_decoder_layers", layers), **shape),
        width=fields.integer("d_model", 512),
        tied_embeddings=tied,
        scale_tied_output=scaled or not tied,
        dropout=fields.share("dropout_rate", 0.1),
    )


def layout(config: ModelConfig, names: Collection[str]) -> Layout:
    """Where the parameters are among the checkpoint's tensors, of which ``names`` are the names.

    Raises:
      UserError: there is no table of words.
    """
    tables = [_TABLE, *_TABLE_COPIES]
    words = next((name for name in tables if name in names), None)
    if words is None:
        raise UserError(f"the checkpoint has no tensor '{_TABLE}'; is it a T5 with a decoder?")
    if config.tied_embeddings:
        tables.append(_OUTPUT)
    return Layout(words, tensors(config, words), dict.fromkeys(tables, words))


def params_to_huggingface(config: ModelConfig, params: Params) -> dict[str, np.ndarray]:
    """Our parameters as their tensors: float32, contiguous.

    A tied table whose output is not scaled is written twice:
    T5 scales every tied output.

    Raises:
      UserError: T5 cannot hold the model.
    """
    if (reason := why_not(config)) is not None:
        raise UserError(reason)
    found = write_params(tensors(config), params)
    if config.tied_embeddings and not config.scale_tied_output:
        found[_OUTPUT] = found[_TABLE].copy()
    return found


def config_to_huggingface(
    config: ModelConfig, vocab_size: int, *, pad: int = 0, eos: int = 1, start: int = 0
) -> dict[str, Any]:
    """A ``config.json`` that every ``transformers`` since 4.0 reads as this model.

    Args:
      config: of a model that T5 can hold.
      vocab_size: rows of the embedding.
      pad, eos, start: ids of padding, of the end, and of what the decoder is fed first.

    Raises:
      UserError: T5 cannot hold the model.
    """
    if (reason := why_not(config)) is not None:
        raise UserError(reason)
    encoder, decoder = sides(config)
    scaled = config.tied_embeddings and config.scale_tied_output
    spelling = {ours: theirs for theirs, ours in ACTIVATIONS.items()}[encoder.activation]
    return {
        "architectures": ["T5ForConditionalGeneration"],
        "model_type": "t5",
        "is_encoder_decoder": True,
        "vocab_size": vocab_size,
        "d_model": config.width,
        "d_kv": encoder.head_width,
        "d_ff": encoder.feed_forward,
        "num_layers": encoder.layers,
        "num_decoder_layers": decoder.layers,
        "num_heads": encoder.num_heads,
        "relative_attention_num_buckets": encoder.relative_buckets,
        "relative_attention_max_distance": encoder.relative_max_distance,
        "feed_forward_proj": spelling,
        "layer_norm_epsilon": encoder.norm_epsilon,
        "dropout_rate": config.dropout,
        "tie_word_embeddings": scaled,
        "pad_token_id": pad,
        "eos_token_id": eos,
        "decoder_start_token_id": start,
        "torch_dtype": "float32",
    }


def why_not(config: ModelConfig) -> str | None:
    """One line on what T5 cannot hold of this model and what would mend it, or None."""
    encoder, decoder = config.encoder, config.decoder
    for key, value, wanted in (
        ("encoder", encoder.type, "t5"),
        ("decoder", decoder.type, "t5"),
        ("copy", config.copy, False),
    ):
        if value != wanted:
            return f"config.model.{key}={value} is not in T5's format; train with config.model.{key}={wanted}"
    for field in field_names(T5Config):
        here, there = getattr(encoder, field), getattr(decoder, field)
        if field != "layers" and here != there:
            return (
                f"config.model.encoder.{field}={here} and config.model.decoder.{field}={there}: T5's format has one"
                " value for both; train with equal ones"
            )
    if encoder.activation not in ACTIVATIONS.values():  # type: ignore[attr-defined]
        known = ", ".join(ACTIVATIONS.values())
        return f"config.model.encoder.activation={encoder.activation} is not in T5's format; {known} are"  # type: ignore[attr-defined]
    return None


def sides(config: ModelConfig) -> tuple[T5EncoderConfig, T5DecoderConfig]:
    """The encoder and the decoder of a model that T5 can hold."""
    encoder, decoder = config.encoder, config.decoder
    assert isinstance(encoder, T5EncoderConfig)
    assert isinstance(decoder, T5DecoderConfig)
    return encoder, decoder
