"""T5Gemma (Zhang et al. 2025, arXiv 2504.06225) and T5Gemma 2 (Zhang et al. 2025, arXiv 2512.14856), as transformers
has them: their config.json and state dict, and ours. Of T5Gemma 2 it is the text model.

Both are our ``transformer`` with sandwich norms, whose scale is there counted from 1. T5Gemma has soft-caps, and a
table of token vectors for each half. T5Gemma 2 has norms of queries and keys, merged attention, and one table. Where
the authors' code and transformers differ, this is transformers: beyond 4,096 tokens T5Gemma's encoder has the window
``abs(i - j) <= 4096`` there, and ``abs(i - j) < 4096`` in the authors' code.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import numpy as np

from t2c_jax.config import ModelConfig
from t2c_jax.errors import UserError
from t2c_jax.interop.source_config import MOST_LAYERS, Fields
from t2c_jax.interop.tensor_table import Layout, Tensor, write_params
from t2c_jax.models.definition import Params
from t2c_jax.models.transformer.config import TransformerConfig, TransformerDecoderConfig, TransformerEncoderConfig

ACTIVATIONS = {"gelu_pytorch_tanh": "gated_gelu_tanh", "gelu": "gated_gelu", "silu": "gated_silu"}
# Of pictures, which the text model does not read.
IGNORED = r"\b(vision_tower|multi_modal_projector)\."
# Of pictures, of classifiers, of training (attention weights are not dropped here), and the length of training texts.
# In T5Gemma 2 transformers never applies attn_logit_softcapping.
WITHOUT_EFFECT = (
    *("vision_config", "mm_tokens_per_image", "boi_token_index", "image_token_index", "image_token_id"),
    *("boi_token_id", "eoi_token_id", "classifier_dropout_rate", "attention_dropout", "dropout_rate"),
    *("max_position_embeddings", "cross_attention_hidden_size", "is_decoder"),
)
_KINDS = {"sliding_attention": "local", "full_attention": "full"}


class _Generation(NamedTuple):
    """What sets one of the two apart.

    Attributes:
      period: layers from one with full attention to the next, by default.
      text_model: what stands before the encoder's text model in the names of its tensors.
      architecture: transformers' class.
      softcaps: of scores and of logits, by default.
    """

    period: int
    text_model: str
    architecture: str
    softcaps: tuple[float, float]


_FIRST = _Generation(2, "", "T5GemmaForConditionalGeneration", (50.0, 30.0))
_SECOND = _Generation(6, "text_model.", "T5Gemma2ForConditionalGeneration", (0.0, 0.0))


def config_from_huggingface(fields: Fields, names: Collection[str] = ()) -> ModelConfig:
    """A ``config.json`` as a ``ModelConfig``; ``names`` of tensors are not needed.

    Raises:
      UserError: naming the key and the value that is not theirs or not known here.
    """
    second = fields.value("model_type") == "t5gemma2"
    fields.must_be("is_encoder_decoder", True)
    fields.value("vocab_size")  # compared with the table's rows when the parameters are read
    tied = fields.flag("tie_word_embeddings", True)
    encoder, decoder = fields.section("encoder"), fields.section("decoder")
    if second:
        fields.must_be("tie_word_embeddings", True)
        fields.value("eoi_token_index")  # the encoder's counts
        unscaled_id = encoder.integer("eoi_token_index", 256_000, least=0)
        encoder.must_be("tie_word_embeddings", True)
        encoder.value("is_encoder_decoder")  # the whole model's counts
        encoder = encoder.section("text_config")
    else:
        unscaled_id = -1
    generation = _SECOND if second else _FIRST
    width, wide = decoder.integer("hidden_size", 2304), encoder.integer("hidden_size", 2304)
    if second and width != wide:
        raise UserError(f"config.json: T5Gemma 2's halves are equally wide, and not {wide} and {width}")
    rows = [half.integer("vocab_size", 262_208 if second else 256_000) for half in (encoder, decoder)]
    if rows[0] != rows[1]:
        raise UserError(f"config.json: vocab_size={rows[0]} of the encoder and {rows[1]} of the decoder must be equal")
    if unscaled_id >= rows[0]:
        unscaled_id = -1  # no token has it, and its vector must be zero
    read, written = (_half(half, generation) for half in (encoder, decoder))
    encoder.softcap("final_logit_softcapping", 0.0)  # only the decoder's is applied
    window = encoder.integer("sliding_window", 4096)
    sides = ((window + 1) // 2 - 1, window // 2) if second else (window, window)
    before = decoder.integer("sliding_window", 4096) - 1
    return ModelConfig(
        encoder=TransformerEncoderConfig(**read, **_windows(read["layer_kinds"], *sides), width=0 if second else wide),
        decoder=TransformerDecoderConfig(
            **written, **_windows(written["layer_kinds"], before), merged_attention=second
        ),
        width=width,
        tied_embeddings=tied,
        scale_tied_output=False,
        scale_embeddings=True,
        unscaled_id=unscaled_id,
        logit_softcap=decoder.softcap("final_logit_softcapping", generation.softcaps[1]),
        dropout=fields.share("dropout_rate", 0.0),
    )


def _half(fields: Fields, generation: _Generation) -> dict[str, Any]:
    """What both halves have, but for windows."""
    fields.must_be("attention_bias", False)
    for of_the_whole in ("tie_word_embeddings", "is_encoder_decoder"):
        fields.value(of_the_whole)
    layers = fields.integer("num_hidden_layers", 26, most=MOST_LAYERS)
    head_width = fields.integer("head_dim", 256)
    scalar = fields.positive("query_pre_attn_scalar", 256)
    softcap = fields.softcap("attn_logit_softcapping", generation.softcaps[0])
    second = generation is _SECOND
    theta, scaling, local = _rotation(fields) if second else (*_plain_rotation(fields), 0.0)
    return {
        "layers": layers,
        "num_heads": fields.integer("num_attention_heads", 8),
        "kv_heads": fields.integer("num_key_value_heads", 4),
        "head_width": head_width,
        "feed_forward": fields.integer("intermediate_size", 9216),
        "activation": fields.choice("hidden_activation", "gelu_pytorch_tanh", ACTIVATIONS),
        "norm_epsilon": fields.positive("rms_norm_eps", 1e-6),
        "sandwich_norms": True,
        "attention_scale": 0.0 if scalar == head_width else scalar**-0.5,
        "attention_softcap": 0.0 if second else softcap,
        "query_key_norm": second,
        "layer_kinds": _layer_kinds(fields, layers, generation),
        "rope_theta": theta,
        "rope_scaling": scaling,
        "local_rope_theta": 0.0 if local == theta else local,
    }


def _windows(kinds: tuple[str, ...], before: int, after: int = 0) -> dict[str, Any]:
    return {"window_before": before, "window_after": after} if "local" in kinds else {}


def _layer_kinds(fields: Fields, layers: int, generation: _Generation) -> tuple[str, ...]:
    """The shortest pattern that, repeated, is the file's list of layers."""
    period = fields.integer("sliding_window_pattern", generation.period) if generation is _SECOND else generation.period
    named = fields.value("layer_types")
    if named is None:
        named = ["full_attention" if (i + 1) % period == 0 else "sliding_attention" for i in range(layers)]
    if not isinstance(named, list) or len(named) != layers or not set(named) <= set(_KINDS):
        raise UserError(
            f"config.json: layer_types={named!r} must name one of {', '.join(_KINDS)} for each of {layers} layers"
        )
    kinds = [_KINDS[name] for name in named]
    length = next(n for n in range(1, layers + 1) if all(kinds[i] == kinds[i % n] for i in range(layers)))
    return tuple(kinds[:length])


