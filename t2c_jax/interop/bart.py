"""BART and PLBART under their two names: ``transformers``' tensors and config, and our parameters and ``ModelConfig``.

Letters: D model, H heads, K head width, F feed-forward, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np

from t2c_jax.config import ModelConfig
from t2c_jax.errors import UserError
from t2c_jax.interop.source_config import Fields
from t2c_jax.interop.tensor_table import Layout, Tensor, dense_tensors, norm_tensors, write_params
from t2c_jax.models.definition import Params
from t2c_jax.models.pretrained.config import BartConfig, BartDecoderConfig, BartEncoderConfig

ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "relu": "relu"}
# The head of a classifier, which BART can have next to its own.
IGNORED = r"^classification_head\."
# Of training, of old searches and of heads that are left out; a run has its own dropout and search.
WITHOUT_EFFECT = (
    *("attention_dropout", "activation_dropout", "classif_dropout", "encoder_layerdrop", "decoder_layerdrop"),
    *("forced_bos_token_id", "forced_eos_token_id", "prefix", "save_step"),
)
_UNREAD = 2  # positions start at row 2 of their tables
_TABLE, _BIAS = "shared.weight", "final_logits_bias"
_TABLE_COPIES = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
_OUTPUT = "lm_head.weight"


def tensors(config: ModelConfig, prefix: str = "model.", words: str = "") -> Iterator[Tensor]:
    """Every tensor of the model, the embedding's copies aside; ``words`` is the one that is read in its place."""
    yield Tensor(words or prefix + _TABLE, ("embedding", "embedding"))
    for side, sizes in zip(("encoder", "decoder"), sides(config), strict=True):
        yield Tensor(f"{prefix}{side}.embed_positions.weight", (side, "input", "positions"), unread=_UNREAD)
        yield from norm_tensors(f"{prefix}{side}.layernorm_embedding", (side, "input", "norm"))
        for i in range(sizes.layers):
            block, theirs = (side, "blocks"), f"{prefix}{side}.layers.{i}"
            yield from _attention(f"{theirs}.self_attn", (*block, "attention"), i)
            yield from norm_tensors(f"{theirs}.self_attn_layer_norm", (*block, "attention_norm"), i)
            if side == "decoder":
                yield from _attention(f"{theirs}.encoder_attn", (*block, "cross_attention"), i)
                yield from norm_tensors(f"{theirs}.encoder_attn_layer_norm", (*block, "cross_norm"), i)
            forward = (*block, "feed_forward")
            yield from dense_tensors(f"{theirs}.fc1", (*forward, "up"), i, transposed=True)
            yield from dense_tensors(f"{theirs}.fc2", (*forward, "down"), i)
            yield from norm_tensors(f"{theirs}.final_layer_norm", (*block, "feed_forward_norm"), i)


def _attention(theirs: str, ours: tuple[str, ...], layer: int) -> Iterator[Tensor]:
    for short, name in (("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value"), ("out_proj", "output")):
        yield from dense_tensors(f"{theirs}.{short}", (*ours, name), layer, transposed=name != "output")


def config_from_huggingface(fields: Fields, names: Collection[str] = ()) -> ModelConfig:
    """The model section, from config.json alone; ``names`` of tensors are not needed.

    Raises:
      UserError: a value is missing or wrong, or asks for a variant that ``models.pretrained.bart`` is not.
    """
    is_plbart = fields.value("model_type") == "plbart"
    # The names that configs of 2020 have for what other models of this family do.
    for name, wanted in (("normalize_before", False), ("add_final_layer_norm", False), ("normalize_embedding", True)):
        fields.must_be(name, wanted)
    for name, wanted in (("static_position_embeddings", False), ("add_bias_logits", False), ("is_decoder", False)):
        fields.must_be(name, wanted)
    fields.value("vocab_size")  # compared with the table's rows when the parameters are read
    fields.must_be("is_encoder_decoder", True)
    fields.must_be("tie_word_embeddings", True)
    width, layers, heads, hidden = (768, 6, 12, 3072) if is_plbart else (1024, 12, 16, 4096)

    def side(name: str) -> dict[str, Any]:
        return {
            "layers": fields.integer(f"{name}_layers", layers),
            "num_heads": fields.integer(f"{name}_attention_heads", heads),
            "feed_forward": fields.integer(f"{name}_ffn_dim", hidden),
            "positions": fields.integer("max_position_embeddings", 1024),
            "activation": fields.choice("activation_function", "gelu", ACTIVATIONS),
        }

    encoder, decoder = BartEncoderConfig(**side("encoder")), BartDecoderConfig(**side("decoder"))
    fields.must_be("num_hidden_layers", encoder.layers)  # another name for the encoder's
    return ModelConfig(
        encoder=encoder,
        decoder=decoder,
        width=fields.integer("d_model", width),
        scale_tied_output=False,
        scale_embeddings=fields.flag("scale_embedding", is_plbart),
        dropout=fields.share("dropout", 0.1),
    )