def _plain_rotation(fields: Fields) -> tuple[float, float]:
    """Theta and scaling of all layers alike: T5Gemma's."""
    given = fields.section("rope_parameters")
    fields.must_be("rope_scaling", None)
    given.must_be("rope_type", "default")
    return given.positive("rope_theta", fields.positive("rope_theta", 10_000.0)), 1.0


def _rotation(fields: Fields) -> tuple[float, float, float]:
    """Theta and scaling of full layers, and theta of local ones: T5Gemma 2's, spelt as of today or as before."""
    given, scaling = fields.section("rope_parameters"), fields.section("rope_scaling")
    full, local = given.section("full_attention"), given.section("sliding_attention")
    local.must_be("rope_type", "default")
    source = scaling if "rope_scaling" in fields else full
    kinds = {"default": "default", "linear": "linear"}
    for other in (full, scaling):
        other.choice("rope_type", "default", kinds)
    factor = source.positive("factor", 1.0)
    if source.choice("rope_type", "default", kinds) == "default":
        factor = 1.0
    return (
        full.positive("rope_theta", fields.positive("rope_theta", 1_000_000.0)),
        factor,
        local.positive("rope_theta", fields.positive("rope_local_base_freq", 10_000.0)),
    )


def tensors(config: ModelConfig) -> Iterator[Tensor]:
    """Every tensor of the model, copies of tied ones aside, by its name of today."""
    encoder, decoder = sides(config)
    second = decoder.merged_attention
    of_encoder = f"model.encoder.{(_SECOND if second else _FIRST).text_model}"
    if second:
        yield Tensor(f"{of_encoder}embed_tokens.weight", ("embedding", "embedding"))
        if config.unscaled_id >= 0:
            yield Tensor(of_encoder + _UNSCALED, ("embedding", "unscaled"))
    else:
        yield Tensor(f"{of_encoder}embed_tokens.weight", ("encoder", "embedding", "embedding"))
        yield Tensor("model.decoder.embed_tokens.weight", ("embedding", "embedding"))
    halves: tuple[tuple[str, str, TransformerConfig], ...] = (
        ("encoder", of_encoder, encoder),
        ("decoder", "model.decoder.", decoder),
    )
    for side, prefix, sizes in halves:
        parts = {"self_attn": ("attention", "attention")}
        if side == "decoder" and not second:
            parts["cross_attn"] = ("cross_attention", "cross")
        yield Tensor(f"{prefix}norm.weight", (side, "norm", "scale"), offset=1.0)
        for i in range(sizes.layers):
            block, layer = (side, "blocks"), f"{prefix}layers.{i}."
            for theirs, (attention, norm) in parts.items():
                for short, ours in (("q", "query"), ("k", "key"), ("v", "value"), ("o", "output")):
                    name = f"{layer}{theirs}.{short}_proj.weight"
                    yield Tensor(name, (*block, attention, ours), i, transposed=short != "o")
                for short, ours in (("q", "query_norm"), ("k", "key_norm")) if second else ():
                    yield Tensor(
                        f"{layer}{theirs}.{short}_norm.weight", (*block, attention, ours, "scale"), i, offset=1.0
                    )
                yield from _norms(f"{layer}{{}}_{theirs}_layernorm.weight", block, norm, i)
            yield from _norms(f"{layer}{{}}_feedforward_layernorm.weight", block, "feed_forward", i)
            for short in ("gate", "up", "down"):
                name = f"{layer}mlp.{short}_proj.weight"
                yield Tensor(name, (*block, "feed_forward", short), i, transposed=short != "down")
    if not config.tied_embeddings:
        yield Tensor(_OUTPUT, ("output",))