def layout(config: ModelConfig, names: Collection[str]) -> Layout:
    """Where the parameters are among the checkpoint's tensors, of which ``names`` are the names.

    Raises:
      UserError: there is no table of words.
    """
    prefix = "model." if any(name.startswith("model.") for name in names) else ""
    tables = [prefix + _TABLE, *(prefix + name for name in _TABLE_COPIES), _OUTPUT]
    words = next((name for name in tables if name in names), None)
    if words is None:
        raise UserError(f"the checkpoint has no tensor '{tables[0]}'; is it a BART?")
    return Layout(words, tensors(config, prefix, words), dict.fromkeys(tables, words), (_BIAS,))


def params_to_huggingface(config: ModelConfig, params: Params) -> dict[str, np.ndarray]:
    """Our parameters as their tensors: float32, contiguous.

    Raises:
      UserError: BART cannot hold the model.
    """
    if (reason := why_not(config)) is not None:
        raise UserError(reason)
    found = write_params(tensors(config), params)
    return found | {_BIAS: np.zeros((1, len(found["model." + _TABLE])), np.float32)}


def config_to_huggingface(
    config: ModelConfig, vocab_size: int, *, pad: int = 1, eos: int = 2, start: int = 2, is_plbart: bool = False
) -> dict[str, Any]:
    """A ``config.json`` that ``transformers`` reads as this model.

    Args:
      config: of a model that BART can hold.
      vocab_size: rows of the embedding.
      pad, eos, start: ids of padding, of the end, and of what the decoder is fed first.
      is_plbart: a target ends in its language, with which the decoder starts.

    Raises:
      UserError: BART cannot hold the model.
    """
    if (reason := why_not(config)) is not None:
        raise UserError(reason)
    encoder, decoder = sides(config)
    spelling = {ours: theirs for theirs, ours in reversed(ACTIVATIONS.items())}[encoder.activation]
    values: dict[str, Any] = {
        "architectures": [f"{'PLBart' if is_plbart else 'Bart'}ForConditionalGeneration"],
        "model_type": "plbart" if is_plbart else "bart",
        "is_encoder_decoder": True,
        "vocab_size": vocab_size,
        "d_model": config.width,
        "max_position_embeddings": encoder.positions,
        "activation_function": spelling,
        "scale_embedding": config.scale_embeddings,
        "tie_word_embeddings": True,
        "dropout": config.dropout,
        "attention_dropout": 0.0,
        "activation_dropout": 0.0,
        "pad_token_id": pad,
        "eos_token_id": eos,
        "bos_token_id": 0 if is_plbart else start,
        "decoder_start_token_id": start,
        "forced_eos_token_id": None,
        "torch_dtype": "float32",
    }
    for name, sizes in (("encoder", encoder), ("decoder", decoder)):
        values |= {
            f"{name}_layers": sizes.layers,
            f"{name}_attention_heads": sizes.num_heads,
            f"{name}_ffn_dim": sizes.feed_forward,
        }
    return values


def why_not(config: ModelConfig) -> str | None:
    """One line on what BART cannot hold of this model and what would mend it, or None."""
    encoder, decoder = config.encoder, config.decoder
    for key, value, wanted in (
        ("encoder", encoder.type, "bart"),
        ("decoder", decoder.type, "bart"),
        ("copy", config.copy, False),
        ("tied_embeddings", config.tied_embeddings, True),
        ("scale_tied_output", config.scale_tied_output, False),
        ("unscaled_id", config.unscaled_id, -1),
        ("logit_softcap", config.logit_softcap, 0.0),
    ):
        if value != wanted:
            return f"config.model.{key}={value} is not in BART's format; train with config.model.{key}={wanted}"
    for name in ("positions", "activation"):
        here, there = getattr(encoder, name), getattr(decoder, name)
        if here != there:
            return (
                f"config.model.encoder.{name}={here} and config.model.decoder.{name}={there}: BART's format has one"
                " value for both; train with equal ones"
            )
    return None


def sides(config: ModelConfig) -> tuple[BartConfig, BartConfig]:
    """The encoder and the decoder of a model that BART can hold."""
    encoder, decoder = config.encoder, config.decoder
    assert isinstance(encoder, BartConfig)
    assert isinstance(decoder, BartConfig)
    return encoder, decoder