_OUTPUT, _UNSCALED = "lm_head.out_proj.weight", "embed_tokens.eoi_embedding"


def _norms(name: str, block: tuple[str, ...], norm: str, layer: int) -> Iterator[Tensor]:
    yield Tensor(name.format("pre"), (*block, f"{norm}_norm", "scale"), layer, offset=1.0)
    yield Tensor(name.format("post"), (*block, f"{norm}_post_norm", "scale"), layer, offset=1.0)


def _plain(name: str) -> str:
    """A tensor's name without what one generation of files has and the other has not."""
    return name.removeprefix("model.").replace("encoder.text_model.", "encoder.", 1)


def layout(config: ModelConfig, names: Collection[str]) -> Layout:
    """Where the parameters are among the checkpoint's tensors, by their names of today or of the published files.

    Args:
      config: what ``config_from_huggingface`` made.
      names: of the checkpoint's tensors.

    Raises:
      UserError: there is no table of words.
    """
    spelling = {_plain(name): name for name in names}
    table = (tensor._replace(name=spelling.get(_plain(tensor.name), tensor.name)) for tensor in tensors(config))
    merged = sides(config)[1].merged_attention
    words = spelling.get(f"{'encoder' if merged else 'decoder'}.embed_tokens.weight")
    if words is None:
        raise UserError("the checkpoint has no tensor 'decoder.embed_tokens.weight'; is it a T5Gemma with a decoder?")
    copies = {_OUTPUT: words} if config.tied_embeddings else {}
    if merged:
        copies["decoder.embed_tokens.weight"] = words
    zeros: list[str] = []
    if config.unscaled_id < 0:
        zeros = [spelling.get(name, name) for name in (f"encoder.{_UNSCALED}", f"decoder.{_UNSCALED}")]
    elif (unscaled := spelling.get(f"encoder.{_UNSCALED}")) is not None:
        copies[f"decoder.{_UNSCALED}"] = unscaled
    return Layout(words, table, {spelling.get(name, name): original for name, original in copies.items()}, zeros)


def params_to_huggingface(config: ModelConfig, params: Params) -> dict[str, np.ndarray]:
    """Our parameters as their tensors of today's names: float32, contiguous.

    Raises:
      UserError: neither T5Gemma can hold the model.
    """
    if (reason := why_not(config)) is not None:
        raise UserError(reason)
    written = write_params(tensors(config), params)
    if sides(config)[1].merged_attention and config.unscaled_id < 0:  # their class has it in any case
        written[f"model.encoder.{_SECOND.text_model}{_UNSCALED}"] = np.zeros(config.width, np.float32)
    return written


def config_to_huggingface(
    config: ModelConfig, vocab_size: int, *, pad: int = 0, eos: int = 1, start: int = 2
) -> dict[str, Any]:
    """A ``config.json`` that ``transformers`` reads as this model.

    Args:
      config: of a model that one of the two can hold.
      vocab_size: rows of the embedding.
      pad, eos, start: ids of padding, of the end, and of what the decoder is fed first.

    Raises:
      UserError: neither can hold the model.
    """
    if (reason := why_not(config)) is not None:
        raise UserError(reason)
    encoder, decoder = sides(config)
    second = decoder.merged_attention
    ids = {"pad_token_id": pad, "eos_token_id": eos, "bos_token_id": start, "vocab_size": vocab_size}
    common = {**ids, "tie_word_embeddings": config.tied_embeddings}
    read = {**common, **_half_of(encoder, encoder.width or config.width, config, second=second)}
    read["sliding_window"] = encoder.window_before + encoder.window_after + 1 if second else encoder.window_before
    written = {**common, **_half_of(decoder, config.width, config, second=second)}
    written["sliding_window"] = decoder.window_before + 1
    for half, sizes in ((read, encoder), (written, decoder)):
        if "local" not in sizes.layer_kinds:
            half["sliding_window"] = 4096  # no layer has it
    whole = {
        "architectures": [(_SECOND if second else _FIRST).architecture],
        "model_type": "t5gemma2" if second else "t5gemma",
        "is_encoder_decoder": True,
        "dropout_rate": config.dropout,
        "attention_dropout": 0.0,
        **common,
        "dtype": "float32",
    }
    if not second:
        kind = {"model_type": "t5_gemma_module"}
        return {**whole, "encoder": {**kind, **read}, "decoder": {**kind, **written}}
    eoi = config.unscaled_id if config.unscaled_id >= 0 else vocab_size  # beyond the table: no token
    return {
        **whole,
        "eoi_token_index": eoi,
        "encoder": {
            "model_type": "t5gemma2_encoder",
            "text_config": {"model_type": "t5gemma2_text", **read},
            "vision_config": _NO_PICTURES,
            "mm_tokens_per_image": 1,
            "eoi_token_index": eoi,
        },
        "decoder": {"model_type": "t5gemma2_decoder", **written},
    }


# The class has a vision tower whatever the file says; this is the smallest one.
_NO_PICTURES = {
    "model_type": "siglip_vision_model",
    "hidden_size": 1,
    "intermediate_size": 1,
    "num_hidden_layers": 0,
    "num_attention_heads": 1,
    "image_size": 1,
    "patch_size": 1,
    "vision_use_head": False,
}


def _half_of(sizes: TransformerConfig, width: int, config: ModelConfig, *, second: bool) -> dict[str, Any]:
    kinds = {ours: theirs for theirs, ours in _KINDS.items()}
    full = {"rope_type": "default", "rope_theta": sizes.rope_theta}
    if sizes.rope_scaling != 1:
        full |= {"rope_type": "linear", "factor": sizes.rope_scaling}
    local = {"rope_type": "default", "rope_theta": sizes.local_rope_theta or sizes.rope_theta}
    return {
        "hidden_size": width,
        "intermediate_size": sizes.feed_forward,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.num_heads,
        "num_key_value_heads": sizes.kv_heads or sizes.num_heads,
        "head_dim": sizes.head_width,
        "hidden_activation": {ours: theirs for theirs, ours in ACTIVATIONS.items()}[sizes.activation],
        "rms_norm_eps": sizes.norm_epsilon,
        "query_pre_attn_scalar": round(sizes.score_scale**-2),
        "attn_logit_softcapping": sizes.attention_softcap or None,
        "final_logit_softcapping": config.logit_softcap or None,
        "layer_types": [kinds[sizes.layer_kinds[i % len(sizes.layer_kinds)]] for i in range(sizes.layers)],
        "rope_parameters": {"full_attention": full, "sliding_attention": local} if second else full,
        "attention_bias": False,
    }


def why_not(config: ModelConfig) -> str | None:
    """One line on what neither T5Gemma's nor T5Gemma 2's format can hold of this model, or None."""
    encoder, decoder = config.encoder, config.decoder
    if not isinstance(encoder, TransformerEncoderConfig) or not isinstance(decoder, TransformerDecoderConfig):
        return f"config.model.encoder={encoder.type} with decoder={decoder.type} is no T5Gemma; transformer is"
    second = decoder.merged_attention
    name = "T5Gemma 2" if second else "T5Gemma"
    wanted: list[tuple[str, Any, Any]] = [
        ("copy", config.copy, False),
        ("scale_embeddings", config.scale_embeddings, True),
        ("scale_tied_output", config.scale_tied_output and config.tied_embeddings, False),
        ("encoder.width", encoder.width, 0 if second else encoder.width or config.width),
    ]
    tied, unscaled = ("tied_embeddings", config.tied_embeddings, True), ("unscaled_id", config.unscaled_id, -1)
    wanted.append(tied if second else unscaled)
    for side, sizes in (("encoder", encoder), ("decoder", decoder)):
        assert isinstance(sizes, TransformerConfig)
        wanted += [
            (f"{side}.sandwich_norms", sizes.sandwich_norms, True),
            (f"{side}.query_key_norm", sizes.query_key_norm, second),
        ]
        if second:
            wanted.append((f"{side}.attention_softcap", sizes.attention_softcap, 0.0))
        else:
            local = sizes.local_rope_theta if "local" in sizes.layer_kinds else 0.0
            same = (0.0, sizes.rope_theta)
            wanted.append((f"{side}.local_rope_theta", local, local if local in same else 0.0))
            wanted.append((f"{side}.rope_scaling", sizes.rope_scaling, 1.0))
        if sizes.activation not in ACTIVATIONS.values():
            known = ", ".join(ACTIVATIONS.values())
            return f"config.model.{side}.activation={sizes.activation} is not in {name}'s format; {known} are"
        if abs(sizes.score_scale**-2 - round(sizes.score_scale**-2)) > 1e-3:
            return f"config.model.{side}.attention_scale={sizes.attention_scale} is not 1/sqrt(n), as {name} has it"
    before, after = encoder.window_before, encoder.window_after
    lopsided = second and after == before + 1  # of a window of an even number of tokens
    wanted.append(("encoder.window_after", after, after if lopsided else before))
    for key, value, theirs in wanted:
        if value != theirs:
            return f"config.model.{key}={value} is not in {name}'s format; train with config.model.{key}={theirs}"
    return None


def sides(config: ModelConfig) -> tuple[TransformerEncoderConfig, TransformerDecoderConfig]:
    """The encoder and the decoder of a model that T5Gemma can hold."""
    encoder, decoder = config.encoder, config.decoder
    assert isinstance(encoder, TransformerEncoderConfig)
    assert isinstance(decoder, TransformerDecoderConfig)
    return encoder, decoder
